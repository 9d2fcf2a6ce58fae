//! Which commands are fresh, and which toggle.

use std::time::{Duration, SystemTime};

use crate::common::SOON;
use crate::common::bench::{Bench, USUAL};
use crate::common::mosquitto::Mosquitto;
use crate::common::wall_clock::WallClock;
use crate::{reason, switch};

/// RFC 3339, so many seconds beside now.
fn issued(seconds: i64) -> String {
    let beside = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { SystemTime::now() - beside } else { SystemTime::now() + beside };
    format!(r#"{{"value":"on","issued_at":"{}"}}"#, humantime::format_rfc3339_seconds(at))
}

#[test]
fn a_command_that_was_issued_too_long_ago_or_too_far_ahead_moves_nothing() {
    let bench =
        Bench::beside(&USUAL, &[switch("gate", "GPIO5", "max_age: 10s"), switch("door", "GPIO6", "max_age: never")]);
    let old = bench.refused("pump", issued(-70).as_bytes(), "expired: it was issued 7");
    assert!(reason(&old).ends_with(" s ago, and max_age is 1m"), "the usual age: {old}");
    bench.refused("pump", issued(90).as_bytes(), " s ahead of this gateway's clock");
    bench.refused("gate", issued(-20).as_bytes(), "and max_age is 10s");
    for (output, payload) in
        [("pump", issued(-30)), ("gate", issued(0)), ("gate", issued(5)), ("door", issued(-86_400))]
    {
        assert_eq!(bench.ask(output, &payload)["outcome"], "done", "{output}: {payload}");
    }
    bench.refused("pump", br#"{"value":"off","issued_at":"yesterday"}"#, "unreadable: ");
}

#[test]
fn the_time_of_issue_means_nothing_while_our_own_clock_is_not_set() {
    let in_1970 =
        3600 - i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let Some(clock) = WallClock::beside(in_1970) else {
        eprintln!("LEFT OUT: a clock that is not set: libfaketime is not installed");
        assert!(std::env::var_os("CI").is_none());
        return;
    };
    let broker = Mosquitto::start();
    let config = USUAL.config(&broker.url());
    let bench = Bench::with(broker, config, &clock.environment());
    assert_eq!(bench.health()["clock"], "unsynchronised");
    assert_eq!(bench.ask("pump", &issued(-86_400))["outcome"], "done");
    clock.set(0);
    bench.refused("pump", issued(-86_400).as_bytes(), "expired: ");
}

#[test]
fn toggle_needs_an_id_and_acts_once_for_each() {
    let bench = Bench::start(&USUAL);
    bench.refused("pump", b"toggle", "unreadable: toggle needs an id");
    bench.refused("pump", br#"{"value":"toggle"}"#, "unreadable: toggle needs an id");
    let toggle = |id: &str| bench.ask("pump", &format!(r#"{{"value":"toggle","id":"{id}"}}"#));
    assert_eq!(toggle("t1")["value"], "on");
    let before = bench.sim.version();
    assert_eq!(toggle("t1")["value"], "on", "the first reply again");
    assert_eq!(bench.sim.version(), before);
    assert_eq!(toggle("t2")["value"], "off");
    bench.sim.wait_line("GPIO27", 0, SOON);
    bench.refused("fan", br#"{"value":"toggle","id":"t3"}"#, "unreadable: this output takes 0 to 100, off");
}
