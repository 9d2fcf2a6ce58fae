//! A7: what is no command.

use std::time::Duration;

use serde_json::Value;

use super::{MOVEMENTS, bench, movements, rejected, reply, set, switch};
use crate::common::gateway::Gateway;
use crate::common::quick::{LONG, config, folder};
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::sim_file::SimFile;
use crate::common::wire::Publish;
use crate::common::{SOON, wait_until};
use crate::suite::{chance, report, times, together};

/// Memory may grow by this much; what is too large is never taken in.
const GROWTH: u64 = 4 << 20;

/// Each is refused; nothing of it is a command.
fn known() -> Vec<Vec<u8>> {
    let deep = format!("{{\"value\":{}", "[".repeat(4000));
    let closed = format!("{{\"value\":{}{}}}", "[".repeat(2000), "]".repeat(2000));
    let texts = [
        "1e999",
        "-1e999",
        r#"{"value":1e999}"#,
        "NaN",
        "inf",
        "on\0",
        "\0",
        "o\0n",
        r#"{"value":"on\u0000"}"#,
        r#"{"value":"on","value":}"#,
        r#"{"value":"on","fro":"5m"}"#,
        r#"{"value":"on","for":-5}"#,
        r#"{"value":"on","for":"99999999999999999999d"}"#,
        r#"{"value":"on","id":7}"#,
        r#"["on"]"#,
        "",
        " ",
        "toggle",
        "2",
        "onn",
        &deep,
        &closed,
    ];
    let long = vec![b'1'; 4097];
    let larger = vec![b'{'; 200 * 1024];
    let bytes = [b"on\xff".to_vec(), vec![0xff; 100], b"{\"value\":\"on\xc3\"}".to_vec(), long, larger];
    texts.iter().map(|text| text.as_bytes().to_vec()).chain(bytes).collect()
}

/// Garbage that begins as no command does.
fn garbage(chance: &mut fastrand::Rng) -> Vec<u8> {
    let first = b"\x00\xff[<#\"\\"[chance.usize(0..7)];
    let length = chance.usize(0..300);
    std::iter::once(first).chain(std::iter::repeat_with(|| chance.u8(..)).take(length)).collect()
}

struct Stage {
    broker: ScriptedBroker,
    gateway: Gateway,
    bus: SimFile,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new(protocol: &str) -> Self {
        let (broker, folder) = (ScriptedBroker::start(vec![Script::good()]), folder());
        let rest = bench(&[switch("pump", 1, "")]);
        let text = config(&broker.url(), &format!(", protocol: \"{protocol}\""), "", &rest);
        let gateway = Gateway::with_env(folder.path(), &text, &[MOVEMENTS]);
        wait_until("the subscription", SOON, || !broker.filters().is_empty());
        let bus = SimFile::new(folder.path().join("bench.json"));
        bus.wait_line("GPIO1", 0, SOON);
        Self { broker, gateway, bus, _folder: folder }
    }

    fn send(&self, topic: &str, payload: Vec<u8>) {
        self.broker.send(&Publish { topic: topic.to_owned(), payload, ..Publish::default() });
    }

    fn replies(&self) -> Vec<Value> {
        let topic = reply("pump");
        let all = self.broker.publishes().into_iter().filter(|publish| publish.topic == topic);
        all.map(|publish| serde_json::from_str(&publish.text()).unwrap()).collect()
    }

    /// Sends each and expects one refusal for it.
    fn refuse(&self, payloads: &[Vec<u8>]) {
        let before = self.replies().len();
        // Fewer than find room at once.
        for (piece, some) in payloads.chunks(16).enumerate() {
            some.iter().for_each(|payload| self.send(&set("pump"), payload.clone()));
            wait_until("refusals", SOON, || self.replies().len() >= before + piece * 16 + some.len());
        }
        let replies = self.replies().split_off(before);
        assert_eq!(replies.len(), payloads.len());
        for reply in replies {
            let words = reply["reason"].as_str().unwrap();
            let is_known = ["unreadable: ", "oversized: ", "out_of_range: "].iter().any(|word| words.starts_with(word));
            assert!(reply["outcome"] == "rejected" && is_known, "{reply}");
        }
    }

    /// The broker sends, whatever it knows of our largest packet.
    fn too_large(&self) {
        let before = self.gateway.own_memory();
        let connects = self.broker.connects().len();
        let topic = set("pump");
        self.send(&topic, [b"on".to_vec(), vec![b' '; 10 << 20]].concat());
        wait_until("the link to be given up", LONG, || self.broker.connects().len() > connects);
        wait_until("the subscription", SOON, || self.broker.filters().len() > connects);
        self.gateway.wait_log(" of 10485", SOON);
        let grown = self.gateway.own_memory().saturating_sub(before);
        assert!(grown <= GROWTH, "memory grew by {grown} bytes");
    }

    fn health(&self) -> Value {
        let all = || self.broker.publishes().into_iter().filter(|publish| publish.topic == "b/health");
        let before = all().count();
        self.gateway.signal(rustix::process::Signal::HUP);
        wait_until("health", SOON, || all().count() > before);
        serde_json::from_str(&all().next_back().unwrap().text()).unwrap()
    }
}

fn broken(protocol: &str) {
    let stage = Stage::new(protocol);
    let (mut chance, tried) = (chance("A7"), times(500, 2000, 10_000));
    let before = stage.bus.version();
    stage.refuse(&known());
    let random: Vec<_> = (0..tried).map(|_| garbage(&mut chance)).collect();
    stage.refuse(&random);
    for topic in ["b/actuators/pump/set/now", "b/actuators/pump", "b/actuators//set", "b/set", "b/actuators/p ü/set"] {
        stage.send(topic, b"on".to_vec());
    }
    stage.too_large();
    let refused = known().len() + tried;
    assert_eq!(rejected(&stage.health(), "pump"), refused as u64, "each is counted once");
    assert_eq!((stage.bus.version(), movements(&stage.gateway, "pump")), (before, 0));
    // Until the subscription is granted again nothing is heard, and then it acts as ever.
    wait_until("a command to act", SOON, || {
        stage.send(&set("pump"), b"on".to_vec());
        std::thread::sleep(Duration::from_millis(20));
        stage.bus.line("GPIO1") == Some(1)
    });
    let happened =
        format!("{refused} refused and counted, each once; none acted; 10 MB: left in words, nothing taken in");
    report(
        "A7",
        &format!("MQTT {protocol}: {} kinds, {tried} of chance, 5 wrong topics, 10 MB", known().len()),
        &happened,
    );
}

#[test]
fn a7_what_is_no_command_is_refused_and_counted_and_moves_nothing() {
    together(&[|| broken("5"), || broken("3.1.1")]);
}
