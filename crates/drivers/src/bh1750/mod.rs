//! bh1750: Rohm BH1750FVI, for illuminance.
//!
//! Datasheet: BH1750FVI technical note, 2011.11 rev. D; page numbers below are its.
//! Boards with a regulator take 5 V. With other measurement times the datasheet promises 0.11 to 100000 lx.
//!
//! The chip has neither id nor checksum. It measures continuously. After a loss of supply it reads 0 for ever, which looks
//! like the dark: so at 0 it is started again and read once more.

mod sim;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, claims};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "bh1750",
    summary: "Rohm BH1750: illuminance over I²C",
    page: "\
Wiring: SDA, SCL, 2.4 to 3.6 V, ground. ADDR to ground: address 0x23, to the
supply: 0x5c.

illuminance  1 to 54612 lx, ±20 %; more than that is out of range

In sunlight lower measurement_time to 31 (up to 121557 lx); behind dark glass
raise it to 254. In complete darkness a sample takes one measurement longer,
for the chip is then started again: it may have lost its supply.",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&[0x23, 0x5C]),
            need: Need::Default("0x23"),
            doc: "0x23 with ADDR at ground, 0x5c with ADDR at the supply",
        },
        Field {
            name: "resolution",
            kind: Kind::Choice(&["high", "high2", "low"]),
            need: Need::Default("high"),
            doc: "high: 1 lx; high2: 0.5 lx and half the range; low: 4 lx in 24 ms",
        },
        Field {
            name: "measurement_time",
            kind: Kind::Integer { min: 31, max: 254 },
            need: Need::Default("69"),
            doc: "the chip's measurement time register: 69 is 180 ms; sensitivity and time grow with it",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![ILLUMINANCE],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Bh1750::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
light:
  driver: bh1750
  bus: i2c-1
  every: 10s
  settings: { address: 0x23 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Bh1750::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-bh1750 1.1.19"), Proof::Kernel("bh1750")],
};

const ILLUMINANCE: Quantity = Quantity::new("illuminance", "lx", 1);

// Instructions (page 5).
const POWER_ON: u8 = 0x01;
const TIME_HIGH_BITS: u8 = 0x40;
const TIME_LOW_BITS: u8 = 0x60;

const DEFAULT_TIME: u8 = 69;
const SATURATED: u16 = 0xFFFF;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    High,
    High2,
    Low,
}

impl Resolution {
    fn parse(text: &str) -> Self {
        match text {
            "high2" => Self::High2,
            "low" => Self::Low,
            _ => Self::High,
        }
    }

    /// The instruction for continuous measurement (page 5).
    fn instruction(self) -> u8 {
        match self {
            Self::High => 0x10,
            Self::High2 => 0x11,
            Self::Low => 0x13,
        }
    }

    /// The longest measurement at the default measurement time (page 2).
    fn longest_us(self) -> u32 {
        if self == Self::Low { 24_000 } else { 180_000 }
    }
}

struct Bh1750<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    resolution: Resolution,
    time: u8,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Bh1750<I, D> {
    /// Starts continuous measurement and waits for the first result: before it the chip reads 0.
    fn start(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let resolution = Resolution::parse(settings.text("resolution"));
        let time = u8::try_from(settings.integer("measurement_time")).unwrap_or(DEFAULT_TIME);
        let mut chip = Self { i2c, delay, address: settings.address("address"), resolution, time };
        chip.measure_continuously().map_err(absent("BH1750"))?;
        Ok(chip)
    }

    /// One instruction per transfer: the chip takes no second one before a stop condition (page 10).
    fn measure_continuously(&mut self) -> Result<(), BusError> {
        let instructions = [
            POWER_ON,
            TIME_HIGH_BITS | self.time >> 5,
            TIME_LOW_BITS | self.time & 0x1F,
            self.resolution.instruction(),
        ];
        for instruction in instructions {
            self.i2c.write(self.address, &[instruction])?;
        }
        self.delay.delay_us(measurement_us(self.resolution, self.time));
        Ok(())
    }

    fn read(&mut self) -> Result<u16, BusError> {
        let mut bytes = [0; 2];
        self.i2c.read(self.address, &mut bytes)?;
        Ok(u16::from_be_bytes(bytes))
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Bh1750<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let mut counts = self.read()?;
        if counts == 0 {
            self.measure_continuously()?;
            counts = self.read()?;
        }
        let lux = lux(counts, self.resolution, self.time);
        if counts == SATURATED {
            return Err(DriverError::OutOfRange { quantity: "illuminance", value: lux });
        }
        Ok(vec![ILLUMINANCE.measured(lux)])
    }
}

/// The longest measurement, which grows with the measurement time register (page 11).
fn measurement_us(resolution: Resolution, time: u8) -> u32 {
    resolution.longest_us() * u32::from(time) / u32::from(DEFAULT_TIME) + 1
}

/// Pages 7 and 11: 1.2 counts per lux at the default measurement time, in proportion to it, twice as many in mode 2.
fn lux(counts: u16, resolution: Resolution, time: u8) -> f64 {
    let lux = f64::from(counts) / 1.2 * f64::from(DEFAULT_TIME) / f64::from(time);
    if resolution == Resolution::High2 { lux / 2.0 } else { lux }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

    fn instructions(codes: [u8; 4]) -> impl Iterator<Item = Step> {
        codes.into_iter().map(|code| Step::Write(vec![code]))
    }

    fn start(
        steps: impl IntoIterator<Item = Step>,
        given: &[(&str, &str)],
    ) -> Result<Bh1750<Transcript, CountedDelay>, DriverError> {
        Bh1750::start(Transcript::new(0x23, steps), CountedDelay::default(), &settings(&SPEC, given))
    }

    #[test]
    fn the_worked_example_of_the_datasheet_comes_out() {
        // Page 7: 0x8390 is 28067 lx.
        assert_eq!(lux(0x8390, Resolution::High, 69).round(), 28_067.0);
        assert_eq!(lux(240, Resolution::High2, 69), 100.0);
        assert_eq!(lux(240, Resolution::High, 138), 100.0);
    }

    #[test]
    fn a_good_transcript_gives_the_illuminance() {
        let steps = instructions([0x01, 0x42, 0x65, 0x10]).chain([Step::Read(vec![0x83, 0x90])]);
        let mut sensor = start(steps, &[]).unwrap();
        assert!(sensor.delay.waited_us() >= 180_000);
        check(&sensor.sample().unwrap(), "illuminance", 28_066.7, 0.05);
    }

    #[test]
    fn resolution_and_measurement_time_reach_the_chip() {
        let given = [("resolution", "high2"), ("measurement_time", "254")];
        let sensor = start(instructions([0x01, 0x47, 0x7E, 0x11]), &given).unwrap();
        assert!(sensor.delay.waited_us() >= 662_000);
        let sensor = start(instructions([0x01, 0x42, 0x65, 0x13]), &[("resolution", "low")]).unwrap();
        assert!((24_000..25_000).contains(&sensor.delay.waited_us()));
    }

    #[test]
    fn darkness_is_believed_only_after_a_new_start() {
        let again = || instructions([0x01, 0x42, 0x65, 0x10]);
        let zero = Step::Read(vec![0, 0]);
        let steps = again().chain([zero.clone()]).chain(again()).chain([Step::Read(vec![0, 12])]);
        check(&start(steps, &[]).unwrap().sample().unwrap(), "illuminance", 10.0, 0.001);
        let steps = again().chain([zero.clone()]).chain(again()).chain([zero]);
        check(&start(steps, &[]).unwrap().sample().unwrap(), "illuminance", 0.0, 0.0);
    }

    #[test]
    fn saturation_is_out_of_range_and_a_missing_chip_is_named() {
        let steps = instructions([0x01, 0x42, 0x65, 0x10]).chain([Step::Read(vec![0xFF, 0xFF])]);
        let refused = start(steps, &[]).unwrap().sample();
        assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "illuminance", .. })), "{refused:?}");
        let error = start([Step::Nak], &[]).err().unwrap().to_string();
        assert!(error.starts_with("no BH1750 at address 0x23: nobody answers"), "{error}");
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("bh1750", 0x23);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for lux in [300.0, 1.5, 54_000.0] {
            chip.set("illuminance", lux);
            check(&sensor.sample().unwrap(), "illuminance", lux, 0.42);
        }
        chip.set("illuminance", 60_000.0);
        assert!(matches!(sensor.sample(), Err(DriverError::OutOfRange { .. })));
        chip.set("illuminance", 300.0);
        chip.fault(Some("power-on"));
        chip.fault(None);
        check(&sensor.sample().unwrap(), "illuminance", 300.0, 0.42);
    }
}
