//! ads1115 and ads1015: Texas Instruments ADS1115 and ADS1015, four voltages with 16 or 12 bits.
//!
//! Datasheet: SBAS444 revision D (2018) for the ADS1115, whose section numbers are given below; SBAS473 revision E (2018) for
//! the ADS1015, which is the same but for its rates and for results whose last four bits are zero.
//! Negative voltages down to −0.3 V are measured too.
//!
//! One channel after the other by single shots. The chips have neither id nor checksum; the settings that they read back
//! while they are asked for the end of the conversion must be those that were written. An ADS1115 that is taken for an
//! ADS1015 would convert at other rates; its last four bits give it away.

mod sim;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims, read_word};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor, partly};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Setting, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static ADS1115: DriverSpec = DriverSpec {
    name: "ads1115",
    summary: "TI ADS1115: four analogue voltages over I²C, 16 bits",
    page: "\
Wiring: SDA, SCL, 2 to 5.5 V, ground; A0 to A3 are measured against ground.
ADDR to ground: address 0x48, to the supply: 0x49, to SDA: 0x4a, to SCL: 0x4b.

voltage_0 … voltage_3  V, ±0.15 %; those named in channels

range in V         6.144   4.096   2.048   1.024   0.512   0.256
smallest step      188 µV  125 µV  63 µV   31 µV   16 µV   8 µV

No input may exceed the supply by more than 0.3 V, whatever the range. An
input beyond the range is left out of the reading, and the sensor's status
names it. An input that is left open floats: leave it out of channels.",
    bus: BusNeed::I2c,
    settings: &[ADDRESS, CHANNELS, RANGE, rate_field(&["8", "16", "32", "64", "128", "250", "475", "860"], "128")],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |settings| quantities(&SIXTEEN_BITS, settings),
        default_every: None,
        build: |bus, settings| Ok(Box::new(Ads1x15::start(&SIXTEEN_BITS, bus.i2c()?, Delay, settings)?)),
    },
    example: "\
soil:
  driver: ads1115
  bus: i2c-1
  every: 10s
  settings: { address: 0x48, channels: [0, 1] }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Ads1115::sixteen_bits()))),
    proofs: &[
        Proof::Datasheet("SBAS444D, table 3"),
        Proof::Reference("adafruit-circuitpython-ads1x15 3.0.5"),
        Proof::Kernel("ti-ads1015"),
    ],
};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static ADS1015: DriverSpec = DriverSpec {
    name: "ads1015",
    summary: "TI ADS1015: four analogue voltages over I²C, 12 bits",
    page: "\
Wiring: SDA, SCL, 2 to 5.5 V, ground; A0 to A3 are measured against ground.
ADDR to ground: address 0x48, to the supply: 0x49, to SDA: 0x4a, to SCL: 0x4b.

voltage_0 … voltage_3  V, ±0.25 %; those named in channels

range in V         6.144  4.096  2.048  1.024   0.512    0.256
smallest step      3 mV   2 mV   1 mV   0.5 mV  0.25 mV  0.125 mV

No input may exceed the supply by more than 0.3 V, whatever the range. An
input beyond the range is left out of the reading, and the sensor's status
names it. An input that is left open floats: leave it out of channels.",
    bus: BusNeed::I2c,
    settings: &[ADDRESS, CHANNELS, RANGE, rate_field(&["128", "250", "490", "920", "1600", "2400", "3300"], "1600")],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |settings| quantities(&TWELVE_BITS, settings),
        default_every: None,
        build: |bus, settings| Ok(Box::new(Ads1x15::start(&TWELVE_BITS, bus.i2c()?, Delay, settings)?)),
    },
    example: "\
soil:
  driver: ads1015
  bus: i2c-1
  every: 10s
  settings: { address: 0x48, channels: [0, 1] }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Ads1115::twelve_bits()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-ads1x15 3.0.5")],
};

const ADDRESS: Field = Field {
    name: "address",
    kind: Kind::Address(&[0x48, 0x49, 0x4A, 0x4B]),
    need: Need::Default("0x48"),
    doc: "0x48 with ADDR at ground, 0x49 at the supply, 0x4a at SDA, 0x4b at SCL",
};

const fn rate_field(rates: &'static [&'static str], usual: &'static str) -> Field {
    Field {
        name: "data_rate",
        kind: Kind::Choice(rates),
        need: Need::Default(usual),
        doc: "conversions per second; a slower one has less noise, each channel takes one",
    }
}

const CHANNELS: Field = Field {
    name: "channels",
    kind: Kind::List(&Kind::Integer { min: 0, max: 3 }),
    need: Need::Default("[0, 1, 2, 3]"),
    doc: "which inputs to measure",
};

const RANGE: Field = Field {
    name: "range",
    kind: Kind::Choice(&["6.144", "4.096", "2.048", "1.024", "0.512", "0.256"]),
    need: Need::Default("4.096"),
    doc: "the largest voltage that is measured, in V; a smaller range has finer steps",
};

/// What distinguishes the two chips.
struct Variant {
    chip: &'static str,
    /// Conversions per second, each at the place that is its code.
    rates: &'static [u32],
    /// Of a result; always zero.
    unused_bits: u16,
    /// Fewer decimals than 16 bits justify.
    coarser_by: u8,
}

const SIXTEEN_BITS: Variant =
    Variant { chip: "ADS1115", rates: &[8, 16, 32, 64, 128, 250, 475, 860], unused_bits: 0, coarser_by: 0 };
const TWELVE_BITS: Variant =
    Variant { chip: "ADS1015", rates: &[128, 250, 490, 920, 1600, 2400, 3300], unused_bits: 0xF, coarser_by: 1 };

const NAMES: [&str; 4] = ["voltage_0", "voltage_1", "voltage_2", "voltage_3"];

const CONVERSION: u8 = 0;
const CONFIG: u8 = 1;

// Bits of the configuration (9.6.3).
/// Written: start. Read: no conversion is running.
const OS: u16 = 0x8000;
const SINGLE_ENDED: u16 = 0x4000;
const SINGLE_SHOT: u16 = 0x0100;
const NO_COMPARATOR: u16 = 0x0003;

/// How often the end of a conversion is asked for, within as long again as it may take.
const POLLS: u32 = 4;
/// Waking up from power-down takes 25 µs (9.4.2.1); the rest is the rounding of our own times.
const WAKE_UP_US: u32 = 100;

/// Full scale in volts, the code of the gain and the decimals that its step justifies (9.3.3).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    volts: f64,
    code: u16,
    decimals: u8,
}

fn range(settings: &Settings) -> Range {
    let (volts, code, decimals) = match settings.text("range") {
        "6.144" => (6.144, 0, 4),
        "2.048" => (2.048, 2, 5),
        "1.024" => (1.024, 3, 5),
        "0.512" => (0.512, 4, 5),
        "0.256" => (0.256, 5, 6),
        _ => (4.096, 1, 4),
    };
    Range { volts, code, decimals }
}

/// Conversions per second and the code for them.
fn data_rate(variant: &Variant, settings: &Settings) -> (u32, u16) {
    let rate = settings.text("data_rate").parse().unwrap_or(128);
    let code = variant.rates.iter().zip(0..).find(|(known, _)| **known == rate).map_or(4, |(_, code)| code);
    (rate, code)
}

/// The inputs to measure, each once, in their order.
fn channels(settings: &Settings) -> impl Iterator<Item = u8> {
    let listed = settings.list("channels");
    (0..4).filter(move |channel| listed.contains(&Setting::Integer(i64::from(*channel))))
}

fn quantities(variant: &Variant, settings: &Settings) -> Vec<Quantity> {
    let decimals = range(settings).decimals - variant.coarser_by;
    channels(settings).map(|channel| Quantity::new(NAMES[usize::from(channel & 3)], "V", decimals)).collect()
}

struct Ads1x15<I, D> {
    variant: &'static Variant,
    i2c: I,
    delay: D,
    address: u8,
    channels: Vec<u8>,
    quantities: Vec<Quantity>,
    range: Range,
    rate: u32,
    rate_code: u16,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Ads1x15<I, D> {
    /// Only asks whether somebody answers: every conversion carries all settings.
    fn start(variant: &'static Variant, i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let (rate, rate_code) = data_rate(variant, settings);
        let mut chip = Self {
            variant,
            i2c,
            delay,
            address: settings.address("address"),
            channels: channels(settings).collect(),
            quantities: quantities(variant, settings),
            range: range(settings),
            rate,
            rate_code,
        };
        chip.read(CONFIG).map_err(absent(variant.chip))?;
        Ok(chip)
    }

    fn read(&mut self, register: u8) -> Result<u16, BusError> {
        read_word(&mut self.i2c, self.address, register)
    }

    fn convert(&mut self, channel: u8) -> Result<u16, DriverError> {
        let input = SINGLE_ENDED | u16::from(channel) << 12;
        let config = input | self.range.code << 9 | SINGLE_SHOT | self.rate_code << 5 | NO_COMPARATOR;
        let [high, low] = (OS | config).to_be_bytes();
        self.i2c.write(self.address, &[CONFIG, high, low])?;
        let conversion_us = conversion_us(self.rate);
        self.delay.delay_us(conversion_us);
        for _ in 0..POLLS {
            let state = self.read(CONFIG)?;
            if state & !OS != config {
                let why = format!("it was given the settings {config:#06x} and has {:#06x}", state & !OS);
                return Err(another(self.variant.chip, self.address, why));
            }
            if state & OS != 0 {
                return Ok(self.read(CONVERSION)?);
            }
            self.delay.delay_us(conversion_us / POLLS);
        }
        Err(DriverError::NotReady("the conversion"))
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Ads1x15<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let mut results = Vec::with_capacity(self.channels.len());
        for index in 0..self.channels.len() {
            let channel = self.channels[index];
            let code = self.convert(channel)?;
            let value = volts(code, self.range);
            let unused = self.variant.unused_bits;
            if code & unused != 0 {
                let why = format!("its result {code:#06x} has more than 12 bits; it may be an ADS1115");
                return Err(another(self.variant.chip, self.address, why));
            }
            let quantity = NAMES[usize::from(channel & 3)];
            let result = match code == 0x7FFF & !unused || code == 0x8000 {
                true => Err(DriverError::OutOfRange { quantity, value }),
                false => Ok(self.quantities[index].measured(value)),
            };
            results.push((quantity.into(), result));
        }
        partly::channels(results)
    }
}

/// The chip's clock may be 10 % slow (7.5).
fn conversion_us(rate: u32) -> u32 {
    1_100_000 / rate + WAKE_UP_US
}

/// Two's complement of the full scale (9.5.4).
fn volts(code: u16, range: Range) -> f64 {
    f64::from(code.cast_signed()) * range.volts / 32_768.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings, without};

    const PRESENT: ([u8; 1], [u8; 2]) = ([1], [0x85, 0x83]);

    fn start(
        steps: impl IntoIterator<Item = Step>,
        given: &[(&str, &str)],
    ) -> Result<Ads1x15<Transcript, CountedDelay>, DriverError> {
        let present = Step::WriteRead(PRESENT.0.to_vec(), PRESENT.1.to_vec());
        let steps = [present].into_iter().chain(steps);
        let settings = settings(&ADS1115, given);
        Ads1x15::start(&SIXTEEN_BITS, Transcript::new(0x48, steps), CountedDelay::default(), &settings)
    }

    /// A conversion with the settings `config`, busy once, with the result `code`.
    fn conversion(config: [u8; 2], code: [u8; 2]) -> Vec<Step> {
        let [high, low] = config;
        vec![
            Step::Write(vec![1, high, low]),
            Step::WriteRead(vec![1], vec![high & 0x7F, low]),
            Step::WriteRead(vec![1], vec![high, low]),
            Step::WriteRead(vec![0], code.to_vec()),
        ]
    }

    #[test]
    fn the_table_of_the_datasheet_comes_out() {
        let range = Range { volts: 2.048, code: 2, decimals: 5 };
        assert_eq!(volts(0x7FFF, range), 2.048 * 32_767.0 / 32_768.0);
        assert_eq!(volts(0x0001, range), 62.5e-6);
        assert_eq!(volts(0x0000, range), 0.0);
        assert_eq!(volts(0xFFFF, range), -62.5e-6);
        assert_eq!(volts(0x8000, range), -2.048);
    }

    #[test]
    fn a_good_transcript_gives_the_voltages() {
        let steps = [conversion([0xC3, 0x83], [0x4B, 0x00]), conversion([0xF3, 0x83], [0xFF, 0xF8])].concat();
        let mut sensor = start(steps, &[("channels", "[3, 0, 3]")]).unwrap();
        let measurements = sensor.sample().unwrap();
        assert_eq!(measurements.len(), 2);
        check(&measurements, "voltage_0", 2.4, 1e-9);
        check(&measurements, "voltage_3", -0.001, 1e-9);
        assert!(sensor.delay.waited_us() >= 2 * 8593, "{}", sensor.delay.waited_us());
    }

    #[test]
    fn range_and_data_rate_reach_the_chip() {
        let steps = conversion([0xDB, 0xE3], [0x40, 0x00]);
        let given = [("channels", "[1]"), ("range", "0.256"), ("data_rate", "860")];
        check(&start(steps, &given).unwrap().sample().unwrap(), "voltage_1", 0.128, 1e-9);
        let given = [("channels", "[2]"), ("range", "6.144"), ("data_rate", "8")];
        let mut sensor = start(conversion([0xE1, 0x03], [0x40, 0x00]), &given).unwrap();
        check(&sensor.sample().unwrap(), "voltage_2", 3.072, 1e-9);
    }

    #[test]
    fn each_setting_has_its_own_code() {
        let text = |name, text| settings(&ADS1115, &[(name, text)]);
        for (code, volts) in ["6.144", "4.096", "2.048", "1.024", "0.512", "0.256"].into_iter().enumerate() {
            let range = range(&text("range", volts));
            assert_eq!((range.code, range.volts.to_string()), (code as u16, volts.to_owned()));
        }
        for (code, rate) in ["8", "16", "32", "64", "128", "250", "475", "860"].into_iter().enumerate() {
            assert_eq!(data_rate(&SIXTEEN_BITS, &text("data_rate", rate)), (rate.parse().unwrap(), code as u16));
        }
        for (code, rate) in ["128", "250", "490", "920", "1600", "2400", "3300"].into_iter().enumerate() {
            let settings = settings(&ADS1015, &[("data_rate", rate)]);
            assert_eq!(data_rate(&TWELVE_BITS, &settings), (rate.parse().unwrap(), code as u16));
        }
    }

    #[test]
    fn a_saturated_input_is_out_of_range() {
        for code in [[0x7F, 0xFF], [0x80, 0x00]] {
            let mut sensor = start(conversion([0xD3, 0x83], code), &[("channels", "[1]")]).unwrap();
            let refused = sensor.sample();
            assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "voltage_1", .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let nobody = Transcript::new(0x48, [Step::Nak]);
        let settings = settings(&ADS1115, &[]);
        let error = Ads1x15::start(&SIXTEEN_BITS, nobody, CountedDelay::default(), &settings);
        let error = error.err().unwrap().to_string();
        assert!(error.starts_with("no ADS1115 at address 0x48: nobody answers"), "{error}");
        let steps = [Step::Write(vec![1, 0xC3, 0x83]), Step::WriteRead(vec![1], vec![0x00, 0x00])];
        let error = start(steps, &[]).unwrap().sample().unwrap_err();
        assert!(matches!(error, DriverError::NoDevice { chip: "ADS1115", .. }), "{error}");
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("ads1115", 0x48);
        let mut sensor = transcript::build(&ADS1115, &mut chip).unwrap();
        chip.set("voltage_2", 3.3);
        let measurements = sensor.sample().unwrap();
        for (name, volts) in [("voltage_0", 1.2), ("voltage_1", 0.8), ("voltage_2", 3.3), ("voltage_3", 0.3)] {
            check(&measurements, name, volts, 0.000_063);
        }
        chip.set("voltage_3", 4.2);
        let measurements = without(sensor.sample(), &["voltage_3"]);
        check(&measurements, "voltage_2", 3.3, 0.000_063);
        assert_eq!(measurements.len(), 3, "the good ones");
        chip.fault(Some("not-ready"));
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady("the conversion"))));
        chip.fault(Some("power-on"));
        assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })));
        chip.fault(None);
        chip.set("voltage_3", 0.3);
        sensor.sample().unwrap();
    }
    /// One conversion of input 1 of an ADS1015 with this result.
    fn twelve_bits(code: [u8; 2]) -> Result<Vec<Measurement>, DriverError> {
        let present = Step::WriteRead(PRESENT.0.to_vec(), PRESENT.1.to_vec());
        let steps = [vec![present], conversion([0xD3, 0x83], code)].concat();
        let settings = settings(&ADS1015, &[("channels", "[1]")]);
        Ads1x15::start(&TWELVE_BITS, Transcript::new(0x48, steps), CountedDelay::default(), &settings)?.sample()
    }

    #[test]
    fn an_ads1015_reports_twelve_bits_and_saturates_at_them() {
        check(&twelve_bits([0x4B, 0x00]).unwrap(), "voltage_1", 2.4, 1e-9);
        for code in [[0x7F, 0xF0], [0x80, 0x00]] {
            assert!(matches!(twelve_bits(code), Err(DriverError::OutOfRange { quantity: "voltage_1", .. })));
        }
        let decimals = |range| quantities(&TWELVE_BITS, &settings(&ADS1015, &[("range", range)]))[0].decimals;
        assert_eq!((decimals("6.144"), decimals("0.256")), (3, 5));
    }

    #[test]
    fn an_ads1115_is_not_taken_for_an_ads1015() {
        let error = twelve_bits([0x4B, 0x01]).unwrap_err();
        assert!(matches!(error, DriverError::NoDevice { chip: "ADS1015", .. }), "{error}");
    }

    #[test]
    fn a_simulated_ads1015_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("ads1015", 0x48);
        let mut sensor = transcript::build(&ADS1015, &mut chip).unwrap();
        chip.set("voltage_2", 3.3);
        let measurements = sensor.sample().unwrap();
        for (name, volts) in [("voltage_0", 1.2), ("voltage_1", 0.8), ("voltage_2", 3.3), ("voltage_3", 0.3)] {
            check(&measurements, name, volts, 0.001_01);
        }
    }
}
