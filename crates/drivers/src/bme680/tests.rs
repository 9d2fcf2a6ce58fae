use super::*;
use crate::bme680::compensation::example::{HIGH, LAST, LOW};
use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

fn bring_up(variant: u8) -> Vec<Step> {
    vec![
        Step::WriteRead(vec![0xD0], vec![0x61]),
        Step::WriteRead(vec![0xF0], vec![variant]),
        Step::Write(vec![0xE0, 0xB6]),
        Step::WriteRead(vec![0x8A], LOW.to_vec()),
        Step::WriteRead(vec![0xE1], HIGH.to_vec()),
        Step::WriteRead(vec![0x00], LAST.to_vec()),
    ]
}

fn start(
    variant: Variant,
    steps: impl IntoIterator<Item = Step>,
    given: &[(&str, &str)],
) -> Result<Bosch<Transcript, CountedDelay>, DriverError> {
    Bosch::start(variant, Transcript::new(0x76, steps), CountedDelay::default(), &settings(&BME680, given))
}

/// 482062, 307582, 25537, and a gas sensor with the converter in its middle, in range 4.
const FIELD: [u8; 17] = [0x80, 0, 0x4B, 0x17, 0xE0, 0x75, 0xB0, 0xE0, 0x63, 0xC1, 0, 0, 0, 0x80, 0x34, 0x80, 0x34];

fn control(pairs: &[[u8; 2]]) -> Vec<Step> {
    pairs.iter().map(|pair| Step::Write(pair.to_vec())).collect()
}

/// Oversampling 2, no filter, 320 °C in air of 25 °C for 150 ms, then the measurement.
fn sampling(run_gas: u8, field: [u8; 17]) -> Vec<Step> {
    let pairs = [[0x72, 0x02], [0x75, 0x00], [0x5A, 111], [0x64, 0x65], [0x70, 0x00], [0x71, run_gas], [0x74, 0x49]];
    let polls = [[0x60; 17], field].map(|field| Step::WriteRead(vec![0x1D], field.to_vec()));
    control(&pairs).into_iter().chain(polls).collect()
}

fn sample(field: [u8; 17]) -> Result<Vec<Measurement>, DriverError> {
    start(Variant::Low, bring_up(0).into_iter().chain(sampling(0x10, field)), &[]).unwrap().sample()
}

#[test]
fn a_good_transcript_gives_four_measurements() {
    let steps = bring_up(0).into_iter().chain(sampling(0x10, FIELD));
    let mut sensor = start(Variant::Low, steps, &[]).unwrap();
    let measurements = sensor.sample().unwrap();
    check(&measurements, "temperature", 21.295_9, 0.000_1);
    check(&measurements, "humidity", 59.47, 0.1);
    check(&measurements, "pressure", 949.9, 0.1);
    check(&measurements, "gas_resistance", 500_000.0 / 1.001, 0.1);
    assert!(sensor.delay.waited_us() >= 10_000 + 17_000 + 150_000, "{}", sensor.delay.waited_us());
    assert!((sensor.ambient - 21.3).abs() < 0.1, "the heater gets the temperature of the air");
}

#[test]
fn the_newer_sensor_has_its_own_bit_place_and_formula() {
    let steps = bring_up(1).into_iter().chain(sampling(0x20, FIELD));
    let measurements = start(Variant::High, steps, &[]).unwrap().sample().unwrap();
    check(&measurements, "gas_resistance", 1e6 * 16_384.0 / 4096.0, 0.1);
}

#[test]
fn every_setting_reaches_the_chip() {
    let pairs = [[0x72, 0x05], [0x75, 0x0C], [0x5A, 81], [0x64, 0x9F], [0x70, 0x00], [0x71, 0x10], [0x74, 0xB5]];
    let steps = bring_up(0).into_iter().chain(control(&pairs)).chain([Step::Nak]);
    let given = [("oversampling", "16"), ("filter", "7"), ("heater_temperature", "200"), ("heater_duration", "500ms")];
    let mut sensor = start(Variant::Low, steps, &given).unwrap();
    assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::NoAcknowledge { address: 0x76 }))));
}

#[test]
fn without_gas_nothing_is_heated_and_nothing_reported() {
    let pairs = [[0x72, 0x02], [0x75, 0x00], [0x70, 0x08], [0x71, 0x00], [0x74, 0x49]];
    let field = Step::WriteRead(vec![0x1D], FIELD.to_vec());
    let steps = bring_up(0).into_iter().chain(control(&pairs)).chain([field]);
    let measurements = start(Variant::Low, steps, &[("gas", "false")]).unwrap().sample().unwrap();
    assert_eq!(measurements.len(), 3);
    assert_eq!(quantities(&settings(&BME680, &[("gas", "false")])).len(), 3);
}

#[test]
fn a_gas_sensor_that_was_not_measured_or_not_warm_is_not_believed() {
    let with = |low: u8| FIELD.map(|byte| if byte == 0x34 { low } else { byte });
    let refused = sample(with(0x14));
    assert!(matches!(refused, Err(DriverError::NotReady("the gas measurement"))), "{refused:?}");
    let refused = sample(with(0x24));
    assert!(matches!(refused, Err(DriverError::NotReady("the heater of the gas sensor"))), "{refused:?}");
}

#[test]
fn what_cannot_be_is_not_published() {
    let mut unmeasured = [0; 17];
    (unmeasured[0], unmeasured[2], unmeasured[5]) = (0x80, 0x80, 0x80);
    assert!(matches!(sample(unmeasured), Err(DriverError::OutOfRange { quantity: "raw temperature", .. })));
    for stuck in [[0xFF; 17], {
        let mut zeros = [0; 17];
        zeros[0] = 0x80;
        zeros
    }] {
        assert!(matches!(sample(stuck), Err(DriverError::OutOfRange { quantity: "temperature", .. })));
    }
}

#[test]
fn a_missing_chip_and_another_chip_are_named() {
    let refusal = |steps: Vec<Step>| start(Variant::Low, steps, &[]).err().unwrap().to_string();
    assert!(refusal(vec![Step::Nak]).starts_with("no BME680 at address 0x76: nobody answers"));
    let ids = |id: u8, variant: u8| {
        refusal(vec![Step::WriteRead(vec![0xD0], vec![id]), Step::WriteRead(vec![0xF0], vec![variant])])
    };
    assert_eq!(ids(0x61, 1), "no BME680 at address 0x76: this is a BME688; write driver: bme688");
    assert_eq!(ids(0x60, 0), "no BME680 at address 0x76: this is a BME280; write driver: bme280");
    assert_eq!(ids(0x61, 7), "no BME680 at address 0x76: its variant is 0x07");
    assert_eq!(ids(0xFF, 0xFF), "no BME680 at address 0x76: the chip id is 0xff");
    let error = check_id(Variant::High, 0x77, 0x61, 0).unwrap_err().to_string();
    assert_eq!(error, "no BME688 at address 0x77: this is a BME680; write driver: bme680");
}

#[test]
fn a_blank_calibration_is_refused() {
    let mut steps = bring_up(0);
    for (step, length) in steps[3..].iter_mut().zip([23, 14, 5]) {
        if let Step::WriteRead(_, answer) = step {
            *answer = vec![0xFF; length];
        }
    }
    let error = start(Variant::Low, steps, &[]).err().unwrap().to_string();
    assert!(error.starts_with("no BME680 at address 0x76: its calibration is blank"), "{error}");
}

#[test]
fn the_identity_distinguishes_the_two_and_a_bme280() {
    let mut answer = vec![0; ID_TO_VARIANT];
    answer[0] = 0x61;
    let known = |spec: &DriverSpec, answer: &[u8]| (spec.identity.unwrap().is)(answer);
    assert!(known(&BME680, &answer) && !known(&BME688, &answer));
    *answer.last_mut().unwrap() = 1;
    assert!(known(&BME688, &answer) && !known(&BME680, &answer));
    answer[0] = 0x60;
    assert!(!known(&BME688, &answer) && !known(&BME680, &answer));
}

#[test]
fn the_simulated_chips_are_read_as_their_world_is() {
    for (spec, driver) in [(&BME680, "bme680"), (&BME688, "bme688")] {
        let mut chip = ChipUnderTest::with(driver, 0x76);
        let mut sensor = transcript::build(spec, &mut chip).unwrap();
        for (celsius, percent, hectopascal, ohm) in
            [(21.5, 45.0, 1013.2, 80_000.0), (-12.25, 93.0, 655.0, 2_000.0), (60.0, 5.0, 1090.0, 4_500_000.0)]
        {
            chip.set("temperature", celsius);
            chip.set("humidity", percent);
            chip.set("pressure", hectopascal);
            chip.set("gas_resistance", ohm);
            let measurements = sensor.sample().unwrap();
            check(&measurements, "temperature", celsius, 0.005);
            check(&measurements, "humidity", percent, 0.05);
            // The integer formula of the data sheet, by which the chip is simulated, is off by some Pa.
            check(&measurements, "pressure", hectopascal, 0.1);
            check(&measurements, "gas_resistance", ohm, ohm * 0.001);
        }
        chip.fault(Some("power-on"));
        assert!(matches!(sensor.sample(), Err(DriverError::OutOfRange { .. }) | Ok(_)));
        let mut fresh = transcript::build(spec, &mut chip).unwrap();
        assert!(matches!(fresh.sample(), Err(DriverError::OutOfRange { quantity: "raw temperature", .. })));
        chip.fault(Some("not-ready"));
        assert!(matches!(fresh.sample(), Err(DriverError::NotReady("the measurement"))));
        chip.fault(Some("wrong-id"));
        assert!(matches!(transcript::build(spec, &mut chip), Err(DriverError::NoDevice { .. })));
    }
}
