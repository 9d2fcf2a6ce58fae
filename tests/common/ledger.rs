//! What a broker has taken upon itself: only what it acknowledged counts as delivered.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::account::Account;
use super::wire::Publish;

#[derive(Clone, Debug)]
struct Noted {
    topic: String,
    payload: String,
    at: SystemTime,
}

/// The messages in the order of their acknowledgement; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Vec<Noted>>>);

impl Ledger {
    /// The broker acknowledges this message now.
    pub fn note(&self, publish: &Publish) {
        let noted = Noted { topic: publish.topic.clone(), payload: publish.text(), at: SystemTime::now() };
        self.0.lock().unwrap().push(noted);
    }

    /// The account of a sensor.
    pub fn account(&self, sensor: &str) -> Account {
        let noted = self.0.lock().unwrap().clone();
        Account::of(sensor, noted.into_iter().map(|noted| (noted.topic, noted.payload)))
    }

    /// How many messages of a topic were noted.
    pub fn count(&self, topic: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|noted| noted.topic == topic).count()
    }

    /// From the sampling to the acknowledgement, of every live reading of a sensor that arrived since `from`; in order of size.
    pub fn delays(&self, sensor: &str, from: SystemTime) -> Vec<Duration> {
        let topic = format!("b/sensors/{sensor}");
        let delay = |noted: &Noted| {
            let json: Value = serde_json::from_str(&noted.payload).unwrap();
            let taken = humantime::parse_rfc3339(json["time"].as_str().unwrap()).unwrap();
            noted.at.duration_since(taken).unwrap_or_default()
        };
        let noted = self.0.lock().unwrap();
        let mut all: Vec<_> =
            noted.iter().filter(|noted| noted.topic == topic && noted.at >= from).map(delay).collect();
        all.sort_unstable();
        all
    }
}
