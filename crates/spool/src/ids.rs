//! The ids of commands that are kept over restarts: what memory knows, what the disk has of it, and when it is to be written.
//! Pure; the time is an argument.
//!
//! Each has a number, and the newest the greatest: that is their order, also on disk. The newest 1024 are kept, fewer where they would
//! take more than a quarter of the capacity for messages.
//!
//! An answer is written before a reply that was appended behind it is readable; a begin is written five milliseconds later unless its
//! answer comes first. What else waits is not written with them, so readings cost no more for it. One such transaction costs about
//! 9 kB with what the file system adds. Four may follow each other; then there are two a second, and replies are readable up to half a
//! second before their records are on disk: about 70 kB/s under a flood, of which 200 commands a second get so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fieldgate_model::{CommandRecord, EarlierCommands, REMEMBERED, Recipient, Throttle};

/// Bytes of all ids and answers at most. A thousand usual ones take a fifth of it.
const LIMIT_BYTES: u64 = 1024 * 1024;

/// A longer answer is not kept: after a restart its command counts as one whose fate is unknown. None of ours is half as long.
const LONGEST_ANSWER: usize = 4096;

/// Bytes that a row takes in a page besides its texts, rounded up.
const ROW_OVERHEAD: usize = 24;

/// How long a command that has begun waits for its answer, so that both are written in one go. Most outputs take less.
const GRACE: Duration = Duration::from_millis(5);

/// Transactions for the sake of ids alone: so many may follow each other at once,
const BURST: u32 = 4;

/// and then one in so long.
const PERIOD: Duration = Duration::from_millis(500);

/// The place of a row and what is in it.
pub(super) type CommandRow = (u64, CommandRecord);

/// What a file has.
#[derive(Debug, Default)]
pub(super) struct CommandRows {
    /// In any order; their places say which is older.
    pub(super) sound: Vec<CommandRow>,
    /// The places of those of which not even the id can be read.
    pub(super) unsound: Vec<u64>,
}

/// The newest ids of commands and their answers, as memory has them.
#[derive(Debug)]
pub(super) struct Ids {
    records: BTreeMap<u64, CommandRecord>,
    places: BTreeMap<(Recipient, String), u64>,
    unsaved: BTreeSet<u64>,
    /// Rows on disk that are of no use.
    unsound: Vec<u64>,
    next: u64,
    bytes: u64,
    limit_bytes: u64,
    /// When the first of the unsaved is to be written.
    wanted: Option<Duration>,
    throttle: Throttle,
    is_known: bool,
}

impl Ids {
    /// None yet; they may take `limit_bytes` on disk.
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            records: BTreeMap::new(),
            places: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            unsound: Vec::new(),
            next: 1,
            bytes: 0,
            limit_bytes: limit_bytes.min(LIMIT_BYTES),
            wanted: None,
            throttle: Throttle::new(BURST, PERIOD),
            is_known: false,
        }
    }

    /// Takes a command that begins, or the answer to one.
    pub(super) fn record(&mut self, record: CommandRecord, now: Duration) {
        let wanted = if record.answer.is_some() { now } else { now + GRACE };
        self.wanted = Some(self.wanted.map_or(wanted, |first| first.min(wanted)));
        self.put_behind(CommandRecord {
            answer: record.answer.filter(|answer| answer.len() <= LONGEST_ANSWER),
            ..record
        });
        self.forget_oldest();
    }

    /// One that is known keeps its place.
    fn put_behind(&mut self, record: CommandRecord) {
        let place = self.places.get(&key(&record)).copied().unwrap_or(self.next);
        self.put(place, record);
        self.unsaved.insert(place);
    }

    fn put(&mut self, place: u64, record: CommandRecord) {
        self.next = self.next.max(place + 1);
        self.bytes += cost(&record);
        self.places.insert(key(&record), place);
        if let Some(before) = self.records.insert(place, record) {
            self.bytes -= cost(&before);
        }
    }

    fn forget_oldest(&mut self) {
        while self.records.len() > REMEMBERED || self.bytes > self.limit_bytes {
            let Some((place, oldest)) = self.records.pop_first() else { return };
            self.bytes -= cost(&oldest);
            self.unsaved.remove(&place);
            self.places.remove(&key(&oldest));
        }
    }

    /// They may take `bytes` on disk from now on.
    pub(super) fn limit(&mut self, bytes: u64) {
        self.limit_bytes = bytes.min(LIMIT_BYTES);
    }

    /// When they are to be written.
    pub(super) fn due(&self) -> Option<Duration> {
        let wanted = self.unsaved.first().map(|_| self.wanted.unwrap_or(Duration::ZERO))?;
        Some(wanted.max(self.throttle.earliest()))
    }

    /// What must be written, in order: about `bytes` of it.
    pub(super) fn unsaved(&self, bytes: u64) -> Vec<CommandRow> {
        let mut sum = 0;
        let fits = |(_, record): &CommandRow| {
            let is_first = sum == 0;
            sum += cost(record);
            is_first || sum <= bytes
        };
        let unsaved = self.unsaved.iter().filter_map(|place| Some((*place, self.records.get(place)?.clone())));
        unsaved.take_while(fits).collect()
    }

    /// Rows with a lower place are forgotten.
    pub(super) fn oldest(&self) -> u64 {
        self.records.first_key_value().map_or(self.next, |(place, _)| *place)
    }

    /// Places of rows that are of no use.
    pub(super) fn unsound(&self) -> &[u64] {
        &self.unsound
    }

    /// Notes that these are on disk, and those without use no more.
    pub(super) fn mark_saved(&mut self, saved: &[CommandRow], now: Duration) {
        if saved.is_empty() {
            return;
        }
        for (place, _) in saved {
            self.unsaved.remove(place);
        }
        self.unsound.clear();
        if self.unsaved.is_empty() {
            self.wanted = None;
            self.throttle.step(now);
        }
    }

    /// The file that is in use now has these, and none of those that were known before.
    pub(super) fn adopt(&mut self, rows: CommandRows) {
        self.put_in_front(rows.sound, false);
        self.unsound = rows.unsound;
        self.is_known = true;
    }

    /// A file that is in use no more has these.
    pub(super) fn recover(&mut self, rows: CommandRows) {
        self.put_in_front(rows.sound, true);
    }

    /// Takes what is older than all that is known. What is known of the same id is newer, and true.
    fn put_in_front(&mut self, rows: Vec<CommandRow>, are_unsaved: bool) {
        let newer = std::mem::take(&mut self.records);
        self.places.clear();
        self.unsaved.clear();
        self.bytes = 0;
        for (place, record) in rows {
            self.put(place, record);
            if are_unsaved {
                self.unsaved.insert(place);
            }
        }
        newer.into_values().for_each(|record| self.put_behind(record));
        self.forget_oldest();
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All of them, once a disk has been read.
    pub(super) fn known(&self) -> EarlierCommands {
        self.is_known.then(|| Arc::new(self.records.values().cloned().collect()))
    }

    /// Whether [`Ids::known`] says something.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }
}

fn key(record: &CommandRecord) -> (Recipient, String) {
    (record.recipient.clone(), record.id.clone())
}

fn cost(record: &CommandRecord) -> u64 {
    let answer = record.answer.as_ref().map_or(0, |answer| answer.len());
    (ROW_OVERHEAD + record.recipient.as_text().len() + record.id.len() + answer) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_model::Name;

    const NOW: Duration = Duration::from_secs(100);

    fn record(id: usize, answer: Option<&str>) -> CommandRecord {
        CommandRecord {
            recipient: Recipient::output(Name::new("pump").unwrap()),
            id: id.to_string(),
            answer: answer.map(Into::into),
        }
    }

    fn written(ids: &mut Ids, now: Duration) -> Vec<CommandRow> {
        let rows = ids.unsaved(u64::MAX);
        ids.mark_saved(&rows, now);
        rows
    }

    #[test]
    fn a_begin_waits_a_little_for_its_answer_and_an_answer_for_nothing() {
        let mut ids = Ids::new(u64::MAX);
        ids.record(record(1, None), NOW);
        assert_eq!(ids.due(), Some(NOW + GRACE));
        ids.record(record(1, Some("done")), NOW + GRACE / 2);
        assert_eq!(ids.due(), Some(NOW + GRACE / 2));
        assert_eq!(written(&mut ids, NOW), [(1, record(1, Some("done")))]);
        assert_eq!(ids.due(), None);
    }

    #[test]
    fn after_a_burst_there_is_one_write_in_a_period_and_a_pause_gives_the_burst_back() {
        let mut ids = Ids::new(u64::MAX);
        let mut at_once = |now: Duration| {
            (0..100)
                .take_while(|_| {
                    ids.record(record(1, Some("done")), now);
                    let is_due = ids.due() <= Some(now);
                    if is_due {
                        written(&mut ids, now);
                    }
                    is_due
                })
                .count()
        };
        assert_eq!(at_once(NOW), BURST as usize);
        assert_eq!(at_once(NOW + PERIOD - Duration::from_millis(1)), 0);
        assert_eq!(at_once(NOW + PERIOD), 1);
        assert_eq!(at_once(NOW + 1000 * PERIOD), BURST as usize);
    }

    #[test]
    fn the_newest_are_kept_and_those_in_front_are_forgotten_on_disk_too() {
        let mut ids = Ids::new(u64::MAX);
        (1..=REMEMBERED + 3).for_each(|id| ids.record(record(id, Some("done")), NOW));
        assert_eq!((ids.oldest(), ids.unsaved(u64::MAX).len()), (4, REMEMBERED));
        ids.record(record(5, Some("other")), NOW);
        assert_eq!(ids.oldest(), 4, "what is known keeps its place");
    }

    #[test]
    fn few_that_are_long_are_forgotten_sooner_and_an_endless_answer_is_not_kept() {
        let mut ids = Ids::new(u64::MAX);
        ids.limit(10_000);
        let long = "x".repeat(LONGEST_ANSWER);
        (1..=5).for_each(|id| ids.record(record(id, Some(&long)), NOW));
        assert_eq!(ids.unsaved(u64::MAX).iter().map(|(place, _)| *place).collect::<Vec<_>>(), [4, 5]);
        ids.record(record(6, Some(&format!("{long}x"))), NOW);
        assert_eq!(ids.unsaved(u64::MAX).last(), Some(&(6, record(6, None))));
    }

    #[test]
    fn as_many_are_remembered_as_fit_with_their_texts() {
        let of = |n: usize| CommandRecord { id: format!("{n:036}"), ..record(n, Some("{\"status\":\"done\"}")) };
        let one = ROW_OVERHEAD + "pump".len() + 36 + "{\"status\":\"done\"}".len();
        let mut ids = Ids::new(3 * one as u64);
        (1..=5).for_each(|n| ids.record(of(n), NOW));
        assert_eq!(ids.unsaved(u64::MAX), [(3, of(3)), (4, of(4)), (5, of(5))]);
        ids.limit(3 * one as u64 - 1);
        ids.record(of(5), NOW);
        assert_eq!(ids.unsaved(u64::MAX), [(4, of(4)), (5, of(5))]);
    }

    #[test]
    fn what_a_file_has_comes_in_front_and_what_is_known_of_the_same_id_is_newer() {
        let mut ids = Ids::new(u64::MAX);
        assert_eq!(ids.known(), None);
        ids.record(record(2, Some("new")), NOW);
        ids.record(record(9, None), NOW);
        let sound = vec![(40, record(1, Some("old"))), (41, record(2, None)), (42, record(3, None))];
        ids.adopt(CommandRows { sound, unsound: vec![7] });
        assert_eq!(ids.unsaved(u64::MAX), [(41, record(2, Some("new"))), (43, record(9, None))]);
        assert_eq!((ids.oldest(), ids.unsound()), (40, &[7][..]));
        let known = [record(1, Some("old")), record(2, Some("new")), record(3, None), record(9, None)];
        assert_eq!(ids.known().unwrap()[..], known);
        written(&mut ids, NOW);
        assert!(ids.unsound().is_empty());
    }

    #[test]
    fn a_new_file_gets_all_of_them_and_a_damaged_one_takes_nothing_back() {
        let mut ids = Ids::new(u64::MAX);
        ids.record(record(1, None), NOW);
        written(&mut ids, NOW);
        ids.record(record(1, Some("done")), NOW);
        written(&mut ids, NOW);
        ids.recover(CommandRows { sound: vec![(1, record(1, None))], unsound: Vec::new() });
        ids.adopt(CommandRows::default());
        assert_eq!(ids.unsaved(u64::MAX), [(2, record(1, Some("done")))]);
    }
}
