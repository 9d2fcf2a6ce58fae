//! veml7700: Vishay VEML7700, for illuminance.
//!
//! Datasheet: 84286, revision 1.8 (2024), cited as D; application note "Designing the VEML7700 Into an Application", 84323,
//! cited as A.
//! Boards with a regulator take 5 V.
//!
//! It measures continuously, in one of four ranges of gain and integration time that are chosen by what is seen, as A's
//! flow chart has it; a change costs one integration, 0.1 s in most cases and 0.5 s in the dark. At the gain of 1/8, which
//! is used above 54 lx, the chip is not linear, and A's polynomial corrects that.
//!
//! The chip has no checksum, and only newer ones an id, so an id is no condition. What is: its settings, read back with
//! each sample. A chip that lost its supply has others, and is off.

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
    name: "veml7700",
    summary: "Vishay VEML7700: illuminance over I²C, from moonlight to sun",
    page: "\
Wiring: SDA, SCL, 2.5 to 3.6 V, ground. The address is always 0x10.

illuminance  lx, 0 to 140000; ±10 %; steps of 0.0084 lx in the dark, 0.07 lx
             up to 60 lx, 0.5 lx up to 7000 lx, 3 lx and more in the sun

Gain and integration time follow the light; where they change, a sample takes
0.1 s, in the dark 0.5 s. Behind glass or a diffuser multiply by what those
swallow: the chip does not know of them.",
    bus: BusNeed::I2c,
    settings: &[Field {
        name: "address",
        kind: Kind::Address(&[0x10]),
        need: Need::Default("0x10"),
        doc: "the chip has no other",
    }],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![ILLUMINANCE],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Veml7700::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
light:
  driver: veml7700
  bus: i2c-1
  every: 10s",
    // The command code of the id (D, table 8); the second byte is the address set by the factory.
    identity: Some(Identity { ask: &[ID], length: 2, is: |id| matches!(id, [0x81, 0xC4 | 0xD4]), then: None }),
    chip: Some(ChipSpec::of(|| Box::new(sim::Veml7700::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-veml7700 2.2.2")],
};

const ILLUMINANCE: Quantity = Quantity::new("illuminance", "lx", 2);

// Command codes (D, table 8).
const CONFIG: u8 = 0;
const POWER_SAVING: u8 = 3;
const LIGHT: u8 = 4;
const ID: u8 = 7;

/// In the configuration: off (D, table 1).
const SHUT_DOWN: u16 = 0x0001;

/// Until the chip measures after it was switched on (A, "Power-up").
const WAKE_UP_US: u32 = 2500;

/// The brightest light that the chip is made for.
const BRIGHTEST: f64 = 140_000.0;

/// A gain and an integration time, and the counts between which they stay in use.
struct Range {
    config: u16,
    integration_us: u32,
    /// Lux per count (A, table of resolutions).
    step: f64,
    is_linear: bool,
    lowest: u16,
    highest: u16,
}

/// From the brightest to the darkest. Neighbours overlap, so that a light between two of them is not measured twice each
/// time.
const RANGES: [Range; 4] = [
    // Gain 1/8, 25 ms.
    Range { config: 0x1300, integration_us: 25_000, step: 2.1504, is_linear: false, lowest: 2000, highest: u16::MAX },
    // Gain 1/8, 100 ms.
    Range { config: 0x1000, integration_us: 100_000, step: 0.5376, is_linear: false, lowest: 100, highest: 10_000 },
    // Gain 1, 100 ms: up to 60 lx.
    Range { config: 0x0000, integration_us: 100_000, step: 0.0672, is_linear: true, lowest: 75, highest: 900 },
    // Gain 2, 400 ms: up to 6 lx.
    Range { config: 0x0880, integration_us: 400_000, step: 0.0084, is_linear: true, lowest: 0, highest: 720 },
];
/// Where A begins too.
const FIRST: usize = 1;

struct Veml7700<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    /// Its place in [`RANGES`].
    range: usize,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Veml7700<I, D> {
    fn start(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let mut chip = Self { i2c, delay, address: settings.address("address"), range: FIRST };
        chip.write(POWER_SAVING, 0).map_err(absent("VEML7700"))?;
        chip.choose(FIRST)?;
        Ok(chip)
    }

    /// Words go low byte first (D, figure 3).
    fn write(&mut self, command: u8, word: u16) -> Result<(), BusError> {
        let [low, high] = word.to_le_bytes();
        self.i2c.write(self.address, &[command, low, high])
    }

    fn read(&mut self, command: u8) -> Result<u16, BusError> {
        let mut bytes = [0; 2];
        self.i2c.write_read(self.address, &[command], &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    /// Switches to this range and waits for its first result. Off and on again, so that no integration is half of the old
    /// one. The integration time is not exact; half as long again is enough for the slowest chip.
    fn choose(&mut self, range: usize) -> Result<(), DriverError> {
        let Range { config, integration_us, .. } = RANGES[range];
        self.range = range;
        self.write(CONFIG, config | SHUT_DOWN)?;
        self.write(CONFIG, config)?;
        self.delay.delay_us(WAKE_UP_US + integration_us / 2 * 3);
        Ok(())
    }

    /// The counts, if the chip measures with the settings that were written.
    fn counts(&mut self) -> Result<u16, DriverError> {
        let (config, expected) = (self.read(CONFIG)?, RANGES[self.range].config);
        if config != expected {
            let why = format!("it was given the settings {expected:#06x} and has {config:#06x}");
            return Err(another("VEML7700", self.address, why));
        }
        Ok(self.read(LIGHT)?)
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Veml7700<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let mut counts = self.counts()?;
        // Twice at most, for a saturated range does not show which one is right.
        for _ in 0..2 {
            let range = fitting(self.range, counts);
            if range == self.range {
                break;
            }
            self.choose(range)?;
            counts = self.counts()?;
        }
        let lux = lux(&RANGES[self.range], counts);
        if counts == u16::MAX || lux > BRIGHTEST {
            return Err(DriverError::OutOfRange { quantity: "illuminance", value: lux });
        }
        Ok(vec![ILLUMINANCE.measured(lux)])
    }
}

/// The range for a light that gives these counts in this one: itself while they are within its bounds.
fn fitting(range: usize, counts: u16) -> usize {
    let now = &RANGES[range];
    if counts == u16::MAX {
        return 0;
    }
    if (now.lowest..=now.highest).contains(&counts) {
        return range;
    }
    // The darkest that can represent it.
    let light = f64::from(counts) * now.step;
    RANGES.iter().rposition(|range| light <= f64::from(range.highest) * range.step).unwrap_or(0)
}

/// A, "Calculating the lux level" and its polynomial.
fn lux(range: &Range, counts: u16) -> f64 {
    let x = f64::from(counts) * range.step;
    if range.is_linear { x } else { (((6.0135e-13 * x - 9.3924e-9) * x + 8.1488e-5) * x + 1.0023) * x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

    fn chosen(range: usize) -> [Step; 2] {
        let [low, high] = RANGES[range].config.to_le_bytes();
        [Step::Write(vec![0, low | 1, high]), Step::Write(vec![0, low, high])]
    }

    fn counted(range: usize, counts: u16) -> [Step; 2] {
        let config = RANGES[range].config.to_le_bytes();
        [Step::WriteRead(vec![0], config.to_vec()), Step::WriteRead(vec![4], counts.to_le_bytes().to_vec())]
    }

    fn start(steps: impl IntoIterator<Item = Step>) -> Result<Veml7700<Transcript, CountedDelay>, DriverError> {
        let steps = [Step::Write(vec![3, 0, 0])].into_iter().chain(chosen(1)).chain(steps);
        Veml7700::start(Transcript::new(0x10, steps), CountedDelay::default(), &settings(&SPEC, &[]))
    }

    #[test]
    fn a_good_transcript_gives_the_illuminance() {
        let mut sensor = start(counted(1, 1000)).unwrap();
        assert!(sensor.delay.waited_us() >= 100_000);
        // 537.6 lx before the correction.
        check(&sensor.sample().unwrap(), "illuminance", 560.98, 0.01);
    }

    #[test]
    fn dim_light_is_measured_with_a_higher_gain() {
        let steps = counted(1, 50).into_iter().chain(chosen(2)).chain(counted(2, 400)).chain(counted(2, 401));
        let mut sensor = start(steps).unwrap();
        check(&sensor.sample().unwrap(), "illuminance", 26.88, 0.001);
        check(&sensor.sample().unwrap(), "illuminance", 26.947, 0.001);
    }

    #[test]
    fn a_saturated_range_is_left_in_two_steps() {
        let dark = counted(1, 2).into_iter().chain(chosen(3)).chain(counted(3, 128));
        let lit = counted(3, 65_535).into_iter().chain(chosen(0)).chain(counted(0, 250));
        let mut sensor = start(dark.chain(lit).chain(chosen(1)).chain(counted(1, 1000))).unwrap();
        check(&sensor.sample().unwrap(), "illuminance", 1.0752, 1e-6);
        check(&sensor.sample().unwrap(), "illuminance", 560.98, 0.01);
    }

    #[test]
    fn every_range_is_left_for_one_that_suits_the_light() {
        for (range, here) in RANGES.iter().enumerate() {
            for counts in 0..u16::MAX {
                let there = fitting(range, counts);
                let seen = f64::from(counts) * here.step / RANGES[there].step;
                let bounds = &RANGES[there];
                assert!(seen <= f64::from(bounds.highest), "{range} {counts} {there} {seen}");
                let back = fitting(there, seen.round() as u16);
                assert_eq!(back, there, "{range} {counts}: it would be measured a third time");
            }
            assert_eq!(fitting(range, u16::MAX), 0);
        }
    }

    #[test]
    fn more_light_than_the_chip_is_made_for_is_out_of_range() {
        for counts in [12_000, 65_535] {
            let steps = counted(1, 60_000).into_iter().chain(chosen(0)).chain(counted(0, counts));
            let refused = start(steps).unwrap().sample();
            assert!(matches!(refused, Err(DriverError::OutOfRange { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_missing_chip_and_other_settings_are_named() {
        let nobody = Transcript::new(0x10, [Step::Nak]);
        let error = Veml7700::start(nobody, CountedDelay::default(), &settings(&SPEC, &[])).err().unwrap().to_string();
        assert!(error.starts_with("no VEML7700 at address 0x10: nobody answers"), "{error}");
        for config in [[0x01, 0x00], [0xFF, 0xFF]] {
            let error = start([Step::WriteRead(vec![0], config.to_vec())]).unwrap().sample().unwrap_err();
            assert!(!error.is_transient(), "{error}");
        }
    }

    #[test]
    fn its_id_is_that_of_either_address() {
        let identity = SPEC.identity.unwrap();
        assert!((identity.is)(&[0x81, 0xC4]) && (identity.is)(&[0x81, 0xD4]));
        assert!(!(identity.is)(&[0x00, 0x00]) && !(identity.is)(&[0xFF, 0xFF]));
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("veml7700", 0x10);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for (lux, tolerance) in
            [(300.0, 0.3), (0.0, 0.0), (40.0, 0.034), (0.5, 0.004_3), (100_000.0, 10.0), (5000.0, 0.5), (54.0, 0.3)]
        {
            chip.set("illuminance", lux);
            check(&sensor.sample().unwrap(), "illuminance", lux, tolerance);
        }
        chip.set("illuminance", 150_000.0);
        assert!(matches!(sensor.sample(), Err(DriverError::OutOfRange { .. })));
        chip.set("illuminance", 300.0);
        chip.fault(Some("stuck"));
        assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })));
        chip.fault(Some("power-on"));
        chip.fault(None);
        let error = sensor.sample().unwrap_err();
        assert!(!error.is_transient(), "a chip that lost its supply is off: {error}");
        check(&transcript::build(&SPEC, &mut chip).unwrap().sample().unwrap(), "illuminance", 300.0, 0.3);
    }
}
