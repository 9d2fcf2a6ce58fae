//! ina226: Texas Instruments INA226, voltage, current and power of a supply up to 36 V.
//!
//! Datasheet: SBOS547 revision A (2015); section numbers below are its.
//! A0 and A1 at SDA or SCL choose the addresses that the page leaves out.
//!
//! Each sample is one triggered conversion of both voltages; current and power are computed here from them, so the chip's
//! calibration register has no part in it. The ids of maker and chip are read at bring-up; the settings that the chip reads
//! back must be those that were written. `fieldgate scan` does not ask for the ids: a PCF8591, at home at 0x48 to 0x4F too,
//! takes the same byte for the order to switch its output on, and an Si7021 at 0x40 the other id's for a reset.

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
    name: "ina226",
    summary: "TI INA226: voltage, current and power over I²C, up to 36 V",
    page: "\
Wiring: 2.7 to 5.5 V, SDA, SCL, ground. IN+ to the supply, IN− to the load,
the shunt resistor between them; VBUS to the load, which many boards leave to
you. With A0 and A1 at ground: address 0x40; A0 at the supply: 0x41, A1 at the
supply: 0x44, both: 0x45.

voltage  V, at VBUS, 0 to 36 V in steps of 1.25 mV
current  A, ±0.1 % and the shunt's own; negative towards the supply
power    W, voltage times current

The largest current is 81.9 mV divided by shunt: 0.8 A with the 0.1 Ω (R100)
of many boards, 8 A with 0.01 Ω (R010), 40 A with 0.002 Ω (R002). Beyond it
the sample fails as out of range.",
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
            name: "averaging",
            kind: Kind::Choice(&["1", "4", "16", "64", "128"]),
            need: Need::Default("16"),
            doc: "conversions that are averaged; one of each voltage takes 2.2 ms",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |settings| quantities(settings).to_vec(),
        default_every: None,
        build: |bus, settings| Ok(Box::new(Ina226::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
battery:
  driver: ina226
  bus: i2c-1
  every: 10s
  settings: { address: 0x40, shunt: 0.01 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Ina226::default()))),
    proofs: &[Proof::Reference("pamoja-sensors 0.2.0"), Proof::Kernel("ina2xx")],
};

// Registers (7.6).
const CONFIG: u8 = 0x00;
const SHUNT_VOLTAGE: u8 = 0x01;
const BUS_VOLTAGE: u8 = 0x02;
const MASK_ENABLE: u8 = 0x06;
const MANUFACTURER_ID: u8 = 0xFE;
const DIE_ID: u8 = 0xFF;

/// "TI" (7.6.9).
const TEXAS_INSTRUMENTS: u16 = 0x5449;
/// The chip, above four bits of its revision (7.6.10).
const INA226: u16 = 0x226;

/// Reads as it is (7.6.1); 1.1 ms for either voltage (tables 7 and 8); both, triggered by this write (table 9).
const TRIGGER_BOTH: u16 = 0x4000 | 4 << 6 | 4 << 3 | 3;
// Bits of the mask and enable register (7.6.7).
const READY: u16 = 0x0008;
const OVERFLOW: u16 = 0x0004;

/// Volts in one step of the bus voltage (7.6.3) and of the shunt voltage (7.6.2).
const BUS_STEP: f64 = 0.00125;
const SHUNT_STEP: f64 = 2.5e-6;
/// What the input may carry (6.1); the register would go to 40.96 V.
const LARGEST_VOLTAGE: f64 = 36.0;

/// The longest conversion of 1.1 ms (6.5).
const CONVERSION_US: u32 = 1210;
/// Power-down to measuring takes 40 µs; the rest is the rounding of our own times.
const WAKE_UP_US: u32 = 200;
/// How often the end of a conversion is asked for, within as long again as it may take.
const POLLS: u32 = 4;

/// How many conversions are averaged, and the code for it (table 6).
fn averaging(settings: &Settings) -> (u32, u16) {
    match settings.text("averaging") {
        "1" => (1, 0),
        "4" => (4, 1),
        "64" => (64, 3),
        "128" => (128, 4),
        _ => (16, 2),
    }
}

/// Voltage, current and power with the decimals that the chip's steps mean across this shunt.
fn quantities(settings: &Settings) -> [Quantity; 3] {
    let decimals = |step: f64| (-step.log10()).ceil().clamp(0.0, 6.0) as u8;
    let step = SHUNT_STEP / settings.number("shunt");
    // The chip itself reports power in steps of 25 times the current's.
    [
        Quantity::new("voltage", "V", 3),
        Quantity::new("current", "A", decimals(step)),
        Quantity::new("power", "W", decimals(step * 25.0)),
    ]
}

struct Ina226<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    shunt: f64,
    config: u16,
    conversion_us: u32,
    quantities: [Quantity; 3],
}

impl<I: I2c<Error = BusError>, D: DelayNs> Ina226<I, D> {
    /// Asks who is there. Every conversion carries all settings.
    fn start(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let (count, code) = averaging(settings);
        let mut chip = Self {
            i2c,
            delay,
            address: settings.address("address"),
            shunt: settings.number("shunt"),
            config: TRIGGER_BOTH | code << 9,
            conversion_us: 2 * CONVERSION_US * count + WAKE_UP_US,
            quantities: quantities(settings),
        };
        let maker = chip.read(MANUFACTURER_ID).map_err(absent("INA226"))?;
        let die = chip.read(DIE_ID)?;
        if maker != TEXAS_INSTRUMENTS || die >> 4 != INA226 {
            let why = format!("the ids of its maker and of the chip are {maker:#06x} and {die:#06x}");
            return Err(another("INA226", chip.address, why));
        }
        Ok(chip)
    }

    fn read(&mut self, register: u8) -> Result<u16, BusError> {
        read_word(&mut self.i2c, self.address, register)
    }

    /// Whether the chip's own arithmetic overflowed in the conversion that this makes.
    fn convert(&mut self) -> Result<bool, DriverError> {
        let [high, low] = self.config.to_be_bytes();
        self.i2c.write(self.address, &[CONFIG, high, low])?;
        self.delay.delay_us(self.conversion_us);
        let config = self.read(CONFIG)?;
        if config != self.config {
            let why = format!("it was given the settings {:#06x} and has {config:#06x}", self.config);
            return Err(another("INA226", self.address, why));
        }
        for _ in 0..POLLS {
            let state = self.read(MASK_ENABLE)?;
            if state & READY != 0 {
                return Ok(state & OVERFLOW != 0);
            }
            self.delay.delay_us(self.conversion_us / POLLS);
        }
        Err(DriverError::NotReady("the conversion"))
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Ina226<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let overflow = self.convert()?;
        let shunt = self.read(SHUNT_VOLTAGE)?.cast_signed();
        let voltage = f64::from(self.read(BUS_VOLTAGE)?) * BUS_STEP;
        let current = f64::from(shunt) * SHUNT_STEP / self.shunt;
        // One step more, for the chip's error.
        let voltage_is_beyond = voltage > LARGEST_VOLTAGE + BUS_STEP;
        // The chip's own arithmetic is not used, but one that overflows means a shunt beyond what it was made for.
        let current_is_beyond = matches!(shunt, i16::MIN | i16::MAX) || overflow;
        let beyond = [voltage_is_beyond, current_is_beyond, voltage_is_beyond || current_is_beyond];
        let values = [("voltage", voltage), ("current", current), ("power", voltage * current)];
        let all = self.quantities.iter().zip(values).zip(beyond);
        partly::channels(all.map(|((quantity, (name, value)), is_beyond)| {
            let refused = || Err(DriverError::OutOfRange { quantity: name, value });
            (name.into(), if is_beyond { refused() } else { Ok(quantity.measured(value)) })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings, without};

    /// 16 conversions of 1.1 ms of each, triggered.
    const DEFAULT: [u8; 2] = [0x45, 0x23];

    fn start_with(
        die: [u8; 2],
        steps: impl IntoIterator<Item = Step>,
        given: &[(&str, &str)],
    ) -> Result<Ina226<Transcript, CountedDelay>, DriverError> {
        let ids = [Step::WriteRead(vec![0xFE], vec![0x54, 0x49]), Step::WriteRead(vec![0xFF], die.to_vec())];
        let steps = ids.into_iter().chain(steps);
        Ina226::start(Transcript::new(0x40, steps), CountedDelay::default(), &settings(&SPEC, given))
    }

    fn start(
        steps: impl IntoIterator<Item = Step>,
        given: &[(&str, &str)],
    ) -> Result<Ina226<Transcript, CountedDelay>, DriverError> {
        start_with([0x22, 0x60], steps, given)
    }

    /// A conversion, busy once.
    fn conversion(config: [u8; 2], state: u8, shunt: [u8; 2], bus: [u8; 2]) -> Vec<Step> {
        vec![
            Step::Write(vec![0, config[0], config[1]]),
            Step::WriteRead(vec![0], config.to_vec()),
            Step::WriteRead(vec![6], vec![0x00, 0x00]),
            Step::WriteRead(vec![6], vec![0x00, state]),
            Step::WriteRead(vec![1], shunt.to_vec()),
            Step::WriteRead(vec![2], bus.to_vec()),
        ]
    }

    #[test]
    fn a_good_transcript_gives_voltage_current_and_power() {
        // 20 mV across 2 mΩ, and 11.98 V.
        let steps = conversion(DEFAULT, 0x08, [0x1F, 0x40], [0x25, 0x70]);
        let mut sensor = start(steps, &[("shunt", "0.002")]).unwrap();
        let measurements = sensor.sample().unwrap();
        check(&measurements, "voltage", 11.98, 1e-9);
        check(&measurements, "current", 10.0, 1e-9);
        check(&measurements, "power", 119.8, 1e-9);
        assert!(sensor.delay.waited_us() >= 2 * 16 * 1210);
    }

    #[test]
    fn a_current_back_into_the_supply_is_negative() {
        let mut sensor = start(conversion(DEFAULT, 0x08, [0xF0, 0x60], [0x0C, 0x80]), &[]).unwrap();
        let measurements = sensor.sample().unwrap();
        check(&measurements, "current", -0.1, 1e-9);
        check(&measurements, "power", -0.4, 1e-9);
    }

    #[test]
    fn averaging_reaches_the_chip() {
        for (text, config, count) in
            [("1", 0x4123, 1), ("4", 0x4323, 4), ("16", 0x4523, 16), ("64", 0x4723, 64), ("128", 0x4923, 128)]
        {
            let sensor = start([], &[("averaging", text)]).unwrap();
            assert_eq!((sensor.config, sensor.conversion_us), (config, 2 * 1210 * count + 200), "{text}");
        }
    }

    #[test]
    fn decimals_follow_the_shunt() {
        for (shunt, current, power) in [("0.1", 5, 4), ("0.01", 4, 3), ("0.002", 3, 2), ("50", 6, 6)] {
            let decimals = quantities(&settings(&SPEC, &[("shunt", shunt)])).map(|quantity| quantity.decimals);
            assert_eq!(decimals, [3, current, power], "{shunt}");
        }
    }

    #[test]
    fn what_is_beyond_the_range_is_refused() {
        let refused = |state, shunt, bus| match start(conversion(DEFAULT, state, shunt, bus), &[]).unwrap().sample() {
            Err(DriverError::Partly(partly)) => partly.names()[0].clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(0x08, [0x7F, 0xFF], [0x25, 0x70]), "current");
        assert_eq!(refused(0x08, [0x80, 0x00], [0x25, 0x70]), "current");
        assert_eq!(refused(0x0C, [0x1F, 0x40], [0x25, 0x70]), "current", "the chip's overflow flag");
        assert_eq!(refused(0x08, [0x1F, 0x40], [0x70, 0x82]), "voltage");
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let nobody = Transcript::new(0x40, [Step::Nak]);
        let error = Ina226::start(nobody, CountedDelay::default(), &settings(&SPEC, &[])).err().unwrap().to_string();
        assert!(error.starts_with("no INA226 at address 0x40: nobody answers"), "{error}");
        let error = start_with([0x22, 0x70], [], &[]).err().unwrap().to_string();
        assert!(error.ends_with("the ids of its maker and of the chip are 0x5449 and 0x2270"), "{error}");
        assert!(start_with([0x22, 0x61], [], &[]).is_ok(), "a later revision");
        let steps = [Step::Write(vec![0, DEFAULT[0], DEFAULT[1]]), Step::WriteRead(vec![0], vec![0x41, 0x27])];
        let error = start(steps, &[]).unwrap().sample().unwrap_err();
        assert!(!error.is_transient(), "{error}");
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("ina226", 0x40);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for (volts, amperes) in [(12.0, 0.5), (3.3, -0.8125), (35.9, 0.8)] {
            chip.set("voltage", volts);
            chip.set("current", amperes);
            let measurements = sensor.sample().unwrap();
            check(&measurements, "voltage", volts, 0.000_63);
            check(&measurements, "current", amperes, 0.000_013);
            check(&measurements, "power", volts * amperes, 0.001);
        }
        chip.set("current", 0.9);
        let measurements = without(sensor.sample(), &["current", "power"]);
        assert_eq!(measurements.len(), 1, "the voltage is good");
        chip.set("current", 0.5);
        chip.fault(Some("not-ready"));
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady(_))));
        for fault in ["power-on", "stuck"] {
            chip.fault(Some(fault));
            assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })), "{fault}");
        }
        chip.fault(Some("wrong-id"));
        assert!(matches!(transcript::build(&SPEC, &mut chip), Err(DriverError::NoDevice { .. })));
        chip.fault(None);
        sensor.sample().unwrap();
    }
}
