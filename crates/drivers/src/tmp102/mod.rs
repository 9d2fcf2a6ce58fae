//! tmp102 and lm75: the TI TMP102 and the many thermometers that follow the LM75.
//!
//! Datasheets: TMP102, SBOS397 revision I; LM75, National Semiconductor (2001); LM75B, NXP revision 6.1; TMP75 and TMP105,
//! TI SBOS288 and SBOS253.
//!
//! The chips measure continuously and have neither id nor checksum; what they keep of the written configuration says the
//! kinds apart as far as that goes. Bits below the resolution are ignored, because the LM75 leaves them undefined.

mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims, read_word, within};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver of the TMP102.
pub static TMP102: DriverSpec = DriverSpec {
    name: "tmp102",
    summary: "TI TMP102: temperature over I²C, 0.0625 °C",
    page: "\
Wiring: SDA, SCL, 3.3 V, ground. ADD0 to ground: address 0x48, to the supply:
0x49, to SDA: 0x4a, to SCL: 0x4b.

temperature  −55 to 125 °C, ±0.5 °C between −25 and 85 °C

Four conversions a second; the latest is read. A TMP105 or TMP75 works too.",
    bus: BusNeed::I2c,
    settings: &[Field {
        name: "address",
        kind: Kind::Address(&[0x48, 0x49, 0x4A, 0x4B]),
        need: Need::Default("0x48"),
        doc: "0x48 with ADD0 at ground, 0x49 at the supply, 0x4a at SDA, 0x4b at SCL",
    }],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![quantity(&TMP102_FORM)],
        default_every: None,
        build: |bus, settings| {
            Ok(Box::new(Thermometer::start(&TMP102_FORM, bus.i2c()?, &mut Delay, settings.address("address"))?))
        },
    },
    example: "\
board:
  driver: tmp102
  bus: i2c-1
  every: 10s
  settings: { address: 0x48 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Thermometer::tmp102()))),
    proofs: &[Proof::Qemu("tmp105"), Proof::Kernel("lm75"), Proof::Reference("sparkfun-qwiic-tmp102 2.0.0")],
};

/// The driver of the LM75 and the like.
pub static LM75: DriverSpec = DriverSpec {
    name: "lm75",
    summary: "LM75, LM75A, LM75B, TMP75, TMP105: temperature over I²C",
    page: "\
Wiring: SDA, SCL, 3 to 5.5 V, ground. A2 A1 A0 at ground: address 0x48; each
one at the supply adds 4, 2 or 1.

temperature  −55 to 125 °C, ±2 °C

resolution   chips                    steps
9            LM75 and all others      0.5 °C
11           LM75A, LM75B             0.125 °C
12           TMP75, TMP105, DS75      0.0625 °C; the chip is set to it",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&[0x48, 0x49, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F]),
            need: Need::Default("0x48"),
            doc: "0x48 with A2 A1 A0 at ground; they add 4, 2 and 1",
        },
        Field {
            name: "resolution",
            kind: Kind::Choice(&["9", "11", "12"]),
            need: Need::Default("9"),
            doc: "bits of the result, by the chip: 9 for LM75, 11 for LM75A and LM75B, 12 for TMP75 and TMP105",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |settings| vec![quantity(lm75_form(settings))],
        default_every: None,
        build: |bus, settings| {
            let address = settings.address("address");
            Ok(Box::new(Thermometer::start(lm75_form(settings), bus.i2c()?, &mut Delay, address)?))
        },
    },
    example: "\
rack:
  driver: lm75
  bus: i2c-1
  every: 10s
  settings: { address: 0x4f }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Thermometer::lm75()))),
    proofs: &[Proof::Qemu("tmp105"), Proof::Kernel("lm75"), Proof::Reference("adafruit-circuitpython-pct2075 1.1.28")],
};

const CELSIUS: RangeInclusive<f64> = -55.0..=125.0;

const TEMPERATURE_REGISTER: u8 = 0;
const CONFIGURATION_REGISTER: u8 = 1;

/// What a data line reads that nobody drives. An LM75 may mean it, at −0.5 °C; its configuration distinguishes the two.
const UNDRIVEN: u16 = 0xFFFF;

/// What distinguishes the chips.
#[derive(Debug, PartialEq)]
struct Form {
    chip: &'static str,
    /// Written to the configuration: continuous conversion, and R1 R0 where the chip has them.
    configuration: &'static [u8],
    /// The bits of its first byte that must read back as written.
    kept: u8,
    /// What it may be if they do not.
    otherwise: &'static str,
    /// The bits of the temperature that mean something.
    meaning: u16,
    /// Bits of the temperature that are always 0; a bus whose data line nobody drives has ones there.
    zero: u16,
    /// Until the first conversion is done.
    conversion_us: u32,
    decimals: u8,
}

/// R1 R0 are always set; four conversions a second, normal mode (SBOS397, "Configuration Register").
const TMP102_FORM: Form = Form {
    chip: "TMP102",
    configuration: &[0x60, 0xA0],
    kept: 0x61,
    otherwise: "its configuration does not read back; for an LM75 write driver: lm75",
    meaning: 0xFFF0,
    zero: 0x000F,
    conversion_us: 35_000,
    decimals: 2,
};

/// The slowest of these chips takes 300 ms for a conversion.
const LM75_FORM: Form = Form {
    chip: "LM75",
    configuration: &[0x00],
    kept: 0x1F,
    otherwise: "its configuration does not read back",
    meaning: 0xFF80,
    zero: 0,
    conversion_us: 300_000,
    decimals: 1,
};

/// The LM75A and LM75B want zeros for the bits that are R1 R0 elsewhere.
const LM75B_FORM: Form = Form { chip: "LM75B", meaning: 0xFFE0, decimals: 2, ..LM75_FORM };

/// R1 R0 for 12 bits.
const TMP75_FORM: Form = Form {
    chip: "TMP75",
    configuration: &[0x60],
    kept: 0x7F,
    otherwise: "it cannot be set to 12 bits; write resolution: 9 or 11",
    meaning: 0xFFF0,
    decimals: 2,
    ..LM75_FORM
};

fn lm75_form(settings: &Settings) -> &'static Form {
    match settings.text("resolution") {
        "11" => &LM75B_FORM,
        "12" => &TMP75_FORM,
        _ => &LM75_FORM,
    }
}

/// Two decimals distinguish steps of 0.0625 °C.
fn quantity(form: &Form) -> Quantity {
    Quantity::new("temperature", "°C", form.decimals)
}

struct Thermometer<I> {
    i2c: I,
    address: u8,
    form: &'static Form,
}

impl<I: I2c<Error = BusError>> Thermometer<I> {
    /// Configures the chip and waits for its first conversion: before it a TMP102 reads 0 °C.
    fn start(form: &'static Form, mut i2c: I, delay: &mut impl DelayNs, address: u8) -> Result<Self, DriverError> {
        let mut written = vec![CONFIGURATION_REGISTER];
        written.extend_from_slice(form.configuration);
        i2c.write(address, &written).map_err(absent(form.chip))?;
        let mut chip = Self { i2c, address, form };
        chip.confirm()?;
        delay.delay_us(form.conversion_us);
        Ok(chip)
    }

    /// Its configuration is as written.
    fn confirm(&mut self) -> Result<(), DriverError> {
        let mut read_back = [0];
        self.i2c.write_read(self.address, &[CONFIGURATION_REGISTER], &mut read_back)?;
        if (read_back[0] ^ self.form.configuration[0]) & self.form.kept == 0 {
            return Ok(());
        }
        Err(another(self.form.chip, self.address, self.form.otherwise.to_owned()))
    }
}

impl<I: I2c<Error = BusError>> Sensor for Thermometer<I> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let word = read_word(&mut self.i2c, self.address, TEMPERATURE_REGISTER)?;
        let value = celsius(word & self.form.meaning);
        if word & self.form.zero != 0 {
            return Err(DriverError::OutOfRange { quantity: "temperature", value });
        }
        if word == UNDRIVEN {
            self.confirm()?;
        }
        Ok(vec![quantity(self.form).measured(within("temperature", value, &CELSIUS)?)])
    }
}

/// All these chips align the temperature to the left: the upper byte counts whole degrees.
fn celsius(word: u16) -> f64 {
    f64::from(word.cast_signed()) / 256.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

    fn start(
        form: &'static Form,
        steps: impl IntoIterator<Item = Step>,
    ) -> Result<Thermometer<Transcript>, DriverError> {
        let mut delay = CountedDelay::default();
        let chip = Thermometer::start(form, Transcript::new(0x48, steps), &mut delay, 0x48)?;
        assert_eq!(delay.waited_us(), u64::from(form.conversion_us));
        Ok(chip)
    }

    fn bring_up(form: &Form) -> Vec<Step> {
        let written = [&[1], form.configuration].concat();
        vec![Step::Write(written), Step::WriteRead(vec![1], vec![form.configuration[0]])]
    }

    fn sample(form: &'static Form, word: [u8; 2]) -> Result<Vec<Measurement>, DriverError> {
        let answer = Step::WriteRead(vec![0], word.to_vec());
        start(form, bring_up(form).into_iter().chain([answer])).unwrap().sample()
    }

    #[test]
    fn the_tables_of_the_datasheets_come_out() {
        // SBOS397, "12-Bit Temperature Data Format".
        for (word, expected) in [(0x7FF0, 127.9375), (0x4B00, 75.0), (0x0040, 0.25), (0xFFC0, -0.25), (0xC900, -55.0)] {
            assert_eq!(celsius(word), expected);
        }
        // LM75B, table 10: 11 bits, and 9 bits of the LM75.
        for (word, expected) in [(0x7EE0, 126.875), (0xFFE0, -0.125), (0x0080, 0.5), (0xC920, -54.875)] {
            assert_eq!(celsius(word), expected);
        }
    }

    #[test]
    fn a_good_transcript_gives_the_temperature() {
        check(&sample(&TMP102_FORM, [0x19, 0x10]).unwrap(), "temperature", 25.0625, 0.0);
        check(&sample(&TMP75_FORM, [0xE7, 0x00]).unwrap(), "temperature", -25.0, 0.0);
    }

    #[test]
    fn bits_below_the_resolution_are_ignored() {
        check(&sample(&LM75_FORM, [0x15, 0xFF]).unwrap(), "temperature", 21.5, 0.0);
        check(&sample(&LM75B_FORM, [0x15, 0xFF]).unwrap(), "temperature", 21.875, 0.0);
    }

    #[test]
    fn what_the_chip_cannot_measure_is_refused() {
        for (form, word) in [(&TMP102_FORM, [0x7F, 0xF0]), (&TMP102_FORM, [0xFF, 0xFF]), (&LM75_FORM, [0x80, 0x00])] {
            let refused = sample(form, word);
            assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "temperature", .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_data_line_that_nobody_drives_is_no_temperature() {
        let undriven = |configuration: u8| {
            let answers = [Step::WriteRead(vec![0], vec![0xFF, 0xFF]), Step::WriteRead(vec![1], vec![configuration])];
            start(&LM75_FORM, bring_up(&LM75_FORM).into_iter().chain(answers)).unwrap().sample()
        };
        check(&undriven(0x00).unwrap(), "temperature", -0.5, 0.0);
        assert!(matches!(undriven(0xFF), Err(DriverError::NoDevice { .. })));
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let refusal = |form, steps: Vec<Step>| start(form, steps).err().unwrap().to_string();
        assert!(refusal(&TMP102_FORM, vec![Step::Nak]).starts_with("no TMP102 at address 0x48: nobody answers"));
        let reads_back = |form: &Form, byte: u8| {
            let written = [&[1], form.configuration].concat();
            vec![Step::Write(written), Step::WriteRead(vec![1], vec![byte])]
        };
        assert!(refusal(&TMP102_FORM, reads_back(&TMP102_FORM, 0x00)).contains("driver: lm75"));
        assert!(refusal(&TMP75_FORM, reads_back(&TMP75_FORM, 0x00)).contains("resolution: 9 or 11"));
        assert!(refusal(&LM75_FORM, reads_back(&LM75_FORM, 0xFF)).starts_with("no LM75 at address 0x48"));
    }

    #[test]
    fn the_settings_of_an_lm75_choose_its_form() {
        for (text, form) in [("9", &LM75_FORM), ("11", &LM75B_FORM), ("12", &TMP75_FORM)] {
            assert_eq!(lm75_form(&settings(&LM75, &[("resolution", text)])), form);
        }
    }

    #[test]
    fn the_simulated_chips_are_read_as_their_world_is() {
        for (driver, form, step) in
            [("tmp102", &TMP102_FORM, 0.0625), ("lm75", &TMP75_FORM, 0.0625), ("lm75", &LM75_FORM, 0.5)]
        {
            let chip = ChipUnderTest::with(driver, 0x48);
            let mut sensor = Thermometer::start(form, chip.clone(), &mut CountedDelay::default(), 0x48).unwrap();
            for celsius in [21.5, -40.03, 124.9] {
                chip.set("temperature", celsius);
                check(&sensor.sample().unwrap(), "temperature", celsius, step);
            }
            chip.set("temperature", 140.0);
            assert!(matches!(sensor.sample(), Err(DriverError::OutOfRange { .. })));
            chip.fault(Some("nak"));
            assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::NoAcknowledge { address: 0x48 }))));
        }
    }

    #[test]
    fn both_drivers_are_built_as_the_worker_does() {
        for spec in [&TMP102, &LM75] {
            let mut sensor = transcript::build(spec, &mut ChipUnderTest::with(spec.name, 0x48)).unwrap();
            check(&sensor.sample().unwrap(), "temperature", 21.5, 0.0);
        }
    }
}
