//! si7021 and htu21: Silicon Labs Si7006, Si7013, Si7020, Si7021 and TE HTU21D, Sensirion SHT20, SHT21, SHT25, for
//! temperature and humidity.
//!
//! Datasheets: Si7021-A20, revision 1.2; HTU21D(F), HPC199 revision 5; SHT21, version 4. All take the same commands.
//!
//! Each sample is one conversion of each quantity without clock stretching. Each word has a checksum; it begins at 0, so a data
//! line held low passes it, and is recognised by values that the chip cannot measure. Silicon Labs' chips have an electronic id; what
//! others call a serial number begins otherwise.

mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::checksum::{confirm, crc8_from};
use crate::i2c_chip::{absent, another, claims, relative_humidity, within};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity};

/// The driver of Silicon Labs' chips.
pub static SI7021: DriverSpec = DriverSpec {
    name: "si7021",
    summary: "Silicon Labs Si7021, Si7020, Si7013, Si7006: temperature and humidity over I²C",
    page: "\
Wiring: SDA, SCL, 3.3 V, ground. The address is 0x40; the Si7013 has 0x41 too,
with AD0 at the supply.

temperature  −40 to 125 °C, ±0.4 °C
humidity     0 to 100 %, ±3 %

Each word carries a checksum; a damaged sample is dropped. Many boards sold as
Si7021 carry an HTU21D or a copy of it: then this driver says so.",
    bus: BusNeed::I2c,
    settings: &[Field {
        name: "address",
        kind: Kind::Address(&[0x40, 0x41]),
        need: Need::Default("0x40"),
        doc: "0x40; 0x41 is a Si7013 with AD0 at the supply",
    }],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Chip::start(&SILABS, bus.i2c()?, Delay, settings.address("address"))?)),
    },
    example: "\
cellar:
  driver: si7021
  bus: i2c-1
  every: 10s",
    // Two bytes ask for its id; other chips at this address take them for a write to a register.
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Si7021::silabs()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-si7021 4.1.19")],
};

/// The driver of the HTU21D and the like.
pub static HTU21: DriverSpec = DriverSpec {
    name: "htu21",
    summary: "TE HTU21D, Sensirion SHT20, SHT21, SHT25: temperature and humidity over I²C",
    page: "\
Wiring: SDA, SCL, 3.3 V, ground. The address is 0x40 and cannot be chosen.

temperature  −40 to 125 °C, ±0.3 °C
humidity     0 to 100 %, ±2 %; as the chip gives it. TE subtracts 0.15 % for
             each degree below 25 °C, and adds as much above

Each word carries a checksum; a damaged sample is dropped. A Si7021 works too,
but takes longer than with its own driver.",
    bus: BusNeed::I2c,
    settings: &[Field {
        name: "address",
        kind: Kind::Address(&[0x40]),
        need: Need::Default("0x40"),
        doc: "it cannot be chosen",
    }],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Chip::start(&HTU, bus.i2c()?, Delay, settings.address("address"))?)),
    },
    example: "\
porch:
  driver: htu21
  bus: i2c-1
  every: 10s",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Si7021::te()))),
    proofs: &[
        Proof::Reference("adafruit-circuitpython-htu21d 0.11.22"),
        Proof::Kernel("si7020"),
        Proof::Datasheet("HTU21D(F) HPC199, examples of the CRC-8"),
    ],
};

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);

const CELSIUS: RangeInclusive<f64> = -40.0..=125.0;

// Commands (Si7021, table 11; HTU21D has the same but for the id).
const MEASURE_TEMPERATURE: u8 = 0xF3;
const MEASURE_HUMIDITY: u8 = 0xF5;
const RESET: u8 = 0xFE;
const WRITE_USER: u8 = 0xE6;
const READ_USER: u8 = 0xE7;
const READ_ID: [u8; 2] = [0xFC, 0xC9];

/// After a reset (all three datasheets).
const RESET_US: u32 = 15_000;
/// In the user register: the resolution is 14 and 12 bits when both are clear.
const RESOLUTION: u8 = 0x81;
const HEATER: u8 = 0x04;
/// Set after a reset in all these chips.
const ALWAYS: u8 = 0x02;
/// The two lowest bits of a word say which quantity it is.
const STATUS: u16 = 0x0003;

/// What distinguishes the chips.
struct Form {
    chip: &'static str,
    /// Whether the electronic id must be Silicon Labs'.
    has_id: bool,
    /// The longest conversions; a Si7021 measures the temperature with the humidity.
    temperature_us: u32,
    humidity_us: u32,
}

const SILABS: Form = Form { chip: "Si7021", has_id: true, temperature_us: 10_800, humidity_us: 22_800 };

/// The SHT21 takes longest.
const HTU: Form = Form { chip: "HTU21", has_id: false, temperature_us: 85_000, humidity_us: 29_000 };

struct Chip<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    form: &'static Form,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Chip<I, D> {
    /// Resets the chip, makes sure that it is one, and switches a heater off that another program may have left on: no reset
    /// does.
    fn start(form: &'static Form, i2c: I, delay: D, address: u8) -> Result<Self, DriverError> {
        let mut chip = Self { i2c, delay, address, form };
        chip.i2c.write(address, &[RESET]).map_err(absent(form.chip))?;
        chip.delay.delay_us(RESET_US);
        let mut user = [0];
        chip.i2c.write_read(address, &[READ_USER], &mut user)?;
        if user[0] & (RESOLUTION | ALWAYS) != ALWAYS {
            return Err(another(form.chip, address, format!("the user register is {:#04x} after a reset", user[0])));
        }
        if form.has_id {
            chip.check_id()?;
        }
        if user[0] & HEATER != 0 {
            chip.i2c.write(address, &[WRITE_USER, user[0] & !HEATER])?;
        }
        Ok(chip)
    }

    /// The second half of the electronic id begins with the type (Si7021, "Electronic Serial Number").
    fn check_id(&mut self) -> Result<(), DriverError> {
        let mut id = [0; 3];
        match self.i2c.write_read(self.address, &READ_ID, &mut id) {
            Ok(()) => {}
            Err(BusError::NoAcknowledge { .. }) => {
                return Err(another(self.form.chip, self.address, "it has no id; write driver: htu21".into()));
            }
            Err(error) => return Err(error.into()),
        }
        confirm(crc8_from(0, &id[..2]), id[2])?;
        match id[0] {
            // Si7006, Si7013, Si7020, Si7021.
            6 | 13 | 20 | 21 => Ok(()),
            0x32 => Err(another(self.form.chip, self.address, "this is an HTU21D; write driver: htu21".into())),
            _ => Err(another(
                self.form.chip,
                self.address,
                format!("the id begins with {:#04x}; try driver: htu21", id[0]),
            )),
        }
    }

    fn measure(&mut self, command: u8, duration_us: u32) -> Result<f64, DriverError> {
        self.i2c.write(self.address, &[command])?;
        self.delay.delay_us(duration_us);
        let mut answer = [0; 3];
        self.i2c.read(self.address, &mut answer).map_err(|error| match error {
            // It acknowledged the command a moment ago: without a result it refuses to be read.
            BusError::NoAcknowledge { .. } => DriverError::NotReady("the measurement"),
            other => DriverError::Bus(other),
        })?;
        let [high, low, checksum] = answer;
        confirm(crc8_from(0, &[high, low]), checksum)?;
        Ok(f64::from(u16::from_be_bytes([high, low]) & !STATUS) / 65_536.0)
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Chip<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let temperature = celsius(self.measure(MEASURE_TEMPERATURE, self.form.temperature_us)?);
        let temperature = within("temperature", temperature, &CELSIUS)?;
        let humidity = percent(self.measure(MEASURE_HUMIDITY, self.form.humidity_us)?);
        Ok(vec![TEMPERATURE.measured(temperature), HUMIDITY.measured(relative_humidity(humidity)?)])
    }
}

/// Of the share of the scale ("Conversion of Signal Outputs"). Si7021, 5.1.2: the same.
fn celsius(share: f64) -> f64 {
    -46.85 + 175.72 * share
}

/// Of the share of the scale. Si7021, 5.1.1: the same.
fn percent(share: f64) -> f64 {
    -6.0 + 125.0 * share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check};

    const COLD: [u8; 3] = [0x68, 0x3A, 0x7C];
    const DRY: [u8; 3] = [0x4E, 0x85, 0x6B];

    fn start(
        form: &'static Form,
        steps: impl IntoIterator<Item = Step>,
    ) -> Result<Chip<Transcript, CountedDelay>, DriverError> {
        Chip::start(form, Transcript::new(0x40, steps), CountedDelay::default(), 0x40)
    }

    fn id(first: u8) -> Step {
        Step::WriteRead(vec![0xFC, 0xC9], vec![first, 0xFF, crc8_from(0, &[first, 0xFF])])
    }

    fn user(register: u8) -> Vec<Step> {
        vec![Step::Write(vec![0xFE]), Step::WriteRead(vec![0xE7], vec![register])]
    }

    fn sample(temperature: [u8; 3], humidity: Option<[u8; 3]>) -> Result<Vec<Measurement>, DriverError> {
        let first = [Step::Write(vec![0xF3]), Step::Read(temperature.to_vec())];
        let second = humidity.map(|answer| [Step::Write(vec![0xF5]), Step::Read(answer.to_vec())]);
        let steps = user(0x02).into_iter().chain(first).chain(second.into_iter().flatten());
        start(&HTU, steps).unwrap().sample()
    }

    #[test]
    fn the_checksums_of_the_datasheet_come_out() {
        // HTU21D(F), HPC199, examples of the CRC-8.
        assert_eq!(crc8_from(0, &[0xDC]), 0x79);
        assert_eq!(crc8_from(0, &[0x68, 0x3A]), 0x7C);
        assert_eq!(crc8_from(0, &[0x4E, 0x85]), 0x6B);
    }

    #[test]
    fn a_good_transcript_gives_two_measurements() {
        let measurements = sample(COLD, Some(DRY)).unwrap();
        check(&measurements, "temperature", 24.69, 0.005);
        check(&measurements, "humidity", 32.34, 0.005);
    }

    #[test]
    fn a_si7021_shows_its_id_and_is_waited_for() {
        let sampling = [Step::Write(vec![0xF3]), Step::Read(COLD.to_vec()), Step::Write(vec![0xF5]), Step::Nak];
        let steps = user(0x3A).into_iter().chain([id(0x15)]).chain(sampling);
        let mut sensor = start(&SILABS, steps).unwrap();
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady("the measurement"))));
        assert_eq!(sensor.delay.waited_us(), 15_000 + 10_800 + 22_800);
    }

    #[test]
    fn a_heater_that_was_left_on_is_switched_off() {
        let steps = user(0x3E).into_iter().chain([id(0x14), Step::Write(vec![0xE6, 0x3A])]);
        assert!(start(&SILABS, steps).is_ok());
    }

    #[test]
    fn a_damaged_word_is_dropped() {
        let refused = sample(COLD, Some([0x4E, 0x84, 0x6B]));
        assert!(matches!(refused, Err(DriverError::BadChecksum { received: 0x6B, .. })), "{refused:?}");
        assert!(matches!(sample([0xFF; 3], None), Err(DriverError::BadChecksum { .. })));
    }

    #[test]
    fn a_data_line_held_low_passes_the_checksum_but_is_no_value() {
        let refused = sample([0; 3], None);
        assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "temperature", .. })), "{refused:?}");
        let refused = sample(COLD, Some([0; 3]));
        assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "humidity", .. })), "{refused:?}");
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let refusal = |form, steps: Vec<Step>| start(form, steps).err().unwrap().to_string();
        assert!(refusal(&SILABS, vec![Step::Nak]).starts_with("no Si7021 at address 0x40: nobody answers"));
        for register in [0x00, 0xFF, 0x39] {
            assert!(refusal(&HTU, user(register)).starts_with("no HTU21 at address 0x40: the user register is"));
        }
        let with = |step: Step| user(0x3A).into_iter().chain([step]).collect::<Vec<_>>();
        assert!(refusal(&SILABS, with(id(0x32))).contains("this is an HTU21D; write driver: htu21"));
        assert!(refusal(&SILABS, with(id(0xFF))).contains("driver: htu21"));
        assert!(refusal(&SILABS, with(Step::Nak)).contains("driver: htu21"));
        let damaged = Step::WriteRead(vec![0xFC, 0xC9], vec![0x15, 0xFF, 0x00]);
        assert!(refusal(&SILABS, with(damaged)).contains("bad checksum"));
    }

    #[test]
    fn the_simulated_chips_are_read_as_their_world_is() {
        for spec in [&SI7021, &HTU21] {
            let mut chip = ChipUnderTest::with(spec.name, 0x40);
            let mut sensor = transcript::build(spec, &mut chip).unwrap();
            for (celsius, percent) in [(21.5, 45.0), (-30.0, 0.0), (110.0, 100.0)] {
                chip.set("temperature", celsius);
                chip.set("humidity", percent);
                let measurements = sensor.sample().unwrap();
                check(&measurements, "temperature", celsius, 0.011);
                check(&measurements, "humidity", percent, 0.016);
            }
            for (fault, expected) in [
                ("checksum", "bad checksum"),
                ("not-ready", "not ready"),
                ("stuck", "bad checksum"),
                ("nak", "no answer"),
            ] {
                chip.fault(Some(fault));
                let error = sensor.sample().unwrap_err().to_string();
                assert!(error.contains(expected), "{fault}: {error}");
            }
        }
        let refused = transcript::build(&SI7021, &mut ChipUnderTest::with("htu21", 0x40));
        assert!(matches!(refused, Err(DriverError::NoDevice { .. })));
    }
}
