//! A broker that notes what it was offered and what it acknowledged, and that can be absent or silent.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::account::Account;
use crate::common::gateway::Gateway;
use crate::common::ledger::{Ledger, Note};
use crate::common::quick::url;
use crate::common::scripted::{Answer, Script, ScriptedBroker};
use crate::common::wire::Publish;
use crate::common::{SOON, free_port, wait_for};

/// How the broker is today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It takes everything.
    Acknowledges,
    /// It reads readings and losses and says nothing to them.
    Silent,
    /// It takes everything, and each message takes it [`SLOWLY`].
    Slow,
    /// Nothing listens.
    Absent,
}

/// So that far more is sampled than it takes.
const SLOWLY: Duration = Duration::from_millis(5);

/// A reading's run and number.
pub(crate) type Id = (String, u64);

#[derive(Default)]
struct Book {
    /// Readings of `n` that it did not acknowledge when they came.
    offered: BTreeSet<Id>,
    acknowledged: BTreeSet<Id>,
}

/// The broker.
pub(crate) struct MoodyBroker {
    port: u16,
    ledger: Ledger,
    book: Arc<Mutex<Book>>,
    silent: Arc<AtomicBool>,
    slow: Arc<AtomicBool>,
    broker: Option<ScriptedBroker>,
}

impl MoodyBroker {
    /// One in this mood.
    pub(crate) fn new(mood: Mood) -> Self {
        let (silent, slow) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let (ledger, book) = <(Ledger, Arc<Mutex<Book>>)>::default();
        let mut broker = Self { port: free_port(), ledger, book, silent, slow, broker: None };
        broker.be(mood);
        broker
    }

    /// For a configuration.
    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// Changes the mood. What it kept silent about stays without an answer on its connection.
    pub(crate) fn be(&mut self, mood: Mood) {
        self.silent.store(mood == Mood::Silent, Ordering::Relaxed);
        self.slow.store(mood == Mood::Slow, Ordering::Relaxed);
        if mood == Mood::Absent {
            self.broker = None;
        } else if self.broker.is_none() {
            let (book, silent, slow) = (Arc::clone(&self.book), Arc::clone(&self.silent), Arc::clone(&self.slow));
            let script = Script::good().on_publish(move |_, publish| {
                if slow.load(Ordering::Relaxed) {
                    std::thread::sleep(SLOWLY);
                }
                answer(&book, &silent, publish)
            });
            let script = script.noting(&self.ledger);
            self.broker = Some(ScriptedBroker::start_on(self.port, vec![script]));
        }
    }

    /// Sends a message to the program; somebody must be there.
    pub(crate) fn send(&self, topic: &str, payload: &str) {
        let publish = Publish { topic: topic.to_owned(), payload: payload.into(), ..Publish::default() };
        self.broker.as_ref().expect("a broker that is there").send(&publish);
    }

    /// What was acknowledged, in order.
    pub(crate) fn notes(&self) -> Vec<Note> {
        self.ledger.notes()
    }

    /// The newest acknowledged message on a topic, not looking at the first `skip` notes.
    pub(crate) fn newest(&self, topic: &str, skip: usize) -> Option<Note> {
        self.ledger.newest(topic, skip)
    }

    /// How many readings of `n` were acknowledged, repeats not counted.
    pub(crate) fn received(&self) -> usize {
        self.book.lock().unwrap().acknowledged.len()
    }

    /// The topics of all messages that were acknowledged, in order.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.ledger.notes().into_iter().map(|note| note.topic).collect()
    }

    /// How many messages were acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.ledger.len()
    }

    /// The account of what was acknowledged.
    pub(crate) fn account(&self, sensor: &str) -> Account {
        self.ledger.account(sensor)
    }

    /// Readings of `n` that were offered and never acknowledged.
    pub(crate) fn owed(&self) -> Vec<Id> {
        let book = self.book.lock().unwrap();
        book.offered.difference(&book.acknowledged).cloned().collect()
    }

    /// How many readings of `n` were offered while it kept silent.
    pub(crate) fn offered(&self) -> usize {
        self.book.lock().unwrap().offered.len()
    }

    /// The program's health of this moment; it publishes it at a reload.
    pub(crate) fn health(&self, gateway: &Gateway) -> Value {
        let before = self.count();
        gateway.signal(Signal::HUP);
        let note = wait_for("health", SOON, || self.newest("b/health", before));
        serde_json::from_str(&note.payload).unwrap()
    }

    /// Waits until all that waits now is delivered; fails when that gets no further within `timeout`. What is taken meanwhile may
    /// still be under way: on a busy machine some always is.
    pub(crate) fn wait_drained(&self, gateway: &Gateway, timeout: Duration) {
        let begun = SystemTime::now();
        let mut furthest = (SystemTime::UNIX_EPOCH, Instant::now());
        loop {
            let spool = self.health(gateway)["spool"].take();
            let oldest = spool["oldest"].as_str().map(|time| humantime::parse_rfc3339(time).unwrap());
            match oldest.filter(|oldest| *oldest <= begun) {
                None => return,
                Some(oldest) if oldest > furthest.0 => furthest = (oldest, Instant::now()),
                Some(_) => assert!(furthest.1.elapsed() < timeout, "nothing of it went in {timeout:?}: {spool}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn answer(book: &Mutex<Book>, silent: &AtomicBool, publish: &Publish) -> Answer {
    let topic = publish.topic.as_str();
    let is_reading = topic == "b/sensors/n" || topic == "b/late/n";
    let keeps_silent = silent.load(Ordering::Relaxed) && (is_reading || topic == "b/loss");
    let mut book = book.lock().unwrap();
    if is_reading {
        let json: Value = serde_json::from_slice(&publish.payload).unwrap();
        let id = (json["run"].as_str().unwrap().to_owned(), json["seq"].as_u64().unwrap());
        let set = if keeps_silent { &mut book.offered } else { &mut book.acknowledged };
        set.insert(id);
    }
    if keeps_silent { Answer::Silence } else { Answer::Acknowledge }
}
