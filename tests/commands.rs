//! Commands from outside to a line and back, with the compiled program and a real Mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant, SystemTime};

use common::SOON;
use common::client::{Client, Endpoint, publish, publish_bytes, publish_lines, publish_v5};
use common::gateway::Gateway;
use common::mosquitto::Mosquitto;
use common::scripted::{Script, ScriptedBroker};
use common::sim_file::SimFile;
use common::wire::{Properties, Publish};
use common::{wait_for, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// How exactly a limit is kept.
const TOLERANCE: Duration = Duration::from_millis(50);

/// What every gateway here has; `MQTT` and `SAFE_AFTER` are filled in.
const CONFIG: &str = "
gateway: { name: g }
mqtt: { MQTT, reconnect: { min: 50ms, max: 200ms } }
spool: { path: spool }
buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  tick: { driver: waveform, every: 50ms, qos: 0, settings: { shape: counter } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\", safe_after: SAFE_AFTER }
  heater:
    { driver: gpio-output, bus: bench, settings: { line: GPIO22, active_low: true }, safe_state: \"off\", safe_after: SAFE_AFTER }
  fan: { driver: pwm-output, bus: bench, settings: { channel: 0 }, safe_state: 0, safe_after: SAFE_AFTER }
";

const ALL: &str = "fieldgate/g/#";

fn set(output: &str) -> String {
    format!("fieldgate/g/actuators/{output}/set")
}

fn reply(output: &str) -> String {
    format!("fieldgate/g/actuators/{output}/reply")
}

fn state(output: &str) -> String {
    format!("fieldgate/g/actuators/{output}/state")
}

/// How a gateway is to be configured.
struct Setup {
    protocol: &'static str,
    safe_after: &'static str,
    clean: bool,
}

const USUAL: Setup = Setup { protocol: "5", safe_after: "30s", clean: true };
const OLD: Setup = Setup { protocol: "3.1.1", ..USUAL };

impl Setup {
    fn config(&self, url: &str) -> String {
        let Self { protocol, clean, safe_after } = self;
        let mqtt =
            format!("broker: \"{url}\", protocol: \"{protocol}\", client_id: g-under-test, clean_session: {clean}");
        CONFIG.replace("MQTT", &mqtt).replace("SAFE_AFTER", safe_after)
    }
}

/// A gateway on a broker, and somebody who hears everything.
struct Bench {
    gateway: Gateway,
    client: Client,
    sim: SimFile,
    broker: Mosquitto,
    config: String,
    folder: TempDir,
}

impl Bench {
    fn start(setup: &Setup) -> Self {
        Self::on(Mosquitto::start(), setup)
    }

    /// Returns when commands arrive.
    fn on(broker: Mosquitto, setup: &Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::subscribe(&broker.endpoint(), &[ALL, "answers/#"]);
        let config = setup.config(&broker.url());
        let gateway = Gateway::start(folder.path(), &config);
        let sim = SimFile::new(folder.path().join("bench.json"));
        let bench = Self { gateway, client, sim, broker, config, folder };
        bench.ready();
        bench
    }

    /// Waits until a command is answered; one to an output that does not exist moves nothing.
    fn ready(&self) {
        self.client.wait_for("fieldgate/g/status", |payload| payload == "online", SOON);
        wait_until("the first answer", SOON, || {
            self.send("nobody", "probe");
            self.client.all(&reply("nobody")).iter().any(|message| !message.payload.contains("expired"))
        });
        self.client.forget();
    }

    fn endpoint(&self) -> Endpoint {
        self.broker.endpoint()
    }

    fn send(&self, output: &str, payload: &str) {
        publish(&self.endpoint(), &set(output), payload, false, 1);
    }

    /// The reply to a command sent now.
    fn ask(&self, output: &str, payload: &str) -> Value {
        self.answer_to(output, || self.send(output, payload))
    }

    /// The reply to whatever `act` sends.
    fn answer_to(&self, output: &str, act: impl FnOnce()) -> Value {
        let before = self.client.all(&reply(output)).len();
        act();
        let what = format!("the reply of {output}");
        let message = wait_for(&what, SOON, || self.client.all(&reply(output)).into_iter().nth(before));
        message.json()
    }

    /// Expects a refusal with these words and no movement.
    fn refused(&self, output: &str, payload: &[u8], words: &str) -> Value {
        let before = self.sim.version();
        let answer = self.answer_to(output, || publish_bytes(&self.endpoint(), &set(output), payload));
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(40)]).into_owned();
        assert_eq!(answer["outcome"], "rejected", "{shown}: {answer}");
        assert!(answer["reason"].as_str().unwrap().contains(words), "{shown}: {answer}");
        assert_eq!(self.sim.version(), before, "{shown} moved an output");
        answer
    }

    /// The health message of this moment.
    fn health(&self) -> Value {
        let before = self.client.all("fieldgate/g/health").len();
        self.gateway.signal(Signal::HUP);
        wait_for("health", SOON, || self.client.all("fieldgate/g/health").into_iter().nth(before)).json()
    }

    fn restart(&mut self) {
        self.gateway = Gateway::start(self.folder.path(), &self.config);
    }
}

#[test]
fn a_switch_takes_every_spelling_and_tells_its_actual_state() {
    let bench = Bench::start(&USUAL);
    for (payload, value, level) in [
        ("on", "on", 1),
        ("OFF", "off", 0),
        ("True", "on", 1),
        ("false", "off", 0),
        ("1", "on", 1),
        ("0", "off", 0),
        (" On\n", "on", 1),
        (r#"{"value":false}"#, "off", 0),
        (r#"{"value":"ON"}"#, "on", 1),
    ] {
        let answer = bench.ask("pump", payload);
        assert_eq!((&answer["outcome"], &answer["value"]), (&"done".into(), &value.into()), "{payload}: {answer}");
        assert_eq!((&answer["reason"], &answer["id"]), (&Value::Null, &Value::Null));
        assert_eq!(bench.sim.line("GPIO27"), Some(level), "after {payload}");
    }
    let told = bench.client.wait_json(&state("pump"), |state| state["value"] == "on", SOON);
    assert_eq!(told["cause"], "command");
    bench.refused("pump", b"2", "out_of_range: 2 is neither on nor off");
}

#[test]
fn an_active_low_output_is_low_when_it_is_on() {
    let bench = Bench::start(&USUAL);
    assert_eq!(bench.sim.line("GPIO22"), Some(1), "off from the start");
    assert_eq!(bench.ask("heater", "on")["value"], "on");
    assert_eq!(bench.sim.line("GPIO22"), Some(0));
}

#[test]
fn a_percentage_is_taken_within_its_limits_only() {
    let bench = Bench::start(&USUAL);
    for (payload, percent) in [("0", 0.0), ("42.5", 42.5), ("100", 100.0), (r#"{"value":7}"#, 7.0)] {
        assert_eq!(bench.ask("fan", payload)["value"], percent, "{payload}");
        bench.sim.wait_pwm("0", percent, Duration::ZERO);
    }
    let answer = bench.refused("fan", b"140", "");
    assert_eq!(answer["reason"], "out_of_range: 140 is not within 0–100");
    bench.refused("fan", b"-0.1", "out_of_range: -0.1 is not within 0–100");
    bench.refused("fan", b"1e999", "unreadable: ");
    bench.refused("fan", b"on", "unreadable: ");
}

#[test]
fn a_command_for_a_while_ends_by_itself() {
    let bench = Bench::start(&USUAL);
    let answer = bench.ask("pump", r#"{"value":"on","id":"a1","for":"400ms"}"#);
    let on_at = bench.sim.version().1;
    assert_eq!((&answer["id"], &answer["value"]), (&"a1".into(), &"on".into()));
    assert_eq!(bench.sim.line("GPIO27"), Some(1));
    bench.sim.wait_line("GPIO27", 0, SOON);
    let lasted = bench.sim.version().1.duration_since(on_at).unwrap();
    assert!(lasted.abs_diff(Duration::from_millis(400)) < TOLERANCE, "{lasted:?}");
    assert_eq!(bench.client.wait_json(&state("pump"), |state| state["value"] == "off", SOON)["cause"], "for");
}

#[test]
fn what_is_no_command_is_answered_with_the_reason_and_moves_nothing() {
    let bench = Bench::start(&USUAL);
    let deep = format!("{{\"value\":{}", "[".repeat(4000));
    let long = vec![b'1'; 4097];
    let huge = vec![b'{'; 200 * 1024];
    let cases: [(&[u8], &str); 13] = [
        (br#"{"value":"on","id":"m1","fro":"5m"}"#, "unreadable: "),
        (br#"{"value":"on","for":300}"#, "unreadable: "),
        (br#"{"id":"m2"}"#, "unreadable: "),
        (b"toggle", "unreadable: "),
        (b"o\0n", "unreadable: "),
        (b"on\xff", "unreadable: "),
        (b"1e999", "unreadable: "),
        (br#"{"value":1e999}"#, "unreadable: "),
        (b"NaN", "unreadable: "),
        (b"[\"on\"]", "unreadable: "),
        (deep.as_bytes(), "unreadable: "),
        (&long, "oversized: 4097 bytes"),
        (&huge, "oversized: 204800 bytes"),
    ];
    for (payload, words) in cases {
        bench.refused("pump", payload, words);
    }
    let answer = bench.refused("ghost", b"on", "unknown: there is no output called ghost");
    assert_eq!(answer["value"], Value::Null);
    let health = bench.health();
    assert_eq!(health["actuators"]["pump"], serde_json::json!({"commands": 13, "rejected": 13}), "{health}");
}

#[test]
fn an_empty_payload_is_answered_too() {
    let bench = Bench::start(&USUAL);
    let answer = bench.answer_to("pump", || publish(&bench.endpoint(), &set("pump"), "", false, 1));
    assert!(answer["reason"].as_str().unwrap().starts_with("unreadable: "), "{answer}");
}

#[test]
fn topics_that_are_no_command_are_ignored() {
    let bench = Bench::start(&USUAL);
    let before = bench.sim.version();
    for topic in ["pump/set/now", "pump", "pump/get", "/set", "set"] {
        publish(&bench.endpoint(), &format!("fieldgate/g/actuators/{topic}"), "on", false, 1);
    }
    publish(&bench.endpoint(), "fieldgate/h/actuators/pump/set", "on", false, 1);
    publish(&bench.endpoint(), "fieldgate/g/actuators/p ü mp/set", "on", false, 1);
    let answer = bench.ask("pump", "off");
    assert_eq!(answer["outcome"], "done", "the first answer is that of the first real command");
    assert_eq!(bench.sim.version(), before);
}

#[test]
fn a_repeated_id_gets_the_first_reply_word_for_word_and_moves_nothing() {
    let bench = Bench::start(&USUAL);
    bench.ask("pump", r#"{"value":"on","id":"a1"}"#);
    bench.ask("pump", "off");
    let before = bench.sim.version();
    let first = bench.client.all(&reply("pump"))[0].payload.clone();
    bench.client.forget();
    let repeats = vec![r#"{"value":"on","id":"a1"}"#.to_owned(); 100];
    publish_lines(&bench.endpoint(), &set("pump"), &repeats);
    wait_until("100 replies", SOON, || bench.client.all(&reply("pump")).len() >= 100);
    let answers = bench.client.all(&reply("pump"));
    assert!(answers.iter().all(|message| message.payload == first), "{answers:?}");
    assert_eq!(bench.sim.version(), before);
    assert_eq!(bench.ask("pump", r#"{"value":"off","id":"a2"}"#)["id"], "a2", "no reply too many");
}

#[test]
fn a_refused_command_with_an_id_is_answered_alike_when_it_is_repeated() {
    let bench = Bench::start(&USUAL);
    for (output, payload) in [("pump", r#"{"value":"on","id":"b1","fro":"5m"}"#), ("fan", r#"{"value":140,"id":"b2"}"#)]
    {
        let first = bench.ask(output, payload);
        assert_eq!(bench.ask(output, payload), first);
    }
    let first = bench.ask("pump", r#"{"value":"on","id":"b3"}"#);
    assert_eq!(bench.ask("pump", r#"{"value":"off","id":"b3","x":1}"#), first, "the id was seen");
}

fn retained_never_acts(setup: &Setup) {
    let broker = Mosquitto::start();
    publish(&broker.endpoint(), &set("pump"), "on", true, 1);
    let folder = tempfile::tempdir().unwrap();
    let client = Client::subscribe(&broker.endpoint(), &["fieldgate/g/actuators/+/reply"]);
    let gateway = Gateway::start(folder.path(), &setup.config(&broker.url()));
    let answer = client.wait_json(&reply("pump"), |_| true, SOON);
    assert_eq!(answer["outcome"], "rejected");
    assert!(answer["reason"].as_str().unwrap().starts_with("retained: "), "{answer}");
    assert_eq!(SimFile::new(folder.path().join("bench.json")).line("GPIO27"), Some(0));
    assert!(!gateway.log().contains("Output set."), "{}", gateway.log());
}

#[test]
fn a_command_that_the_broker_kept_never_acts_under_version_5() {
    retained_never_acts(&USUAL);
}

#[test]
fn a_command_that_the_broker_kept_never_acts_under_3_1_1() {
    retained_never_acts(&OLD);
}

#[test]
fn a_live_command_with_the_retain_flag_is_refused_under_version_5() {
    let bench = Bench::start(&USUAL);
    let before = bench.sim.version();
    let answer = bench.answer_to("pump", || publish(&bench.endpoint(), &set("pump"), "on", true, 1));
    assert!(answer["reason"].as_str().unwrap().starts_with("retained: "), "{answer}");
    assert_eq!(bench.sim.version(), before);
}

#[test]
fn a_live_command_with_the_retain_flag_acts_once_under_3_1_1() {
    let mut bench = Bench::start(&OLD);
    let answer = bench.answer_to("pump", || publish(&bench.endpoint(), &set("pump"), "on", true, 1));
    assert_eq!(answer["outcome"], "done");
    bench.gateway.stop(SOON);
    bench.client.forget();
    bench.restart();
    let again = bench.client.wait_json(&reply("pump"), |_| true, SOON);
    assert!(again["reason"].as_str().unwrap().starts_with("retained: "), "{again}");
    assert_eq!(bench.sim.line("GPIO27"), Some(0));
}

/// Switches pump and heater on, takes the broker away, and expects both safe in time.
fn lost_link_makes_safe(take_away: impl FnOnce(&mut Mosquitto), bring_back: impl FnOnce(&mut Mosquitto)) {
    let mut bench = Bench::start(&Setup { safe_after: "1s", ..USUAL });
    bench.ask("heater", "on");
    bench.client.wait_for(&state("heater"), |text| text.contains("\"on\""), SOON);
    let earliest = SystemTime::now();
    bench.ask("pump", "on");
    assert_eq!((bench.sim.line("GPIO27"), bench.sim.line("GPIO22")), (Some(1), Some(0)));
    bench.client.wait_for(&state("pump"), |text| text.contains("\"on\""), SOON);
    bench.client.forget();
    take_away(&mut bench.broker);
    let latest = SystemTime::now();
    bench.sim.wait_line("GPIO27", 0, SOON);
    bench.sim.wait_line("GPIO22", 1, SOON);
    let safe_at = bench.sim.version().1;
    let after = Duration::from_secs(1);
    let (shortest, longest) = (safe_at.duration_since(latest).unwrap(), safe_at.duration_since(earliest).unwrap());
    assert!(shortest < after + TOLERANCE, "safe only {shortest:?} after the link was lost");
    assert!(longest > after - TOLERANCE, "safe already {longest:?} after the command");
    bring_back(&mut bench.broker);
    let told = bench.client.wait_json(&state("pump"), |state| state["cause"] == "safe_state", SOON);
    assert_eq!(told["value"], "off");
    bench.client.wait_for(&state("heater"), |text| text.contains("safe_state"), SOON);
    assert_eq!(bench.ask("pump", "on")["outcome"], "done", "commands act again");
}

#[test]
fn outputs_are_safe_in_time_when_the_broker_freezes() {
    lost_link_makes_safe(|broker| broker.freeze(), |broker| broker.thaw());
}

#[test]
fn outputs_are_safe_in_time_when_the_broker_is_killed() {
    lost_link_makes_safe(Mosquitto::kill9, Mosquitto::start_again);
}

#[test]
fn an_output_that_is_never_made_safe_keeps_its_state_without_a_link() {
    let mut bench = Bench::start(&Setup { safe_after: "never", ..USUAL });
    bench.ask("pump", "on");
    let before = bench.sim.version();
    bench.broker.kill9();
    bench.gateway.wait_log("No connection; will try again.", SOON);
    bench.client.forget();
    bench.broker.start_again();
    let told = bench.client.wait_json(&state("pump"), |_| true, SOON);
    assert_eq!((&told["value"], &told["cause"]), (&"on".into(), &"command".into()));
    assert_eq!(bench.sim.version(), before);
}

#[test]
fn an_output_is_told_safe_at_start_and_at_stop() {
    let mut bench = Bench::start(&USUAL);
    let start = Client::subscribe(&bench.endpoint(), &[&state("pump")]).wait_message(&state("pump"), |_| true, SOON);
    assert!(start.retain);
    assert_eq!((&start.json()["value"], &start.json()["cause"]), (&"off".into(), &"start".into()));
    bench.ask("pump", "on");
    let asked = Instant::now();
    bench.gateway.stop(SOON);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(bench.sim.line("GPIO27"), Some(0));
    let stop = bench.client.wait_json(&state("pump"), |state| state["cause"] == "stop", SOON);
    assert_eq!(stop["value"], "off");
    bench.client.wait_for("fieldgate/g/status", |payload| payload == "offline", SOON);
}

#[test]
fn a_requester_gets_its_answer_where_it_wants_it() {
    let bench = Bench::start(&USUAL);
    let hearer = Client::subscribe(&bench.endpoint().v5(), &["answers/#"]);
    let ask = |payload: &str, topic: &str| {
        let properties = [("response-topic", topic), ("correlation-data", "c7")];
        publish_v5(&bench.endpoint(), &set("pump"), payload, &properties);
    };
    let answer = bench.answer_to("pump", || ask(r#"{"value":"on","id":"r1"}"#, "answers/1"));
    let own = hearer.wait_message("answers/1", |_| true, SOON);
    assert_eq!(own.json(), answer);
    assert_eq!(own.properties["correlation-data"], "c7");
    ask(r#"{"value":"on","id":"r1"}"#, "answers/2");
    assert_eq!(hearer.wait_message("answers/2", |_| true, SOON).payload, own.payload, "a repeat is answered there too");
    ask("toggle", "answers/3");
    hearer.wait_for("answers/3", |text| text.contains("unreadable"), SOON);
}

#[test]
fn mosquitto_rr_asks_and_is_answered() {
    let bench = Bench::start(&USUAL);
    let output = std::process::Command::new("mosquitto_rr")
        .args(["-p", &bench.broker.port.to_string(), "-V", "5", "-W", "10", "-q", "1", "-e", "answers/rr"])
        .args(["-t", &set("pump"), "-m", "on"])
        .output()
        .expect("mosquitto_rr: apt install mosquitto-clients");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!((&answer["outcome"], &answer["value"]), (&"done".into(), &"on".into()));
}

#[test]
fn an_answer_never_becomes_a_command() {
    let bench = Bench::start(&USUAL);
    let before = bench.sim.version();
    for topic in [set("heater"), set("pump"), set("nobody")] {
        let answer = bench.answer_to("pump", || {
            publish_v5(&bench.endpoint(), &set("pump"), "off", &[("response-topic", &topic)]);
        });
        assert_eq!(answer["outcome"], "done", "the command itself acts");
    }
    assert_eq!(bench.ask("heater", "off")["outcome"], "done", "the first that heater hears");
    assert!(bench.client.all(&reply("nobody")).is_empty());
    assert_eq!(bench.sim.version(), before);
}

#[test]
fn a_wildcard_is_no_place_for_an_answer_and_an_expired_command_never_acts() {
    let broker = ScriptedBroker::start(vec![Script::good()]);
    let folder = tempfile::tempdir().unwrap();
    let _gateway = Gateway::start(folder.path(), &USUAL.config(&broker.url()));
    wait_until("the subscription", SOON, || !broker.filters().is_empty());
    let command = |id: u16, properties: Properties| {
        let payload = format!(r#"{{"value":"on","id":"s{id}"}}"#).into_bytes();
        broker.send(&Publish { topic: set("pump"), payload, qos: 1, id, properties, ..Publish::default() });
        broker.wait_publish("the reply", |publish| publish.text().contains(&format!("\"s{id}\"")), SOON).text()
    };
    let expired = command(1, Properties::default().with(Properties::MESSAGE_EXPIRY, [0; 4]));
    assert!(expired.contains("expired: "), "{expired}");
    assert_eq!(SimFile::new(folder.path().join("bench.json")).line("GPIO27"), Some(0));
    let answered = command(2, Properties::default().with(Properties::RESPONSE_TOPIC, "answers/#"));
    assert!(answered.contains("\"done\""), "{answered}");
    let elsewhere: Vec<_> = broker.publishes().into_iter().filter(|p| p.topic.starts_with("answers")).collect();
    assert_eq!((elsewhere, broker.malformed()), (Vec::new(), Vec::new()));
}

fn queued_is_refused(protocol: &'static str) {
    let mut bench = Bench::start(&Setup { protocol, clean: false, ..USUAL });
    for kill in [false, true] {
        if kill {
            bench.gateway.kill9();
        } else {
            bench.gateway.stop(SOON);
        }
        bench.client.forget();
        let queued: Vec<_> = (0..5).map(|n| format!(r#"{{"value":"on","id":"q{kill}{n}"}}"#)).collect();
        publish_lines(&bench.endpoint(), &set("pump"), &queued);
        bench.restart();
        wait_until("five refusals", SOON, || bench.client.all(&reply("pump")).len() >= 5);
        for message in bench.client.all(&reply("pump")) {
            assert!(message.json()["reason"].as_str().unwrap().starts_with("expired: "), "{}", message.payload);
        }
        assert_eq!(bench.sim.line("GPIO27"), Some(0));
        assert!(!bench.gateway.log().contains("Output set."), "{}", bench.gateway.log());
        bench.ready();
        assert_eq!(bench.ask("pump", "on")["outcome"], "done", "a fresh one acts");
        assert_eq!(bench.ask("pump", "off")["outcome"], "done");
    }
}

#[test]
fn commands_that_waited_at_the_broker_are_refused_under_version_5() {
    queued_is_refused("5");
}

#[test]
fn commands_that_waited_at_the_broker_are_refused_under_3_1_1() {
    queued_is_refused("3.1.1");
}

#[test]
fn of_a_flood_every_command_is_answered_or_counted() {
    const FLOOD: usize = 2000;
    let bench = Bench::start(&USUAL);
    let memory = bench.gateway.memory();
    let commands: Vec<_> = (0..FLOOD).map(|n| format!(r#"{{"value":{},"id":"f{n}"}}"#, n % 2 == 0)).collect();
    let ticks = |client: &Client| client.all("fieldgate/g/sensors/tick").len();
    publish_lines(&bench.endpoint(), &set("pump"), &commands);
    wait_until("2000 commands answered or counted", SOON * 2, || {
        bench.client.all(&reply("pump")).len() + dropped(&bench.health()) >= FLOOD
    });
    assert_eq!(bench.client.all(&reply("pump")).len() + dropped(&bench.health()), FLOOD);
    let before = ticks(&bench.client);
    wait_until("sampling to go on", SOON, || ticks(&bench.client) > before);
    let grown = bench.gateway.memory().saturating_sub(memory);
    assert!(grown < 8 << 20, "memory grew by {grown} bytes");
    assert_eq!(bench.ask("pump", "on")["outcome"], "done", "and it obeys");
}

/// How many commands the link counted as dropped.
fn dropped(health: &Value) -> usize {
    let alarm = health["link"]["alarm"].as_str().unwrap_or_default();
    let word = alarm.find(" commands came faster").map(|at| alarm[..at].rsplit(' ').next().unwrap().to_owned());
    word.map_or(0, |number| number.parse().unwrap())
}

/// Sensors on two buses beside `bench`: one whose chip hangs, and on the pump's own bus a slow one.
const SLOW: &str = "
  stuck: { type: sim, state_file: stuck.json }
sensors:
  frozen: { driver: tmp102, bus: stuck, every: 50ms, settings: { address: 0x48 } }
  light: { driver: bh1750, bus: bench, every: 200ms, settings: { address: 0x23 } }
";

#[test]
fn a_command_does_not_wait_for_a_bus_that_hangs_and_hardly_for_a_slow_sensor() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let stuck = SimFile::new(folder.path().join("stuck.json"));
    stuck.write(&serde_json::json!({"chips": {"0x48": {"chip": "tmp102", "fault": "hang"}}}));
    let client = Client::subscribe(&broker.endpoint(), &[ALL]);
    let config = USUAL.config(&broker.url()).replace("\nsensors:\n", SLOW);
    let _gateway = Gateway::start(folder.path(), &config);
    client.wait_for("fieldgate/g/sensors/light", |_| true, SOON);
    client.wait_for(&state("pump"), |_| true, SOON);
    for n in 0..10 {
        let id = format!("w{n}");
        let sent = Instant::now();
        client.publish(&set("pump"), &format!(r#"{{"value":true,"id":"{id}"}}"#), false, 1);
        let took = client.wait_message(&reply("pump"), |reply| reply.json()["id"] == *id, SOON).at - sent;
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
}
