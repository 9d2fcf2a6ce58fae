//! Limits of an output refuse a rule also while there is no broker: the rule is blocked, says why, and acts when it may. What it is at
//! goes to the broker when that is back.

use std::cell::Cell;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Alone, DEVICES, rule_line};
use crate::common::client::Client;
use crate::common::gateway::Gateway;
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::quick::LONG;
use crate::common::running::config;
use crate::common::sim_file::SimFile;
use crate::common::wait_until;

const RULES: &str =
    "rules: { heating: { when: tank.temperature < 19, until: tank.temperature > 21, set: { heater: on } } }\n";

fn limited(limit: &str) -> String {
    DEVICES.replace("safe_after: 1s }\n  other", &format!("safe_after: 1s, {limit} }}\n  other"))
}

/// The program with a limit for its heater, and a broker that is away.
struct Away {
    alone: Alone,
    broker: Mosquitto,
}

impl Away {
    fn start(limit: &str) -> Self {
        let folder: TempDir = tempfile::tempdir().unwrap();
        let sim = SimFile::new(folder.path().join("bench.json"));
        sim.write(&json!({"chips": {"0x49": {"temperature": 18.0}}}));
        let mut broker = Mosquitto::with(Options::default());
        let url = broker.url();
        broker.stop();
        let gateway = Gateway::start(folder.path(), &config(&url, "", &(limited(limit) + RULES)));
        Self { alone: Alone { gateway, sim, folder, url, set_at: Cell::new(0) }, broker }
    }

    /// Waits until the rule has become active so often. It may be over by then.
    fn wait_active(&self, times: usize) {
        let line = rule_line("heating", "active", "its condition holds");
        wait_until("the rule to act", LONG, || self.alone.gateway.log().matches(&line).count() >= times);
    }

    /// Waits until the log says for what limit the rule is blocked.
    fn wait_blocked(&self, why: &str) {
        let line = rule_line("heating", "blocked", why);
        self.alone.gateway.wait_log(line.trim_end_matches('"'), LONG);
    }

    /// The broker comes back, and has what the rule is at.
    fn back(&mut self) -> (Client, Value) {
        self.broker.start_again();
        let client = Client::subscribe(&self.broker.endpoint(), &["b/#"]);
        let rules = client.wait_json("b/rules", |_| true, LONG);
        (client, rules)
    }
}

fn check_blocked(rules: &Value, why: &str) {
    let rule = &rules["heating"];
    assert_eq!(rule["state"], "blocked", "{rules}");
    assert!(rule["why"].as_str().unwrap().starts_with(why), "{rules}");
}

#[test]
fn max_on_blocks_a_rule_which_says_why_and_acts_again_when_its_condition_has_changed() {
    let mut away = Away::start("max_on: 500ms");
    away.wait_active(1);
    let why = "heater: made safe by max_on, until the condition changes";
    away.wait_blocked(why);
    check_blocked(&away.back().1, why);
    away.broker.stop();
    away.alone.set(22.0);
    away.alone.wait_rule("heating", "inactive", "its condition does not hold");
    away.alone.set(18.0);
    away.wait_active(2);
    away.alone.wait_line("GPIO22", 0);
}

#[test]
fn switches_per_hour_blocks_a_rule_which_says_why_and_acts_when_it_may() {
    let mut away = Away::start("switches_per_hour: 1");
    away.alone.wait_line("GPIO22", 1);
    away.alone.set(22.0);
    away.alone.wait_line("GPIO22", 0);
    away.alone.set(18.0);
    let why = "heater: limit: it was switched 1 times within the last hour";
    away.wait_blocked(why);
    assert_eq!(away.alone.sim.line("GPIO22"), Some(0));
    let (client, rules) = away.back();
    check_blocked(&rules, why);
    // An hour later it may, and so it does when it may switch twice in an hour.
    away.alone.reload_with(&limited("switches_per_hour: 2"), RULES, 1);
    away.alone.wait_line("GPIO22", 1);
    wait_until("the rule to be active at the broker", LONG, || {
        client.all("b/rules").last().is_some_and(|rules| rules.json()["heating"]["state"] == "active")
    });
}
