//! What is dropped when the spool is full.
//!
//! Readings are dropped before replies, loss records never. Messages that the link has read are spared while others can be
//! dropped: the broker may have them, and their loss would be reported wrongly. What cannot be written then stays in memory for
//! now.

use crate::WhenFull;
use crate::cache::Entry;
use crate::record::cost;
use crate::rows::Victim;
use crate::store::{Batch, DropOrder};
use fieldgate_model::MessageKind;

/// Kept free beyond what is estimated: for loss records, and for pages that are not filled.
const SLACK: u64 = 16 * 1024;

/// The least that is freed in one go: rows leave pages behind only in numbers.
const STEP: u64 = 4096;

/// Deletes rows, or takes messages out of `chosen`, until what is chosen fits into `capacity`. Returns what gave way;
/// what is neither there nor chosen any more was postponed.
pub(super) fn make_space(
    batch: &mut Batch<'_>,
    chosen: &mut Vec<(u64, Entry)>,
    when_full: WhenFull,
    capacity: u64,
    spared: &impl Fn(u64) -> bool,
) -> rusqlite::Result<Vec<Victim>> {
    let mut victims = Vec::new();
    loop {
        let needed = needed(chosen);
        let available = capacity.saturating_sub(batch.used()?);
        if chosen.is_empty() || needed <= available {
            return Ok(victims);
        }
        let found = give_way(batch, chosen, when_full, (needed - available).max(STEP), spared)?;
        if found.is_empty() {
            postpone(chosen);
        }
        victims.extend(found);
    }
}

/// Bytes that must be free for `chosen`. Loss records may use what the others must leave: they are few.
fn needed(chosen: &[(u64, Entry)]) -> u64 {
    let slack = if chosen.iter().all(|(_, entry)| kind(entry) == MessageKind::Loss) { 0 } else { SLACK };
    // An eighth more, for pages are never quite full.
    chosen.iter().map(|(_, entry)| cost(&entry.message) * 9 / 8).sum::<u64>() + slack
}

fn give_way(
    batch: &mut Batch<'_>,
    chosen: &mut Vec<(u64, Entry)>,
    when_full: WhenFull,
    bytes: u64,
    spared: &impl Fn(u64) -> bool,
) -> rusqlite::Result<Vec<Victim>> {
    let found = match when_full {
        WhenFull::DropOldest => {
            let found = delete(batch, DropOrder::OldestReadings, bytes, spared)?;
            if found.is_empty() { take(chosen, when_full, bytes, spared) } else { found }
        }
        WhenFull::DropNewest => {
            let found = take(chosen, when_full, bytes, spared);
            if found.is_empty() { delete(batch, DropOrder::NewestReadings, bytes, spared)? } else { found }
        }
    };
    let has_reply = chosen.iter().any(|(_, entry)| kind(entry).is_reply());
    if found.is_empty() && has_reply { delete(batch, DropOrder::OldestReplies, bytes, spared) } else { Ok(found) }
}

fn delete(
    batch: &mut Batch<'_>,
    order: DropOrder,
    bytes: u64,
    spared: &impl Fn(u64) -> bool,
) -> rusqlite::Result<Vec<Victim>> {
    let victims = batch.victims(order, bytes, spared)?;
    batch.delete(victims.iter().map(|victim| victim.sequence))?;
    Ok(victims)
}

fn take(chosen: &mut Vec<(u64, Entry)>, when_full: WhenFull, bytes: u64, spared: &impl Fn(u64) -> bool) -> Vec<Victim> {
    let entries = chosen.iter().map(|(sequence, entry)| (*sequence, entry));
    let victims = choose(entries.filter(|(_, entry)| is_reading(entry)), when_full, bytes, spared);
    chosen.retain(|(sequence, _)| victims.iter().all(|victim| victim.sequence != *sequence));
    victims
}

/// Leaves the newest reading for later; without one the newest reply, and a loss record only when there is nothing else.
fn postpone(chosen: &mut Vec<(u64, Entry)>) {
    let in_turn: [fn(MessageKind) -> bool; 3] =
        [|kind| kind == MessageKind::Reading, MessageKind::is_reply, |kind| kind == MessageKind::Loss];
    for is_wanted in in_turn {
        if let Some(newest) = chosen.iter().rposition(|(_, entry)| is_wanted(kind(entry))) {
            chosen.remove(newest);
            return;
        }
    }
}

fn kind(entry: &Entry) -> MessageKind {
    entry.message.key.kind
}

/// Whether it is a reading, the first to give way.
pub(super) fn is_reading(entry: &Entry) -> bool {
    kind(entry) == MessageKind::Reading
}

/// Of `entries`, in order, those that give way until they make up about `bytes`.
pub(super) fn choose<'e>(
    entries: impl DoubleEndedIterator<Item = (u64, &'e Entry)>,
    when_full: WhenFull,
    bytes: u64,
    spared: &impl Fn(u64) -> bool,
) -> Vec<Victim> {
    let mut freed = 0;
    let mut victim = |(sequence, entry): (u64, &Entry)| {
        (freed < bytes).then(|| {
            freed += cost(&entry.message);
            let message = &entry.message;
            let reading = is_reading(entry).then(|| (message.key.source.clone(), message.run, message.seq));
            Victim { sequence, reading }
        })
    };
    let entries = entries.filter(|(sequence, _)| !spared(*sequence));
    match when_full {
        WhenFull::DropOldest => entries.map_while(&mut victim).collect(),
        WhenFull::DropNewest => entries.rev().map_while(&mut victim).collect(),
    }
}
