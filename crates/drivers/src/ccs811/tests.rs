use super::*;
use crate::transcript::{self, ChipUnderTest, CountedDelay, Script, Step, Transcript, check, settings};

fn register(register: u8, value: u8) -> Step {
    Step::WriteRead(vec![register], vec![value])
}

const USUAL_AIR: [u8; 5] = [0x05, 0x64, 0x00, 0x64, 0x00];

/// From the boot loader on.
fn bring_up() -> Vec<Step> {
    vec![
        register(0x20, 0x81),
        register(0x00, 0x10),
        register(0x00, 0x10),
        Step::Write(vec![0xF4]),
        register(0x00, 0x90),
        Step::Write(vec![0x01, 0x10]),
        Step::Write(USUAL_AIR.to_vec()),
    ]
}

fn start(
    steps: impl IntoIterator<Item = Step>,
    given: &[(&str, &str)],
) -> Result<Ccs811<Transcript, CountedDelay>, DriverError> {
    let bus = Transcript::new(0x5A, steps);
    Ccs811::start(bus, CountedDelay::default(), Box::new(Script), &settings(&SPEC, given))
}

fn started(steps: impl IntoIterator<Item = Step>) -> Ccs811<Transcript, CountedDelay> {
    start(bring_up().into_iter().chain(steps), &[("warm_up", "0s")]).unwrap()
}

fn result(answer: [u8; 5]) -> [Step; 2] {
    [register(0x00, 0x98), Step::WriteRead(vec![0x02], answer.to_vec())]
}

#[test]
fn a_good_transcript_gives_two_measurements() {
    let measurements = started(result([0x01, 0xF4, 0x00, 0x0F, 0x98])).sample().unwrap();
    check(&measurements, "eco2", 500.0, 0.0);
    check(&measurements, "tvoc", 15.0, 0.0);
}

#[test]
fn what_it_says_while_it_warms_up_is_not_reported() {
    let results = (0..5).flat_map(|_| result([0x01, 0xF4, 0x00, 0x0F, 0x98]));
    let mut sensor = start(bring_up().into_iter().chain(results), &[("warm_up", "5s")]).unwrap();
    for _ in 0..4 {
        assert!(matches!(sensor.sample(), Err(DriverError::TooEarly("the CCS811 warms up"))));
    }
    sensor.sample().unwrap();
    assert_eq!(start(bring_up(), &[]).unwrap().warm_up, 20 * 60);
}

#[test]
fn every_setting_reaches_the_chip() {
    let mut steps = bring_up();
    steps[5] = Step::Write(vec![0x01, 0x30]);
    // The data sheet's example: 48.5 % and 23.5 °C.
    steps[6] = Step::Write(vec![0x05, 0x61, 0x00, 0x61, 0x00]);
    start(steps, &[("interval", "60s"), ("humidity", "48.5"), ("temperature", "23.5")]).unwrap();
    let mut steps = bring_up();
    steps[5] = Step::Write(vec![0x01, 0x20]);
    start(steps, &[("interval", "10s")]).unwrap();
}

#[test]
fn a_chip_that_measures_as_it_should_is_left_alone_and_another_mode_goes_by_a_reset() {
    let air = Step::Write(USUAL_AIR.to_vec());
    let running = |mode| [register(0x20, 0x81), register(0x00, 0x98), register(0x01, mode)];
    assert!(start(running(0x10).into_iter().chain([air]), &[]).is_ok());
    let reset = Step::Write(vec![0xFF, 0x11, 0xE5, 0x72, 0x8A]);
    let again = bring_up().into_iter().skip(2);
    assert!(start(running(0x30).into_iter().chain([reset]).chain(again), &[]).is_ok());
}

#[test]
fn what_the_chip_complains_of_is_reported_in_words() {
    let complaint = |id: u8| [register(0x00, 0x99), register(0xE0, id)];
    let said = |id: u8| started(complaint(id)).sample().unwrap_err();
    assert!(said(0x20).to_string().ends_with("it reports that its heater has no supply"));
    assert!(said(0x10).to_string().ends_with("it reports that its heater is out of range"));
    assert!(!said(0x10).is_transient());
    // 2 µA and 1.65 V.
    let raw = Step::WriteRead(vec![0x03], vec![0x0B, 0xFF]);
    let error = started(complaint(0x08).into_iter().chain([raw])).sample().unwrap_err().to_string();
    assert_eq!(error, "resistance of the gas sensor of 825000 is outside what the sensor can measure");
    assert!(matches!(said(0x02), DriverError::NotReady(_)));
    let with_the_result = result([0x01, 0xF4, 0x00, 0x0F, 0x99]).into_iter().chain([register(0xE0, 0x10)]);
    assert!(matches!(started(with_the_result).sample(), Err(DriverError::NoDevice { .. })));
}

#[test]
fn what_cannot_be_is_not_published() {
    for (answer, quantity) in [
        ([0x00, 0x00, 0x00, 0x00, 0x98], "eco2"),
        ([0xFD, 0xFD, 0x00, 0x0F, 0x98], "eco2"),
        ([0x01, 0xF4, 0xFD, 0xFD, 0x98], "tvoc"),
    ] {
        let refused = started(result(answer)).sample();
        assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: q, .. }) if q == quantity), "{refused:?}");
    }
    let stuck = [register(0x00, 0xFF), register(0xE0, 0xFF)];
    assert!(matches!(started(stuck).sample(), Err(DriverError::NoDevice { .. })));
    let held_low = started([register(0x00, 0x00)]).sample().unwrap_err().to_string();
    assert!(held_low.ends_with("its status is 0x00: it may have lost its supply"), "{held_low}");
}

#[test]
fn a_chip_that_measures_no_more_is_started_again_and_not_before() {
    let mut sensor = started((0..4).map(|_| register(0x00, 0x90)));
    for _ in 0..3 {
        assert!(matches!(sensor.sample(), Err(DriverError::TooEarly(_))));
    }
    let error = sensor.sample().unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("nothing for 4 s"), "{error}");
}

#[test]
fn a_missing_chip_another_chip_and_one_without_firmware_are_named() {
    let refusal = |steps: Vec<Step>| start(steps, &[]).err().unwrap().to_string();
    assert!(refusal(vec![Step::Nak]).starts_with("no CCS811 at address 0x5a: nobody answers"));
    assert_eq!(refusal(vec![register(0x20, 0x80)]), "no CCS811 at address 0x5a: the chip id is 0x80");
    let empty = vec![register(0x20, 0x81), register(0x00, 0x00), register(0x00, 0x00)];
    assert_eq!(refusal(empty), "no CCS811 at address 0x5a: it has no valid firmware");
    let mut lazy = bring_up();
    lazy.truncate(4);
    lazy.push(register(0x00, 0x10));
    assert_eq!(refusal(lazy), "no CCS811 at address 0x5a: its firmware does not start");
}

#[test]
fn the_simulated_chip_is_read_as_its_world_is() {
    let mut chip = ChipUnderTest::with("ccs811", 0x5A);
    for restart in 0..2 {
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        assert!(matches!(sensor.sample(), Err(DriverError::TooEarly(_))), "start {restart}");
        for (ppm, ppb) in [(400.0, 0.0), (1234.0, 567.0), (32_768.0, 32_768.0)] {
            chip.set("eco2", ppm);
            chip.set("tvoc", ppb);
            let measurements = transcript::patiently(sensor.as_mut()).unwrap();
            check(&measurements, "eco2", ppm, 0.0);
            check(&measurements, "tvoc", ppb, 0.0);
        }
        for fault in ["power-on", "not-ready", "stuck"] {
            chip.fault(Some(fault));
            let lost = transcript::patiently(sensor.as_mut());
            assert!(matches!(lost, Err(DriverError::NoDevice { .. })), "{fault}: {lost:?}");
            chip.fault(None);
            sensor = transcript::build(&SPEC, &mut chip).unwrap();
        }
    }
}
