//! Time of day.

use std::time::SystemTime;

use fieldgate_clock::Zone;
use fieldgate_formula::TimeOfDay;

use super::*;

impl EngineRig {
    /// The board's clock shows this from now on.
    fn shows(&mut self, hour: u8, minute: u8, weekday: u8) {
        let time = TimeOfDay::new(hour, minute).unwrap();
        self.wall = Some(Wall { time, weekday, shown_for: s(60) });
        self.event(Event::Time);
    }
}

#[test]
fn a_night_goes_through_midnight() {
    let mut rig = EngineRig::new(vec![rule("night", "time >= \"22:00\" or time < \"06:00\"", &["lamp"])]);
    rig.shows(21, 59, 0);
    rig.check(&[]);
    rig.shows(22, 0, 0);
    rig.shows(0, 0, 1);
    rig.shows(5, 59, 1);
    rig.check(&["night: lamp on"]);
    rig.shows(6, 0, 1);
    rig.check(&["night: lamp safe"]);
}

#[test]
fn the_engine_asks_to_be_woken_when_the_minute_ends() {
    let mut rig = EngineRig::new(vec![rule("noon", "time == \"12:00\" and weekday != \"sun\"", &["bell"])]);
    rig.at = s(1000);
    rig.shows(12, 0, 6);
    assert_eq!(rig.engine.wake_at(), Some(s(1060)));
    rig.check(&[]);
    rig.shows(12, 0, 0);
    rig.check(&["noon: bell on"]);
}

#[test]
fn a_clock_that_nobody_knows_begins_nothing_and_a_jump_counts_at_once() {
    let mut rig = EngineRig::new(vec![rule("day", "time < \"12:00\"", &["o"])]);
    rig.event(Event::Time);
    rig.check_state("day", State::Inactive, "something that it names is not known");
    rig.shows(0, 0, 3);
    rig.check(&["day: o on"]);
    rig.shows(15, 30, 6);
    rig.check(&["day: o safe"]);
}

/// The minutes after 1970 at which `time >= "02:30"` begins and ends within 24 hours of a clock in Berlin.
fn changes_on(midnight: u64) -> Vec<(u64, &'static str)> {
    let zone = Zone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let mut rig = EngineRig::new(vec![rule("r", "time >= \"02:30\"", &["o"])]);
    let mut changes = Vec::new();
    for minute in 0..24 * 60 {
        rig.at = s(minute * 60);
        let local = zone.local(SystemTime::UNIX_EPOCH + s(midnight + minute * 60));
        rig.shows(local.hour, local.minute, local.weekday);
        for order in std::mem::take(&mut rig.log) {
            changes.push((minute, if order == "r: o on" { "on" } else { "safe" }));
        }
    }
    changes
}

#[test]
fn on_the_day_without_half_past_two_it_begins_at_three() {
    // 2026-03-28T23:00Z is midnight there; 02:00 is 03:00, two hours after it.
    assert_eq!(changes_on(1_774_738_800), [(120, "on"), (23 * 60, "safe")]);
}

#[test]
fn on_the_day_with_two_half_past_twos_it_begins_at_both() {
    // 2026-10-24T22:00Z is midnight there; 03:00 is 02:00 again, three hours after it.
    assert_eq!(changes_on(1_792_879_200), [(150, "on"), (180, "safe"), (210, "on")]);
}
