//! What a broker has taken upon itself: only what it acknowledged counts as delivered.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::account::Account;
use super::wire::Publish;

/// A message that was acknowledged.
#[derive(Clone, Debug)]
pub struct Note {
    pub topic: String,
    pub payload: String,
    pub at: SystemTime,
}

/// The messages in the order of their acknowledgement; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Vec<Note>>>);

impl Ledger {
    /// The broker acknowledges this message now.
    pub fn note(&self, publish: &Publish) {
        let recorded = Note { topic: publish.topic.clone(), payload: publish.text(), at: SystemTime::now() };
        self.0.lock().unwrap().push(recorded);
    }

    /// The account of a sensor.
    pub fn account(&self, sensor: &str) -> Account {
        Account::of(sensor, self.notes().into_iter().map(|recorded| (recorded.topic, recorded.payload)))
    }

    /// Every message.
    pub fn notes(&self) -> Vec<Note> {
        self.0.lock().unwrap().clone()
    }

    /// How many messages were noted in all.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The newest message of a topic, not looking at the first `skip` notes.
    pub fn newest(&self, topic: &str, skip: usize) -> Option<Note> {
        self.0.lock().unwrap()[skip..].iter().rev().find(|note| note.topic == topic).cloned()
    }

    /// How many messages of a topic were recorded.
    pub fn count(&self, topic: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|recorded| recorded.topic == topic).count()
    }

    /// From the sampling to the acknowledgement, of every live reading of a sensor that arrived since `from`; in order of size.
    pub fn delays(&self, sensor: &str, from: SystemTime) -> Vec<Duration> {
        let topic = format!("b/sensors/{sensor}");
        let delay = |recorded: &Note| {
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
