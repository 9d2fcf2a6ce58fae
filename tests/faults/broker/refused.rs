//! B3: brokers that refuse the connection: explained in words and not hammered. And B2: one that refuses a topic.

use std::time::{Duration, Instant};

use crate::common::gateway::Gateway;
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::notify::NotifySocket;
use crate::common::quick::{FAST, LONG, config, folder, received, start};
use crate::common::scripted::{Answer, Greeting, Script, ScriptedBroker};
use crate::common::{SOON, wait_until, write_secret};
use crate::suite::{Scale, report, scale, times};
use serde_json::Value;

/// Every code by which a broker can refuse, in one list of brokers that is tried in its order.
fn refusals(protocol: &str, codes: &[(u8, &str)]) {
    let refuse = |(code, _): &(u8, &str)| ScriptedBroker::start(vec![Script::good().greeting(Greeting::Code(*code))]);
    let refusing: Vec<ScriptedBroker> = codes.iter().map(refuse).collect();
    let good = ScriptedBroker::start(vec![Script::good()]);
    let list: Vec<String> = refusing.iter().chain([&good]).map(ScriptedBroker::url).collect();
    let folder = folder();
    let text = config("X", &format!(", protocol: {protocol}"), "", FAST)
        .replace("\"X\"", &format!("[{}]", list.join(", ")))
        .replace("min: 50ms, max: 150ms", "min: 1ms, max: 2ms");
    let gateway = Gateway::start(folder.path(), &text);
    let health = good.wait_publish("health", |publish| publish.topic == "b/health", LONG);
    for (_, words) in codes {
        gateway.wait_log(words, SOON);
    }
    let health: Value = serde_json::from_str(&health.text()).unwrap();
    let (_, last) = codes[codes.len() - 1];
    assert!(health["link"]["last_error"].as_str().unwrap().contains(last), "{health}");
    report(
        "B3",
        &format!("CONNACK with {} codes, {protocol}", codes.len()),
        "each in words in the log, the last in health",
    );
}

#[test]
fn b3_every_return_code_of_3_1_1_has_its_words() {
    let codes = [
        (1, "connection refused: unacceptable protocol version (1)"),
        (2, "connection refused: identifier rejected (2)"),
        (3, "connection refused: server unavailable (3)"),
        (5, "connection refused: not authorized (5)"),
        (4, "connection refused: bad user name or password (4)"),
    ];
    refusals("3.1.1", &codes);
}

#[test]
fn b3_every_reason_code_of_5_has_its_words() {
    // Section 3.2.2.2, table 3-1.
    let codes = [
        (0x80, "connection refused: unspecified error (0x80)"),
        (0x81, "connection refused: malformed packet (0x81)"),
        (0x82, "connection refused: protocol error (0x82)"),
        (0x83, "connection refused: implementation specific error (0x83)"),
        (0x84, "connection refused: unsupported protocol version (0x84)"),
        (0x85, "connection refused: client identifier not valid (0x85)"),
        (0x87, "connection refused: not authorized (0x87)"),
        (0x88, "connection refused: server unavailable (0x88)"),
        (0x89, "connection refused: server busy (0x89)"),
        (0x8a, "connection refused: banned (0x8A)"),
        (0x8c, "connection refused: bad authentication method (0x8C)"),
        (0x90, "connection refused: topic name invalid (0x90)"),
        (0x95, "connection refused: packet too large (0x95)"),
        (0x97, "connection refused: quota exceeded (0x97)"),
        (0x99, "connection refused: payload format invalid (0x99)"),
        (0x9a, "connection refused: retain not supported (0x9A)"),
        (0x9b, "connection refused: QoS not supported (0x9B)"),
        (0x9c, "connection refused: use another server (0x9C)"),
        (0x9d, "connection refused: server moved (0x9D)"),
        (0x9f, "connection refused: connection rate exceeded (0x9F)"),
        (0x86, "connection refused: bad user name or password (0x86)"),
    ];
    refusals("5", &codes);
}

#[test]
fn b3_a_refusal_that_only_a_person_can_lift_is_not_tried_again_within_a_minute() {
    let brokers: Vec<_> = [("3.1.1", 2), ("3.1.1", 4), ("3.1.1", 5), ("5", 0x85), ("5", 0x86), ("5", 0x87)]
        .map(|(protocol, code)| {
            let broker = ScriptedBroker::start(vec![Script::good().greeting(Greeting::Code(code))]);
            let folder = folder();
            let text = config(&broker.url(), &format!(", protocol: {protocol}"), "", FAST);
            let gateway = Gateway::start(folder.path(), &text);
            (broker, gateway, folder, code)
        })
        .into();
    for (broker, gateway, ..) in &brokers {
        broker.wait_connects(1, SOON);
        gateway.wait_log("connection refused", SOON);
    }
    let since = Instant::now();
    let peace = Duration::from_secs(times(3, 20, 55));
    wait_until("time to pass", peace + SOON, || since.elapsed() >= peace);
    for (broker, _, _, code) in &brokers {
        assert_eq!(broker.connects().len(), 1, "code {code:#04x}");
    }
    let mut again = String::new();
    if scale() == Scale::Long {
        brokers.iter().for_each(|(broker, ..)| broker.wait_connects(2, LONG));
        let seconds = since.elapsed().as_secs_f64();
        again = format!(", the last came after {seconds:.1} s");
    }
    let tried = format!("{} brokers that refuse user or identifier", brokers.len());
    report("B3", &tried, &format!("no second attempt within {} s{again}", peace.as_secs()));
}

#[test]
fn b3_a_wrong_password_is_reported_in_words_by_a_real_broker() {
    let user = Some(("pi".to_owned(), "right".to_owned()));
    let broker = Mosquitto::with(Options { user, ..Options::default() });
    for (protocol, words) in [("3.1.1", "not authorized (5)"), ("5", "not authorized (0x87)")] {
        let folder = folder();
        write_secret(&folder.path().join("word"), "wrong");
        let mqtt = format!(", protocol: {protocol}, username: pi, password_file: word");
        let socket = NotifySocket::listen(folder.path());
        let text = config(&broker.url(), &mqtt, "", FAST);
        let gateway = Gateway::with_env(folder.path(), &text, &[socket.variable()]);
        gateway.wait_log(&format!("connection refused: {words}"), SOON);
        socket.wait(&format!("STATUS=link down: connection refused: {words}"), 0, SOON);
    }
}

#[test]
fn b2_a_refused_topic_delays_only_itself() {
    let rest = "sensors:
  bad: { driver: waveform, every: 50ms, settings: { shape: counter } }
  n: { driver: waveform, every: 50ms, settings: { shape: counter } }
";
    let refuse = Script::good().on_publish(|_, publish| match publish.topic.as_str() {
        "b/sensors/bad" => Answer::Reason(0x87),
        _ => Answer::Acknowledge,
    });
    let broker = ScriptedBroker::start(vec![refuse]);
    let folder = folder();
    let mut gateway = start(folder.path(), &config(&broker.url(), "", "", rest));
    wait_until("the other sensor", SOON, || received(&broker).live.values().any(|seqs| seqs.len() >= 40));
    gateway.wait_log("not authorized (0x87)", SOON);
    let alarm = broker.wait_publish(
        "an alarm in health",
        |publish| publish.topic == "b/health" && publish.text().contains("b/sensors/bad"),
        SOON,
    );
    let health: Value = serde_json::from_str(&alarm.text()).unwrap();
    assert!(health["link"]["alarm"].as_str().unwrap().contains("not authorized (0x87)"), "{health}");
    let attempts = broker.publishes().iter().filter(|publish| publish.topic == "b/sensors/bad").count();
    assert!(attempts < 10, "{attempts} attempts on the refused topic");
    assert_eq!(broker.connects().len(), 1);
    received(&broker).check_whole();
    gateway.stop(SOON);
}
