//! Finds the messages of a damaged file in order, without SQLite and without trusting the tree of its pages.
//!
//! Rows come in order, each once, from wherever they lie: `scout.rs` finds the pages with rows and sorts them, and what overlaps is
//! merged. So neither a wrong key nor a wrong pointer hides what is sound, and a row is what its checksum says. Where something
//! may be missing is a hole, and `holes.rs` says which readings were in it, where the rows around it show it. Rows whose checksum
//! is wrong are not trusted with more than their name.
//!
//! One call looks at a bounded part of the file, and what is remembered is bounded by its size: sixteen bytes for each page with
//! rows, and a few for each row of pages that overlap.

use std::collections::BTreeMap;

use crate::page_file::PageFile;
use crate::pages::TablePage;
use crate::record::Unsound;
use crate::rows::body_len;
use crate::scout::{Leaf, Scout, Sighted, sighted};
use crate::store::READ_BYTES;
use fieldgate_model::Message;

/// What a search comes to next.
#[derive(Debug)]
pub(super) enum Found {
    /// A row's sequence, and its message or why that cannot be read.
    Row(u64, Result<Message, Unsound>),
    /// An unknown number of rows that cannot be read.
    Hole,
}

/// Pages that are looked at in one go: a mebibyte.
const PAGES_AT_ONCE: usize = 256;

/// Rows that are put in order at once at most: those of a page or two, unless the bytes were made to look otherwise.
const MERGED: usize = 65_536;

/// A search through one file, which is passed to each call.
#[derive(Debug)]
pub(super) struct RowSearch {
    stage: Stage,
    /// Something that the tree of pages leads to could not be found, be it behind all rows that can be read.
    has_gaps: bool,
}

#[derive(Debug)]
enum Stage {
    Scouting(Scout),
    Reading(Reading),
}

/// The pages that are still to be read, and the rows of those that were.
#[derive(Debug, Default)]
struct Reading {
    /// The next one last.
    leaves: Vec<Leaf>,
    /// By sequence: in which page, and where there.
    due: BTreeMap<u64, (u32, Sighted)>,
    /// The last page that was read, and its number.
    page: (u32, Vec<u8>),
    /// The last sequence that was found.
    after: u64,
}

impl RowSearch {
    pub(super) fn new(file: &PageFile) -> Self {
        Self { stage: Stage::Scouting(Scout::new(file)), has_gaps: false }
    }

    /// Whether anything that the tree of pages leads to is missing, as far as it has been followed.
    pub(super) fn has_gaps(&self) -> bool {
        self.has_gaps
    }

    /// About `limit` more, in order, or none as long as the pages are sought; nothing at the end.
    pub(super) fn next(&mut self, file: &PageFile, limit: usize) -> Option<Vec<Found>> {
        match &mut self.stage {
            Stage::Scouting(scout) => {
                if !(0..PAGES_AT_ONCE).all(|_| scout.step(file)) {
                    let scout = std::mem::replace(scout, Scout::new(file));
                    self.has_gaps = scout.has_gaps();
                    self.stage = Stage::Reading(Reading::new(scout.leaves()));
                }
                Some(Vec::new())
            }
            Stage::Reading(reading) => reading.next(file, limit),
        }
    }
}

impl Reading {
    fn new(mut leaves: Vec<Leaf>) -> Self {
        leaves.reverse();
        Self { leaves, ..Self::default() }
    }

    fn next(&mut self, file: &PageFile, limit: usize) -> Option<Vec<Found>> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < limit && bytes < READ_BYTES {
            let bound = self.leaves.last().map_or(u64::MAX, |leaf| leaf.first);
            let is_next = |sequence: &u64| *sequence < bound || self.due.len() > MERGED;
            if let Some((sequence, row)) = self.due.first_key_value().filter(|(sequence, _)| is_next(sequence)) {
                let (sequence, (page, row)) = (*sequence, *row);
                self.due.remove(&sequence);
                bytes += self.give(file, page, row, &mut found);
            } else if let Some(leaf) = self.leaves.pop() {
                self.take(file, leaf, &mut found);
            } else if found.is_empty() {
                return None;
            } else {
                break;
            }
        }
        Some(found)
    }

    /// The rows of a page come when those of others that belong in front of them have come.
    fn take(&mut self, file: &PageFile, leaf: Leaf, found: &mut Vec<Found>) {
        if leaf.is_behind_gap {
            found.push(Found::Hole);
        }
        let Some(page) = self.turn_to(file, leaf.page) else { return found.push(Found::Hole) };
        for row in sighted(file, &page) {
            self.due.entry(row.sequence).or_insert((leaf.page, row));
        }
    }

    /// Returns how large the row's body is.
    fn give(&mut self, file: &PageFile, page: u32, row: Sighted, found: &mut Vec<Found>) -> usize {
        if row.sequence <= self.after {
            return 0;
        }
        self.after = row.sequence;
        if row.is_behind_gap {
            found.push(Found::Hole);
        }
        let placed = self.turn_to(file, page).and_then(|page| file.placed(&page, row.place));
        let bytes = placed.as_ref().map_or(0, |placed| body_len(&placed.message));
        // One that could be read when it was sought, and no more, is a hole like any other.
        found.push(placed.map_or(Found::Hole, |placed| Found::Row(placed.sequence, placed.message)));
        if row.is_before_gap {
            found.push(Found::Hole);
        }
        bytes
    }

    fn turn_to(&mut self, file: &PageFile, number: u32) -> Option<TablePage<'_>> {
        if self.page.0 != number {
            self.page = (number, file.page(number)?);
        }
        TablePage::read(&self.page.1)
    }
}
