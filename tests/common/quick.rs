//! A gateway that samples and reconnects quickly, for the tests of outages and refusals.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::account::Account;
use super::client::Client;
use super::gateway::Gateway;
use super::mosquitto::{Mosquitto, Options};
use super::scripted::ScriptedBroker;
use super::{wait_for, wait_until};

/// For tests that wait for much.
pub const LONG: Duration = Duration::from_secs(30);

pub const FAST: &str = "sensors:\n  n: { driver: waveform, every: 20ms, settings: { shape: counter } }\n";

/// Reconnects quickly and calls a reading late after a second.
pub fn config(url: &str, mqtt: &str, spool: &str, rest: &str) -> String {
    let quick = "reconnect: { min: 50ms, max: 150ms }, late_after: 1s";
    format!(
        "gateway: {{ name: t }}\nmqtt: {{ broker: \"{url}\", base_topic: b, {quick}{mqtt} }}\nspool: {{ path: spool{spool} }}\n{rest}"
    )
}

pub fn url(port: u16) -> String {
    format!("mqtt://127.0.0.1:{port}")
}

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// For the environment: every reading is in the log, so that a test knows what was taken.
pub const READINGS_IN_LOG: [(&str, &str); 1] = [("RUST_LOG", "info,fieldgate::recorder=debug")];

/// Runs with every reading in the log.
pub fn start(folder: &Path, config: &str) -> Gateway {
    Gateway::with_env(folder, config, &READINGS_IN_LOG)
}

/// The last seq of `n` that the recorder took, by the log.
pub fn taken(gateway: &Gateway) -> u64 {
    taken_of(gateway, "n")
}

/// The last seq of a sensor that the recorder took, by the log.
pub fn taken_of(gateway: &Gateway, sensor: &str) -> u64 {
    let (log, reading) = (gateway.log(), format!("Reading. sensor={sensor} seq="));
    let seq = log.lines().rev().find_map(|line| line.split_once(&reading).map(|(_, seq)| seq));
    seq.map_or(0, |seq| seq.trim().parse().unwrap())
}

pub fn wait_taken(gateway: &Gateway, seq: u64) {
    wait_until(&format!("reading {seq} to be taken"), LONG, || taken(gateway) >= seq);
}

/// How many commands the link counts as dropped, by a health message.
pub fn dropped(health: &Value) -> usize {
    let alarm = health["link"]["alarm"].as_str().unwrap_or_default();
    let count = alarm.split_once(" commands came faster").map(|(count, _)| count.rsplit(' ').next().unwrap());
    count.map_or(0, |count| count.parse().unwrap())
}

pub fn received(broker: &ScriptedBroker) -> Account {
    received_of(broker, "n")
}

/// What the broker has received of a sensor.
pub fn received_of(broker: &ScriptedBroker, sensor: &str) -> Account {
    Account::of(sensor, broker.publishes().into_iter().map(|publish| (publish.topic.clone(), publish.text())))
}

/// A broker that remembers over an orderly restart, and a subscriber that misses nothing meanwhile.
pub fn remembering() -> (Mosquitto, Client) {
    remembering_with("")
}

/// A broker that remembers, with more lines for its configuration, and such a subscriber.
pub fn remembering_with(extra: &str) -> (Mosquitto, Client) {
    let extra = format!("max_queued_messages 0\n{extra}");
    let options = Options { persistence: true, extra, ..Options::default() };
    let broker = Mosquitto::with(options);
    let client = Client::with(&broker.endpoint(), &["b/#"], &["-c", "-i", "watch"]);
    (broker, client)
}

/// What the subscriber has of `n`.
pub fn heard(client: &Client) -> Account {
    Account::of("n", client.everything().into_iter().map(|message| (message.topic, message.payload)))
}

/// Waits until everything up to `last` of the newest run is accounted for.
pub fn wait_whole(what: &str, last: u64, account: impl Fn() -> Account) -> Account {
    let account = wait_for(what, LONG, || {
        let account = account();
        account.runs.last().is_some_and(|run| account.missing(run, last).is_empty()).then_some(account)
    });
    account.check_whole();
    account
}
