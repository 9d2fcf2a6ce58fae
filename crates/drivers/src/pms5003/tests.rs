//! The sensor on a scripted line and on a simulated one.

use super::*;
use crate::transcript::{self, ChipUnderTest, Ticks, check, settings};

/// Frames as appendix I lays them out: masses 1, 2, 3 for CF=1, then those given, then counts, version and the sum.
fn frame(masses: [u16; 3], counts: [u16; 6]) -> Vec<u8> {
    let words = [1, 2, 3].into_iter().chain(masses).chain(counts).chain([0x9700]);
    let mut bytes = vec![0x42, 0x4D, 0x00, 0x1C];
    bytes.extend(words.flat_map(u16::to_be_bytes));
    let sum: u16 = bytes.iter().map(|byte| u16::from(*byte)).sum();
    bytes.extend(sum.to_be_bytes());
    bytes
}

/// A line on which each entry comes between two reads that find nothing.
#[derive(Default)]
struct Line {
    pieces: std::collections::VecDeque<Vec<u8>>,
}

impl SerialPort for Line {
    fn write(&mut self, _bytes: &[u8]) -> Result<(), BusError> {
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], _within: Duration) -> Result<usize, BusError> {
        let Some(piece) = self.pieces.front_mut() else { return Ok(0) };
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        piece.drain(..length);
        if length < buffer.len() {
            self.pieces.pop_front();
        }
        Ok(length)
    }

    fn discard(&mut self) -> Result<(), BusError> {
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

fn on(pieces: &[&[u8]], given: &[(&str, &str)]) -> (Pms5003, Ticks) {
    let ticks = Ticks::default();
    let line = Line { pieces: pieces.iter().map(|piece| piece.to_vec()).collect() };
    (Pms5003::start(Box::new(line), Box::new(ticks.clone()), &settings(&SPEC, given)).unwrap(), ticks)
}

fn simulated(given: &[(&str, &str)]) -> (Pms5003, Ticks, ChipUnderTest) {
    let (chip, ticks) = (ChipUnderTest::with("pms5003", 0), Ticks::default());
    let sensor = Pms5003::start(Box::new(chip.clone()), Box::new(ticks.clone()), &settings(&SPEC, given)).unwrap();
    (sensor, ticks, chip)
}

/// Lets the fan run long enough, in steps in which a frame comes.
fn warm(sensor: &mut Pms5003, ticks: &Ticks) {
    for _ in 0..15 {
        ticks.pass(2);
        sensor.take_events().unwrap();
    }
}

#[test]
fn a_good_frame_gives_masses_and_if_wanted_counts() {
    let good = frame([5, 9, 11], [900, 300, 60, 7, 2, 1]);
    let (mut sensor, _) = on(&[&good], &[("counts", "true")]);
    sensor.running = WARM_UP_S;
    let sampled = sensor.sample().unwrap();
    for (name, value) in
        [("pm1_0", 5.0), ("pm2_5", 9.0), ("pm10", 11.0), ("particles_0_3", 900.0), ("particles_10", 1.0)]
    {
        check(&sampled, name, value, 0.0);
    }
    let (mut sensor, _) = on(&[&good], &[("concentration", "standard")]);
    sensor.running = WARM_UP_S;
    let sampled = sensor.sample().unwrap();
    check(&sampled, "pm2_5", 2.0, 0.0);
    assert_eq!(sampled.len(), 3);
}

#[test]
fn of_several_frames_the_newest_is_taken_and_only_once() {
    let (old, new) = (frame([1, 2, 3], [9; 6]), frame([4, 5, 6], [9; 6]));
    let (mut sensor, _) = on(&[&old, &new[..10], &new[10..]], &[]);
    sensor.running = WARM_UP_S;
    sensor.take_events().unwrap();
    sensor.take_events().unwrap();
    check(&sensor.sample().unwrap(), "pm1_0", 4.0, 0.0);
    assert!(matches!(sensor.sample(), Err(DriverError::TooEarly(_))));
}

#[test]
fn a_damaged_frame_a_foreign_one_and_impossible_masses_are_refused() {
    let mut damaged = frame([5, 9, 11], [9; 6]);
    damaged[13] ^= 0x04;
    let refused = on(&[&damaged], &[]).0.sample();
    assert!(matches!(refused, Err(DriverError::BadChecksum { .. })), "{refused:?}");
    let echo: &[u8] = &[0x42, 0x4D, 0x00, 0x06, 0, 1, 0, 2, 0x00, 0x98];
    let refused = on(&[echo], &[]).0.sample();
    assert!(matches!(refused, Err(DriverError::NoDevice { .. })), "{refused:?}");
    let (mut sensor, _) = on(&[&frame([9, 5, 11], [9; 6])], &[]);
    sensor.running = WARM_UP_S;
    assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::Format { .. }))));
}

#[test]
fn a_silent_line_is_too_early_first_and_then_an_error_with_the_remedy() {
    let (mut sensor, ticks) = on(&[], &[]);
    assert!(matches!(sensor.sample(), Err(DriverError::TooEarly(_))));
    ticks.pass(6);
    let error = sensor.sample().unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("wiring of its TX"), "{error}");
    let error = on(&[], &[("mode", "passive")]).0.sample().unwrap_err().to_string();
    assert!(error.contains("RX and TX"), "{error}");
}

#[test]
fn nothing_is_reported_until_the_fan_has_run_and_again_after_it_stood() {
    for mode in ["active", "passive"] {
        let (mut sensor, ticks, chip) = simulated(&[("mode", mode)]);
        for _ in 0..14 {
            ticks.pass(2);
            assert!(matches!(sensor.sample(), Err(DriverError::TooEarly(_))), "{mode}");
        }
        ticks.pass(2);
        assert_eq!(sensor.sample().unwrap().len(), 3, "{mode}");
        chip.fault(Some("not-ready"));
        ticks.pass(8);
        assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::Io { .. }))), "{mode}");
        chip.fault(Some("power-on"));
        chip.fault(None);
        // In passive mode the first answer may be a late one; the sensor goes on by itself, and that shows it.
        for _ in 0..10 {
            ticks.pass(2);
            if !matches!(sensor.sample(), Err(DriverError::TooEarly(_))) {
                assert_eq!(mode, "passive");
            }
        }
        assert!(sensor.running < WARM_UP_S, "{mode}: {}", sensor.running);
        warm(&mut sensor, &ticks);
        assert!(sensor.sample().is_ok(), "{mode}");
    }
}

#[test]
fn a_frame_from_before_the_silence_is_not_what_the_air_is_like_now() {
    let (mut sensor, ticks, chip) = simulated(&[]);
    warm(&mut sensor, &ticks);
    chip.fault(Some("not-ready"));
    ticks.pass(50);
    assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::Io { .. }))));
}

#[test]
fn the_simulated_device_is_read_as_its_world_is() {
    let mut chip = ChipUnderTest::with("pms5003", 0);
    let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
    for (fine, coarse) in [(8.0, 14.0), (0.0, 0.0), (400.0, 65_000.0)] {
        chip.set("pm1_0", fine);
        chip.set("pm2_5", fine);
        chip.set("pm10", coarse);
        let sampled = transcript::patiently(sensor.as_mut()).unwrap();
        check(&sampled, "pm2_5", fine, 0.0);
        check(&sampled, "pm10", coarse, 0.0);
    }
    chip.fault(Some("checksum"));
    assert!(matches!(sensor.sample(), Err(DriverError::BadChecksum { .. })));
    chip.fault(Some("wrong-id"));
    assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })));
}
