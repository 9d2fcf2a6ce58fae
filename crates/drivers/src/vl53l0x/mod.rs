//! vl53l0x: ST VL53L0X, for distance by the flight of light.
//!
//! Datasheet: DocID029104 revision 3 (2022); and ST's VL53L0X API 1.0.2, since the datasheet documents six registers only.
//! Boards with a regulator take 5 V. Most targets are seen up to 1.2 m, less in the sun.
//!
//! Each sample is one measurement. The chip judges it itself, and only what it calls complete is published: too little signal, a
//! spread or a phase that does not fit, or a laser that failed its test, are errors. It has an id; what was written last at
//! bring-up is read back with each sample, for a chip that lost its supply measures too, but without all its settings.

mod bring_up;
mod sim;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims};
use crate::{BusNeed, DriverError, DriverSpec, Identity, Proof, Role, Sensor};
use bring_up::{ASK_DIODES, CLOSE, DIODES, OPEN, TUNING, Write, chosen_diodes, final_time_out};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "vl53l0x",
    summary: "ST VL53L0X: distance up to 2 m by the flight of light, over I²C",
    page: "\
Wiring: SDA, SCL, 2.6 to 3.5 V, ground; XSHUT open or at the supply. The
address is always 0x29; peel the film off the window.

distance  m, 0.03 to 2; ±3 % for white targets in the dark, up to ±12 % for
          grey ones in daylight

The beam is a cone of 25 degrees, and what reflects most in it counts. Where
nothing is near enough, or the sun outshines it, the sample fails as out of
range. A longer measurement_time reaches farther and has less noise.",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&[0x29]),
            need: Need::Default("0x29"),
            doc: "another one, given by a program, would be lost with the supply",
        },
        Field {
            name: "measurement_time",
            kind: Kind::Integer { min: 20, max: 200 },
            need: Need::Default("33"),
            doc: "how long one measurement takes, in ms",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![DISTANCE],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Vl53l0x::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
tank:
  driver: vl53l0x
  bus: i2c-1
  every: 10s",
    identity: Some(Identity { ask: &[IDS], length: 3, is: |ids| ids == VL53L0X, then: None }),
    chip: Some(ChipSpec::of(|| Box::new(sim::Vl53l0x::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-vl53l0x 3.6.19")],
};

const DISTANCE: Quantity = Quantity::new("distance", "m", 3);
/// The farthest that the datasheet promises for any target.
const FARTHEST: f64 = 2.0;

// Registers, by their names in the API.
const SYSRANGE_START: u8 = 0x00;
const SEQUENCE_CONFIG: u8 = 0x01;
const INTERRUPT_CONFIG: u8 = 0x0A;
const INTERRUPT_CLEAR: u8 = 0x0B;
const INTERRUPT_STATUS: u8 = 0x13;
const RESULT: u8 = 0x14;
const SIGNAL_RATE_LIMIT: u8 = 0x44;
const MSRC_CONTROL: u8 = 0x60;
const FINAL_TIME_OUT: u8 = 0x71;
const INTERRUPT_POLARITY: u8 = 0x84;
const SUPPLY_OF_PINS: u8 = 0x89;
const STOP_VARIABLE: u8 = 0x91;
const DIODE_MAP: u8 = 0xB0;
const IDS: u8 = 0xC0;

/// Model, module and revision (datasheet, table 4).
const VL53L0X: [u8; 3] = [0xEE, 0xAA, 0x10];
/// The steps of a measurement: the choice of diodes, the range before and the final one.
const SEQUENCE: u8 = 0xE8;
/// 0.25 million counts a second, with 7 bits after the point.
const LEAST_SIGNAL: [u8; 2] = [0x00, 0x20];

/// How often the end of something is asked for, within as long again as it should take.
const POLLS: u32 = 10;
/// A reading of the memory, or a calibration, is over well before.
const CALIBRATION_US: u32 = 100_000;

/// What the chip says of a measurement (`VL53L0X_DEVICEERROR_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Complete,
    /// The laser or its supply failed a test.
    Broken,
    /// No target, a poor one, or one beyond what is unambiguous.
    Doubtful,
}

impl Verdict {
    fn of(status: u8) -> Self {
        match status >> 3 & 0xF {
            11 => Self::Complete,
            1..=3 => Self::Broken,
            _ => Self::Doubtful,
        }
    }
}

struct Vl53l0x<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    measurement_us: u32,
    stop_variable: u8,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Vl53l0x<I, D> {
    fn start(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let measurement_ms = u32::try_from(settings.integer("measurement_time")).unwrap_or(33);
        let (address, measurement_us) = (settings.address("address"), measurement_ms * 1000);
        let mut chip = Self { i2c, delay, address, measurement_us, stop_variable: 0 };
        let ids = chip.read::<3>(IDS).map_err(absent("VL53L0X"))?;
        if ids != VL53L0X {
            return Err(another("VL53L0X", address, format!("its ids are {ids:02x?}")));
        }
        chip.set_up()?;
        chip.set_diodes()?;
        chip.write_all(&TUNING)?;
        chip.set_measurement()?;
        chip.calibrate(0x01, 0x40)?;
        chip.calibrate(0x02, 0x00)?;
        chip.write(SEQUENCE_CONFIG, SEQUENCE)?;
        Ok(chip)
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), BusError> {
        self.i2c.write(self.address, &[register, value])
    }

    fn write_word(&mut self, register: u8, [high, low]: [u8; 2]) -> Result<(), BusError> {
        self.i2c.write(self.address, &[register, high, low])
    }

    fn write_all(&mut self, writes: &[Write]) -> Result<(), BusError> {
        writes.iter().try_for_each(|(register, value)| self.write(*register, *value))
    }

    fn read<const N: usize>(&mut self, register: u8) -> Result<[u8; N], BusError> {
        let mut bytes = [0; N];
        self.i2c.write_read(self.address, &[register], &mut bytes)?;
        Ok(bytes)
    }

    fn change(&mut self, register: u8, set: u8, clear: u8) -> Result<(), BusError> {
        let [value] = self.read(register)?;
        self.write(register, value & !clear | set)
    }

    /// Asks until a register has one of these bits.
    fn wait(&mut self, register: u8, bits: u8, within_us: u32) -> Result<bool, BusError> {
        for _ in 0..POLLS {
            let [value] = self.read(register)?;
            if value & bits != 0 {
                return Ok(true);
            }
            self.delay.delay_us(within_us / POLLS);
        }
        Ok(false)
    }

    /// Pins for a bus of 2.8 V and more, as every board has it; no limits of signal but the final one.
    fn set_up(&mut self) -> Result<(), BusError> {
        self.change(SUPPLY_OF_PINS, 0x01, 0)?;
        self.write(0x88, 0x00)?;
        self.write_all(&OPEN)?;
        [self.stop_variable] = self.read(STOP_VARIABLE)?;
        self.write_all(&CLOSE)?;
        self.change(MSRC_CONTROL, 0x12, 0)?;
        self.write_word(SIGNAL_RATE_LIMIT, LEAST_SIGNAL)?;
        self.write(SEQUENCE_CONFIG, 0xFF)
    }

    /// Which of the reference diodes to use is in the chip's memory.
    fn set_diodes(&mut self) -> Result<(), DriverError> {
        self.write_all(&OPEN)?;
        self.write(0xFF, 0x06)?;
        self.change(0x83, 0x04, 0)?;
        self.write_all(&ASK_DIODES)?;
        if !self.wait(0x83, 0xFF, CALIBRATION_US)? {
            return Err(DriverError::NotReady("the chip's memory"));
        }
        self.write(0x83, 0x01)?;
        let [info] = self.read(0x92)?;
        self.write_all(&[(0x81, 0x00), (0xFF, 0x06)])?;
        self.change(0x83, 0, 0x04)?;
        self.write_all(&[(0xFF, 0x01), (0x00, 0x01), (0xFF, 0x00), (0x80, 0x00)])?;
        let good = self.read(DIODE_MAP)?;
        self.write_all(&DIODES)?;
        let [a, b, c, d, e, f] = chosen_diodes(good, info & 0x7F, info & 0x80 != 0);
        Ok(self.i2c.write(self.address, &[DIODE_MAP, a, b, c, d, e, f])?)
    }

    /// The end of a measurement is signalled; the steps, and how long they take.
    fn set_measurement(&mut self) -> Result<(), BusError> {
        self.write(INTERRUPT_CONFIG, 0x04)?;
        self.change(INTERRUPT_POLARITY, 0, 0x10)?;
        self.write(INTERRUPT_CLEAR, 0x01)?;
        self.write(SEQUENCE_CONFIG, SEQUENCE)?;
        self.write_word(FINAL_TIME_OUT, final_time_out(self.measurement_us).to_be_bytes())
    }

    /// Of the voltage for the diodes, and of the phase.
    fn calibrate(&mut self, sequence: u8, start: u8) -> Result<(), DriverError> {
        self.write(SEQUENCE_CONFIG, sequence)?;
        self.write(SYSRANGE_START, 0x01 | start)?;
        if !self.wait(INTERRUPT_STATUS, 0x07, CALIBRATION_US)? {
            return Err(DriverError::NotReady("the calibration"));
        }
        self.write(INTERRUPT_CLEAR, 0x01)?;
        Ok(self.write(SYSRANGE_START, 0x00)?)
    }

    fn check(&mut self) -> Result<(), DriverError> {
        let ([sequence], time_out) = (self.read(SEQUENCE_CONFIG)?, self.read(FINAL_TIME_OUT)?);
        if (sequence, u16::from_be_bytes(time_out)) == (SEQUENCE, final_time_out(self.measurement_us)) {
            return Ok(());
        }
        let why = format!("it has lost its settings ({sequence:#04x}, {time_out:02x?}), and its supply perhaps");
        Err(another("VL53L0X", self.address, why))
    }

    /// The chip's own judgement and the distance in millimetres.
    fn measure(&mut self) -> Result<(u8, u16), DriverError> {
        self.write_all(&OPEN)?;
        self.write(STOP_VARIABLE, self.stop_variable)?;
        self.write_all(&CLOSE)?;
        self.write(SYSRANGE_START, 0x01)?;
        self.delay.delay_us(self.measurement_us);
        if !self.wait(INTERRUPT_STATUS, 0x07, self.measurement_us)? {
            return Err(DriverError::NotReady("the measurement"));
        }
        let result = self.read::<12>(RESULT)?;
        self.write(INTERRUPT_CLEAR, 0x01)?;
        Ok((result[0], u16::from_be_bytes([result[10], result[11]])))
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Vl53l0x<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.check()?;
        let (status, millimetres) = self.measure()?;
        let distance = f64::from(millimetres) / 1000.0;
        match Verdict::of(status) {
            Verdict::Complete if distance <= FARTHEST => Ok(vec![DISTANCE.measured(distance)]),
            Verdict::Broken => {
                let why = format!("its laser failed a test ({:#04x})", status >> 3 & 0xF);
                Err(another("VL53L0X", self.address, why))
            }
            _ => Err(DriverError::OutOfRange { quantity: "distance", value: distance }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

    /// A chip that has been brought up, with 33 ms for a measurement.
    fn ready(steps: Vec<Step>) -> Vl53l0x<Transcript, CountedDelay> {
        let i2c = Transcript::new(0x29, steps);
        Vl53l0x { i2c, delay: CountedDelay::default(), address: 0x29, measurement_us: 33_000, stop_variable: 0x3C }
    }

    /// A measurement, busy once.
    fn measured(status: u8, millimetres: u16) -> Vec<Step> {
        let mut steps = vec![Step::WriteRead(vec![0x01], vec![0xE8]), Step::WriteRead(vec![0x71], vec![0x02, 0x8E])];
        for (register, value) in
            [(0x80, 1), (0xFF, 1), (0x00, 0), (0x91, 0x3C), (0x00, 1), (0xFF, 0), (0x80, 0), (0x00, 1)]
        {
            steps.push(Step::Write(vec![register, value]));
        }
        let [high, low] = millimetres.to_be_bytes();
        steps.push(Step::WriteRead(vec![0x13], vec![0x40]));
        steps.push(Step::WriteRead(vec![0x13], vec![0x44]));
        steps.push(Step::WriteRead(vec![0x14], vec![status, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]));
        steps.push(Step::Write(vec![0x0B, 0x01]));
        steps
    }

    #[test]
    fn a_good_transcript_gives_the_distance() {
        let mut sensor = ready(measured(11 << 3 | 1, 1234));
        check(&sensor.sample().unwrap(), "distance", 1.234, 1e-9);
        assert!(sensor.delay.waited_us() >= 33_000);
    }

    #[test]
    fn what_the_chip_doubts_is_not_reported() {
        // No update, no target, spread, phase, clipped, and the overflows.
        for status in [0, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14] {
            let refused = ready(measured(status << 3, 500)).sample();
            assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "distance", .. })), "{status}");
        }
        for status in 1..=3 {
            let refused = ready(measured(status << 3, 500)).sample().unwrap_err();
            assert!(!refused.is_transient(), "{status}: {refused}");
        }
        assert!(matches!(ready(measured(0x58, 8190)).sample(), Err(DriverError::OutOfRange { .. })));
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let start =
            |step| Vl53l0x::start(Transcript::new(0x29, [step]), CountedDelay::default(), &settings(&SPEC, &[]));
        let error = start(Step::Nak).err().unwrap().to_string();
        assert!(error.starts_with("no VL53L0X at address 0x29: nobody answers"), "{error}");
        let error = start(Step::WriteRead(vec![0xC0], vec![0xEA, 0xCC, 0x10])).err().unwrap().to_string();
        assert!(error.ends_with("its ids are [ea, cc, 10]"), "{error}");
    }

    #[test]
    fn the_measurement_time_reaches_the_chip() {
        let chip = ChipUnderTest::with("vl53l0x", 0x29);
        for (ms, time_out) in [("33", 0x028E), ("200", 0x059A)] {
            let given = settings(&SPEC, &[("measurement_time", ms)]);
            let delay = CountedDelay::default();
            let mut sensor = Vl53l0x::start(chip.clone(), delay.clone(), &given).unwrap();
            assert_eq!(u16::from_be_bytes(sensor.read(FINAL_TIME_OUT).unwrap()), time_out, "{ms}");
            let before = delay.waited_us();
            sensor.sample().unwrap();
            assert!(delay.waited_us() - before >= ms.parse::<u64>().unwrap() * 1000);
        }
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("vl53l0x", 0x29);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for metres in [0.5, 0.03, 1.999] {
            chip.set("distance", metres);
            check(&sensor.sample().unwrap(), "distance", metres, 0.000_51);
        }
        chip.set("distance", 4.0);
        assert!(matches!(sensor.sample(), Err(DriverError::OutOfRange { .. })));
        chip.set("distance", 0.5);
        chip.fault(Some("not-ready"));
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady(_))));
        chip.fault(Some("stuck"));
        assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })));
        chip.fault(Some("power-on"));
        chip.fault(None);
        let error = sensor.sample().unwrap_err();
        assert!(!error.is_transient(), "a chip that lost its supply has lost its settings: {error}");
        transcript::build(&SPEC, &mut chip).unwrap().sample().unwrap();
        chip.fault(Some("wrong-id"));
        assert!(matches!(transcript::build(&SPEC, &mut chip), Err(DriverError::NoDevice { .. })));
    }
}
