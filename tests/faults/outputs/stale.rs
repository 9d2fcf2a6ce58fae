//! A1: commands that are older than their sense.

use std::path::Path;
use std::time::Duration;

use super::{MOVEMENTS, answered, bench, counted, movements, set, switch};
use crate::common::client::{publish, publish_lines};
use crate::common::gateway::Gateway;
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::quick::{LONG, config, folder};
use crate::common::relay::Relay;
use crate::common::sim_file::SimFile;
use crate::common::watch::Watch;
use crate::common::{SOON, wait_until};
use crate::suite::{report, times, together};

const OUTPUTS: usize = 20;

fn name(nth: usize) -> String {
    format!("o{nth}")
}

fn start(folder: &Path, url: &str, mqtt: &str) -> Gateway {
    let outputs: Vec<_> = (0..OUTPUTS).map(|nth| switch(&name(nth), nth, "")).collect();
    Gateway::with_env(folder, &config(url, mqtt, "", &bench(&outputs)), &[MOVEMENTS])
}

/// Looks at every output.
fn watch(bus: &SimFile) -> Watch {
    let lines: Vec<_> = (0..OUTPUTS).map(|nth| format!("GPIO{nth}")).collect();
    Watch::over(&lines.iter().map(|line| (bus, line.as_str())).collect::<Vec<_>>())
}

/// A retained `on` for each output, and a link that is torn again and again.
fn retained(protocol: &str) {
    let connects = times(12, 25, 50);
    let broker = Mosquitto::start();
    for nth in 0..OUTPUTS {
        publish(&broker.endpoint(), &set(&name(nth)), "on", true, 1);
    }
    let (relay, folder) = (Relay::to(broker.port, Duration::ZERO), folder());
    let bus = SimFile::new(folder.path().join("bench.json"));
    let watch = watch(&bus);
    let gateway = start(folder.path(), &relay.url(), &format!(", protocol: \"{protocol}\""));
    // What comes while earlier answers still wait for the broker is dropped and counted.
    let (refused, counted) = (|| answered(&gateway, "retained: "), || counted(&gateway));
    for connect in 1..=connects {
        let all = connect * OUTPUTS;
        wait_until("every retained command to be refused or counted", LONG, || refused() + counted() >= all);
        if connect < connects {
            relay.tear();
        }
    }
    let seen = watch.end();
    let acted = (0..OUTPUTS).filter(|nth| !seen.on(*nth).is_empty() || movements(&gateway, &name(*nth)) > 0).count();
    assert_eq!((refused() + counted(), acted), (connects * OUTPUTS, 0));
    assert!(refused() > 0 && answered(&gateway, "outcome") == refused(), "{}", gateway.log());
    // The answers to what was refused may still be on their way, and a command that comes meanwhile is counted, not taken.
    wait_until("a fresh command to act", SOON, || {
        publish(&broker.endpoint(), &set("o0"), "on", false, 1);
        bus.line("GPIO0") == Some(1)
    });
    let tried = format!("MQTT {protocol}: a retained `on` for each of {OUTPUTS} outputs, {connects} connects");
    let happened =
        format!("{acted} of {} acted: {} refused in words, {} counted", connects * OUTPUTS, refused(), counted());
    report("A1", &tried, &happened);
}

#[test]
fn a1_retained_commands_never_act_at_any_connect() {
    together(&[|| retained("5"), || retained("3.1.1")]);
}

/// Commands that the broker kept for a session, after an orderly stop and after a kill.
fn queued(protocol: &str) {
    let each = times(150, 500, 1000);
    let broker = Mosquitto::with(Options { extra: "max_queued_messages 0".to_owned(), ..Options::default() });
    let folder = folder();
    let bus = SimFile::new(folder.path().join("bench.json"));
    let mqtt = format!(", protocol: \"{protocol}\", clean_session: false, client_id: g-under-test");
    let mut gateway = start(folder.path(), &broker.url(), &mqtt);
    let (mut refused, mut dropped) = (0, 0);
    for kill in [false, true] {
        // Its subscription is there when a command is answered.
        wait_until("a fresh command to act", SOON, || {
            publish(&broker.endpoint(), &set("o0"), "on", false, 1);
            answered(&gateway, "outcome=\"done\"") > 0
        });
        if kill {
            gateway.kill9()
        } else {
            gateway.stop(SOON)
        }
        let lines: Vec<_> = (0..each).map(|nth| format!(r#"{{"value":"on","id":"{kill}{nth}"}}"#)).collect();
        publish_lines(&broker.endpoint(), &set("o1"), &lines);
        gateway = start(folder.path(), &broker.url(), &mqtt);
        // More than one command to `o0` may have been sent before the first acted, and wait at the broker as well.
        let expired = || {
            let is_of_queue = |line: &&str| line.contains("actuator=o1 ") && line.contains("error=\"expired: ");
            gateway.log().lines().filter(is_of_queue).count()
        };
        let reported = || (expired(), counted(&gateway));
        wait_until("every queued command to be refused or counted", LONG, || reported().0 + reported().1 >= each);
        let (some, others) = reported();
        assert_eq!((some + others, movements(&gateway, "o1"), bus.line("GPIO1")), (each, 0, Some(0)));
        (refused, dropped) = (refused + some, dropped + others);
    }
    let tried = format!("MQTT {protocol}: 2 × {each} that a persistent session kept, after a stop and after a kill");
    report("A1", &tried, &format!("0 of {} acted: {refused} refused in words, {dropped} counted", 2 * each));
}

#[test]
fn a1_queued_commands_never_act() {
    together(&[|| queued("5"), || queued("3.1.1")]);
}
