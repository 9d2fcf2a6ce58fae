//! mpu6050: InvenSense MPU-6050, for acceleration and angular rate.
//!
//! Documents: product specification PS-MPU-6000A revision 3.4, cited as P; register map RM-MPU-6000A revision 4.2, cited as R.
//! Boards with a regulator take 5 V. Scales are exact to ±3 %, zero within ±0.05 g (z ±0.08 g) and ±20 °/s, for a chip
//! is not calibrated; its temperature to ±1 °C at best.
//!
//! The registers are read, not the chip's motion processor, for its program would have to be carried along. All seven words
//! come from one moment. The chip has an id; sleeps after power-on, so one that lost its supply is found asleep; and says
//! whether a new result has come since the last, so one that has stopped is not read twice.
//!
//! Boards sold under its name carry other chips too (an MPU-6500 says 0x70, an MPU-9250 0x71), whose temperature is coded
//! otherwise: they are recognised by their id and refused.

mod sim;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims};
use crate::{BusNeed, DriverError, DriverSpec, Identity, Proof, Role, Sensor, partly};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "mpu6050",
    summary: "InvenSense MPU-6050: acceleration and angular rate over I²C",
    page: "\
Wiring: SDA, SCL, 2.4 to 3.5 V, ground. AD0 to ground or open: address 0x68,
to the supply: 0x69.

acceleration_x … _z  m/s²; at rest 9.81 on the axis that points up
angular_rate_x … _z  °/s
temperature          °C, of the chip, some degrees above the air's

Zero is within ±0.5 m/s² and ±20 °/s, and stays much closer to that once the
chip is warm: subtract what it says at rest. Each sample is a moment, not an
average: for slow sampling choose a low bandwidth, or vibrations are folded
into the readings. For inclination and for whether something moves; a path
cannot be computed from it.",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&[0x68, 0x69]),
            need: Need::Default("0x68"),
            doc: "0x68 with AD0 at ground, 0x69 with AD0 at the supply",
        },
        Field {
            name: "acceleration_range",
            kind: Kind::Choice(ACCELERATION_RANGES),
            need: Need::Default("2"),
            doc: "the largest acceleration, in g (9.81 m/s²)",
        },
        Field {
            name: "angular_rate_range",
            kind: Kind::Choice(ANGULAR_RATE_RANGES),
            need: Need::Default("250"),
            doc: "the largest angular rate, in °/s",
        },
        Field {
            name: "bandwidth",
            kind: Kind::Choice(BANDWIDTHS),
            need: Need::Default("21"),
            doc: "of the chip's low-pass filter, in Hz; a lower one has less noise",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| QUANTITIES.to_vec(),
        default_every: None,
        build: |bus, settings| Ok(Box::new(Mpu6050::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
gate:
  driver: mpu6050
  bus: i2c-1
  every: 1s
  settings: { address: 0x68 }",
    identity: Some(Identity { ask: &[WHO_AM_I], length: 1, is: |id| id == [MPU6050], then: None }),
    chip: Some(ChipSpec::of(|| Box::new(sim::Mpu6050::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-mpu6050 1.3.9")],
};

// In the order of their codes (R 4.5, 4.4, 4.3).
const ACCELERATION_RANGES: &[&str] = &["2", "4", "8", "16"];
const ANGULAR_RATE_RANGES: &[&str] = &["250", "500", "1000", "2000"];
const BANDWIDTHS: &[&str] = &["260", "184", "94", "44", "21", "10", "5"];

/// In the order of the registers.
const QUANTITIES: [Quantity; 7] = [
    Quantity::new("acceleration_x", "m/s²", 3),
    Quantity::new("acceleration_y", "m/s²", 3),
    Quantity::new("acceleration_z", "m/s²", 3),
    Quantity::new("temperature", "°C", 2),
    Quantity::new("angular_rate_x", "°/s", 2),
    Quantity::new("angular_rate_y", "°/s", 2),
    Quantity::new("angular_rate_z", "°/s", 2),
];
/// The place of the temperature among them.
const TEMPERATURE: usize = 3;

// Registers (R 3).
const SAMPLE_RATE_DIVIDER: u8 = 0x19;
const INTERRUPT_ENABLE: u8 = 0x38;
const INTERRUPT_STATUS: u8 = 0x3A;
const POWER: u8 = 0x6B;
const WHO_AM_I: u8 = 0x75;

const MPU6050: u8 = 0x68;
/// In the power register: reset (R 4.28).
const RESET: u8 = 0x80;
/// Awake, clocked by the gyroscope of the x axis, as R 4.28 recommends. After power-on it is 0x40, asleep.
const AWAKE: u8 = 0x01;
/// A new result is there (R 4.16).
const DATA_READY: u8 = 0x01;

/// Results per second with the filter on: 1000 Hz divided by one more than this (R 4.2).
const DIVIDER: u8 = 4;
/// Time between two results; 8 times shorter with the filter off.
const PERIOD_US: u32 = 5000;
/// A result is waited for as long as two take.
const POLLS: u32 = 4;

/// After a reset (R, section 4.28, as Adafruit's and the kernel's drivers wait).
const RESET_US: u32 = 100_000;
/// The gyroscope's start (P 6.1: 30 ms) and the slowest filter's settling.
const SETTLE_US: u32 = 150_000;

const STANDARD_GRAVITY: f64 = 9.806_65;

struct Mpu6050<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    /// The registers from the divider on: divider, filter, ranges of angular rate and of acceleration.
    config: [u8; 4],
    /// Of one step, in the order of [`QUANTITIES`].
    scales: [f64; 7],
}

impl<I: I2c<Error = BusError>, D: DelayNs> Mpu6050<I, D> {
    /// Resets the chip, wakes it and waits until its filters have settled.
    fn start(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let bandwidth = settings.choice("bandwidth", BANDWIDTHS);
        let rate = settings.choice("angular_rate_range", ANGULAR_RATE_RANGES);
        let acceleration = settings.choice("acceleration_range", ACCELERATION_RANGES);
        let config = [DIVIDER, bandwidth, rate << 3, acceleration << 3];
        let address = settings.address("address");
        let mut chip = Self { i2c, delay, address, config, scales: scales(acceleration, rate) };
        let [id] = chip.read(WHO_AM_I).map_err(absent("MPU-6050"))?;
        if id != MPU6050 {
            return Err(another("MPU-6050", address, format!("its id is {id:#04x}")));
        }
        chip.write(POWER, RESET)?;
        chip.delay.delay_us(RESET_US);
        chip.write(POWER, AWAKE)?;
        for (register, value) in (SAMPLE_RATE_DIVIDER..).zip(config) {
            chip.write(register, value)?;
        }
        // Without it the status does not show results; the pin that follows it is of no use here.
        chip.write(INTERRUPT_ENABLE, DATA_READY)?;
        chip.delay.delay_us(SETTLE_US);
        Ok(chip)
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), BusError> {
        self.i2c.write(self.address, &[register, value])
    }

    fn read<const N: usize>(&mut self, register: u8) -> Result<[u8; N], BusError> {
        let mut bytes = [0; N];
        self.i2c.write_read(self.address, &[register], &mut bytes)?;
        Ok(bytes)
    }

    /// Asleep, the chip would report the same for ever; with other ranges, something else.
    fn check(&mut self) -> Result<(), DriverError> {
        let ([power], config) = (self.read(POWER)?, self.read(SAMPLE_RATE_DIVIDER)?);
        if power == AWAKE && config == self.config {
            return Ok(());
        }
        let why = match power {
            0x40 => "it is asleep; it may have lost its supply".to_owned(),
            _ => format!("it was given the settings {:02x?} and has {config:02x?}", self.config),
        };
        Err(another("MPU-6050", self.address, why))
    }

    /// The seven words of one moment (R 4.17 to 4.19).
    fn words(&mut self) -> Result<[i16; 7], DriverError> {
        for _ in 0..POLLS {
            let [status, data @ ..] = self.read::<15>(INTERRUPT_STATUS)?;
            if status & DATA_READY != 0 {
                return Ok(std::array::from_fn(|index| i16::from_be_bytes([data[2 * index], data[2 * index + 1]])));
            }
            self.delay.delay_us(PERIOD_US / 2);
        }
        Err(DriverError::NotReady("a new result"))
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Mpu6050<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.check()?;
        let words = self.words()?;
        let one = |(index, quantity): (usize, &Quantity)| {
            let value = f64::from(words[index]) * self.scales[index];
            let result = if index == TEMPERATURE {
                Ok(quantity.measured(celsius(words[index])))
            } else if matches!(words[index], i16::MIN | i16::MAX) {
                Err(DriverError::OutOfRange { quantity: NAMES[index], value })
            } else {
                Ok(quantity.measured(value))
            };
            (quantity.name.clone(), result)
        };
        partly::channels(QUANTITIES.iter().enumerate().map(one))
    }
}

/// For errors, which want names that live for ever.
const NAMES: [&str; 7] = [
    "acceleration_x",
    "acceleration_y",
    "acceleration_z",
    "temperature",
    "angular_rate_x",
    "angular_rate_y",
    "angular_rate_z",
];

/// 16384 steps for 1 g in the smallest range (P 6.2), 131 for 1 °/s (P 6.1); each range is twice the one before.
fn scales(acceleration: u8, rate: u8) -> [f64; 7] {
    let acceleration = STANDARD_GRAVITY / 16_384.0 * f64::from(1_u32 << acceleration);
    // The sensitivities are printed rounded: 131, 65.5, 32.8, 16.4.
    let rate = 1.0 / [131.0, 65.5, 32.8, 16.4][usize::from(rate & 3)];
    [acceleration, acceleration, acceleration, 1.0, rate, rate, rate]
}

/// Register map, section 4.18, in °C.
fn celsius(word: i16) -> f64 {
    f64::from(word) / 340.0 + 36.53
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings, without};

    fn bring_up(config: [u8; 4]) -> Vec<Step> {
        let write = |register, value| Step::Write(vec![register, value]);
        let mut steps = vec![Step::WriteRead(vec![0x75], vec![0x68]), write(0x6B, 0x80), write(0x6B, 0x01)];
        steps.extend((0x19..).zip(config).map(|(register, value)| write(register, value)));
        steps.push(write(0x38, 0x01));
        steps
    }

    fn read(config: [u8; 4], status: u8, words: [i16; 7]) -> Vec<Step> {
        let data = [status].into_iter().chain(words.into_iter().flat_map(i16::to_be_bytes)).collect();
        vec![
            Step::WriteRead(vec![0x6B], vec![0x01]),
            Step::WriteRead(vec![0x19], config.to_vec()),
            Step::WriteRead(vec![0x3A], data),
        ]
    }

    fn start(steps: Vec<Step>, given: &[(&str, &str)]) -> Result<Mpu6050<Transcript, CountedDelay>, DriverError> {
        Mpu6050::start(Transcript::new(0x68, steps), CountedDelay::default(), &settings(&SPEC, given))
    }

    const DEFAULT: [u8; 4] = [4, 4, 0x00, 0x00];

    #[test]
    fn a_good_transcript_gives_seven_measurements() {
        let words = [0, -8192, 16_384, -3920, 131, -1310, 0];
        let mut sensor = start([bring_up(DEFAULT), read(DEFAULT, 1, words)].concat(), &[]).unwrap();
        assert!(sensor.delay.waited_us() >= 250_000);
        let measurements = sensor.sample().unwrap();
        assert_eq!(measurements.len(), 7);
        check(&measurements, "acceleration_x", 0.0, 0.0);
        check(&measurements, "acceleration_y", -4.903_325, 1e-9);
        check(&measurements, "acceleration_z", 9.806_65, 1e-9);
        check(&measurements, "temperature", 25.000_588, 1e-6);
        check(&measurements, "angular_rate_x", 1.0, 1e-9);
        check(&measurements, "angular_rate_y", -10.0, 1e-9);
    }

    #[test]
    fn ranges_and_bandwidth_reach_the_chip() {
        let given = [("acceleration_range", "16"), ("angular_rate_range", "2000"), ("bandwidth", "5")];
        let config = [4, 6, 0x18, 0x18];
        let words = [2048, 0, 0, 0, 164, 0, 0];
        let mut sensor = start([bring_up(config), read(config, 1, words)].concat(), &given).unwrap();
        let measurements = sensor.sample().unwrap();
        check(&measurements, "acceleration_x", 9.806_65, 1e-9);
        check(&measurements, "angular_rate_x", 10.0, 1e-9);
        let given = [("acceleration_range", "4"), ("angular_rate_range", "500"), ("bandwidth", "260")];
        start(bring_up([4, 0, 0x08, 0x08]), &given).unwrap();
        let given = [("acceleration_range", "8"), ("angular_rate_range", "1000"), ("bandwidth", "94")];
        start(bring_up([4, 2, 0x10, 0x10]), &given).unwrap();
    }

    #[test]
    fn a_saturated_axis_is_out_of_range_by_name() {
        for (index, name) in [(0, "acceleration_x"), (2, "acceleration_z"), (6, "angular_rate_z")] {
            for end in [i16::MIN, i16::MAX] {
                let mut words = [100; 7];
                words[index] = end;
                let refused = start([bring_up(DEFAULT), read(DEFAULT, 1, words)].concat(), &[]).unwrap().sample();
                assert_eq!(without(refused, &[name]).len(), 6, "the other axes");
            }
        }
    }

    #[test]
    fn an_old_result_is_not_reported_twice() {
        let mut steps = [bring_up(DEFAULT), read(DEFAULT, 0, [5; 7])].concat();
        let status = steps.last().cloned().unwrap();
        steps.extend([status.clone(), status.clone(), status]);
        assert!(matches!(start(steps, &[]).unwrap().sample(), Err(DriverError::NotReady(_))));
    }

    #[test]
    fn a_chip_that_sleeps_or_has_other_ranges_is_built_again() {
        for (power, config, words) in [(0x40, [0; 4], "asleep"), (0x01, [4, 4, 0x18, 0], "was given")] {
            let steps = vec![Step::WriteRead(vec![0x6B], vec![power]), Step::WriteRead(vec![0x19], config.to_vec())];
            let error = start([bring_up(DEFAULT), steps].concat(), &[]).unwrap().sample().unwrap_err();
            assert!(!error.is_transient() && error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let error = start(vec![Step::Nak], &[]).err().unwrap().to_string();
        assert!(error.starts_with("no MPU-6050 at address 0x68: nobody answers"), "{error}");
        let error = start(vec![Step::WriteRead(vec![0x75], vec![0x70])], &[]).err().unwrap().to_string();
        assert!(error.ends_with("its id is 0x70"), "{error}");
    }

    #[test]
    fn the_names_are_those_of_the_quantities() {
        assert_eq!(QUANTITIES.map(|quantity| quantity.name), NAMES);
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("mpu6050", 0x68);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        let world =
            [("acceleration_z", -12.5), ("acceleration_x", 3.25), ("angular_rate_y", 200.0), ("temperature", 31.0)];
        for (name, value) in world {
            chip.set(name, value);
        }
        let measurements = sensor.sample().unwrap();
        for (name, value) in world {
            check(&measurements, name, value, 0.004);
        }
        chip.set("angular_rate_y", 300.0);
        without(sensor.sample(), &["angular_rate_y"]);
        chip.set("angular_rate_y", 0.0);
        chip.fault(Some("not-ready"));
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady(_))));
        chip.fault(Some("stuck"));
        assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })));
        chip.fault(Some("power-on"));
        chip.fault(None);
        let error = sensor.sample().unwrap_err();
        assert!(!error.is_transient() && error.to_string().contains("asleep"), "{error}");
        transcript::build(&SPEC, &mut chip).unwrap().sample().unwrap();
        chip.fault(Some("wrong-id"));
        assert!(matches!(transcript::build(&SPEC, &mut chip), Err(DriverError::NoDevice { .. })));
    }
}
