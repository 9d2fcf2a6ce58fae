//! A2: one command again and again, in any order with others. For repeats over a restart see `tests/ids.rs`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{MOVEMENTS, bench, movements, reply, set, switch};
use crate::common::gateway::Gateway;
use crate::common::quick::{LONG, config, folder};
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::sim_file::SimFile;
use crate::common::watch::Watch;
use crate::common::wire::Publish;
use crate::common::{SOON, wait_until};
use crate::suite::{chance, report, times};

const REPEATS: usize = 100;

/// As many may be on their way: no more than one bus takes before it says that it is busy.
const UNDER_WAY: usize = 16;

fn replies(broker: &ScriptedBroker, output: &str) -> Vec<String> {
    let topic = reply(output);
    broker.publishes().into_iter().filter(|publish| publish.topic == topic).map(|publish| publish.text()).collect()
}

fn id(reply: &str) -> String {
    let reply: Value = serde_json::from_str(reply).unwrap();
    reply["id"].as_str().unwrap().to_owned()
}

/// One toggle a hundred times among fifty others for the same output that are refused, and fifty toggles of another one.
fn round(broker: &ScriptedBroker, chance: &mut fastrand::Rng, nth: usize) {
    let toggle = |id: String| format!(r#"{{"value":"toggle","id":"{id}"}}"#);
    let same = (0..REPEATS).map(|_| ("left", toggle(format!("same{nth}"))));
    let refused = (0..50).map(|n| ("left", format!(r#"{{"value":2,"id":"x{nth}-{n}"}}"#)));
    let others = (0..50).map(|n| ("right", toggle(format!("y{nth}-{n}"))));
    let mut commands: Vec<_> = same.chain(refused).chain(others).collect();
    chance.shuffle(&mut commands);
    let answered = || replies(broker, "left").len() + replies(broker, "right").len();
    let before = answered();
    for (sent, (output, payload)) in commands.iter().enumerate() {
        if sent % (UNDER_WAY / 2) == 0 {
            wait_until("answers", SOON, || answered() + UNDER_WAY / 2 >= before + sent);
        }
        broker.send(&Publish { topic: set(output), payload: payload.clone().into(), ..Publish::default() });
    }
    wait_until("all answers", LONG, || answered() >= before + commands.len());
}

#[test]
fn a2_a_repeated_id_acts_once_and_is_answered_alike_in_any_order() {
    let (rounds, mut chance) = (times(4, 10, 50), chance("A2"));
    let broker = ScriptedBroker::start(vec![Script::good()]);
    let folder = folder();
    let bus = SimFile::new(folder.path().join("bench.json"));
    let watch = Watch::over(&[(&bus, "GPIO1"), (&bus, "GPIO2")]);
    let rest = bench(&[switch("left", 1, ""), switch("right", 2, "")]);
    let gateway = Gateway::with_env(folder.path(), &config(&broker.url(), "", "", &rest), &[MOVEMENTS]);
    wait_until("the subscription", SOON, || !broker.filters().is_empty());
    for nth in 0..rounds {
        round(&broker, &mut chance, nth);
    }
    let moved = || (movements(&gateway, "left"), movements(&gateway, "right"));
    // The log comes behind the answers.
    wait_until("the log to have all movements", SOON, || moved().0 + moved().1 >= rounds + rounds * 50);
    assert_eq!(moved(), (rounds, rounds * 50));
    assert_eq!(watch.end().on(0).len(), rounds.div_ceil(2));
    let all = replies(&broker, "left");
    for nth in 0..rounds {
        let own: Vec<_> = all.iter().filter(|reply| id(reply) == format!("same{nth}")).collect();
        let different: BTreeSet<_> = own.iter().collect();
        assert_eq!((own.len(), different.len()), (REPEATS, 1), "{different:?}");
    }
    let tried = format!("{rounds} × one id {REPEATS} times, in any order with 100 others");
    report("A2", &tried, &format!("{rounds} actions, {} answers, of each id all alike", rounds * REPEATS));
}
