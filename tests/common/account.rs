//! Keeps account of a sensor's readings: what arrived where, what was reported as lost, and whether anything is missing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What is known of one sensor of one gateway.
#[derive(Debug, Default)]
pub struct Account {
    /// Every run in the order in which it was first heard of.
    pub runs: Vec<String>,
    /// Arrived on `B/sensors/<name>`, first arrivals only.
    pub live: BTreeMap<String, Vec<u64>>,
    /// Arrived on `B/late/<name>`, first arrivals only.
    pub late: BTreeMap<String, Vec<u64>>,
    /// Reported on `B/loss`: first and last seq and how many of those between them; repeats of a record are one.
    pub lost: BTreeMap<String, BTreeSet<(u64, u64, u64)>>,
}

impl Account {
    /// Takes topics and payloads in the order of their arrival. The base topic is `b`.
    pub fn of(sensor: &str, messages: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut account = Self::default();
        for (topic, payload) in messages {
            let json: Value = serde_json::from_str(&payload).unwrap_or(Value::Null);
            if topic == format!("b/sensors/{sensor}") {
                assert!(json["late"].is_null(), "a late reading on the live topic: {payload}");
                account.take(&json, false);
            } else if topic == format!("b/late/{sensor}") {
                assert_eq!(json["late"], true, "a late reading says so: {payload}");
                account.take(&json, true);
            } else if topic == "b/loss" && json["sensor"] == sensor {
                account.lose(&json);
            }
        }
        account
    }

    fn run(&mut self, json: &Value) -> String {
        let run = json["run"].as_str().expect("a reading has a run").to_owned();
        if !self.runs.contains(&run) {
            self.runs.push(run.clone());
        }
        run
    }

    fn take(&mut self, json: &Value, late: bool) {
        let (run, seq) = (self.run(json), json["seq"].as_u64().expect("a reading has a seq"));
        let into = if late { &mut self.late } else { &mut self.live };
        let seqs = into.entry(run).or_default();
        // Most come in order, and then there is nothing to search.
        if seqs.last().is_none_or(|last| *last < seq) || !seqs.contains(&seq) {
            seqs.push(seq);
        }
    }

    fn lose(&mut self, json: &Value) {
        let (from, to) = (json["from_seq"].as_u64().unwrap(), json["to_seq"].as_u64().unwrap());
        let count = json["count"].as_u64().unwrap();
        assert!((1..=to - from + 1).contains(&count), "a loss record counts no more than it names: {json}");
        assert!(json["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{json}");
        let run = self.run(json);
        self.lost.entry(run).or_default().insert((from, to, count));
    }

    /// How many of a run were reported as lost.
    pub fn reported(&self, run: &str) -> u64 {
        self.lost.get(run).into_iter().flatten().map(|(_, _, count)| count).sum()
    }

    /// What arrived of a run, on either topic.
    pub fn arrived(&self, run: &str) -> BTreeSet<u64> {
        let of = |seqs: &BTreeMap<String, Vec<u64>>| seqs.get(run).cloned().unwrap_or_default();
        of(&self.live).into_iter().chain(of(&self.late)).collect()
    }

    /// The last seq of a run that anything is known of; 0 when there is nothing.
    pub fn last(&self, run: &str) -> u64 {
        let lost = self.lost.get(run).into_iter().flatten().map(|(_, to, _)| *to).max();
        self.arrived(run).last().copied().max(lost).unwrap_or(0)
    }

    /// What has not arrived up to `last`.
    pub fn absent(&self, run: &str, last: u64) -> Vec<u64> {
        let arrived = self.arrived(run);
        (1..=last).filter(|seq| !arrived.contains(seq)).collect()
    }

    /// What has neither arrived nor lies within a loss record, up to `last`.
    pub fn missing(&self, run: &str, last: u64) -> Vec<u64> {
        let reported =
            |seq: &u64| self.lost.get(run).into_iter().flatten().any(|(from, to, _)| (from..=to).contains(&seq));
        self.absent(run, last).into_iter().filter(|seq| !reported(seq)).collect()
    }

    /// Per topic and run, readings came in the order in which they were taken.
    pub fn check_order(&self) {
        for (place, runs) in [("sensors", &self.live), ("late", &self.late)] {
            for (run, seqs) in runs {
                let wrong = seqs.windows(2).find(|pair| pair[0] >= pair[1]);
                assert!(wrong.is_none(), "out of order on {place} in run {run}: {wrong:?}");
            }
        }
    }

    /// In every run, what did not arrive is what was reported as lost, and the order is right.
    pub fn check_whole(&self) {
        self.check_order();
        for run in &self.runs {
            let last = self.last(run);
            let missing = self.missing(run, last);
            assert!(missing.is_empty(), "missing in run {run}: {missing:?}");
            let (absent, reported) = (self.absent(run, last).len() as u64, self.reported(run));
            let records = self.lost.get(run);
            assert_eq!(
                absent, reported,
                "run {run}: readings that did not arrive, and those reported as lost: {records:?}"
            );
        }
    }
}
