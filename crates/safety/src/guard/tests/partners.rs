//! A guard beside an output that excludes its own.

use super::*;

/// Two that exclude each other, with a rest of 5 s, both seen to be off at 0 s.
fn pump_and_valve(limits: Limits) -> (Guard, Guard) {
    let (all, name) = (SharedInterlocks::default(), |text: &str| Name::new(text).unwrap());
    let pair = Pair { one: name("pump"), other: name("valve"), dead_time: s(5) };
    all.arrange(vec![pair], ["pump", "valve"].map(name));
    (guard_in(&all, "pump", limits), guard_in(&all, "valve", base()))
}

#[test]
fn an_off_that_waited_is_carried_out_whatever_its_partner_does() {
    let (mut pump, mut valve) = pump_and_valve(Limits { min_on: s(60), safe_after: None, ..base() });
    now(&mut pump, 100, ON, None);
    assert!(matches!(pump.command(s(110), OFF, None), Ok(Grant::At(..))));
    valve.mark_unknown(s(120));
    assert_eq!(pump.due(s(160), None, false), verdict(OFF, StateCause::Limit));
}

/// The valve is on for a while and seen off at `at`.
fn open_and_close(valve: &mut Guard, at: u64) {
    now(valve, at - 5, ON, None);
    now(valve, at, OFF, None);
    valve.read_back(s(at), READ_OFF);
}

#[test]
fn an_on_that_waits_rests_after_its_partner_and_is_dropped_while_that_is_not_known_to_be_off() {
    let (mut pump, mut valve) = pump_and_valve(Limits { safe_after: None, ..base() });
    open_and_close(&mut valve, 100);
    assert!(matches!(pump.command(s(102), ON, None), Ok(Grant::At(..))));
    valve.mark_unknown(s(103));
    valve.read_back(s(104), READ_OFF);
    assert_eq!(pump.due(s(105), None, false), None);
    assert_eq!(pump.deadline(None, false), Some(s(109)));
    valve.mark_unknown(s(107));
    assert_eq!(pump.due(s(109), None, false), None);
    assert_eq!((pump.deadline(None, false), pump.has_waiting_command()), (None, false));
    valve.read_back(s(110), READ_OFF);
    now(&mut valve, 120, ON, None);
}

#[test]
fn an_on_that_is_dropped_gives_its_lock_back_if_it_was_seen_off() {
    let often = |times: u32| Limits { switches_per_hour: Some(times), safe_after: None, ..base() };
    for is_doubted in [false, true] {
        let (mut pump, mut valve) = pump_and_valve(often(2));
        open_and_close(&mut pump, 20);
        open_and_close(&mut valve, 40);
        assert!(matches!(pump.command(s(42), ON, None), Ok(Grant::At(..))));
        pump.relimit(often(1));
        if is_doubted {
            pump.mark_unknown(s(43));
        }
        assert_eq!(pump.due(s(45), None, false), None);
        assert!(!pump.has_waiting_command());
        let granted = valve.command(s(300), ON, None);
        assert_eq!(granted.is_ok(), !is_doubted, "{granted:?}");
    }
}

#[test]
fn an_output_is_off_for_its_partner_only_when_it_was_seen_off_and_nothing_moves() {
    let (mut pump, mut valve) = pump_and_valve(base());
    now(&mut pump, 100, ON, None);
    now(&mut pump, 110, OFF, None);
    for (is_on, is_ramping) in [(true, true), (false, true), (true, false)] {
        pump.read_back(s(111), Readback { is_on, is_ramping });
        assert_eq!(refused(&mut valve, 111, ON, None), "interlock: pump is on");
    }
    pump.read_back(s(112), READ_OFF);
    assert!(matches!(valve.command(s(112), ON, None), Ok(Grant::At(at, _)) if at == s(117)));
}
