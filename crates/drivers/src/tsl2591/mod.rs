//! tsl2591: ams TSL2591, for illuminance.
//!
//! Datasheet: TSL2591, ams v1-05 (2018); page numbers are left out, headings are its.
//! Boards with a regulator take 5 V. It begins at 0.0005 lx; in lux no accuracy is specified, for the chip counts.
//!
//! Two diodes, one for all light and one for the infrared, are integrated over 100 ms, again and again; the gain is chosen by
//! what is seen, and a change of it costs one integration. The maker gives no formula for lux; this is the one of Adafruit's
//! library, Linux and ESPHome.
//!
//! The chip has an id, whether it is on, and when an integration has been completed since it was switched on. One that
//! lost its supply is off.

mod sim;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims};
use crate::{BusNeed, DriverError, DriverSpec, Identity, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "tsl2591",
    summary: "ams TSL2591: illuminance over I²C, from starlight to sun",
    page: "\
Wiring: SDA, SCL, 2.7 to 3.6 V, ground. The address is always 0x29.

illuminance  lx, up to some 80000; not calibrated, expect ±15 %

The gain follows the light; where it changes, a sample takes 0.1 s. What is
infrared is measured apart and taken off, so lamps and sun compare. Direct
sunlight saturates the chip: then the sample fails as out of range.",
    bus: BusNeed::I2c,
    settings: &[Field {
        name: "address",
        kind: Kind::Address(&[0x29]),
        need: Need::Default("0x29"),
        doc: "the chip has no other",
    }],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![ILLUMINANCE],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Tsl2591::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
sky:
  driver: tsl2591
  bus: i2c-1
  every: 10s",
    identity: Some(Identity { ask: &[COMMAND | DEVICE_ID], length: 1, is: |id| id == [TSL2591], then: None }),
    chip: Some(ChipSpec::of(|| Box::new(sim::Tsl2591::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-tsl2591 1.4.8")],
};

const ILLUMINANCE: Quantity = Quantity::new("illuminance", "lx", 3);

/// Before each register ("Command Register"): a normal one, and the next ones after it.
const COMMAND: u8 = 0xA0;
// Registers.
const ENABLE: u8 = 0x00;
const CONTROL: u8 = 0x01;
const DEVICE_ID: u8 = 0x12;
const STATUS: u8 = 0x13;

const TSL2591: u8 = 0x50;
/// The oscillator without and with the converters ("Enable Register").
const POWER_ON: u8 = 0x01;
const MEASURING: u8 = 0x03;
/// An integration has been completed since the converters were switched on ("Status Register").
const VALID: u8 = 0x01;

const INTEGRATION_MS: f64 = 100.0;
/// The longest of nominally 100 ms ("ALS Characteristics").
const LONGEST_US: u32 = 108_000;
/// How often the end of an integration is asked for, within half as long again.
const POLLS: u32 = 5;
/// What a channel counts at most in 100 ms ("ALS Characteristics").
const SATURATED: u16 = 36_863;

/// Counts per lux times milliseconds and gain, of a chip without a window in front of it: Adafruit's measurement.
const DEVICE_FACTOR: f64 = 408.0;

/// A gain, and the counts of all light between which it stays in use.
struct Gain {
    code: u8,
    factor: f64,
    lowest: u16,
    highest: u16,
}

/// From bright to dark; typical factors ("ALS Characteristics"). Neighbours overlap.
const GAINS: [Gain; 4] = [
    Gain { code: 0x00, factor: 1.0, lowest: 1000, highest: u16::MAX },
    Gain { code: 0x10, factor: 25.0, lowest: 1400, highest: 33_000 },
    Gain { code: 0x20, factor: 428.0, lowest: 1000, highest: 33_000 },
    Gain { code: 0x30, factor: 9876.0, lowest: 0, highest: 33_000 },
];
const FIRST: usize = 1;

/// What the two diodes counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    all: u16,
    infrared: u16,
}

impl Counts {
    fn saturated(self) -> bool {
        self.all >= SATURATED || self.infrared >= SATURATED
    }
}

struct Tsl2591<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    /// Its place in [`GAINS`].
    gain: usize,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Tsl2591<I, D> {
    fn start(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let mut chip = Self { i2c, delay, address: settings.address("address"), gain: FIRST };
        let [id] = chip.read(DEVICE_ID).map_err(absent("TSL2591"))?;
        if id != TSL2591 {
            return Err(another("TSL2591", chip.address, format!("its id is {id:#04x}")));
        }
        chip.choose(FIRST)?;
        Ok(chip)
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), BusError> {
        self.i2c.write(self.address, &[COMMAND | register, value])
    }

    fn read<const N: usize>(&mut self, register: u8) -> Result<[u8; N], BusError> {
        let mut bytes = [0; N];
        self.i2c.write_read(self.address, &[COMMAND | register], &mut bytes)?;
        Ok(bytes)
    }

    /// Switches to this gain and waits for its first result. Without converters meanwhile, so that no integration is half of
    /// the old gain and the flag speaks of the new one.
    fn choose(&mut self, gain: usize) -> Result<(), DriverError> {
        self.gain = gain;
        self.write(ENABLE, POWER_ON)?;
        self.write(CONTROL, GAINS[gain].code)?;
        self.write(ENABLE, MEASURING)?;
        self.delay.delay_us(LONGEST_US);
        for _ in 0..POLLS {
            let [status] = self.read(STATUS)?;
            if status & VALID != 0 {
                return Ok(());
            }
            self.delay.delay_us(LONGEST_US / 2 / POLLS);
        }
        Ok(())
    }

    /// What was counted, if the chip measures with the settings that were written.
    fn counts(&mut self) -> Result<Counts, DriverError> {
        let (settings, expected) = (self.read(ENABLE)?, [MEASURING, GAINS[self.gain].code]);
        if settings != expected {
            let why = format!("it was given the settings {expected:02x?} and has {settings:02x?}");
            return Err(another("TSL2591", self.address, why));
        }
        let [status, a, b, c, d] = self.read(STATUS)?;
        if status & VALID == 0 {
            return Err(DriverError::NotReady("the integration"));
        }
        Ok(Counts { all: u16::from_le_bytes([a, b]), infrared: u16::from_le_bytes([c, d]) })
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Tsl2591<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let mut counts = self.counts()?;
        // Twice at most, for a saturated gain does not show which one is right.
        for _ in 0..2 {
            let gain = fitting(self.gain, counts);
            if gain == self.gain {
                break;
            }
            self.choose(gain)?;
            counts = self.counts()?;
        }
        let lux = lux(counts, GAINS[self.gain].factor);
        // More infrared than light there cannot be: one of the channels is wrong.
        if counts.saturated() || counts.infrared > counts.all {
            return Err(DriverError::OutOfRange { quantity: "illuminance", value: lux });
        }
        Ok(vec![ILLUMINANCE.measured(lux)])
    }
}

/// The gain for a light that counts so at this one: itself while the counts are within its bounds.
fn fitting(gain: usize, counts: Counts) -> usize {
    let now = &GAINS[gain];
    if counts.saturated() {
        return 0;
    }
    if (now.lowest..=now.highest).contains(&counts.all) {
        return gain;
    }
    let light = f64::from(counts.all) / now.factor;
    GAINS.iter().rposition(|gain| light * gain.factor <= f64::from(gain.highest)).unwrap_or(0)
}

/// All light less the infrared, and less again the more infrared there is in it.
fn lux(counts: Counts, gain: f64) -> f64 {
    let (all, infrared) = (f64::from(counts.all), f64::from(counts.infrared));
    if counts.all == 0 {
        return 0.0;
    }
    (all - infrared) * (1.0 - infrared / all) * DEVICE_FACTOR / (INTEGRATION_MS * gain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

    fn chosen(code: u8) -> Vec<Step> {
        vec![
            Step::Write(vec![0xA0, 0x01]),
            Step::Write(vec![0xA1, code]),
            Step::Write(vec![0xA0, 0x03]),
            Step::WriteRead(vec![0xB3], vec![0x00]),
            Step::WriteRead(vec![0xB3], vec![0x01]),
        ]
    }

    fn counted(code: u8, all: u16, infrared: u16) -> Vec<Step> {
        let data = [&[0x01][..], &all.to_le_bytes(), &infrared.to_le_bytes()].concat();
        vec![Step::WriteRead(vec![0xA0], vec![0x03, code]), Step::WriteRead(vec![0xB3], data)]
    }

    fn start(steps: impl IntoIterator<Item = Step>) -> Result<Tsl2591<Transcript, CountedDelay>, DriverError> {
        let steps = [Step::WriteRead(vec![0xB2], vec![0x50])].into_iter().chain(chosen(0x10)).chain(steps);
        Tsl2591::start(Transcript::new(0x29, steps), CountedDelay::default(), &settings(&SPEC, &[]))
    }

    #[test]
    fn a_good_transcript_gives_the_illuminance() {
        let mut sensor = start(counted(0x10, 5000, 1000)).unwrap();
        assert!(sensor.delay.waited_us() >= 108_000);
        // 4000 × 0.8 counts, 6.127 a lux.
        check(&sensor.sample().unwrap(), "illuminance", 522.24, 1e-9);
    }

    #[test]
    fn the_gain_follows_the_light() {
        let dim = [counted(0x10, 100, 20), chosen(0x20), counted(0x20, 1712, 342), counted(0x20, 1700, 340)].concat();
        let lit = [counted(0x20, 36_863, 9000), chosen(0x00), counted(0x00, 500, 100)].concat();
        let mut sensor = start([dim, lit, chosen(0x10), counted(0x10, 12_500, 2500)].concat()).unwrap();
        check(&sensor.sample().unwrap(), "illuminance", 10.45, 0.01);
        check(&sensor.sample().unwrap(), "illuminance", 10.37, 0.01);
        check(&sensor.sample().unwrap(), "illuminance", 1305.6, 0.01);
    }

    #[test]
    fn every_gain_is_left_for_one_that_suits_the_light() {
        for (gain, here) in GAINS.iter().enumerate() {
            for all in 0..SATURATED {
                let there = fitting(gain, Counts { all, infrared: 0 });
                let seen = f64::from(all) * GAINS[there].factor / here.factor;
                assert!(seen <= f64::from(GAINS[there].highest), "{gain} {all} {there} {seen}");
                let back = fitting(there, Counts { all: seen.round() as u16, infrared: 0 });
                assert_eq!(back, there, "{gain} {all}: it would be measured a third time");
            }
        }
    }

    #[test]
    fn saturation_and_impossible_infrared_are_out_of_range() {
        for (all, infrared) in [(36_863, 100), (500, 501)] {
            let steps = [counted(0x10, 36_863, 0), chosen(0x00), counted(0x00, all, infrared)].concat();
            let steps = if all == 500 { [steps, chosen(0x10), counted(0x10, 12_500, 12_525)].concat() } else { steps };
            let refused = start(steps).unwrap().sample();
            assert!(matches!(refused, Err(DriverError::OutOfRange { .. })), "{refused:?}");
        }
    }

    #[test]
    fn darkness_is_no_light_and_not_ready_is_reported() {
        let steps = [counted(0x10, 0, 0), chosen(0x30), counted(0x30, 0, 0)].concat();
        let not_ready = vec![
            Step::WriteRead(vec![0xA0], vec![0x03, 0x30]),
            Step::WriteRead(vec![0xB3], vec![0x00, 0x00, 0x00, 0x00, 0x00]),
        ];
        let mut sensor = start([steps, not_ready].concat()).unwrap();
        check(&sensor.sample().unwrap(), "illuminance", 0.0, 0.0);
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady(_))));
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let start =
            |step| Tsl2591::start(Transcript::new(0x29, [step]), CountedDelay::default(), &settings(&SPEC, &[]));
        let error = start(Step::Nak).err().unwrap().to_string();
        assert!(error.starts_with("no TSL2591 at address 0x29: nobody answers"), "{error}");
        let error = start(Step::WriteRead(vec![0xB2], vec![0x44])).err().unwrap().to_string();
        assert!(error.ends_with("its id is 0x44"), "{error}");
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("tsl2591", 0x29);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for (lux, share, tolerance) in
            [(300.0, 0.2, 0.3), (0.0, 0.2, 0.0), (0.05, 0.1, 0.001), (20_000.0, 0.3, 8.0), (20.0, 0.6, 0.05)]
        {
            chip.set("illuminance", lux);
            chip.set("infrared_share", share);
            check(&sensor.sample().unwrap(), "illuminance", lux, tolerance);
        }
        chip.set("illuminance", 100_000.0);
        assert!(matches!(sensor.sample(), Err(DriverError::OutOfRange { .. })));
        chip.set("illuminance", 300.0);
        chip.fault(Some("stuck"));
        assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })));
        chip.fault(Some("power-on"));
        chip.fault(None);
        let error = sensor.sample().unwrap_err();
        assert!(!error.is_transient(), "a chip that lost its supply is off: {error}");
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        chip.fault(Some("not-ready"));
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady(_))));
        chip.fault(Some("wrong-id"));
        assert!(matches!(transcript::build(&SPEC, &mut chip), Err(DriverError::NoDevice { .. })));
    }
}
