//! The table of verbs, and each of them asked in every way that is refused.

use super::*;
use crate::plain::PlainTopics;
use crate::roster::Roster;
use crate::worker::{Inbox, Order};
use fieldgate_model::topic::Topics;
use fieldgate_model::{Key, Message, MessageKind, Qos, RunId};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Requests with everything allowed, what goes in, and what comes out of them.
struct RequestsRig {
    requests: Requests,
    answered: mpsc::Receiver<ReplyMessage>,
    asked: mpsc::Receiver<Question>,
    orders: std::sync::mpsc::Receiver<Order>,
    settings: watch::Sender<Settings>,
    _stop: watch::Sender<bool>,
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn rig() -> RequestsRig {
    let (inbox, orders) = Inbox::for_tests(4);
    let roster = Roster {
        topics: Topics::new("b"),
        sensors: BTreeSet::from([name("air")]),
        outputs: BTreeSet::new(),
        targets: BTreeMap::new(),
        totals: BTreeMap::new(),
        rules: BTreeSet::new(),
        readers: BTreeMap::from([(name("air"), inbox)]),
        plain: PlainTopics::default(),
        tallies: BTreeMap::new(),
        inventory: Arc::default(),
    };
    let (answers, answered) = mpsc::channel(64);
    let (gateway, asked) = mpsc::channel(2);
    let allow = NAMES.iter().map(|name| (*name).to_owned()).collect();
    let (settings, allowed) = watch::channel(Settings { allow, identify: None });
    let (stop, stopped) = watch::channel(false);
    let history = History::default();
    history.set_wanted(true);
    let context = Context { roster: watch::channel(Arc::new(roster)).1, history, gateway };
    let (_, incoming) = mpsc::channel(1);
    let requests = Requests { incoming, settings: allowed, context, answers: ReplySender::new(answers), stop: stopped };
    RequestsRig { requests, answered, asked, orders, settings, _stop: stop }
}

fn message(verb: &str, payload: &str) -> Incoming {
    let topic = format!("b/request/{verb}");
    Incoming { topic, payload: payload.to_owned().into(), retain: false, stale: false, response: None }
}

impl RequestsRig {
    /// What is at work after this message, or the answer to it.
    async fn ask(&mut self, message: Incoming) -> Result<InProgress, Json> {
        match self.requests.take(message, 0).await {
            Some(work) => Ok(work),
            None => {
                let answer = self.answered.recv().await.unwrap();
                Err(serde_json::from_str(&answer.payload).unwrap())
            }
        }
    }

    async fn refused(&mut self, message: Incoming) -> Json {
        self.ask(message).await.err().expect("refused")
    }
}

#[test]
fn the_table_has_each_verb_once_and_each_example_is_a_good_payload_of_it() {
    assert_eq!(VERBS.iter().map(|spec| spec.name).collect::<Vec<_>>(), NAMES);
    for spec in VERBS {
        assert!(name(spec.name) == name(spec.name) && !spec.page.is_empty() && !spec.page.ends_with('.'));
        let request = payload::decode_request(spec.example.as_bytes(), spec.max_bytes).unwrap();
        assert_eq!(request.transaction, "t1", "{}", spec.name);
        request.arguments(spec.fields).unwrap_or_else(|refusal| panic!("{}: {refusal}", spec.name));
    }
}

#[tokio::test]
async fn what_is_retained_stale_unreadable_or_not_allowed_is_answered_and_begins_nothing() {
    let mut rig = rig();
    for spec in VERBS {
        let good = || message(spec.name, spec.example);
        let kept = rig.refused(Incoming { retain: true, ..good() }).await;
        assert_eq!((&kept["transaction"], &kept["status"]), (&"t1".into(), &"error".into()));
        assert!(kept["error"].as_str().unwrap().starts_with("retained: "), "{kept}");
        let old = rig.refused(Incoming { stale: true, ..good() }).await;
        assert!(old["error"].as_str().unwrap().starts_with("expired: "), "{old}");
        let odd = rig.refused(message(spec.name, r#"{"transaction":"t2","odd":1}"#)).await;
        assert!(odd["error"].as_str().unwrap().starts_with("unreadable: this request knows "), "{odd}");
        let long = rig.refused(message(spec.name, &"x".repeat(spec.max_bytes + 1))).await;
        assert_eq!(long["transaction"], Json::Null);
        assert!(long["error"].as_str().unwrap().starts_with("oversized: "), "{long}");
    }
    rig.settings.send_replace(Settings::default());
    for spec in VERBS {
        let forbidden = rig.refused(message(spec.name, spec.example)).await;
        let words = format!("not_allowed: requests.allow in the configuration does not name {}", spec.name);
        assert_eq!(forbidden, json!({ "transaction": "t1", "status": "error", "data": null, "error": words }));
    }
    let unknown = rig.refused(message("format-disk", "")).await;
    assert!(unknown["error"].as_str().unwrap().starts_with("unknown: there is no request format-disk; "), "{unknown}");
    assert!(rig.asked.try_recv().is_err() && rig.orders.try_recv().is_err(), "nothing was begun");
}

#[tokio::test]
async fn a_topic_without_a_valid_name_is_not_answered() {
    let mut rig = rig();
    for level in ["a b", "+", "\u{202e}", "a\nb"] {
        assert!(rig.requests.take(message(level, ""), 0).await.is_none());
    }
    assert!(rig.answered.try_recv().is_err());
}

#[tokio::test]
async fn the_answer_goes_to_the_response_of_the_verb_and_to_the_requesters_own_topic() {
    let mut rig = rig();
    let response = Some(ResponseTarget { topic: "apps/me".into(), correlation: Some(vec![7]) });
    let work = rig.ask(Incoming { response: response.clone(), ..message("ping", r#"{"transaction":9}"#) }).await;
    let ended = work.ok().unwrap().await;
    rig.requests.answer(ended).await;
    let answer = rig.answered.recv().await.unwrap();
    assert_eq!((answer.recipient, answer.response), (Recipient::request(name("ping")), response));
    assert_eq!(answer.payload, r#"{"transaction":9,"status":"ok","data":null,"error":null}"#);
}

#[tokio::test]
async fn one_too_many_is_busy_and_so_is_a_gateway_or_a_bus_that_does_not_answer() {
    let mut rig = rig();
    assert!(rig.requests.take(message("ping", ""), UNDER_WAY).await.is_none());
    let many: Json = serde_json::from_str(&rig.answered.recv().await.unwrap().payload).unwrap();
    assert_eq!(many["error"], "busy: 16 requests are at work already");
    let mut works = Vec::new();
    for _ in 0..2 {
        works.push(rig.ask(message("reload", "")).await.ok().unwrap());
    }
    let full = rig.refused(message("health", "")).await;
    assert_eq!(full["error"], "busy: the gateway has not answered the requests before this");
    for _ in 0..4 {
        works.push(rig.ask(message("read", r#"{"sensor":"air"}"#)).await.ok().unwrap());
    }
    let full = rig.refused(message("read", r#"{"sensor":"air"}"#)).await;
    assert_eq!(full["error"], "busy: the sensor's bus has not taken the orders before this");
    drop(rig.asked);
    let ended = works.remove(0).await;
    assert_eq!(ended.outcome.unwrap_err().refusal.to_string(), "stopping: the gateway is ending");
}

#[tokio::test]
async fn history_gives_the_newest_readings_as_they_were_published() {
    let mut rig = rig();
    for seq in 1..=3 {
        rig.requests.context.history.keep(|| Message {
            key: Key { kind: MessageKind::Reading, source: name("air") },
            run: RunId(1),
            seq,
            taken_at: fieldgate_clock::now(),
            qos: Qos::AtLeastOnce,
            retain: false,
            body: format!("\"temperature\":{seq}.5").into_bytes(),
        });
    }
    let work = rig.ask(message("history", r#"{"sensor":"air","count":2}"#)).await.ok().unwrap();
    let data = work.await.outcome.unwrap();
    let readings = data["readings"].as_array().unwrap();
    assert_eq!(readings.iter().map(|reading| &reading["temperature"]).collect::<Vec<_>>(), [&json!(2.5), &json!(3.5)]);
    assert_eq!((&readings[1]["seq"], &readings[1]["run"]), (&json!(3), &json!("00000001")));
    let ghost = rig.refused(message("history", r#"{"sensor":"ghost"}"#)).await;
    assert_eq!(ghost["error"], "unknown: there is no sensor called ghost");
}

#[tokio::test]
async fn read_waits_for_the_sample_that_it_asked_for() {
    let mut rig = rig();
    let work = rig.ask(message("read", r#"{"sensor":"air"}"#)).await.ok().unwrap();
    let Ok(Order::Sample { sensor, answer }) = rig.orders.try_recv() else { panic!("an order") };
    assert_eq!(sensor, name("air"));
    answer.send(Ok(vec![fieldgate_model::Quantity::new("temperature", "°C", 1).measured(21.53)])).unwrap();
    let data = work.await.outcome.unwrap();
    assert_eq!(data, json!({ "sensor": "air", "values": { "temperature": 21.5 } }));
}
