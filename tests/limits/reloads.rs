//! Limits that come and go with a reload while outputs are on.

use crate::common::SOON;
use crate::common::bench::{Bench, USUAL, state};
use crate::common::sim_file::SimFile;
use crate::common::watch::Watch;
use crate::{ms, on_bus, pass, reason, said, switch};

/// Two outputs on, without anything special; `left` last, so that the state file is as old as that.
fn two_on() -> Bench {
    let bench = Bench::beside(&USUAL, &[switch("left", "GPIO5", ""), switch("right", "GPIO6", "")]);
    for output in ["right", "left"] {
        assert_eq!(bench.ask(output, "on")["outcome"], "done");
    }
    bench
}

fn with(bench: &Bench, of: &str, limits: &str) -> String {
    let line = if of == "left" { "GPIO5" } else { "GPIO6" };
    bench.config.replace(&switch(of, line, ""), &switch(of, line, limits))
}

#[test]
fn a_limit_that_comes_and_goes_leaves_what_is_on_alone() {
    let mut bench = two_on();
    let (plain, before) = (bench.config.clone(), bench.sim.version());
    let watch = Watch::over(&[(&bench.sim, "GPIO5"), (&bench.sim, "GPIO6")]);
    for limits in ["max_on: 1h", "min_on: 5s, switches_per_hour: 1", "safe_after: never", "max_age: 1s, min_off: 10s"] {
        let config = with(&bench, "left", limits);
        bench.reload(config);
        bench.reload(plain.clone());
    }
    let seen = watch.end();
    assert!(seen.on(0).iter().chain(&seen.on(1)).all(|span| span.to.is_none()), "{seen:?}");
    assert_eq!(bench.sim.version(), before, "not even driven again");
    assert_eq!(bench.ask("left", "off")["value"], "off", "no limit is left");
}

#[test]
fn a_new_max_on_counts_from_when_the_output_went_on() {
    let mut bench = two_on();
    let watch = Watch::over(&[(&bench.sim, "GPIO5"), (&bench.sim, "GPIO6")]);
    let config = with(&bench, "left", "max_on: 3s");
    bench.reload(config);
    bench.sim.wait_line("GPIO5", 0, SOON);
    let seen = watch.end();
    crate::near("max_on", seen.on(0)[0], ms(3000));
    assert!(seen.on(1)[0].to.is_none());
    let reported = bench.client.wait_json(&state("left"), |state| state["cause"] == "max_on", SOON);
    assert_eq!(reported["value"], "off");
}

#[test]
fn of_two_that_a_reload_interlocks_one_gives_way_and_the_other_does_not_flicker() {
    let mut bench = two_on();
    let plain = bench.config.clone();
    let watch = Watch::over(&[(&bench.sim, "GPIO5"), (&bench.sim, "GPIO6")]);
    let config = with(&bench, "right", "interlock: left");
    bench.reload(config);
    bench.sim.wait_line("GPIO6", 0, SOON);
    let reported = bench.client.wait_json(&state("right"), |state| state["cause"] == "interlock", SOON);
    assert_eq!(reported["value"], "off");
    assert_eq!(reason(&bench.ask("right", "on")), "interlock: left is on");
    bench.reload(plain);
    assert_eq!(bench.ask("right", "on")["value"], "on", "the interlock is gone");
    pass(ms(300));
    let seen = watch.end();
    assert!(seen.on(0).len() == 1 && seen.on(0)[0].to.is_none(), "{seen:?}");
}

/// The mains, off by command and safe when on, leave; their name goes to another device that excludes the pump, which is on. The old
/// device goes to its safe state by its own interlocks, of which there are none, and the pump stays as it is.
fn a_name_goes_to_another_device(bus: &str) {
    let mains = |line: &str, rest: &str| on_bus("bench", "mains", line, rest);
    let (old, new) = (mains("GPIO5", "safe_state: \"on\""), mains("GPIO13", "safe_state: \"off\", interlock: feeder"));
    let feeder = on_bus(bus, "feeder", "GPIO6", "safe_state: \"off\"");
    let mut bench = Bench::beside(&USUAL, &[old.clone(), feeder]);
    let side = SimFile::new(bench.folder.path().join(format!("{bus}.json")));
    assert_eq!(bench.ask("mains", "off")["value"], "off");
    assert_eq!(bench.ask("feeder", "on")["value"], "on");
    let watch = Watch::over(&[(&bench.sim, "GPIO5"), (&side, "GPIO6")]);
    let config = bench.config.replace(&old, &new);
    bench.reload(config);
    bench.sim.wait_line("GPIO5", 1, SOON);
    assert_eq!(reason(&bench.ask("mains", "on")), "interlock: feeder is on");
    assert_eq!(bench.ask("feeder", "off")["value"], "off");
    assert_eq!(bench.ask("mains", "on")["value"], "on");
    let seen = watch.end();
    assert!(seen.on(0).len() == 1 && seen.on(1).len() == 1, "{seen:?}");
    assert_eq!(said(&bench, "could not be made safe at the end"), Vec::<String>::new());
}

#[test]
fn a_device_whose_name_a_reload_gives_to_another_leaves_by_its_own_interlocks() {
    a_name_goes_to_another_device("bench");
}

#[test]
fn a_device_whose_name_a_reload_gives_to_another_leaves_by_its_own_interlocks_across_buses() {
    a_name_goes_to_another_device("side");
}
