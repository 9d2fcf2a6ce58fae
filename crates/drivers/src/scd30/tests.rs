use super::*;
use crate::transcript::{self, ChipUnderTest, CountedDelay, Script, Step, Transcript, check, settings};

fn question(command: [u8; 2], answer: &[u8]) -> [Step; 2] {
    [Step::Write(command.to_vec()), Step::Read(answer.to_vec())]
}

/// Firmware 3.66, an interval of 2 s.
fn bring_up() -> Vec<Step> {
    [question([0xD1, 0x00], &[0x03, 0x42, 0xF3]), question([0x46, 0x00], &[0x00, 0x02, 0xE3])].concat()
}

fn start(
    steps: impl IntoIterator<Item = Step>,
    given: &[(&str, &str)],
) -> Result<Scd30<Transcript, CountedDelay>, DriverError> {
    let bus = Transcript::new(0x61, steps);
    Scd30::start(bus, CountedDelay::default(), Box::new(Script), &settings(&SPEC, given))
}

fn started(steps: impl IntoIterator<Item = Step>) -> Scd30<Transcript, CountedDelay> {
    let begin = bring_up().into_iter().chain([Step::Write(vec![0x00, 0x10, 0x00, 0x00, 0x81])]);
    start(begin.chain(steps), &[]).unwrap()
}

/// 439.1 ppm, 27.2 °C, 48.8 %.
const EXAMPLE: [u8; 18] =
    [0x43, 0xDB, 0xCB, 0x8C, 0x2E, 0x8F, 0x41, 0xD9, 0x70, 0xE7, 0xFF, 0xF5, 0x42, 0x43, 0xBF, 0x3A, 0x1B, 0x74];

fn measurement(answer: &[u8; 18]) -> Vec<Step> {
    [question([0x02, 0x02], &[0x00, 0x01, 0xB0]), question([0x03, 0x00], answer)].concat()
}

#[test]
fn the_worked_example_of_the_interface_description_comes_out() {
    let mut sensor = started(measurement(&EXAMPLE));
    let before = sensor.delay.waited_us();
    let measurements = sensor.sample().unwrap();
    check(&measurements, "co2", 439.1, 0.05);
    check(&measurements, "temperature", 27.2, 0.05);
    check(&measurements, "humidity", 48.8, 0.05);
    assert!(sensor.delay.waited_us() - before >= 2 * 3000);
}

#[test]
fn only_what_differs_is_written_into_the_memory() {
    let steps = [
        &question([0xD1, 0x00], &[0x03, 0x42, 0xF3])[..],
        &question([0x46, 0x00], &[0x00, 0x02, 0xE3]),
        &[Step::Write(vec![0x46, 0x00, 0x00, 0x0A, 0x5A])],
        &question([0x54, 0x03], &[0x01, 0xF4, 0x33]),
        &question([0x51, 0x02], &[0x00, 0x00, 0x81]),
        &[Step::Write(vec![0x51, 0x02, 0x03, 0xE8, 0xD4])],
        &question([0x53, 0x06], &[0x00, 0x00, 0x81]),
        &[Step::Write(vec![0x53, 0x06, 0x00, 0x01, 0xB0])],
        &[Step::Write(vec![0x00, 0x10, 0x03, 0xDB, 0x42])],
    ]
    .concat();
    let given = [
        ("interval", "10"),
        ("temperature_offset", "5"),
        ("altitude", "1000"),
        ("self_calibration", "true"),
        ("pressure", "987"),
    ];
    start(steps, &given).unwrap();
}

#[test]
fn a_module_that_measures_no_more_is_started_again_and_not_before() {
    let mut sensor = started((0..7).flat_map(|_| question([0x02, 0x02], &[0x00, 0x00, 0x81])));
    for second in 1..=6 {
        let error = sensor.sample().unwrap_err();
        assert!(matches!(error, DriverError::TooEarly(_)), "{second}: {error}");
    }
    let error = sensor.sample().unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("nothing for 7 s"), "{error}");
}

#[test]
fn what_cannot_be_is_not_published() {
    let mut damaged = EXAMPLE;
    damaged[17] ^= 1;
    assert!(matches!(started(measurement(&damaged)).sample(), Err(DriverError::BadChecksum { received: 0x75, .. })));
    let zeros = [0, 0, 0x81].repeat(6).try_into().unwrap();
    assert!(matches!(started(measurement(&zeros)).sample(), Err(DriverError::OutOfRange { quantity: "co2", .. })));
    let ones = [0xFF, 0xFF, 0xAC].repeat(6).try_into().unwrap();
    assert!(matches!(started(measurement(&ones)).sample(), Err(DriverError::OutOfRange { quantity: "co2", .. })));
    let stuck = question([0x02, 0x02], &[0xFF; 3]);
    assert!(matches!(started(stuck).sample(), Err(DriverError::BadChecksum { .. })));
}

#[test]
fn a_missing_chip_and_another_chip_are_named() {
    let error = start([Step::Nak], &[]).err().unwrap().to_string();
    assert!(error.starts_with("no SCD30 at address 0x61: nobody answers"), "{error}");
    for answer in [[0x00, 0x00, 0x81], [0xFF, 0xFF, 0xAC]] {
        let error = start(question([0xD1, 0x00], &answer), &[]).err().unwrap().to_string();
        assert_eq!(error, "no SCD30 at address 0x61: it has no firmware's version");
    }
    let no_checksum = start(question([0xD1, 0x00], &[0; 3]), &[]);
    assert!(matches!(no_checksum, Err(DriverError::BadChecksum { .. })));
}

#[test]
fn the_simulated_chip_is_read_as_its_world_is() {
    let mut chip = ChipUnderTest::with("scd30", 0x61);
    for restart in 0..2 {
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        assert!(matches!(sensor.sample(), Err(DriverError::TooEarly(_))), "start {restart}");
        for (ppm, celsius, percent) in [(415.0, 21.5, 45.0), (9990.5, -39.0, 2.0), (1800.0, 69.0, 99.0)] {
            chip.set("co2", ppm);
            chip.set("temperature", celsius);
            chip.set("humidity", percent);
            let measurements = transcript::patiently(sensor.as_mut()).unwrap();
            check(&measurements, "co2", ppm, 0.001);
            check(&measurements, "temperature", celsius, 0.001);
            check(&measurements, "humidity", percent, 0.001);
        }
        chip.fault(Some("checksum"));
        assert!(matches!(sensor.sample(), Err(DriverError::BadChecksum { .. })));
        chip.fault(Some("power-on"));
        let refused = transcript::patiently(sensor.as_mut());
        assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "co2", .. })));
        chip.fault(Some("not-ready"));
        assert!(matches!(transcript::patiently(sensor.as_mut()), Err(DriverError::NoDevice { .. })));
        chip.fault(None);
    }
}
