use super::*;
use crate::transcript::{self, ChipUnderTest, CountedDelay, Script, Step, Transcript, check, settings};

/// Stop, serial number, variant, and what is in the EEPROM: what every start begins with.
fn bring_up() -> Vec<Step> {
    vec![
        Step::Write(vec![0x3F, 0x86]),
        Step::Write(vec![0x36, 0x82]),
        Step::Read(vec![0xF8, 0x96, 0x31, 0x9F, 0x07, 0xC2, 0x3B, 0xBE, 0x89]),
        Step::Write(vec![0x20, 0x2F]),
        Step::Read(vec![0x14, 0x40, 0x51]),
        Step::Write(vec![0x36, 0x46]),
    ]
}

const STARTED: [u8; 2] = [0x21, 0xB1];

fn start(
    steps: impl IntoIterator<Item = Step>,
    given: &[(&str, &str)],
) -> Result<Scd4x<Transcript, CountedDelay>, DriverError> {
    let bus = Transcript::new(0x62, steps);
    Scd4x::start(bus, CountedDelay::default(), Box::new(Script), &settings(&SPEC, given))
}

fn started(steps: impl IntoIterator<Item = Step>) -> Scd4x<Transcript, CountedDelay> {
    let begin = bring_up().into_iter().chain([Step::Write(STARTED.to_vec())]);
    start(begin.chain(steps), &[]).unwrap()
}

fn status(answer: [u8; 3]) -> [Step; 2] {
    [Step::Write(vec![0xE4, 0xB8]), Step::Read(answer.to_vec())]
}

fn measurement(answer: [u8; 9]) -> Vec<Step> {
    let read = [Step::Write(vec![0xEC, 0x05]), Step::Read(answer.to_vec())];
    status([0x80, 0x06, 0x04]).into_iter().chain(read).collect()
}

#[test]
fn the_worked_example_of_the_datasheet_comes_out() {
    // read_measurement: 500 ppm, 25 °C, 37 %.
    let mut sensor = started(measurement([0x01, 0xF4, 0x33, 0x66, 0x67, 0xA2, 0x5E, 0xB9, 0x3C]));
    assert!(sensor.delay.waited_us() >= 500_000 + 30_000);
    let measurements = sensor.sample().unwrap();
    check(&measurements, "co2", 500.0, 0.0);
    check(&measurements, "temperature", 25.0, 0.005);
    check(&measurements, "humidity", 37.0, 0.05);
}

#[test]
fn every_setting_reaches_the_chip() {
    let set = [
        vec![0x24, 0x1D, 0x07, 0xE6, 0x48],
        vec![0x24, 0x27, 0x07, 0x9E, 0x09],
        vec![0x24, 0x16, 0x00, 0x00, 0x81],
        vec![0xE0, 0x00, 0x03, 0xDB, 0x42],
        vec![0x21, 0xAC],
    ];
    let steps = bring_up().into_iter().chain(set.map(Step::Write)).chain(status([0x80, 0x00, 0xA2]));
    let given = [
        ("temperature_offset", "5.4"),
        ("altitude", "1950"),
        ("self_calibration", "false"),
        ("pressure", "987"),
        ("interval", "30s"),
    ];
    let mut sensor = start(steps, &given).unwrap();
    let error = sensor.sample().unwrap_err();
    assert!(matches!(error, DriverError::TooEarly("the SCD4x measures every 30 s")), "{error}");
}

#[test]
fn a_chip_that_measures_no_more_is_started_again_and_not_before() {
    let mut sensor = started((0..16).flat_map(|_| status([0x80, 0x00, 0xA2])));
    for second in 1..=15 {
        let error = sensor.sample().unwrap_err();
        assert!(matches!(error, DriverError::TooEarly("the SCD4x measures every 5 s")), "{second}: {error}");
    }
    let error = sensor.sample().unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("nothing for 16 s"), "{error}");
}

#[test]
fn what_cannot_be_is_not_published() {
    let damaged = measurement([0x01, 0xF4, 0x33, 0x66, 0x67, 0xA2, 0x5E, 0xB9, 0x3D]);
    assert!(matches!(started(damaged).sample(), Err(DriverError::BadChecksum { received: 0x3D, .. })));
    let nothing = measurement([0x00, 0x00, 0x81, 0x66, 0x67, 0xA2, 0x5E, 0xB9, 0x3C]);
    assert!(matches!(started(nothing).sample(), Err(DriverError::OutOfRange { quantity: "co2", .. })));
    let cold = measurement([0x01, 0xF4, 0x33, 0x00, 0x00, 0x81, 0x5E, 0xB9, 0x3C]);
    assert!(matches!(started(cold).sample(), Err(DriverError::OutOfRange { quantity: "temperature", .. })));
    let stuck = [Step::Write(vec![0xE4, 0xB8]), Step::Read(vec![0xFF; 3])];
    assert!(matches!(started(stuck).sample(), Err(DriverError::BadChecksum { .. })));
}

#[test]
fn a_chip_that_sleeps_is_woken_and_a_missing_one_is_named() {
    let woken = [Step::Nak, Step::Nak].into_iter().chain(bring_up()).chain([Step::Write(STARTED.to_vec())]);
    assert!(start(woken, &[]).is_ok());
    let error = start([Step::Nak, Step::Nak, Step::Nak], &[]).err().unwrap().to_string();
    assert!(error.starts_with("no SCD4x at address 0x62: nobody answers"), "{error}");
}

#[test]
fn another_chip_is_named_and_an_old_one_is_not_refused() {
    let other = bring_up().into_iter().take(4).chain([Step::Read(vec![0x24, 0x40, 0xE3])]);
    let error = start(other, &[]).err().unwrap().to_string();
    assert_eq!(error, "no SCD4x at address 0x62: its variant is 0x2440");
    let mut old = bring_up();
    old.splice(3..5, [Step::Nak]);
    assert!(start(old.into_iter().chain([Step::Write(STARTED.to_vec())]), &[]).is_ok());
    let no_checksum = bring_up().into_iter().take(2).chain([Step::Read(vec![0; 9])]);
    assert!(matches!(start(no_checksum, &[]), Err(DriverError::BadChecksum { .. })));
}

#[test]
fn the_simulated_chip_is_read_as_its_world_is() {
    let mut chip = ChipUnderTest::with("scd4x", 0x62);
    for restart in 0..2 {
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        assert!(matches!(sensor.sample(), Err(DriverError::TooEarly(_))), "start {restart}");
        for (ppm, celsius, percent) in [(415.0, 21.5, 45.0), (5000.0, -9.0, 2.0), (1800.0, 59.0, 99.0)] {
            chip.set("co2", ppm);
            chip.set("temperature", celsius);
            chip.set("humidity", percent);
            let measurements = transcript::patiently(sensor.as_mut()).unwrap();
            check(&measurements, "co2", ppm, 0.0);
            check(&measurements, "temperature", celsius, 0.003);
            check(&measurements, "humidity", percent, 0.001);
        }
        chip.fault(Some("checksum"));
        assert!(matches!(sensor.sample(), Err(DriverError::BadChecksum { .. })));
        chip.fault(Some("power-on"));
        assert!(matches!(transcript::patiently(sensor.as_mut()), Err(DriverError::NoDevice { .. })));
        chip.fault(Some("nak"));
        assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::NoAcknowledge { address: 0x62 }))));
        chip.fault(None);
    }
}
