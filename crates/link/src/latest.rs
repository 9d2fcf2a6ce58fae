//! Retained topics: only the newest value counts, so they never go through the spool.
//!
//! Anyone may [`Latest::set`] a topic at any time; the link publishes what changed, and everything again at each connect. A
//! value that is overtaken before it was sent is never sent.
//!
//! [`Latest::repeat`] is for a subscriber that came too late for a message that is not retained: it is sent once more, at QoS 0, unless
//! something newer goes to its topic first or the connection ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::lock::lock;

/// Longest wait before a refused topic is tried again.
const REFUSED_MAX: Duration = Duration::from_secs(60);

/// The newest value of each retained topic. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Latest(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    // Never locked across an await: every method is short and synchronous.
    topics: Mutex<Topics>,
    /// On which topics readings may be retained; `None` until somebody has said so, and then on all.
    retaining: Mutex<Option<BTreeSet<String>>>,
    /// What is sent once more. There is one for each topic, so sensors bound it.
    repeats: Mutex<BTreeMap<String, Bytes>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Topics {
    entries: BTreeMap<String, Entry>,
    /// Those that are [`Progress::Dirty`], so that a look at each reading need not go through all devices.
    dirty: BTreeSet<String>,
}

#[derive(Debug)]
struct Entry {
    /// Empty clears the topic at the broker.
    payload: Bytes,
    progress: Progress,
    failures: u32,
    not_before: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// To be sent.
    Dirty,
    /// Sent; `true` when a newer value has come since.
    InFlight(bool),
    /// Acknowledged on this connection.
    Known,
}

impl Latest {
    /// Publishes `payload` on `topic`, retained, as soon as possible, unless the broker has it already.
    pub fn set(&self, topic: String, payload: Vec<u8>) {
        self.change(topic, payload.into());
    }

    /// Clears `topic` at the broker, and forgets it when that is acknowledged.
    pub fn clear(&self, topic: String) {
        self.change(topic, Bytes::new());
    }

    /// Publishes what is retained on these topics once more, for somebody who has just come to a broker that keeps nothing.
    pub fn set_again<'a>(&self, wanted: impl IntoIterator<Item = &'a String>) {
        let Topics { entries, dirty } = &mut *self.topics();
        for topic in wanted {
            if let Some(entry) = entries.get_mut(topic).filter(|entry| entry.progress == Progress::Known) {
                entry.progress = Progress::Dirty;
                dirty.insert(topic.clone());
            }
        }
        self.0.changed.notify_one();
    }

    /// Publishes everything that is retained once more.
    pub fn set_all_again(&self) {
        let topics: Vec<_> = self.topics().entries.keys().cloned().collect();
        self.set_again(&topics);
    }

    /// Whether the broker has the newest value of each of these topics, as far as they are not forgotten.
    pub fn is_published<'a>(&self, wanted: impl IntoIterator<Item = &'a String>) -> bool {
        let topics = self.topics();
        wanted.into_iter().all(|topic| topics.entries.get(topic).is_none_or(|entry| entry.progress == Progress::Known))
    }

    /// Sends this once more, neither retained nor assured.
    pub fn repeat(&self, topic: String, payload: Vec<u8>) {
        self.repeats().insert(topic, payload.into());
        self.0.changed.notify_one();
    }

    /// What is to be sent once more.
    pub(super) fn take_repeat(&self) -> Option<(String, Bytes)> {
        self.repeats().pop_first()
    }

    /// Something newer goes to this topic.
    pub(super) fn overtake_repeat(&self, topic: &str) {
        self.repeats().remove(topic);
    }

    fn repeats(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        lock(&self.0.repeats)
    }

    /// Clears every topic.
    pub(super) fn clear_all(&self) {
        let topics: Vec<_> = self.topics().entries.keys().cloned().collect();
        topics.into_iter().for_each(|topic| self.clear(topic));
    }

    /// From now on readings are retained on these topics only, whatever was said when they were taken: one that waited in
    /// the spool would otherwise fill a topic again that was cleared meanwhile.
    pub fn retain_readings_on(&self, topics: BTreeSet<String>) {
        *lock(&self.0.retaining) = Some(topics);
    }

    /// Whether a reading may be retained on `topic`.
    pub(super) fn may_retain(&self, topic: &str) -> bool {
        let retaining = lock(&self.0.retaining);
        retaining.as_ref().is_none_or(|topics| topics.contains(topic))
    }

    /// Moves every topic below `old` to the same place below `new`, and clears it where it was.
    pub fn rebase(&self, old: &str, new: &str) {
        let below = |topic: &String| topic.strip_prefix(old).is_some_and(|rest| rest.starts_with('/'));
        let moved: Vec<(String, Bytes)> = {
            let topics = self.topics();
            let present = topics.entries.iter().filter(|(topic, entry)| below(topic) && !entry.payload.is_empty());
            present.map(|(topic, entry)| (topic.clone(), entry.payload.clone())).collect()
        };
        for (topic, payload) in moved {
            self.change(format!("{new}{}", &topic[old.len()..]), payload);
            self.change(topic, Bytes::new());
        }
    }

    fn change(&self, topic: String, payload: Bytes) {
        let mut topics = self.topics();
        let Topics { entries, dirty } = &mut *topics;
        match entries.get_mut(&topic) {
            Some(entry) if entry.payload == payload => return,
            Some(Entry { progress: progress @ Progress::InFlight(_), payload: known, .. }) => {
                (*progress, *known) = (Progress::InFlight(true), payload);
            }
            Some(entry) => {
                (entry.progress, entry.payload) = (Progress::Dirty, payload);
                dirty.insert(topic);
            }
            None => {
                dirty.insert(topic.clone());
                entries.insert(topic, Entry::new(payload));
            }
        }
        drop(topics);
        self.0.changed.notify_one();
    }

    /// Waits for a change. One waiter at a time; a change before the wait counts.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// A new connection knows nothing: everything is to be sent.
    pub(super) fn forget_progress(&self) {
        self.repeats().clear();
        let Topics { entries, dirty } = &mut *self.topics();
        *dirty = entries.keys().cloned().collect();
        for entry in entries.values_mut() {
            *entry = Entry::new(std::mem::take(&mut entry.payload));
        }
    }

    /// The next topic to send among those that `may` be sent now; it is then in flight.
    pub(super) fn take(&self, now: Duration, may: impl Fn(&str) -> bool) -> Option<(String, Bytes)> {
        let Topics { entries, dirty } = &mut *self.topics();
        let is_due =
            |topic: &&String| may(topic.as_str()) && entries.get(*topic).is_some_and(|entry| entry.not_before <= now);
        let topic = dirty.iter().find(is_due)?.clone();
        dirty.remove(&topic);
        let entry = entries.get_mut(&topic)?;
        entry.progress = Progress::InFlight(false);
        Some((topic, entry.payload.clone()))
    }

    /// The broker has what was sent.
    pub(super) fn acknowledged(&self, topic: &str) {
        let Topics { entries, dirty } = &mut *self.topics();
        let Some(entry) = entries.get_mut(topic) else { return };
        entry.failures = 0;
        match entry.progress {
            Progress::InFlight(true) => {
                entry.progress = Progress::Dirty;
                dirty.insert(topic.to_owned());
            }
            _ if entry.payload.is_empty() => drop(entries.remove(topic)),
            _ => entry.progress = Progress::Known,
        }
    }

    /// The broker refused it: it is tried again later, each time after a longer wait.
    pub(super) fn refused(&self, topic: &str, now: Duration) {
        let Topics { entries, dirty } = &mut *self.topics();
        if let Some(entry) = entries.get_mut(topic) {
            let wait = Duration::from_secs(1 << entry.failures.min(6)).min(REFUSED_MAX);
            entry.failures = entry.failures.saturating_add(1);
            entry.not_before = now + wait;
            entry.progress = Progress::Dirty;
            dirty.insert(topic.to_owned());
        }
    }

    /// Whether something is still to be sent or acknowledged.
    pub(super) fn is_pending(&self) -> bool {
        self.topics().entries.values().any(|entry| entry.progress != Progress::Known && entry.failures == 0)
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        // Each method leaves the map whole at every step, so a panic elsewhere has not harmed it.
        lock(&self.0.topics)
    }
}

impl Entry {
    fn new(payload: Bytes) -> Self {
        Self { payload, progress: Progress::Dirty, failures: 0, not_before: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn any(_: &str) -> bool {
        true
    }

    #[test]
    fn only_the_newest_value_is_sent_and_one_at_a_time() {
        let latest = Latest::default();
        latest.set("a".into(), b"1".to_vec());
        latest.set("a".into(), b"2".to_vec());
        assert!(latest.is_pending());
        assert_eq!(latest.take(NOW, any), Some(("a".into(), Bytes::from_static(b"2"))));
        latest.set("a".into(), b"3".to_vec());
        latest.set("a".into(), b"4".to_vec());
        assert_eq!(latest.take(NOW, any), None);
        latest.acknowledged("a");
        assert_eq!(latest.take(NOW, any), Some(("a".into(), Bytes::from_static(b"4"))));
        latest.acknowledged("a");
        assert!(!latest.is_pending());
        latest.set("a".into(), b"4".to_vec());
        assert_eq!(latest.take(NOW, any), None, "the broker has it already");
    }

    #[test]
    fn readings_are_retained_on_all_topics_until_it_is_said_on_which() {
        let latest = Latest::default();
        assert!(latest.may_retain("b/sensors/air"));
        latest.retain_readings_on(BTreeSet::from(["b/sensors/air".to_owned()]));
        assert!(latest.may_retain("b/sensors/air") && !latest.may_retain("b/sensors/soil"));
    }

    #[test]
    fn what_moves_to_another_base_is_cleared_where_it_was_and_nothing_else_is() {
        let latest = Latest::default();
        for topic in ["b/status", "bb/status", "b/gone"] {
            latest.set(topic.into(), b"1".to_vec());
        }
        latest.clear("b/gone".into());
        latest.rebase("b", "new");
        let taken = std::iter::from_fn(|| latest.take(NOW, any)).map(|(topic, payload)| (topic, payload.len()));
        let taken: std::collections::BTreeMap<String, usize> = taken.collect();
        let expected = [("b/gone", 0), ("b/status", 0), ("bb/status", 1), ("new/status", 1)];
        assert_eq!(taken, expected.map(|(topic, bytes)| (topic.to_owned(), bytes)).into());
    }

    #[test]
    fn a_new_connection_publishes_everything() {
        let latest = Latest::default();
        latest.set("a".into(), b"1".to_vec());
        latest.set("b".into(), b"2".to_vec());
        latest.take(NOW, any);
        latest.acknowledged("a");
        latest.forget_progress();
        assert!(latest.take(NOW, any).is_some() && latest.take(NOW, any).is_some() && latest.take(NOW, any).is_none());
    }

    #[test]
    fn a_cleared_topic_is_forgotten_once_acknowledged() {
        let latest = Latest::default();
        latest.clear("a".into());
        assert_eq!(latest.take(NOW, any), Some(("a".into(), Bytes::new())));
        latest.acknowledged("a");
        latest.forget_progress();
        assert_eq!(latest.take(NOW, any), None);
    }

    #[test]
    fn what_is_repeated_is_sent_once_unless_something_newer_or_another_connection_comes() {
        let latest = Latest::default();
        for topic in ["a", "b", "c"] {
            latest.repeat(topic.into(), b"1".to_vec());
        }
        latest.repeat("c".into(), b"2".to_vec());
        latest.overtake_repeat("a");
        assert_eq!(latest.take_repeat(), Some(("b".into(), Bytes::from_static(b"1"))));
        assert_eq!(latest.take_repeat(), Some(("c".into(), Bytes::from_static(b"2"))));
        assert_eq!(latest.take_repeat(), None);
        latest.repeat("a".into(), b"1".to_vec());
        latest.forget_progress();
        assert_eq!(latest.take_repeat(), None);
    }

    #[test]
    fn what_the_broker_has_is_published_again_when_that_is_wanted() {
        let (latest, topics) = (Latest::default(), ["a".to_owned(), "b".to_owned()]);
        latest.set("a".into(), b"1".to_vec());
        assert!(!latest.is_published(&topics));
        assert!(latest.take(NOW, any).is_some());
        assert!(!latest.is_published(&topics));
        latest.acknowledged("a");
        assert!(latest.is_published(&topics), "nobody has set the other");
        latest.set_again(&topics);
        assert!(!latest.is_published(&topics));
        assert_eq!(latest.take(NOW, any), Some(("a".into(), Bytes::from_static(b"1"))));
        assert_eq!(latest.take(NOW, any), None);
        latest.acknowledged("a");
        latest.set_all_again();
        assert_eq!(latest.take(NOW, any), Some(("a".into(), Bytes::from_static(b"1"))));
    }

    #[test]
    fn everything_is_cleared_whether_the_broker_has_it_or_not() {
        let latest = Latest::default();
        for topic in ["a", "b", "c"] {
            latest.set(topic.into(), b"1".to_vec());
        }
        latest.take(NOW, any);
        latest.acknowledged("a");
        latest.take(NOW, any);
        latest.clear_all();
        latest.acknowledged("b");
        for topic in ["a", "b", "c"] {
            assert_eq!(latest.take(NOW, any), Some((topic.into(), Bytes::new())));
            latest.acknowledged(topic);
        }
        assert!(!latest.is_pending() && latest.take(NOW, any).is_none());
    }

    #[test]
    fn a_refused_topic_waits_ever_longer() {
        let latest = Latest::default();
        latest.set("a".into(), b"1".to_vec());
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(latest.take(NOW, any).is_some());
            latest.refused("a", NOW);
            assert_eq!(latest.take(NOW + Duration::from_secs(wait - 1), any), None);
            latest.topics().entries.get_mut("a").unwrap().not_before = NOW;
        }
    }
}
