//! shtc3: Sensirion SHTC3, SHTC1 and SHTW2, for temperature and humidity.
//!
//! Datasheets: SHTC3, version 4, whose sections are named below; SHTC1, version 4.
//! Supply: 1.62 to 3.6 V. The SHTC1 measures −30 to 100 °C.
//!
//! Between samples an SHTC3 sleeps and answers to nothing but the command that wakes it; the SHTC1 does not know it. An
//! id with a checksum distinguishes the chips from each other and from a multiplexer at the same address. The chip keeps no
//! settings, so one that lost its supply for a moment measures as before.

mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims, within};
use crate::sensirion::read_words;
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "shtc3",
    summary: "Sensirion SHTC3, SHTC1, SHTW2: temperature and humidity over I²C",
    page: "\
Wiring: SDA, SCL, 3.3 V (SHTC1 and SHTW2: 1.8 V), ground. The address is 0x70,
where many I²C multiplexers are too.

temperature  −40 to 125 °C; ±0.2 °C, SHTC1 ±0.3 °C
humidity     0 to 100 %; ±2 %, SHTC1 ±3 %

Both words carry a checksum; a damaged sample is dropped. An SHTC3 sleeps
between samples, where a scan of the bus does not find it.",
    bus: BusNeed::I2c,
    settings: &[Field {
        name: "address",
        kind: Kind::Address(&[0x70]),
        need: Need::Default("0x70"),
        doc: "it cannot be chosen",
    }],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Shtc3::start(bus.i2c()?, Delay, settings.address("address"))?)),
    },
    example: "\
hall:
  driver: shtc3
  bus: i2c-1
  every: 10s",
    // Two bytes ask for its id; a multiplexer at this address would switch its channels by them.
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Shtc3::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-shtc3 1.1.22"), Proof::Kernel("shtc1")],
};

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);

const CELSIUS: RangeInclusive<f64> = -40.0..=125.0;

// Commands ("Operation and Communication").
const WAKE_UP: [u8; 2] = [0x35, 0x17];
const SLEEP: [u8; 2] = [0xB0, 0x98];
const SOFT_RESET: [u8; 2] = [0x80, 0x5D];
const READ_ID: [u8; 2] = [0xEF, 0xC8];
/// Normal power, temperature first, no clock stretching.
const MEASURE: [u8; 2] = [0x78, 0x66];

/// Until the chip listens again after it was woken or reset: 240 µs ("Timing Specifications"), with some room.
const SETTLE_US: u32 = 300;

/// The bits of the id that do not vary from chip to chip ("Read-out of ID Register"), and bit 11, which is set in the SHTC3
/// alone.
const ID_MASK: u16 = 0x083F;
const ID_SHTC3: u16 = 0x0807;
const ID_SHTC1: u16 = 0x0007;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    Shtc3,
    /// And SHTW2, its package apart the same chip.
    Shtc1,
}

impl Model {
    /// The longest measurement ("Timing Specifications" of each datasheet).
    fn duration_us(self) -> u32 {
        match self {
            Self::Shtc3 => 12_100,
            Self::Shtc1 => 14_400,
        }
    }
}

struct Shtc3<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    model: Model,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Shtc3<I, D> {
    /// Wakes the chip, resets it and asks for its id.
    fn start(i2c: I, delay: D, address: u8) -> Result<Self, DriverError> {
        let mut chip = Self { i2c, delay, address, model: Model::Shtc3 };
        match chip.command(WAKE_UP) {
            // An SHTC1 may refuse what it does not know; a missing chip refuses the next command too.
            Ok(()) | Err(BusError::NoAcknowledge { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        chip.command(SOFT_RESET).and_then(|()| chip.command(READ_ID)).map_err(absent("SHTC3"))?;
        chip.model = match read_words(&mut chip.i2c, address, "the id") {
            Ok([id]) if id & ID_MASK == ID_SHTC3 => Model::Shtc3,
            Ok([id]) if id & ID_MASK == ID_SHTC1 => Model::Shtc1,
            Ok([id]) => return Err(another("SHTC3", address, format!("the chip id is {id:#06x}"))),
            Err(DriverError::Bus(error)) => return Err(error.into()),
            Err(_) => return Err(another("SHTC3", address, "it sends no id; it may be a multiplexer".into())),
        };
        Ok(chip)
    }

    fn command(&mut self, command: [u8; 2]) -> Result<(), BusError> {
        self.i2c.write(self.address, &command)?;
        self.delay.delay_us(SETTLE_US);
        Ok(())
    }

    fn measure(&mut self) -> Result<[u16; 2], DriverError> {
        self.i2c.write(self.address, &MEASURE)?;
        self.delay.delay_us(self.model.duration_us());
        read_words(&mut self.i2c, self.address, "the measurement")
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Shtc3<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        if self.model == Model::Shtc3 {
            self.command(WAKE_UP)?;
        }
        let measured = self.measure();
        if self.model == Model::Shtc3 {
            // A chip that does not go to sleep measures no worse, and gets the command again after the next sample.
            self.command(SLEEP).ok();
        }
        let [temperature, humidity] = measured?;
        let temperature = within("temperature", celsius(temperature), &CELSIUS)?;
        Ok(vec![TEMPERATURE.measured(temperature), HUMIDITY.measured(percent(humidity))])
    }
}

/// "Conversion of Signal Output".
fn celsius(word: u16) -> f64 {
    -45.0 + 175.0 * f64::from(word) / 65_536.0
}

/// "Conversion of Signal Output", in percent of relative humidity.
fn percent(word: u16) -> f64 {
    100.0 * f64::from(word) / 65_536.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::crc8;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check};

    const GOOD: [u8; 6] = [0x66, 0x66, 0x93, 0x80, 0x00, 0xA2];

    fn write(command: [u8; 2]) -> Step {
        Step::Write(command.to_vec())
    }

    fn id(word: u16) -> Step {
        let [high, low] = word.to_be_bytes();
        Step::Read(vec![high, low, crc8(&[high, low])])
    }

    fn start(steps: impl IntoIterator<Item = Step>) -> Result<Shtc3<Transcript, CountedDelay>, DriverError> {
        Shtc3::start(Transcript::new(0x70, steps), CountedDelay::default(), 0x70)
    }

    fn bring_up(word: u16) -> Vec<Step> {
        vec![write(WAKE_UP), write(SOFT_RESET), write(READ_ID), id(word)]
    }

    fn sample(answer: [u8; 6]) -> Result<Vec<Measurement>, DriverError> {
        let sampling = [write(WAKE_UP), write(MEASURE), Step::Read(answer.to_vec()), write(SLEEP)];
        let mut sensor = start(bring_up(0x0887).into_iter().chain(sampling)).unwrap();
        let measurements = sensor.sample();
        assert!(sensor.delay.waited_us() >= 4 * 240 + 12_100);
        measurements
    }

    #[test]
    fn the_formulas_of_the_datasheet_hold() {
        assert_eq!((celsius(0), celsius(0x8000)), (-45.0, 42.5));
        assert_eq!((percent(0), percent(0x8000)), (0.0, 50.0));
    }

    #[test]
    fn a_good_transcript_gives_two_measurements() {
        let measurements = sample(GOOD).unwrap();
        check(&measurements, "temperature", 25.0, 0.002);
        check(&measurements, "humidity", 50.0, 0.001);
    }

    #[test]
    fn a_damaged_word_is_dropped_and_the_chip_sleeps_all_the_same() {
        let refused = sample([0x66, 0x66, 0x93, 0x80, 0x01, 0xA2]);
        assert!(matches!(refused, Err(DriverError::BadChecksum { received: 0xA2, .. })), "{refused:?}");
    }

    #[test]
    fn what_the_chip_cannot_measure_is_refused() {
        let refused = sample([0xFF, 0xFF, 0xAC, 0x80, 0x00, 0xA2]);
        assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "temperature", .. })), "{refused:?}");
    }

    #[test]
    fn an_shtc1_is_neither_woken_nor_sent_to_sleep_and_has_more_time() {
        let steps = [Step::Nak, write(SOFT_RESET), write(READ_ID), id(0xC047), write(MEASURE)];
        let mut sensor = start(steps.into_iter().chain([Step::Read(GOOD.to_vec())])).unwrap();
        let before = sensor.delay.waited_us();
        check(&sensor.sample().unwrap(), "temperature", 25.0, 0.002);
        assert_eq!(sensor.delay.waited_us() - before, 14_400);
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let refusal = |steps: Vec<Step>| start(steps).err().unwrap().to_string();
        assert!(refusal(vec![Step::Nak, Step::Nak]).starts_with("no SHTC3 at address 0x70: nobody answers"));
        assert_eq!(refusal(bring_up(0x0123)), "no SHTC3 at address 0x70: the chip id is 0x0123");
        let silent = [write(WAKE_UP), write(SOFT_RESET), write(READ_ID), Step::Read(vec![0xC8; 3])];
        assert!(refusal(silent.to_vec()).contains("multiplexer"));
    }

    #[test]
    fn a_sleep_that_is_refused_spoils_no_sample() {
        let sampling = [write(WAKE_UP), write(MEASURE), Step::Read(GOOD.to_vec()), Step::Nak];
        let mut sensor = start(bring_up(0x0807).into_iter().chain(sampling)).unwrap();
        sensor.sample().unwrap();
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("shtc3", 0x70);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for (celsius, percent) in [(21.5, 45.0), (-30.0, 2.0), (110.0, 99.0)] {
            chip.set("temperature", celsius);
            chip.set("humidity", percent);
            let measurements = sensor.sample().unwrap();
            check(&measurements, "temperature", celsius, 0.002);
            check(&measurements, "humidity", percent, 0.001);
        }
        for (fault, expected) in [("checksum", "bad checksum"), ("not-ready", "not ready"), ("nak", "no answer")] {
            chip.fault(Some(fault));
            let error = sensor.sample().unwrap_err().to_string();
            assert!(error.contains(expected), "{fault}: {error}");
        }
        chip.fault(Some("wrong-id"));
        assert!(matches!(transcript::build(&SPEC, &mut chip), Err(DriverError::NoDevice { .. })));
    }
}
