//! hts221: the ST HTS221, for temperature and humidity.
//!
//! Datasheet: HTS221, DocID026333, revision 4; registers and sections are called below as it calls them.
//! CS belongs to the supply, or the chip listens on SPI.
//!
//! Each sample is a conversion of its own. The result is what the converter says; two points that were measured in the
//! factory are in the chip, and the line through them gives percent and degrees. A chip without such points is refused; users
//! have met some. It has an id and no checksum. After a loss of its supply it is switched off, so the register that says so is
//! read with each look at the conversion.

mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims, relative_humidity, within};
use crate::{BusNeed, DriverError, DriverSpec, Identity, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "hts221",
    summary: "ST HTS221, as on the Raspberry Pi Sense HAT: temperature and humidity over I²C",
    page: "\
Wiring: SDA, SCL, 1.7 to 3.6 V, ground; CS to the supply. The address is 0x5F.

temperature  −40 to 120 °C; ±0.5 °C from 15 to 40 °C
humidity     0 to 100 %; ±3.5 % from 20 to 80 %

Nothing is measured between samples, and the chip's heater is off. On a Sense
HAT the board below warms the chip by several degrees; while the overlay
rpi-sense is loaded, the kernel uses the chip, and it cannot be read here.",
    bus: BusNeed::I2c,
    settings: &[Field {
        name: "address",
        kind: Kind::Address(&[0x5F]),
        need: Need::Default("0x5F"),
        doc: "always 0x5F",
    }],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Hts221::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
room:
  driver: hts221
  bus: i2c-1
  every: 10s",
    identity: Some(Identity { ask: &[WHO_AM_I], length: 1, is: |answer| answer == [ID], then: None }),
    chip: Some(ChipSpec::of(|| Box::new(sim::Hts221::default()))),
    proofs: &[
        Proof::Reference("adafruit-circuitpython-hts221 1.1.24"),
        Proof::Datasheet("HTS221 DocID026333, linear interpolation from LSB to °C"),
    ],
};

/// Two decimals distinguish steps of 1/64 °C.
const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);

const CELSIUS: RangeInclusive<f64> = -40.0..=120.0;

// Registers ("Register mapping").
const WHO_AM_I: u8 = 0x0F;
const AV_CONF: u8 = 0x10;
const CTRL_REG1: u8 = 0x20;
const CTRL_REG2: u8 = 0x21;
const STATUS: u8 = 0x27;
const CALIBRATION: u8 = 0x30;

/// Without it every byte of a longer read is the first register's ("I²C operation").
const COUNT_UP: u8 = 0x80;
const ID: u8 = 0xBC;
/// 16 temperatures and 32 humidities make one result, as after power-on.
const AVERAGES: u8 = 0x1B;
/// Switched on, without a rate of its own; the two bytes of a result change together (BDU).
const ACTIVE: u8 = 0x84;
/// Heater and reboot off.
const ONE_SHOT: u8 = 0x01;
/// A temperature and a humidity that were not read yet.
const BOTH: u8 = 0x03;

/// The datasheet gives no time for a conversion; the kernel's driver gives it as long, at the same averages.
const CONVERSION_US: u32 = 50_000;
/// Between one look at a conversion that still runs and the next, and how often.
const PAUSE_US: u32 = 20_000;
const LOOKS: u32 = 4;

/// The line through two points.
#[derive(Debug)]
struct Line {
    raw: [i16; 2],
    value: [f64; 2],
}

impl Line {
    /// None if the points are one: so they are in a chip that was never calibrated.
    fn through(raw: [i16; 2], value: [f64; 2]) -> Option<Self> {
        (raw[0] != raw[1] && value[0] != value[1]).then_some(Self { raw, value })
    }

    /// "Humidity and temperature data conversion".
    fn at(&self, raw: i16) -> f64 {
        let [x0, x1, x] = [self.raw[0], self.raw[1], raw].map(f64::from);
        let [y0, y1] = self.value;
        y0 + (x - x0) * (y1 - y0) / (x1 - x0)
    }
}

/// The calibration's lines for temperature and humidity ("Calibration registers").
fn lines(registers: &[u8; 16]) -> Option<[Line; 2]> {
    let word = |at: usize| i16::from_le_bytes([registers[at], registers[at + 1]]);
    // T0 and T1 have ten bits, in eighths of a degree, and share the byte with the upper two; the humidities are in halves.
    let [h0, h1, t0, t1, _, shared, ..] = registers.map(u16::from);
    let celsius = [(shared & 0x03) << 8 | t0, (shared & 0x0C) << 6 | t1].map(|eighths| f64::from(eighths) / 8.0);
    let percent = [h0, h1].map(|halves| f64::from(halves) / 2.0);
    Some([Line::through([word(12), word(14)], celsius)?, Line::through([word(6), word(10)], percent)?])
}

struct Hts221<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    temperature: Line,
    humidity: Line,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Hts221<I, D> {
    /// Checks the id, reads the calibration and switches the chip on.
    fn start(mut i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let address = settings.address("address");
        let [id] = read(&mut i2c, address, WHO_AM_I).map_err(absent("HTS221"))?;
        if id != ID {
            return Err(another("HTS221", address, format!("the id is {id:#04x}")));
        }
        let Some([temperature, humidity]) = lines(&read(&mut i2c, address, CALIBRATION)?) else {
            return Err(another("HTS221", address, "it has no calibration".to_owned()));
        };
        i2c.write(address, &[AV_CONF, AVERAGES])?;
        i2c.write(address, &[CTRL_REG1, ACTIVE])?;
        Ok(Self { i2c, delay, address, temperature, humidity })
    }

    /// Waits until the conversion is over.
    fn convert(&mut self) -> Result<(), DriverError> {
        self.i2c.write(self.address, &[CTRL_REG2, ONE_SHOT])?;
        self.delay.delay_us(CONVERSION_US);
        for _ in 0..LOOKS {
            let [control, order] = read(&mut self.i2c, self.address, CTRL_REG1)?;
            if control != ACTIVE {
                let why = format!("its CTRL_REG1 is {control:#04x}: it lost its supply, or another program uses it");
                return Err(another("HTS221", self.address, why));
            }
            if order & ONE_SHOT == 0 {
                return Ok(());
            }
            self.delay.delay_us(PAUSE_US);
        }
        Err(DriverError::NotReady("the measurement"))
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Hts221<I, D> {
    /// What saturates the converter is far outside either range.
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.convert()?;
        let [status, h_low, h_high, t_low, t_high] = read(&mut self.i2c, self.address, STATUS)?;
        if status & BOTH != BOTH {
            return Err(DriverError::NotReady("the measurement"));
        }
        let celsius = self.temperature.at(i16::from_le_bytes([t_low, t_high]));
        let percent = self.humidity.at(i16::from_le_bytes([h_low, h_high]));
        let temperature = within("temperature", celsius, &CELSIUS)?;
        Ok(vec![TEMPERATURE.measured(temperature), HUMIDITY.measured(relative_humidity(percent)?)])
    }
}

/// So many registers from this one on.
fn read<const N: usize>(i2c: &mut impl I2c<Error = BusError>, address: u8, first: u8) -> Result<[u8; N], BusError> {
    let mut bytes = [0; N];
    i2c.write_read(address, &[first | COUNT_UP], &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

    /// H0 26.5 % at 9, H1 66 % at −10540, as a user of the chip published them; T0 33.125 °C at −20, T1 56.5 °C at 1476, for
    /// their upper bits.
    const CALIBRATED: [u8; 16] =
        [53, 132, 0x09, 0xC4, 0x00, 0xF5, 0x09, 0x00, 0, 0, 0xD4, 0xD6, 0xEC, 0xFF, 0xC4, 0x05];

    fn start(steps: impl IntoIterator<Item = Step>) -> Result<Hts221<Transcript, CountedDelay>, DriverError> {
        Hts221::start(Transcript::new(0x5F, steps), CountedDelay::default(), &settings(&SPEC, &[]))
    }

    fn started() -> Vec<Step> {
        vec![
            Step::WriteRead(vec![0x8F], vec![0xBC]),
            Step::WriteRead(vec![0xB0], CALIBRATED.to_vec()),
            Step::Write(vec![0x10, 0x1B]),
            Step::Write(vec![0x20, 0x84]),
        ]
    }

    /// A sample whose conversion is looked at with these answers, and which then answers this.
    fn sample(looks: &[[u8; 2]], answer: Option<[u8; 5]>) -> Result<Vec<Measurement>, DriverError> {
        let order = [Step::Write(vec![0x21, 0x01])];
        let looked = looks.iter().map(|look| Step::WriteRead(vec![0xA0], look.to_vec()));
        let answered = answer.map(|bytes| Step::WriteRead(vec![0xA7], bytes.to_vec()));
        let mut sensor = start(started().into_iter().chain(order).chain(looked).chain(answered)).unwrap();
        let measurements = sensor.sample();
        assert!(sensor.delay.waited_us() >= 50_000);
        measurements
    }

    #[test]
    fn the_worked_example_of_the_datasheet_is_met() {
        let registers = [40, 60, 80, 160, 0, 0, 0, 0, 0, 0, 1, 0, 0x2C, 0x01, 0xF4, 0x01];
        let [temperature, _] = lines(&registers).unwrap();
        assert_eq!([300, 400, 500].map(|raw| temperature.at(raw)), [10.0, 15.0, 20.0]);
    }

    #[test]
    fn the_calibration_has_signs_fractions_and_upper_bits() {
        let [temperature, humidity] = lines(&CALIBRATED).unwrap();
        assert_eq!((temperature.raw, temperature.value), ([-20, 1476], [33.125, 56.5]));
        assert_eq!((humidity.raw, humidity.value), ([9, -10_540], [26.5, 66.0]));
    }

    #[test]
    fn a_good_transcript_gives_two_measurements() {
        let measurements = sample(&[[0x84, 0x01], [0x84, 0x00]], Some([0x03, 0x5F, 0xEB, 0xD8, 0x02])).unwrap();
        check(&measurements, "temperature", 33.125 + 748.0 / 64.0, 0.000_001);
        check(&measurements, "humidity", 26.5 + 5290.0 * 39.5 / 10_549.0, 0.000_001);
    }

    #[test]
    fn a_conversion_is_waited_for_but_not_for_ever() {
        let refused = sample(&[[0x84, 0x01]; 4], None);
        assert!(matches!(refused, Err(DriverError::NotReady("the measurement"))), "{refused:?}");
        for status in 0..3 {
            let refused = sample(&[[0x84, 0x00]], Some([status, 0x5F, 0xEB, 0xD8, 0x02])).unwrap_err();
            assert!(matches!(refused, DriverError::NotReady("the measurement")), "{status}: {refused}");
        }
    }

    #[test]
    fn a_chip_that_lost_its_supply_or_is_used_otherwise_is_not_believed() {
        for control in [0x00, 0x87, 0xFF] {
            let refused = sample(&[[control, 0x00]], None).unwrap_err();
            assert!(matches!(refused, DriverError::NoDevice { .. }) && !refused.is_transient(), "{refused}");
        }
    }

    #[test]
    fn what_the_chip_cannot_measure_is_refused() {
        let refused = |answer: [u8; 5]| match sample(&[[0x84, 0x00]], Some(answer)) {
            Err(DriverError::OutOfRange { quantity, .. }) => quantity,
            other => panic!("{other:?}"),
        };
        for [low, high] in [[0xFF, 0x7F], [0x00, 0x80]] {
            assert_eq!(refused([0x03, 0x5F, 0xEB, low, high]), "temperature");
            assert_eq!(refused([0x03, low, high, 0xD8, 0x02]), "humidity");
        }
    }

    #[test]
    fn a_missing_another_and_an_uncalibrated_chip_are_named() {
        let refusal = |steps: Vec<Step>| start(steps).err().unwrap().to_string();
        assert!(refusal(vec![Step::Nak]).starts_with("no HTS221 at address 0x5f: nobody answers"));
        for id in [0x00, 0xBD, 0xFF] {
            assert!(refusal(vec![Step::WriteRead(vec![0x8F], vec![id])]).contains("the id is"));
        }
        for byte in [0x00, 0xFF] {
            let id = Step::WriteRead(vec![0x8F], vec![0xBC]);
            let refused = refusal(vec![id, Step::WriteRead(vec![0xB0], vec![byte; 16])]);
            assert!(refused.contains("it has no calibration"), "{refused}");
        }
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("hts221", 0x5F);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for (celsius, percent) in [(21.5, 45.0), (-39.9, 0.0), (119.9, 100.0)] {
            chip.set("temperature", celsius);
            chip.set("humidity", percent);
            let measurements = sensor.sample().unwrap();
            check(&measurements, "temperature", celsius, 0.008);
            check(&measurements, "humidity", percent, 0.002);
        }
        for (fault, expected) in [
            ("not-ready", "not ready"),
            ("stuck", "its CTRL_REG1 is 0xff"),
            ("power-on", "lost its supply"),
            ("nak", "no answer"),
        ] {
            chip.fault(Some(fault));
            let error = sensor.sample().unwrap_err().to_string();
            assert!(error.contains(expected), "{fault}: {error}");
        }
        chip.fault(Some("wrong-id"));
        let refused = transcript::build(&SPEC, &mut chip);
        assert!(matches!(refused, Err(DriverError::NoDevice { .. })));
        chip.fault(None);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        check(&sensor.sample().unwrap(), "temperature", 119.9, 0.008);
    }
}
