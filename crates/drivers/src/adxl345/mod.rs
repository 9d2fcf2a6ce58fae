//! adxl345: the Analog Devices ADXL345, for acceleration.
//!
//! Datasheet: ADXL345, revision E, whose sections and registers are named below.
//!
//! The chip measures by itself, and the latest result is read. It works in full resolution, in which a step is the same in every
//! range. It has an id, no checksum and no reset: the start writes each register on which a result depends, for another program
//! may have changed it. After power-on it is in standby, so one that lost its supply is found there; and it says whether a
//! result has come since the last one that was read, so one that has stopped is not read twice.
//!
//! ADXL375, ADXL312 and ADXL314 have the same id, at the same addresses, with other scales, and no register distinguishes
//! them. So there is no `identity`: the scan would call them by this name.

mod sim;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor, partly};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "adxl345",
    summary: "Analog Devices ADXL345, ADXL343: acceleration over I²C, up to ±16 g",
    page: "\
Wiring: SDA, SCL, 2.0 to 3.6 V, ground; CS to the supply. SDO to ground:
address 0x53, to the supply: 0x1D.

acceleration_x … _z  m/s²; at rest 9.81 on the axis that points up

A step is 0.04 m/s² in every range. The scale is exact to ±10 %; zero is
within ±1.5 m/s² (z ±2.5 m/s²): subtract what it says at rest. An axis at the
end of the range is left out. Each sample is a moment, not an average: for
slow sampling choose a low data rate, or vibrations are folded into the
readings.

An ADXL375, ADXL312 or ADXL314 has the same id and another scale. It is taken
for an ADXL345, and its readings are wrong.",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&[0x53, 0x1D]),
            need: Need::Default("0x53"),
            doc: "0x53 with SDO at ground, 0x1D with SDO at the supply",
        },
        Field {
            name: "range",
            kind: Kind::Choice(RANGES),
            need: Need::Default("16"),
            doc: "the largest acceleration, in g (9.81 m/s²)",
        },
        Field {
            name: "data_rate",
            kind: Kind::Choice(DATA_RATES),
            need: Need::Default("50"),
            doc: "results per second in the chip, in Hz; its low-pass filter passes half of that",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| AXES.map(quantity).to_vec(),
        default_every: None,
        build: |bus, settings| Ok(Box::new(Adxl345::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
washer:
  driver: adxl345
  bus: i2c-1
  every: 1s
  settings: { address: 0x53 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Adxl345::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-adxl34x 1.12.20")],
};

/// In the order of the registers.
const AXES: [&str; 3] = ["acceleration_x", "acceleration_y", "acceleration_z"];

/// Two decimals distinguish steps of 0.038 m/s².
fn quantity(axis: &'static str) -> Quantity {
    Quantity::new(axis, "m/s²", 2)
}

/// In the order of their codes ("Register 0x31", table 21).
const RANGES: &[&str] = &["2", "4", "8", "16"];
/// In the order of their codes (table 7). Faster ones need a bus of more than 100 kHz ("I²C"), slower ones take seconds.
const DATA_RATES: &[&str] = &["6.25", "12.5", "25", "50", "100", "200"];
/// The codes of the first and of the last of them.
const SLOWEST: u8 = 0x06;
const FASTEST: u8 = 0x0B;

// Registers ("Register Map").
const DEVID: u8 = 0x00;
const OFSX: u8 = 0x1E;
const BW_RATE: u8 = 0x2C;
const POWER_CTL: u8 = 0x2D;
const DATA_FORMAT: u8 = 0x31;
const DATAX0: u8 = 0x32;
const FIFO_CTL: u8 = 0x38;

const ID: u8 = 0xE5;
/// In POWER_CTL ("Register 0x2D"): what it is after power-on, and measuring without sleep.
const STANDBY: u8 = 0x00;
const MEASURE: u8 = 0x08;
/// In DATA_FORMAT ("Register 0x31"): without self-test, justified right; the range is added.
const FULL_RES: u8 = 0x08;
/// In FIFO_CTL ("Register 0x38"): only the latest result is kept.
const BYPASS: u8 = 0x00;
/// In INT_SOURCE ("Register 0x30"): a result is there that was not read. It needs no interrupt to be enabled.
const DATA_READY: u8 = 0x80;

/// Between two results at the fastest rate; each slower one doubles it.
const SHORTEST_PERIOD_US: u32 = 5000;
/// From standby to measuring, without the first result's period (table 1, note on the turn-on time: 1.1 ms).
const TURN_ON_US: u32 = 1500;
/// A result is waited for as long as two take.
const LOOKS: u32 = 4;

/// Steps for 1 g in full resolution (table 1, sensitivity).
const STEPS_PER_G: f64 = 256.0;
/// The first step beyond the smallest range; each range is twice the one before.
const SMALLEST_END: i16 = 512;
const STANDARD_GRAVITY: f64 = 9.806_65;

struct Adxl345<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    /// BW_RATE: normal power, and the data rate.
    rate: u8,
    /// The code of the range.
    range: u8,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Adxl345<I, D> {
    /// Checks the id, configures the chip in standby, as "Power Sequencing" recommends, and waits for its first result.
    fn start(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let rate = SLOWEST + settings.choice("data_rate", DATA_RATES);
        let range = settings.choice("range", RANGES);
        let mut chip = Self { i2c, delay, address: settings.address("address"), rate, range };
        let [id] = chip.read(DEVID).map_err(absent("ADXL345"))?;
        if id != ID {
            return Err(another("ADXL345", chip.address, format!("its id is {id:#04x}")));
        }
        chip.write(&[POWER_CTL, STANDBY])?;
        chip.write(&[OFSX, 0, 0, 0])?;
        chip.write(&[BW_RATE, rate])?;
        chip.write(&[DATA_FORMAT, chip.format()])?;
        chip.write(&[FIFO_CTL, BYPASS])?;
        // A result that was measured with other settings is read here, so that it is not taken for the first one.
        chip.steps()?;
        chip.write(&[POWER_CTL, MEASURE])?;
        chip.delay.delay_us(TURN_ON_US + chip.period_us());
        Ok(chip)
    }

    fn format(&self) -> u8 {
        FULL_RES | self.range
    }

    fn period_us(&self) -> u32 {
        SHORTEST_PERIOD_US << (FASTEST - self.rate)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        self.i2c.write(self.address, bytes)
    }

    fn read<const N: usize>(&mut self, register: u8) -> Result<[u8; N], BusError> {
        let mut bytes = [0; N];
        self.i2c.write_read(self.address, &[register], &mut bytes)?;
        Ok(bytes)
    }

    /// Waits for a result that was not read yet, from a chip that is as it was configured.
    fn wait_for_result(&mut self) -> Result<(), DriverError> {
        for _ in 0..LOOKS {
            let [rate, power, _enabled, _mapped, source, format] = self.read(BW_RATE)?;
            if (rate, power, format) != (self.rate, MEASURE, self.format()) {
                return Err(another("ADXL345", self.address, self.describe_change(rate, power, format)));
            }
            if source & DATA_READY != 0 {
                return Ok(());
            }
            self.delay.delay_us(self.period_us() / 2);
        }
        Err(DriverError::NotReady("a new result"))
    }

    fn describe_change(&self, rate: u8, power: u8, format: u8) -> String {
        if power == STANDBY {
            return "it is in standby; it may have lost its supply".to_owned();
        }
        let configured = [self.rate, MEASURE, self.format()];
        format!("its settings were {configured:02x?} and are {:02x?}", [rate, power, format])
    }

    /// The three words of one moment, low byte first ("Register 0x32 to Register 0x37").
    fn steps(&mut self) -> Result<[i16; 3], BusError> {
        let data: [u8; 6] = self.read(DATAX0)?;
        Ok(std::array::from_fn(|axis| i16::from_le_bytes([data[2 * axis], data[2 * axis + 1]])))
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Adxl345<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.wait_for_result()?;
        let end = SMALLEST_END << self.range;
        let measured = AXES.into_iter().zip(self.steps()?);
        partly::channels(measured.map(|(axis, steps)| (axis.into(), acceleration(axis, steps, end))))
    }
}

/// The acceleration on an axis, unless it is at the end of the range, where a larger one reads the same.
fn acceleration(axis: &'static str, steps: i16, end: i16) -> Result<Measurement, DriverError> {
    let value = f64::from(steps) / STEPS_PER_G * STANDARD_GRAVITY;
    if -end < steps && steps < end - 1 {
        Ok(quantity(axis).measured(value))
    } else {
        Err(DriverError::OutOfRange { quantity: axis, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings, without};

    /// With this BW_RATE and DATA_FORMAT; what an earlier program has left to read is thrown away.
    fn bring_up(rate: u8, format: u8) -> Vec<Step> {
        vec![
            Step::WriteRead(vec![0x00], vec![0xE5]),
            Step::Write(vec![0x2D, 0x00]),
            Step::Write(vec![0x1E, 0, 0, 0]),
            Step::Write(vec![0x2C, rate]),
            Step::Write(vec![0x31, format]),
            Step::Write(vec![0x38, 0x00]),
            Step::WriteRead(vec![0x32], vec![0x7F; 6]),
            Step::Write(vec![0x2D, 0x08]),
        ]
    }

    fn state(rate: u8, power: u8, source: u8, format: u8) -> Step {
        Step::WriteRead(vec![0x2C], vec![rate, power, 0, 0, source, format])
    }

    fn data(words: [i16; 3]) -> Step {
        Step::WriteRead(vec![0x32], words.into_iter().flat_map(i16::to_le_bytes).collect())
    }

    fn start(steps: Vec<Step>, given: &[(&str, &str)]) -> Result<Adxl345<Transcript, CountedDelay>, DriverError> {
        Adxl345::start(Transcript::new(0x53, steps), CountedDelay::default(), &settings(&SPEC, given))
    }

    fn sample(steps: impl IntoIterator<Item = Step>) -> Result<Vec<Measurement>, DriverError> {
        start(bring_up(0x09, 0x0B).into_iter().chain(steps).collect(), &[]).unwrap().sample()
    }

    #[test]
    fn a_good_transcript_gives_three_measurements() {
        let measurements = sample([state(0x09, 0x08, 0x83, 0x0B), data([256, -128, 4094])]).unwrap();
        assert_eq!(measurements.len(), 3);
        check(&measurements, "acceleration_x", 9.806_65, 1e-9);
        check(&measurements, "acceleration_y", -4.903_325, 1e-9);
        check(&measurements, "acceleration_z", 156.829_785, 1e-6);
    }

    #[test]
    fn range_and_data_rate_reach_the_chip() {
        let rates =
            [("6.25", 6, 161_100), ("12.5", 7, 81_100), ("25", 8, 41_100), ("100", 10, 11_100), ("200", 11, 6100)];
        for (rate, code, turn_on_us) in rates {
            let sensor = start(bring_up(code, 0x0B), &[("data_rate", rate)]).unwrap();
            let waited_us = sensor.delay.waited_us();
            assert!((turn_on_us..turn_on_us + 1000).contains(&waited_us), "{rate} Hz: {waited_us} µs");
        }
        for (range, format, last) in [("2", 0x08, 510), ("4", 0x09, 1022), ("8", 0x0A, 2046), ("16", 0x0B, 4094)] {
            let steps = [bring_up(9, format), vec![state(9, 8, 0x80, format), data([last, -last, last + 1])]].concat();
            let measurements = without(start(steps, &[("range", range)]).unwrap().sample(), &["acceleration_z"]);
            check(&measurements, "acceleration_x", f64::from(last) * 9.806_65 / 256.0, 1e-9);
        }
    }

    #[test]
    fn an_axis_at_the_end_of_the_range_is_left_out_by_name() {
        for (axis, name) in AXES.into_iter().enumerate() {
            for end in [-4096, 4095, i16::MIN, i16::MAX] {
                let mut words = [100; 3];
                words[axis] = end;
                let rest = without(sample([state(0x09, 0x08, 0x80, 0x0B), data(words)]), &[name]);
                assert_eq!(rest.len(), 2, "the other axes");
            }
        }
        let none = sample([state(0x09, 0x08, 0x80, 0x0B), data([4095; 3])]);
        assert!(matches!(none, Err(DriverError::OutOfRange { quantity: "acceleration_x", .. })), "{none:?}");
    }

    #[test]
    fn a_result_is_waited_for_and_an_old_one_is_not_read_twice() {
        let old = || state(0x09, 0x08, 0x02, 0x0B);
        let new = [old(), old(), old(), state(0x09, 0x08, 0x82, 0x0B), data([0, 0, 256])];
        check(&sample(new).unwrap(), "acceleration_z", 9.806_65, 1e-9);
        let error = sample([old(), old(), old(), old()]).unwrap_err();
        assert!(matches!(error, DriverError::NotReady(_)) && error.is_transient(), "{error}");
    }

    #[test]
    fn a_chip_in_standby_or_with_other_settings_is_built_again() {
        for (changed, words) in [
            (state(0x0A, 0x00, 0x02, 0x00), "in standby"),
            (state(0x0A, 0x08, 0x80, 0x0B), "its settings were [09, 08, 0b] and are [0a, 08, 0b]"),
            (state(0x09, 0x08, 0x80, 0x08), "[09, 08, 08]"),
            (state(0xFF, 0xFF, 0xFF, 0xFF), "[ff, ff, ff]"),
        ] {
            let error = sample([changed]).unwrap_err();
            assert!(!error.is_transient() && error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let error = start(vec![Step::Nak], &[]).err().unwrap().to_string();
        assert!(error.starts_with("no ADXL345 at address 0x53: nobody answers"), "{error}");
        for id in [0xE6, 0x00, 0xFF] {
            let error = start(vec![Step::WriteRead(vec![0x00], vec![id])], &[]).err().unwrap();
            assert!(error.to_string().ends_with(&format!("its id is {id:#04x}")), "{error}");
        }
    }

    #[test]
    fn what_another_program_has_set_does_not_reach_a_result() {
        let mut chip = ChipUnderTest::with("adxl345", 0x53);
        // Offsets, a slow rate in low power, measuring, justified left, every result kept.
        for bytes in [&[0x1E, 9, 9, 9][..], &[0x2C, 0x16], &[0x2D, 0x08], &[0x31, 0x04], &[0x38, 0x9F]] {
            chip.write(0x53, bytes).unwrap();
        }
        let measurements = transcript::build(&SPEC, &mut chip).unwrap().sample().unwrap();
        check(&measurements, "acceleration_x", 0.0, 0.0);
        check(&measurements, "acceleration_z", 9.806_65, 1e-9);
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("adxl345", 0x53);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        let world = [("acceleration_x", 3.25), ("acceleration_y", -150.0), ("acceleration_z", 9.8)];
        for (name, value) in world {
            chip.set(name, value);
        }
        let measurements = sensor.sample().unwrap();
        for (name, value) in world {
            check(&measurements, name, value, 0.02);
        }
        chip.set("acceleration_y", -160.0);
        without(sensor.sample(), &["acceleration_y"]);
        chip.set("acceleration_y", 0.0);
        chip.fault(Some("not-ready"));
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady(_))));
        chip.fault(Some("nak"));
        assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::NoAcknowledge { address: 0x53 }))));
        for fault in ["stuck", "power-on"] {
            chip.fault(Some(fault));
            assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })), "{fault}");
        }
        chip.fault(None);
        assert!(sensor.sample().is_err(), "the supply is back, the settings are not");
        transcript::build(&SPEC, &mut chip).unwrap().sample().unwrap();
        chip.fault(Some("wrong-id"));
        assert!(matches!(transcript::build(&SPEC, &mut chip), Err(DriverError::NoDevice { .. })));
    }
}
