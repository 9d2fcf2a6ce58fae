//! ccs811: ams CCS811, for volatile organic compounds and the carbon dioxide that they hint at.
//!
//! Datasheet: DS000459; names of registers below are its.
//! Firmware before version 2 ends at 8192 ppm and 1187 ppb. No accuracy is given.
//!
//! The chip measures by itself in one of its drive modes, and goes on when the program ends: one that is found measuring as
//! it should is left so, for a new start would forget its baseline. The baseline is neither read nor kept here. What it says in
//! the first twenty minutes is not reliable and is not published. A chip that lost its supply is back in its boot loader, and is
//! started again; so is one that has no result for three intervals.

mod sim;

use std::ops::RangeInclusive;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims, within};
use crate::periodic::Periodic;
use crate::{BusNeed, DriverError, DriverSpec, Identity, Proof, Role, Sensor};
use fieldgate_bus::seconds::Seconds;
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "ccs811",
    summary: "ams CCS811: volatile organic compounds and equivalent CO₂ over I²C",
    page: "\
Wiring: SDA, SCL, 1.8 to 3.6 V, ground; nWAKE to ground. ADDR to ground:
address 0x5a, to the supply: 0x5b.

eco2  400 to 32768 ppm; computed from tvoc: it is not a measured CO₂
tvoc  0 to 32768 ppb

The chip measures by itself, every interval. Asked more often, it has nothing
new: such ticks are skipped. After a start it warms up for 20 minutes, and
nothing is published: warm_up changes that. A new chip needs two days. Its baseline
is left to the chip: it is learnt again when the chip was without supply.

It stretches the clock, which the hardware I²C of the Raspberry Pi up to the 4
misreads. On those use a software bus (dtoverlay=i2c-gpio), or slow the bus
down to 10 kHz (dtparam=i2c_arm_baudrate=10000). It has no checksums.",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&[0x5A, 0x5B]),
            need: Need::Default("0x5a"),
            doc: "0x5a with ADDR at ground, 0x5b with ADDR at the supply",
        },
        Field {
            name: "interval",
            kind: Kind::Choice(&["1s", "10s", "60s"]),
            need: Need::Default("1s"),
            doc: "how often the chip measures; at 10s and 60s it heats in pulses and needs less current",
        },
        Field {
            name: "temperature",
            kind: Kind::Number { min: -25.0, max: 50.0 },
            need: Need::Default("25"),
            doc: "how warm the air usually is, in °C: the chip compensates for it",
        },
        Field {
            name: "humidity",
            kind: Kind::Number { min: 0.0, max: 100.0 },
            need: Need::Default("50"),
            doc: "how humid the air usually is, in %: the chip compensates for it",
        },
        Field {
            name: "warm_up",
            kind: Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(7200) },
            need: Need::Default("20m"),
            doc: "how long after a start nothing is published; the chip's maker asks for 20 minutes",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![ECO2, TVOC],
        default_every: None,
        build: |bus, settings| {
            let seconds = bus.seconds()?;
            Ok(Box::new(Ccs811::start(bus.i2c()?, Delay, seconds, settings)?))
        },
    },
    example: "\
room:
  driver: ccs811
  bus: i2c-1
  every: 10s
  settings: { address: 0x5a }",
    identity: Some(Identity { ask: &[HW_ID], length: 1, is: |answer| answer == [CHIP_ID], then: None }),
    chip: Some(ChipSpec::of(|| Box::new(sim::Ccs811::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-ccs811 1.3.24")],
};

const ECO2: Quantity = Quantity::new("eco2", "ppm", 0);
const TVOC: Quantity = Quantity::new("tvoc", "ppb", 0);

/// The chip says 0 until it has measured.
const PPM: RangeInclusive<f64> = 400.0..=32_768.0;
const PPB: RangeInclusive<f64> = 0.0..=32_768.0;

// Registers, and what is in them.
const STATUS: u8 = 0x00;
const MEAS_MODE: u8 = 0x01;
const ALG_RESULT_DATA: u8 = 0x02;
const RAW_DATA: u8 = 0x03;
const ENV_DATA: u8 = 0x05;
const HW_ID: u8 = 0x20;
const ERROR_ID: u8 = 0xE0;
const APP_START: u8 = 0xF4;
const SW_RESET: [u8; 5] = [0xFF, 0x11, 0xE5, 0x72, 0x8A];
const CHIP_ID: u8 = 0x81;
const MAX_RESISTANCE: u8 = 0x08;
const HEATER_FAULT: u8 = 0x10;
const HEATER_SUPPLY: u8 = 0x20;
const ERROR: u8 = 0x01;
const DATA_READY: u8 = 0x08;
const APP_VALID: u8 = 0x10;
const FW_MODE: u8 = 0x80;

/// Longer than the millisecond or two that reset and start of the firmware take.
const SETTLE_US: u32 = 20_000;

struct Ccs811<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    /// What belongs into MEAS_MODE.
    mode: u8,
    rhythm: Periodic,
    /// Seconds until what the chip says counts.
    warm_up: u64,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Ccs811<I, D> {
    fn start(i2c: I, delay: D, seconds: Box<dyn Seconds>, settings: &Settings) -> Result<Self, DriverError> {
        let (mode, interval) = match settings.text("interval") {
            "10s" => (2 << 4, 10),
            "60s" => (3 << 4, 60),
            _ => (1 << 4, 1),
        };
        let warm_up = settings.duration("warm_up").as_secs();
        let address = settings.address("address");
        let rhythm = Periodic::new("CCS811", address, seconds, interval);
        let mut chip = Self { i2c, delay, address, mode, rhythm, warm_up };
        let id = chip.read::<1>(HW_ID).map_err(absent("CCS811"))?[0];
        if id != CHIP_ID {
            return Err(another("CCS811", address, format!("the chip id is {id:#04x}")));
        }
        chip.run_firmware()?;
        chip.i2c.write(address, &environment(settings))?;
        chip.rhythm.begin();
        Ok(chip)
    }

    /// Leaves a chip alone that measures as it should. From one drive mode to another it goes by a reset: the slower modes
    /// want the plate cold.
    fn run_firmware(&mut self) -> Result<(), DriverError> {
        if self.read::<1>(STATUS)?[0] & FW_MODE != 0 {
            if self.read::<1>(MEAS_MODE)?[0] == self.mode {
                return Ok(());
            }
            self.i2c.write(self.address, &SW_RESET)?;
            self.delay.delay_us(SETTLE_US);
        }
        if self.read::<1>(STATUS)?[0] & APP_VALID == 0 {
            return Err(another("CCS811", self.address, "it has no valid firmware".to_owned()));
        }
        self.i2c.write(self.address, &[APP_START])?;
        self.delay.delay_us(SETTLE_US);
        if self.read::<1>(STATUS)?[0] & FW_MODE == 0 {
            return Err(another("CCS811", self.address, "its firmware does not start".to_owned()));
        }
        self.i2c.write(self.address, &[MEAS_MODE, self.mode])?;
        Ok(())
    }

    fn read<const N: usize>(&mut self, register: u8) -> Result<[u8; N], BusError> {
        let mut bytes = [0; N];
        self.i2c.write_read(self.address, &[register], &mut bytes)?;
        Ok(bytes)
    }

    /// Whether there is a result; what the status says else, is an error.
    fn check(&mut self, status: u8) -> Result<bool, DriverError> {
        if status & ERROR != 0 {
            return Err(self.complaint()?);
        }
        if status & (FW_MODE | APP_VALID) != FW_MODE | APP_VALID {
            let why = format!("its status is {status:#04x}: it may have lost its supply");
            return Err(another("CCS811", self.address, why));
        }
        Ok(status & DATA_READY != 0)
    }

    /// What the chip complains of (ERROR_ID), which is forgotten when it was read. Only a heater out of order is a matter of
    /// the chip.
    fn complaint(&mut self) -> Result<DriverError, BusError> {
        let [id] = self.read::<1>(ERROR_ID)?;
        Ok(match id {
            _ if id & HEATER_SUPPLY != 0 => self.defective("it reports that its heater has no supply"),
            _ if id & HEATER_FAULT != 0 => self.defective("it reports that its heater is out of range"),
            _ if id & MAX_RESISTANCE != 0 => {
                let [high, low] = self.read::<2>(RAW_DATA)?;
                DriverError::OutOfRange { quantity: "resistance of the gas sensor", value: ohm(high, low) }
            }
            // A damaged command.
            _ => DriverError::NotReady("the measurement"),
        })
    }

    fn defective(&self, why: &str) -> DriverError {
        another("CCS811", self.address, why.to_owned())
    }
}

/// Six bits of current in µA, ten of voltage, of which 1023 are 1.65 V (RAW_DATA).
fn ohm(high: u8, low: u8) -> f64 {
    let volts = f64::from(u16::from_be_bytes([high & 0x03, low])) * 1.65 / 1023.0;
    volts / (f64::from(high >> 2) * 1e-6)
}

/// In 1/512 % and in 1/512 °C from −25 °C on (ENV_DATA).
fn environment(settings: &Settings) -> [u8; 5] {
    let word = |value: f64| ((value * 512.0).round() as u16).to_be_bytes();
    let [h1, h2] = word(settings.number("humidity"));
    let [t1, t2] = word(settings.number("temperature") + 25.0);
    [ENV_DATA, h1, h2, t1, t2]
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Ccs811<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.warm_up = self.warm_up.saturating_sub(self.rhythm.pass());
        let [status] = self.read::<1>(STATUS)?;
        if !self.check(status)? {
            return Err(self.rhythm.nothing_new("the CCS811 measures once in its interval"));
        }
        let [e1, e2, t1, t2, status] = self.read::<5>(ALG_RESULT_DATA)?;
        self.check(status)?;
        self.rhythm.heard();
        if self.warm_up > 0 {
            return Err(DriverError::TooEarly("the CCS811 warms up"));
        }
        let eco2 = within("eco2", f64::from(u16::from_be_bytes([e1, e2])), &PPM)?;
        let tvoc = within("tvoc", f64::from(u16::from_be_bytes([t1, t2])), &PPB)?;
        Ok(vec![ECO2.measured(eco2), TVOC.measured(tvoc)])
    }
}

#[cfg(test)]
mod tests;
