//! Ways, with the time as an argument.

use super::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Opens in 10 s, closes in 8 s, runs 1 s longer at the ends, rests for 0.5 s.
fn blind() -> Motion {
    let pace = Pace::Travel { opening: ms(10_000), closing: ms(8_000), overrun: ms(1_000), pause: ms(500) };
    Motion::new(pace, OutputValue::Cover { travel: Travel::Stopped, position: None }, ms(0))
}

/// From 0 to 100 in a second, seen at 0.
fn lamp() -> Motion {
    let mut lamp = Motion::new(Pace::Ramp(ms(1000)), OutputValue::Percent(0.0), ms(0));
    lamp.read_back(ms(0), OutputValue::Percent(0.0));
    lamp
}

fn set(percent: f64) -> Action {
    Action::Set(OutputValue::Percent(percent))
}

fn cover(travel: Travel, position: Option<f64>) -> OutputValue {
    OutputValue::Cover { travel, position }
}

fn go(motion: &mut Motion, at: u64, order: Move) -> OutputValue {
    motion.begin(ms(at), Action::Move(order), false);
    motion.value(ms(at))
}

/// What it does from each moment at which that changes, until it rests.
fn run(motion: &mut Motion) -> Vec<(u64, Travel)> {
    let mut all = Vec::new();
    while let Some(at) = motion.deadline() {
        let OutputValue::Cover { travel, .. } = motion.value(at) else { panic!("a cover") };
        all.push((u64::try_from(at.as_millis()).unwrap(), travel));
    }
    all
}

#[test]
fn what_has_no_pace_is_there_at_once() {
    let mut relay = Motion::new(Pace::AtOnce, OutputValue::Switch(false), ms(0));
    relay.begin(ms(1), Action::Set(OutputValue::Switch(true)), false);
    assert_eq!((relay.value(ms(1)), relay.deadline()), (OutputValue::Switch(true), None));
}

#[test]
fn a_ramp_that_takes_no_time_is_none() {
    let mut lamp = Motion::new(Pace::Ramp(ms(0)), OutputValue::Percent(0.0), ms(0));
    lamp.read_back(ms(0), OutputValue::Percent(0.0));
    lamp.begin(ms(100), set(80.0), false);
    assert_eq!((lamp.value(ms(100)), lamp.deadline(), lamp.target()), (OutputValue::Percent(80.0), None, None));
}

#[test]
fn a_ramp_moves_in_steps_and_a_trip_does_not_wait_for_it() {
    let mut lamp = lamp();
    lamp.begin(ms(100), set(50.0), false);
    assert_eq!((lamp.value(ms(100)), lamp.target()), (OutputValue::Percent(0.0), Some(50.0)));
    assert_eq!(lamp.deadline(), Some(ms(120)));
    assert_eq!(lamp.value(ms(350)), OutputValue::Percent(25.0));
    lamp.read_back(ms(350), OutputValue::Percent(25.0));
    lamp.begin(ms(350), set(5.0), false);
    assert_eq!(lamp.value(ms(450)), OutputValue::Percent(15.0), "back from where it was");
    assert_eq!((lamp.value(ms(5000)), lamp.deadline()), (OutputValue::Percent(5.0), None));
    lamp.begin(ms(6000), set(0.0), true);
    assert_eq!((lamp.value(ms(6000)), lamp.deadline(), lamp.target()), (OutputValue::Percent(0.0), None, None));
}

#[test]
fn what_has_failed_is_driven_to_its_value_at_once_for_nobody_knows_where_a_ramp_would_begin() {
    let mut lamp = lamp();
    lamp.begin(ms(100), set(50.0), true);
    lamp.value(ms(100));
    lamp.read_back(ms(100), OutputValue::Percent(50.0));
    lamp.forget_position();
    lamp.begin(ms(200), set(0.0), true);
    lamp.begin(ms(300), set(80.0), false);
    assert_eq!((lamp.value(ms(300)), lamp.target()), (OutputValue::Percent(80.0), None), "not by way of 0");
    lamp.read_back(ms(300), OutputValue::Percent(80.0));
    lamp.begin(ms(400), set(70.0), false);
    assert_eq!((lamp.value(ms(400)), lamp.target()), (OutputValue::Percent(80.0), Some(70.0)), "a ramp again");
}

#[test]
fn the_first_run_takes_the_whole_way_after_a_rest() {
    let mut blind = blind();
    assert_eq!(go(&mut blind, 100, Move::Open), cover(Travel::Stopped, None), "it may have run the other way");
    assert_eq!(run(&mut blind), [(500, Travel::Opening), (11_500, Travel::Stopped)]);
    assert_eq!(blind.value(ms(20_000)), cover(Travel::Stopped, Some(100.0)));
}

#[test]
fn a_position_is_computed_from_the_way() {
    let mut blind = blind();
    go(&mut blind, 1000, Move::Close);
    run(&mut blind);
    assert_eq!(go(&mut blind, 20_000, Move::To(40.0)), cover(Travel::Opening, Some(0.0)));
    assert_eq!((blind.value(ms(22_000)), blind.target()), (cover(Travel::Opening, Some(20.0)), Some(40.0)));
    assert_eq!(run(&mut blind), [(24_000, Travel::Stopped)]);
    assert_eq!(go(&mut blind, 30_000, Move::To(15.0)), cover(Travel::Closing, Some(40.0)));
    assert_eq!(run(&mut blind), [(32_000, Travel::Stopped)]);
    assert_eq!(blind.value(ms(40_000)), cover(Travel::Stopped, Some(15.0)));
    assert_eq!(go(&mut blind, 50_000, Move::To(15.0)), cover(Travel::Stopped, Some(15.0)), "it is there");
}

#[test]
fn a_stop_on_the_way_keeps_the_position_and_a_turn_has_its_rest() {
    let mut blind = blind();
    go(&mut blind, 1000, Move::Close);
    run(&mut blind);
    go(&mut blind, 20_000, Move::Open);
    assert_eq!(go(&mut blind, 23_000, Move::Stop), cover(Travel::Stopped, Some(30.0)));
    go(&mut blind, 30_000, Move::Open);
    assert_eq!(go(&mut blind, 31_000, Move::Close), cover(Travel::Stopped, Some(40.0)));
    assert_eq!(run(&mut blind), [(31_500, Travel::Closing), (35_700, Travel::Stopped)], "3.2 s and one more");
    assert_eq!(go(&mut blind, 40_000, Move::Close), cover(Travel::Closing, Some(0.0)), "it makes sure");
}

#[test]
fn a_position_that_is_asked_for_while_none_is_known_goes_by_way_of_the_nearer_end() {
    let mut blind = blind();
    go(&mut blind, 1000, Move::To(20.0));
    assert_eq!(blind.target(), Some(20.0));
    let expected = [(10_000, Travel::Stopped), (10_500, Travel::Opening), (12_500, Travel::Stopped)];
    assert_eq!(run(&mut blind), expected);
    assert_eq!(blind.value(ms(13_000)), cover(Travel::Stopped, Some(20.0)));
}

#[test]
fn calibration_takes_the_whole_way_whatever_was_believed() {
    let mut blind = blind();
    go(&mut blind, 1000, Move::Close);
    run(&mut blind);
    go(&mut blind, 20_000, Move::Calibrate);
    assert_eq!(run(&mut blind), [(29_000, Travel::Stopped)]);
    assert_eq!(blind.value(ms(30_000)), cover(Travel::Stopped, Some(0.0)));
}

#[test]
fn after_a_failure_the_position_is_not_known() {
    let mut blind = blind();
    go(&mut blind, 1000, Move::Close);
    run(&mut blind);
    go(&mut blind, 20_000, Move::To(50.0));
    blind.forget_position();
    assert_eq!(go(&mut blind, 21_000, Move::Stop), cover(Travel::Stopped, None));
    assert_eq!(blind.complete(cover(Travel::Stopped, None), ms(21_000)), cover(Travel::Stopped, None));
}

#[test]
fn after_a_failure_the_whole_way_is_begun_again_a_rest_after_it_was_seen_to_stand_still() {
    let mut blind = blind();
    go(&mut blind, 1000, Move::Open);
    run(&mut blind);
    go(&mut blind, 20_000, Move::Close);
    blind.forget_position();
    // As long as it does not follow nothing else is tried than to stop it, and time does not bring it anywhere.
    for at in [20_500, 60_000] {
        assert_eq!((blind.value(ms(at)), blind.deadline()), (cover(Travel::Stopped, None), None));
        assert_eq!(blind.target(), Some(0.0), "it is still to be closed");
    }
    blind.read_back(ms(60_001), cover(Travel::Stopped, None));
    assert_eq!(run(&mut blind), [(60_501, Travel::Closing), (69_501, Travel::Stopped)]);
    assert_eq!(blind.value(ms(70_000)), cover(Travel::Stopped, Some(0.0)));
}

#[test]
fn what_ended_before_a_failure_is_not_begun_again() {
    let mut blind = blind();
    go(&mut blind, 1000, Move::Open);
    run(&mut blind);
    blind.forget_position();
    blind.read_back(ms(30_000), cover(Travel::Stopped, None));
    assert_eq!((blind.value(ms(30_000)), blind.deadline()), (cover(Travel::Stopped, None), None));
}

#[test]
fn a_start_that_comes_late_makes_the_way_no_shorter() {
    let mut blind = blind();
    go(&mut blind, 1000, Move::Close);
    run(&mut blind);
    assert_eq!(go(&mut blind, 10_100, Move::To(50.0)), cover(Travel::Stopped, Some(0.0)), "it rests");
    assert_eq!(blind.value(ms(30_000)), cover(Travel::Opening, Some(0.0)), "a thread that was busy");
    assert_eq!(run(&mut blind), [(35_000, Travel::Stopped)]);
    go(&mut blind, 35_100, Move::Close);
    assert_eq!(go(&mut blind, 60_000, Move::Stop), cover(Travel::Stopped, Some(50.0)), "it never ran");
}

#[test]
fn the_rest_before_a_turn_counts_from_when_it_was_seen_to_stand_still() {
    let mut blind = blind();
    go(&mut blind, 1000, Move::Open);
    run(&mut blind);
    blind.read_back(ms(13_000), cover(Travel::Stopped, None));
    assert_eq!(go(&mut blind, 13_400, Move::Close), cover(Travel::Stopped, Some(100.0)), "0.4 s so far");
    // Seen once more, which makes the rest no longer.
    blind.read_back(ms(13_401), cover(Travel::Stopped, None));
    assert_eq!(blind.deadline(), Some(ms(13_500)));
    blind.value(ms(13_500));
    assert_eq!(go(&mut blind, 15_000, Move::Open), cover(Travel::Stopped, Some(81.25)));
    blind.read_back(ms(15_200), cover(Travel::Stopped, None));
    assert_eq!(run(&mut blind), [(15_700, Travel::Opening), (18_575, Travel::Stopped)]);
}

#[test]
fn a_stop_that_comes_late_is_taken_into_account() {
    let mut blind = blind();
    go(&mut blind, 1000, Move::Close);
    run(&mut blind);
    go(&mut blind, 20_000, Move::To(50.0));
    assert_eq!(blind.value(ms(26_000)), cover(Travel::Stopped, Some(60.0)), "a slow bus");
}

#[test]
fn what_is_read_back_of_a_cover_is_completed_by_where_time_has_brought_it() {
    let mut blind = blind();
    go(&mut blind, 0, Move::Close);
    run(&mut blind);
    go(&mut blind, 20_000, Move::Open);
    let read = blind.complete(cover(Travel::Opening, None), ms(22_500));
    assert_eq!(read, cover(Travel::Opening, Some(25.0)));
    let light = lamp().complete(OutputValue::Percent(40.0), ms(1));
    assert_eq!(light, OutputValue::Percent(40.0));
}

#[test]
fn a_cover_that_is_where_it_is_sent_has_no_target() {
    let pace = Pace::Travel { opening: ms(1000), closing: ms(1000), overrun: ms(0), pause: ms(0) };
    let mut blind = Motion::new(pace, cover(Travel::Stopped, None), ms(0));
    go(&mut blind, 0, Move::Open);
    run(&mut blind);
    let still = go(&mut blind, 5000, Move::Open);
    assert_eq!((still, blind.deadline(), blind.target()), (cover(Travel::Stopped, Some(100.0)), None, None));
}
