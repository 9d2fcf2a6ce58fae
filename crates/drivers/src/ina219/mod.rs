//! ina219: Texas Instruments INA219, voltage, current and power of a supply up to 26 V.
//!
//! Datasheet: SBOS448 revision G (2015); section numbers below are its.
//! A0 and A1 at SDA or SCL choose the addresses that the page leaves out. Accuracy: ±0.5 % for INA219B, ±1 % for
//! INA219A.
//!
//! The voltage is that of VIN−, at the load. Each sample is one triggered conversion of both voltages; current and power are
//! computed here from them, so the chip's calibration register, which other programs write, has no part in it. The chip has
//! neither id nor checksum; the settings that it reads back must be those that were written.

mod sim;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims, read_word};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor, partly};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "ina219",
    summary: "TI INA219: voltage, current and power over I²C, up to 26 V",
    page: "\
Wiring: 3 to 5.5 V, SDA, SCL, ground. VIN+ to the supply, VIN− to the load,
the shunt resistor between them; boards carry 0.1 Ω. With A0 and A1 open or at
ground: address 0x40; A0 bridged: 0x41, A1 bridged: 0x44, both: 0x45.

voltage  V, at the load (VIN−), 0 to 26 V in steps of 4 mV
current  A, ±0.5 or ±1 % and the shunt's own; negative towards the supply
power    W, voltage times current

The largest current is shunt_range divided by shunt: 320 mV across 0.1 Ω are
3.2 A. Beyond it the sample fails as out of range. A smaller shunt_range has
the same steps and less noise. No input may exceed 26 V, whatever bus_range.",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&[
                0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F,
            ]),
            need: Need::Default("0x40"),
            doc: "0x40 with A0 and A1 at ground, 0x41 with A0 at the supply, 0x44 with A1 at the supply",
        },
        Field {
            name: "shunt",
            kind: Kind::Number { min: 0.0001, max: 100.0 },
            need: Need::Default("0.1"),
            doc: "the shunt resistor, in Ω",
        },
        Field {
            name: "shunt_range",
            kind: Kind::Choice(SHUNT_RANGES),
            need: Need::Default("320"),
            doc: "the largest voltage across the shunt, in mV",
        },
        Field {
            name: "bus_range",
            kind: Kind::Choice(&["16", "32"]),
            need: Need::Default("32"),
            doc: "the largest voltage at the load, in V; 32 stands for the chip's whole range, which ends at 26 V",
        },
        Field {
            name: "averaging",
            kind: Kind::Choice(&["1", "2", "4", "8", "16", "32", "64", "128"]),
            need: Need::Default("16"),
            doc: "conversions that are averaged; one of each voltage takes 1.1 ms",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |settings| quantities(settings).to_vec(),
        default_every: None,
        build: |bus, settings| Ok(Box::new(Ina219::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
pump:
  driver: ina219
  bus: i2c-1
  every: 10s
  settings: { address: 0x40, shunt: 0.1 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Ina219::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-ina219 3.5.2"), Proof::Kernel("ina2xx")],
};

/// In the order of their codes (table 4).
const SHUNT_RANGES: &[&str] = &["40", "80", "160", "320"];

// Registers (8.6.1).
const CONFIG: u8 = 0;
const SHUNT_VOLTAGE: u8 = 1;
const BUS_VOLTAGE: u8 = 2;

/// Mode: both voltages, triggered by this write (table 6).
const TRIGGER_BOTH: u16 = 3;
// Bits of the bus voltage register (8.6.3.2).
const READY: u16 = 0x0002;
const OVERFLOW: u16 = 0x0001;

/// Volts in one step of the bus voltage (8.6.3.2) and of the shunt voltage (8.6.3.1).
const BUS_STEP: f64 = 0.004;
const SHUNT_STEP: f64 = 10e-6;

/// Power-down to measuring takes 40 µs (8.6.2); the rest is the rounding of our own times.
const WAKE_UP_US: u32 = 200;
/// The longest conversion with 12 bits (7.5).
const CONVERSION_US: u32 = 586;
/// How often the end of a conversion is asked for, within as long again as it may take.
const POLLS: u32 = 4;

/// The code for both converters, and how many conversions it averages (table 5).
fn averaging(settings: &Settings) -> (u16, u32) {
    let count = settings.text("averaging").parse().unwrap_or(1_u32).clamp(1, 128);
    (0x8 | count.ilog2() as u16, count)
}

/// Voltage, current and power with the decimals that the chip's steps mean across this shunt.
fn quantities(settings: &Settings) -> [Quantity; 3] {
    let decimals = |step: f64| (-step.log10()).ceil().clamp(0.0, 6.0) as u8;
    let step = SHUNT_STEP / settings.number("shunt");
    // The chip itself reports power in steps of 20 times the current's.
    [
        Quantity::new("voltage", "V", 3),
        Quantity::new("current", "A", decimals(step)),
        Quantity::new("power", "W", decimals(step * 20.0)),
    ]
}

struct Ina219<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    shunt: f64,
    config: u16,
    conversion_us: u32,
    /// The first code that is beyond the range: of the shunt voltage, of the bus voltage.
    full_scale: (u16, u16),
    quantities: [Quantity; 3],
}

impl<I: I2c<Error = BusError>, D: DelayNs> Ina219<I, D> {
    /// Only asks whether somebody answers: every conversion carries all settings.
    fn start(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let gain = u16::from(settings.choice("shunt_range", SHUNT_RANGES));
        let wide = settings.text("bus_range") != "16";
        let (code, count) = averaging(settings);
        let mut chip = Self {
            i2c,
            delay,
            address: settings.address("address"),
            shunt: settings.number("shunt"),
            config: u16::from(wide) << 13 | gain << 11 | code << 7 | code << 3 | TRIGGER_BOTH,
            conversion_us: 2 * CONVERSION_US * count + WAKE_UP_US,
            full_scale: (4000 << gain, if wide { 8000 } else { 4000 }),
            quantities: quantities(settings),
        };
        chip.read(CONFIG).map_err(absent("INA219"))?;
        Ok(chip)
    }

    fn read(&mut self, register: u8) -> Result<u16, BusError> {
        read_word(&mut self.i2c, self.address, register)
    }

    /// The bus voltage register at the end of a conversion.
    fn convert(&mut self) -> Result<u16, DriverError> {
        let [high, low] = self.config.to_be_bytes();
        self.i2c.write(self.address, &[CONFIG, high, low])?;
        self.delay.delay_us(self.conversion_us);
        let config = self.read(CONFIG)?;
        if config != self.config {
            let why = format!("it was given the settings {:#06x} and has {config:#06x}", self.config);
            return Err(another("INA219", self.address, why));
        }
        for _ in 0..POLLS {
            let bus = self.read(BUS_VOLTAGE)?;
            if bus & READY != 0 {
                return Ok(bus);
            }
            self.delay.delay_us(self.conversion_us / POLLS);
        }
        Err(DriverError::NotReady("the conversion"))
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Ina219<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let bus = self.convert()?;
        let shunt = self.read(SHUNT_VOLTAGE)?.cast_signed();
        let voltage = volts(bus);
        let current = f64::from(shunt) * SHUNT_STEP / self.shunt;
        let voltage_is_beyond = bus >> 3 >= self.full_scale.1;
        // The chip's own arithmetic is not used, but one that overflows means a shunt beyond what it was made for.
        let current_is_beyond = shunt.unsigned_abs() >= self.full_scale.0 || bus & OVERFLOW != 0;
        let beyond = [voltage_is_beyond, current_is_beyond, voltage_is_beyond || current_is_beyond];
        let values = [("voltage", voltage), ("current", current), ("power", voltage * current)];
        let all = self.quantities.iter().zip(values).zip(beyond);
        partly::channels(all.map(|((quantity, (name, value)), is_beyond)| {
            let refused = || Err(DriverError::OutOfRange { quantity: name, value });
            (name.into(), if is_beyond { refused() } else { Ok(quantity.measured(value)) })
        }))
    }
}

/// The upper 13 bits of the bus voltage register (8.6.3.2).
fn volts(bus: u16) -> f64 {
    f64::from(bus >> 3) * BUS_STEP
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings, without};

    /// 32 V, 320 mV, 16 conversions of each, triggered.
    const DEFAULT: [u8; 2] = [0x3E, 0x63];

    fn start(
        steps: impl IntoIterator<Item = Step>,
        given: &[(&str, &str)],
    ) -> Result<Ina219<Transcript, CountedDelay>, DriverError> {
        let present = Step::WriteRead(vec![0], vec![0x39, 0x9F]);
        let steps = [present].into_iter().chain(steps);
        Ina219::start(Transcript::new(0x40, steps), CountedDelay::default(), &settings(&SPEC, given))
    }

    /// A conversion, busy once.
    fn conversion(config: [u8; 2], bus: [u8; 2], shunt: [u8; 2]) -> Vec<Step> {
        vec![
            Step::Write(vec![0, config[0], config[1]]),
            Step::WriteRead(vec![0], config.to_vec()),
            Step::WriteRead(vec![2], vec![0x00, 0x00]),
            Step::WriteRead(vec![2], bus.to_vec()),
            Step::WriteRead(vec![1], shunt.to_vec()),
        ]
    }

    #[test]
    fn a_good_transcript_gives_voltage_current_and_power() {
        // 11.98 V at the load and 20 mV across 2 mΩ.
        let steps = conversion(DEFAULT, [0x5D, 0x9A], [0x07, 0xD0]);
        let mut sensor = start(steps, &[("shunt", "0.002")]).unwrap();
        let measurements = sensor.sample().unwrap();
        check(&measurements, "voltage", 11.98, 1e-9);
        check(&measurements, "current", 10.0, 1e-9);
        check(&measurements, "power", 119.8, 1e-9);
        assert!(sensor.delay.waited_us() >= 2 * 16 * 586);
    }

    #[test]
    fn a_current_back_into_the_supply_is_negative() {
        let mut sensor = start(conversion(DEFAULT, [0x1F, 0x42], [0xFC, 0x18]), &[]).unwrap();
        let measurements = sensor.sample().unwrap();
        check(&measurements, "voltage", 4.0, 1e-9);
        check(&measurements, "current", -0.1, 1e-9);
        check(&measurements, "power", -0.4, 1e-9);
    }

    #[test]
    fn ranges_and_averaging_reach_the_chip() {
        let given = [("bus_range", "16"), ("shunt_range", "80"), ("averaging", "128")];
        let mut sensor = start(conversion([0x0F, 0xFB], [0x10, 0x02], [0x00, 0x64]), &given).unwrap();
        check(&sensor.sample().unwrap(), "current", 0.01, 1e-9);
        assert!(sensor.delay.waited_us() >= 2 * 128 * 586);
        let given = [("shunt_range", "40"), ("averaging", "1")];
        assert_eq!(start([], &given).unwrap().config, 0x2443);
        assert_eq!(start([], &[("shunt_range", "160")]).unwrap().config & 0x1800, 0x1000);
    }

    #[test]
    fn decimals_follow_the_shunt() {
        for (shunt, current, power) in [("0.1", 4, 3), ("0.002", 3, 1), ("10", 6, 5)] {
            let decimals = quantities(&settings(&SPEC, &[("shunt", shunt)])).map(|quantity| quantity.decimals);
            assert_eq!(decimals, [3, current, power], "{shunt}");
        }
    }

    #[test]
    fn what_is_beyond_the_range_is_refused() {
        let refused = |given: &[(&str, &str)], config, bus, shunt| match start(conversion(config, bus, shunt), given)
            .unwrap()
            .sample()
        {
            Err(DriverError::Partly(partly)) => partly.names()[0].clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&[], DEFAULT, [0x5D, 0x9A], [0x7D, 0x00]), "current");
        assert_eq!(refused(&[], DEFAULT, [0x5D, 0x9A], [0x83, 0x00]), "current");
        assert_eq!(refused(&[], DEFAULT, [0x5D, 0x9B], [0x07, 0xD0]), "current", "the chip's overflow flag");
        assert_eq!(refused(&[("bus_range", "16")], [0x1E, 0x63], [0x7D, 0x02], [0x07, 0xD0]), "voltage");
        assert_eq!(refused(&[("shunt_range", "40")], [0x26, 0x63], [0x5D, 0x9A], [0x0F, 0xA0]), "current");
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let nobody = Transcript::new(0x40, [Step::Nak]);
        let error = Ina219::start(nobody, CountedDelay::default(), &settings(&SPEC, &[])).err().unwrap().to_string();
        assert!(error.starts_with("no INA219 at address 0x40: nobody answers"), "{error}");
        let steps = [Step::Write(vec![0, DEFAULT[0], DEFAULT[1]]), Step::WriteRead(vec![0], vec![0xFF, 0xFF])];
        let error = start(steps, &[]).unwrap().sample().unwrap_err();
        assert!(matches!(error, DriverError::NoDevice { chip: "INA219", .. }), "{error}");
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("ina219", 0x40);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for (volts, amperes) in [(12.0, 0.5), (3.3, -1.25), (25.6, 3.1)] {
            chip.set("voltage", volts);
            chip.set("current", amperes);
            let measurements = sensor.sample().unwrap();
            check(&measurements, "voltage", volts, 0.002_1);
            check(&measurements, "current", amperes, 0.000_051);
            check(&measurements, "power", volts * amperes, 0.008);
        }
        chip.set("current", 3.4);
        let measurements = without(sensor.sample(), &["current", "power"]);
        assert_eq!(measurements.len(), 1, "the voltage is good");
        chip.set("current", 0.5);
        chip.fault(Some("not-ready"));
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady(_))));
        for fault in ["power-on", "stuck"] {
            chip.fault(Some(fault));
            assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })), "{fault}");
        }
        chip.fault(None);
        sensor.sample().unwrap();
    }
}
