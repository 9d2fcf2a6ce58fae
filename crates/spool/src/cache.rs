//! The memory of the spool: the newest messages and what must still be written. Pure; the time is an argument.
//!
//! Each message here is in one of four states. Messages that are on disk too leave memory first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fieldgate_model::{Message, Qos};

/// Bytes of messages in memory at most, which are reached only while the disk does not take them.
pub const LIMIT_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of messages that stay in memory although the disk has them: half a minute at a hundred readings a second, so that a
/// short outage is served from memory, and a long one costs a small board no more.
const KEPT_BYTES: usize = 1024 * 1024;

/// Messages of QoS 0 that wait for the link at most: a burst of all sensors, not a backlog.
pub const FLEETING_COUNT: usize = 256;

/// What an entry costs besides its body: the message, its place in the maps, the allocations.
const ENTRY_OVERHEAD: usize = 256;

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// In memory only, to be written.
    Unsaved,
    /// On disk too, but what is there is outdated: a loss record that grew.
    Outdated,
    /// It is on disk too.
    Saved,
    /// In memory only, for good: QoS 0.
    Fleeting,
}

/// A message in memory.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) message: Arc<Message>,
    pub(super) state: State,
    /// Since when it waits to be written.
    since: Duration,
}

impl Entry {
    fn weight(&self) -> usize {
        self.message.body.len() + ENTRY_OVERHEAD
    }
}

/// The messages in memory, and which of them are not on the disk yet.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: BTreeMap<u64, Entry>,
    unsaved: BTreeSet<u64>,
    saved: BTreeSet<u64>,
    fleeting: BTreeSet<u64>,
    outdated: usize,
    weight: usize,
}

impl Cache {
    /// Takes a message in; one that is here already is replaced.
    pub(super) fn put(&mut self, sequence: u64, message: Arc<Message>, state: State, now: Duration) {
        self.remove(sequence);
        // A grown loss record goes in front of those that wait longer; it inherits their date.
        let since = self.waiting_since().unwrap_or(now);
        self.insert(sequence, Entry { message, state, since });
    }

    /// Takes a new message in, in the state that its QoS asks for.
    pub(super) fn append(&mut self, sequence: u64, message: Message, now: Duration) {
        let state = if message.qos == Qos::AtMostOnce { State::Fleeting } else { State::Unsaved };
        self.insert(sequence, Entry { message: Arc::new(message), state, since: now });
    }

    fn insert(&mut self, sequence: u64, entry: Entry) {
        self.weight += entry.weight();
        self.outdated += usize::from(entry.state == State::Outdated);
        self.set_of(entry.state).insert(sequence);
        self.entries.insert(sequence, entry);
    }

    fn set_of(&mut self, state: State) -> &mut BTreeSet<u64> {
        match state {
            State::Unsaved | State::Outdated => &mut self.unsaved,
            State::Saved => &mut self.saved,
            State::Fleeting => &mut self.fleeting,
        }
    }

    /// Takes a message out.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Entry> {
        let entry = self.entries.remove(&sequence)?;
        self.weight -= entry.weight();
        self.outdated -= usize::from(entry.state == State::Outdated);
        self.set_of(entry.state).remove(&sequence);
        Some(entry)
    }

    /// The message at `sequence`.
    pub(super) fn get(&self, sequence: u64) -> Option<&Entry> {
        self.entries.get(&sequence)
    }

    /// Messages from `from` on, in order.
    pub(super) fn from(&self, from: u64) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        self.entries.range(from..).map(|(sequence, entry)| (*sequence, entry))
    }

    /// What must be written, in order.
    pub(super) fn unsaved(&self) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        self.unsaved.iter().filter_map(|sequence| Some((*sequence, self.entries.get(sequence)?)))
    }

    /// Since when the first of those waits.
    pub(super) fn waiting_since(&self) -> Option<Duration> {
        self.unsaved().next().map(|(_, entry)| entry.since)
    }

    /// Notes that messages are on disk now. One that has grown meanwhile cannot be: the core does one thing at a time.
    pub(super) fn mark_saved(&mut self, sequence: u64) {
        if let Some(entry) = self.remove(sequence) {
            self.insert(sequence, Entry { state: State::Saved, ..entry });
        }
    }

    /// Notes that the disk has nothing any more.
    pub(super) fn forget_disk(&mut self, now: Duration) {
        let on_disk: Vec<u64> = self.from(0).filter(|(_, e)| e.state != State::Fleeting).map(|(s, _)| s).collect();
        for sequence in on_disk {
            if let Some(entry) = self.remove(sequence) {
                self.insert(sequence, Entry { state: State::Unsaved, since: now, ..entry });
            }
        }
    }

    /// Moves every message by `behind` places.
    pub(super) fn shift(&mut self, behind: u64) {
        for (sequence, entry) in std::mem::take(self).entries {
            self.insert(sequence + behind, entry);
        }
    }

    /// Whether there is more than may be.
    pub(super) fn is_over(&self) -> bool {
        self.weight > LIMIT_BYTES
    }

    /// Lets saved messages go, the oldest first, until the limit is kept; returns one past the last that went.
    pub(super) fn evict(&mut self) -> Option<u64> {
        self.evict_above(KEPT_BYTES)
    }

    /// Lets all saved messages go.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn evict_all(&mut self) -> Option<u64> {
        self.evict_above(0)
    }

    fn evict_above(&mut self, kept: usize) -> Option<u64> {
        let mut past = None;
        while self.weight > kept {
            let Some(oldest) = self.saved.first().copied() else { break };
            self.remove(oldest);
            past = Some(oldest + 1);
        }
        past
    }

    /// Drops the oldest messages of QoS 0 beyond their number; returns how many went.
    pub(super) fn drop_surplus(&mut self) -> u64 {
        self.drop_fleeting(|cache| cache.fleeting.len() > FLEETING_COUNT)
    }

    /// Drops messages of QoS 0, the oldest first, until the limit is kept; returns how many went.
    pub(super) fn drop_fleeting_beyond_limit(&mut self) -> u64 {
        self.drop_fleeting(Self::is_over)
    }

    fn drop_fleeting(&mut self, is_surplus: impl Fn(&Self) -> bool) -> u64 {
        let mut dropped = 0;
        while is_surplus(self) {
            let Some(oldest) = self.fleeting.first().copied() else { break };
            self.remove(oldest);
            dropped += 1;
        }
        dropped
    }

    /// How many of these have a row on disk.
    pub(super) fn rows(&self) -> u64 {
        (self.saved.len() + self.outdated) as u64
    }

    /// How many of these have none.
    pub(super) fn without_row(&self) -> u64 {
        self.entries.len() as u64 - self.rows()
    }

    /// The oldest message here.
    pub(super) fn oldest(&self) -> Option<(u64, &Entry)> {
        self.from(0).next()
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> usize {
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::reading;

    const NOW: Duration = Duration::from_secs(5);

    #[test]
    fn what_was_appended_waits_to_be_written_since_then() {
        let mut cache = Cache::default();
        cache.append(1, reading("air", 1, 10), NOW);
        cache.append(2, reading("air", 2, 10), NOW * 2);
        assert_eq!(cache.waiting_since(), Some(NOW));
        cache.mark_saved(1);
        assert_eq!(cache.waiting_since(), Some(NOW * 2));
        assert_eq!((cache.rows(), cache.without_row()), (1, 1));
    }

    #[test]
    fn only_saved_messages_are_evicted_and_the_oldest_first() {
        let mut cache = Cache::default();
        for sequence in 0..3 {
            cache.append(sequence, reading("air", sequence, KEPT_BYTES / 2), NOW);
        }
        assert_eq!(cache.evict(), None);
        (0..3).for_each(|sequence| cache.mark_saved(sequence));
        assert_eq!(cache.evict(), Some(2));
        assert!(cache.weight() <= KEPT_BYTES && cache.get(2).is_some());
    }

    #[test]
    fn qos_0_is_never_to_be_written_and_bounded_in_number() {
        let mut cache = Cache::default();
        for sequence in 0..FLEETING_COUNT as u64 + 3 {
            let message = Message { qos: Qos::AtMostOnce, ..reading("air", sequence, 1) };
            cache.append(sequence, message, NOW);
        }
        assert_eq!(cache.unsaved().count(), 0);
        assert_eq!(cache.drop_surplus(), 3);
        assert_eq!(cache.oldest().map(|(sequence, _)| sequence), Some(3));
    }

    #[test]
    fn an_emptied_cache_weighs_nothing() {
        let mut cache = Cache::default();
        cache.append(1, reading("air", 1, 10), NOW);
        cache.put(1, Arc::new(reading("air", 1, 99)), State::Outdated, NOW);
        cache.mark_saved(1);
        cache.remove(1);
        assert_eq!((cache.weight(), cache.rows(), cache.without_row()), (0, 0, 0));
    }
}
