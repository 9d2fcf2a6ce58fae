//! What a broker has taken upon itself: only what it acknowledged counts as delivered.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::account::Account;
use super::wire::Publish;

#[derive(Clone, Debug)]
struct Recorded {
    topic: String,
    payload: String,
    at: SystemTime,
}

/// The messages in the order of their acknowledgement; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Vec<Recorded>>>);

impl Ledger {
    /// The broker acknowledges this message now.
    pub fn note(&self, publish: &Publish) {
        let recorded = Recorded { topic: publish.topic.clone(), payload: publish.text(), at: SystemTime::now() };
        self.0.lock().unwrap().push(recorded);
    }

    /// The account of a sensor.
    pub fn account(&self, sensor: &str) -> Account {
        let recorded = self.0.lock().unwrap().clone();
        Account::of(sensor, recorded.into_iter().map(|recorded| (recorded.topic, recorded.payload)))
    }

    /// How many messages of a topic were recorded.
    pub fn count(&self, topic: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|recorded| recorded.topic == topic).count()
    }

    /// From the sampling to the acknowledgement, of every live reading of a sensor that arrived since `from`; in order of size.
    pub fn delays(&self, sensor: &str, from: SystemTime) -> Vec<Duration> {
        let topic = format!("b/sensors/{sensor}");
        let delay = |recorded: &Recorded| {
            let json: Value = serde_json::from_str(&recorded.payload).unwrap();
            let taken = humantime::parse_rfc3339(json["time"].as_str().unwrap()).unwrap();
            recorded.at.duration_since(taken).unwrap_or_default()
        };
        let recorded = self.0.lock().unwrap();
        let mut all: Vec<_> =
            recorded.iter().filter(|recorded| recorded.topic == topic && recorded.at >= from).map(delay).collect();
        all.sort_unstable();
        all
    }
}
