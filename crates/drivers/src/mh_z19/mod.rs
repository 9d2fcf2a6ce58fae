//! mh-z19: Winsen MH-Z19, MH-Z19B and MH-Z19C, for carbon dioxide.
//!
//! Datasheet: Winsen "Intelligent infrared CO2 module (model: MH-Z19B)", version 1.0; section "UART". What bytes 5 to 7 of an
//! answer mean is not in it; it was found by users and is what ESPEasy and Tasmota go by.
//! Supply: 4.5 to 5.5 V, up to 150 mA; the lines take 3.3 V. The range is 400 to 2000 or 5000 ppm, that of the C
//! version goes to 10000; the accuracy is that with a calibrated zero.
//!
//! A question and an answer of nine bytes each, the last a checksum. For three minutes after power-on the answers are not to
//! be believed: the B version says 410 or 500 then. While it boots, bytes 6 and 7 are 15000; when they are so later, the
//! sensor had lost its supply, and with it the setting of its automatic calibration.

mod sim;

use std::time::Duration;

use rustix::io::Errno;

use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::seconds::Seconds;
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{Bus, BusError, SerialPort, UartRequest, uart};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Setting, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "mh-z19",
    summary: "Winsen MH-Z19, MH-Z19B, MH-Z19C: carbon dioxide over a serial port",
    page: "\
Wiring: 5 V, ground, Tx of the sensor to RXD of the board, Rx to TXD. The port
must be free of a login prompt: raspi-config, Interface Options, Serial Port.

co2  ppm; ±(50 ppm + 5 %)

Nothing is published in the first 3 minutes: the sensor warms up. By itself it
takes the lowest value of each day for 400 ppm. Where the air is never fresh
(greenhouses, stables) write auto_calibration: false; the sensor forgets that
without its supply and its settings are sent again. With range set, its upper end and more is
out of range, for the sensor may have been cut off there.",
    bus: BusNeed::Uart,
    settings: &[
        Field {
            name: "range",
            kind: Kind::Choice(&["2000", "5000", "10000"]),
            need: Need::Optional,
            doc: "the upper end in ppm to set; left out, the sensor keeps what it has. 10000: MH-Z19C only",
        },
        Field {
            name: "auto_calibration",
            kind: Kind::Flag,
            need: Need::Optional,
            doc: "whether the sensor corrects its zero each day; left out, it keeps what it has: true",
        },
    ],
    claims: |_| vec![uart::PORT.only()],
    wrong: |_| None,
    role: Role::Sensor { measurements: |_| vec![CO2], default_every: None, build },
    example: "\
room:
  driver: mh-z19
  bus: serial
  every: 30s
  settings: { range: 5000, auto_calibration: true }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::MhZ19::default()))),
    proofs: &[Proof::Reference("mh-z19 3.1.7")],
};

const CO2: Quantity = Quantity::new("co2", "ppm", 0);

const BAUD: UartRequest = UartRequest { baud: 9600 };

// Commands.
const READ: u8 = 0x86;
const AUTO_CALIBRATION: u8 = 0x79;
const RANGE: u8 = 0x99;

/// Nine bytes take 10 ms on the line; the rest is for the sensor to think.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// Versions that answer an order do so at once; others never do.
const ECHO_WITHIN: Duration = Duration::from_millis(100);

/// "Preheat time: 3 min".
const WARM_UP_S: u64 = 180;
/// A sensor that has been booting for this long never ends it.
const BOOT_LIMIT_S: u64 = 600;
/// Bytes 6 and 7 of an answer while the sensor boots.
const BOOTING: u16 = 15_000;
/// The highest that any version measures.
const HIGHEST: u16 = 10_000;

fn build(bus: &mut dyn Bus, settings: &Settings) -> Result<Box<dyn Sensor>, DriverError> {
    Ok(Box::new(MhZ19::start(bus.uart(&BAUD)?, bus.seconds()?, settings)?))
}

struct MhZ19 {
    port: Box<dyn SerialPort>,
    seconds: Box<dyn Seconds>,
    range: Option<u16>,
    auto_calibration: Option<bool>,
    /// Seconds since the sensor was switched on, as far as is known.
    running: u64,
    /// Seconds for which it has been booting.
    booting: u64,
}

impl MhZ19 {
    fn start(port: Box<dyn SerialPort>, seconds: Box<dyn Seconds>, settings: &Settings) -> Result<Self, DriverError> {
        let range = settings.optional_text("range").and_then(|text| text.parse().ok());
        let auto_calibration = match settings.get("auto_calibration") {
            Some(Setting::Flag(flag)) => Some(*flag),
            _ => None,
        };
        let mut sensor = Self { port, seconds, range, auto_calibration, running: 0, booting: 0 };
        sensor.configure()?;
        Ok(sensor)
    }

    /// Sends the sensor its settings. Whether it uses them shows in what it measures only.
    fn configure(&mut self) -> Result<(), BusError> {
        if let Some(range) = self.range {
            let [high, low] = range.to_be_bytes();
            self.order(RANGE, [0, 0, 0, high, low])?;
        }
        if let Some(on) = self.auto_calibration {
            self.order(AUTO_CALIBRATION, [if on { 0xA0 } else { 0 }, 0, 0, 0, 0])?;
        }
        Ok(())
    }

    fn order(&mut self, command: u8, data: [u8; 5]) -> Result<(), BusError> {
        self.port.write(&request(command, data))?;
        self.port.read(&mut [0; 9], ECHO_WITHIN)?;
        Ok(())
    }

    fn ask(&mut self) -> Result<[u8; 9], DriverError> {
        self.port.discard()?;
        self.port.write(&request(READ, [0; 5]))?;
        let mut answer = [0; 9];
        let length = self.port.read(&mut answer, ANSWER_WITHIN)?;
        if length < answer.len() {
            let what = format!("asking the MH-Z19: {length} bytes of 9 (check the wiring of RX and TX and its 5 V)");
            return Err(BusError::Io { what, source: Errno::TIMEDOUT.into() }.into());
        }
        if answer[..2] != [0xFF, READ] {
            let (path, found) = ("the MH-Z19".to_owned(), format!("{answer:02x?}"));
            return Err(BusError::Format { path, found, expected: "an answer to the question for CO₂" }.into());
        }
        let (computed, received) = (checksum(&answer[1..8]), answer[8]);
        if computed == received { Ok(answer) } else { Err(DriverError::BadChecksum { computed, received }) }
    }

    /// Whether the sensor may be believed; its settings are sent again when it has booted.
    fn settled(&mut self, stability: u8, state: u16, passed: u64) -> Result<(), DriverError> {
        // The first version says so in byte 5, later ones by bytes 6 and 7.
        if stability == 1 || state == BOOTING {
            self.running = 0;
            self.booting += passed.max(1);
            return Err(if self.booting > BOOT_LIMIT_S {
                DriverError::NotReady("the MH-Z19, which says for ten minutes that it boots,")
            } else {
                DriverError::TooEarly("the MH-Z19 boots")
            });
        }
        if std::mem::take(&mut self.booting) > 0 {
            self.configure()?;
        }
        if self.running < WARM_UP_S {
            return Err(DriverError::TooEarly("the MH-Z19 warms up for 3 minutes"));
        }
        Ok(())
    }
}

impl Sensor for MhZ19 {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let passed = self.seconds.passed();
        self.running += passed;
        let [_, _, high, low, _, stability, state_high, state_low, _] = self.ask()?;
        self.settled(stability, u16::from_be_bytes([state_high, state_low]), passed)?;
        let ppm = u16::from_be_bytes([high, low]);
        let cut_off = self.range.is_some_and(|range| ppm >= range);
        if ppm == 0 || ppm > HIGHEST || cut_off {
            return Err(DriverError::OutOfRange { quantity: "co2", value: f64::from(ppm) });
        }
        Ok(vec![CO2.measured(f64::from(ppm))])
    }
}

fn request(command: u8, data: [u8; 5]) -> [u8; 9] {
    let [a, b, c, d, e] = data;
    let mut bytes = [0xFF, 0x01, command, a, b, c, d, e, 0];
    bytes[8] = checksum(&bytes[1..8]);
    bytes
}

/// Section "Checksum calculation method": all but the first are added up, inverted and raised by one.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, Ticks, check, settings};

    fn sensor(chip: &ChipUnderTest, given: &[(&str, &str)]) -> (MhZ19, Ticks) {
        let ticks = Ticks::default();
        let sensor = MhZ19::start(Box::new(chip.clone()), Box::new(ticks.clone()), &settings(&SPEC, given)).unwrap();
        (sensor, ticks)
    }

    /// A sensor that has booted and is warm.
    fn warm(chip: &ChipUnderTest, given: &[(&str, &str)]) -> (MhZ19, Ticks) {
        let (mut sensor, ticks) = sensor(chip, given);
        while matches!(sensor.sample(), Err(DriverError::TooEarly(_))) {
            ticks.pass(30);
        }
        (sensor, ticks)
    }

    #[test]
    fn the_checksums_of_the_datasheets_commands_come_out() {
        assert_eq!(request(READ, [0; 5]), [0xFF, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79]);
        assert_eq!(request(AUTO_CALIBRATION, [0xA0, 0, 0, 0, 0])[8], 0xE6);
        assert_eq!(request(AUTO_CALIBRATION, [0; 5])[8], 0x86);
    }

    #[test]
    fn nothing_is_reported_before_it_has_booted_and_warmed_up() {
        let chip = ChipUnderTest::with("mh-z19", 0);
        let (mut sensor, ticks) = sensor(&chip, &[]);
        for _ in 0..2 {
            ticks.pass(250);
            assert!(matches!(sensor.sample(), Err(DriverError::TooEarly("the MH-Z19 boots"))));
        }
        for _ in 0..3 {
            ticks.pass(59);
            assert!(matches!(sensor.sample(), Err(DriverError::TooEarly("the MH-Z19 warms up for 3 minutes"))));
        }
        ticks.pass(3);
        check(&sensor.sample().unwrap(), "co2", 600.0, 0.0);
    }

    #[test]
    fn a_loss_of_supply_begins_the_warm_up_again_and_the_settings_are_sent_again() {
        let chip = ChipUnderTest::with("mh-z19", 0);
        let (mut sensor, ticks) = warm(&chip, &[("range", "2000")]);
        assert!(sensor.sample().is_ok());
        chip.fault(Some("power-on"));
        chip.fault(None);
        chip.set("co2", 2500.0);
        for _ in 0..7 {
            ticks.pass(29);
            assert!(matches!(sensor.sample(), Err(DriverError::TooEarly(_))));
        }
        ticks.pass(40);
        // Without its setting, as after power-on, the sensor would report 2500.
        let refused = sensor.sample();
        assert!(matches!(refused, Err(DriverError::OutOfRange { value: 2000.0, .. })), "{refused:?}");
    }

    #[test]
    fn a_sensor_that_boots_for_ever_is_reported() {
        let chip = ChipUnderTest::with("mh-z19", 0);
        let (mut sensor, ticks) = sensor(&chip, &[]);
        chip.fault(Some("not-ready"));
        for _ in 0..10 {
            ticks.pass(60);
            assert!(matches!(sensor.sample(), Err(DriverError::TooEarly(_))));
        }
        ticks.pass(60);
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady(_))));
    }

    #[test]
    fn the_ends_of_the_range_and_zero_are_refused() {
        let chip = ChipUnderTest::with("mh-z19", 0);
        let (mut sensor, _) = warm(&chip, &[("range", "5000")]);
        for (ppm, good) in [(0.0, false), (1.0, true), (4999.0, true), (5000.0, false), (60_000.0, false)] {
            chip.set("co2", ppm);
            assert_eq!(sensor.sample().is_ok(), good, "{ppm}");
        }
    }

    #[test]
    fn damage_silence_and_another_device_are_distinguished() {
        let chip = ChipUnderTest::with("mh-z19", 0);
        let (mut sensor, _) = warm(&chip, &[]);
        chip.fault(Some("checksum"));
        assert!(matches!(sensor.sample(), Err(DriverError::BadChecksum { .. })));
        chip.fault(Some("nak"));
        let error = sensor.sample().unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("0 bytes of 9"), "{error}");
        chip.fault(Some("wrong-id"));
        assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::Format { .. }))));
        chip.fault(None);
        assert!(sensor.sample().is_ok(), "none of it begins the warm-up again");
    }

    #[test]
    fn the_simulated_device_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("mh-z19", 0);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for ppm in [415.0, 1200.0, 4800.0] {
            chip.set("co2", ppm);
            check(&transcript::patiently(sensor.as_mut()).unwrap(), "co2", ppm, 0.0);
        }
    }
}
