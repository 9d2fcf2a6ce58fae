//! One flipped bit anywhere in a file, against a plain model: what is in no page that has changed arrives, once and in order.
//!
//! The model knows nothing of trees, keys or cells. The body of each reading names it again and again, so the pages of a row are
//! those with its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::{at, cases, open, read_all, reading, settings};
use crate::core::Core;
use crate::holes::Holes;
use crate::row_search::Found;
use crate::salvage::Salvage;
use crate::{Export, ExportError, Sequence, Settings, WhenFull};
use fieldgate_model::{Message, MessageKind, RunId};

const PAGE: usize = 4096;

/// What SQLite's pages begin with that have the rows of a table.
const TABLE_LEAF: u8 = 0x0d;

/// And those above them.
const TABLE_INTERIOR: u8 = 0x05;

/// A closed spool as it was on the disk, and what a reader must find in it.
struct Written {
    file: Vec<u8>,
    /// By sequence.
    rows: BTreeMap<u64, Row>,
}

/// A reading that was written, and the pages with its row.
#[derive(Debug, Default)]
struct Row {
    n: u64,
    pages: BTreeSet<usize>,
}

fn body(n: u64) -> Vec<u8> {
    // One in fifty continues in a page or more of its own.
    let times = if n.is_multiple_of(50) { 100 * (1 + n / 50 % 5) } else { 10 + n % 7 };
    format!("<{n:06}>").repeat(usize::try_from(times).unwrap()).into_bytes()
}

fn message(n: u64) -> Message {
    Message { body: body(n), ..reading("air", n, 0) }
}

fn roomy(folder: &Path) -> Settings {
    Settings { max_size: 64 << 20, ..settings(folder, Duration::ZERO, WhenFull::DropOldest) }
}

/// A spool of `count` readings without those that `is_acknowledged` names.
fn written(count: u64, is_acknowledged: impl Fn(u64) -> bool) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&roomy(folder.path()), 0).unwrap();
    (1..=count).for_each(|n| core.append(message(n), at(0)));
    core.tick(at(0));
    let all = read_all(&mut core, 1000, 0);
    let (gone, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|stored| is_acknowledged(stored.message.seq));
    core.acknowledge(&gone.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), at(0));
    core.tick(at(10_000));
    core.close(at(10_000));
    let file = fs::read(folder.path().join("spool.db")).unwrap();
    let mut pages: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
    for (at, name) in file.windows(8).enumerate().filter(|(_, name)| name[0] == b'<' && name[7] == b'>') {
        if let Some(n) = std::str::from_utf8(&name[1..7]).ok().and_then(|n| n.parse().ok()) {
            pages.entry(n).or_default().insert(at / PAGE);
        }
    }
    let row = |n: u64| Row { n, pages: pages[&n].clone() };
    Written { file, rows: rest.iter().map(|stored| (stored.sequence.0, row(stored.message.seq))).collect() }
}

const COUNT: u64 = 2000;

static WHOLE: LazyLock<Written> = LazyLock::new(|| written(COUNT, |_| false));

/// Rows were deleted at the front, here and there, and a whole run of them, whose pages are free or in use again.
static WORN: LazyLock<Written> =
    LazyLock::new(|| written(COUNT, |n| n < 300 || n.is_multiple_of(7) || (1000..1500).contains(&n)));

static SMALL: LazyLock<Written> = LazyLock::new(|| written(400, |_| false));

/// First, last, and how many.
type Span = (u64, u64, u64);

/// What a salvage in batches of `limit` finds: the rows, and the spans of losses.
fn salvaged(file: &[u8], limit: usize) -> (Vec<(u64, Message)>, Vec<Span>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.db");
    fs::write(&path, file).unwrap();
    let mut salvage = Salvage::open(&path).unwrap();
    let (mut holes, mut rows, mut losses) = (Holes::default(), Vec::new(), Vec::new());
    while let Some(found) = salvage.next(limit) {
        assert!(found.len() <= limit + 3, "{} at once with a limit of {limit}", found.len());
        for found in found {
            losses.extend(holes.see(&found).map(|loss| (loss.from_seq, loss.to_seq, loss.count)));
            if let Found::Row(sequence, Ok(message)) = found {
                rows.push((sequence, message));
            }
        }
    }
    assert_eq!(fs::read(&path).unwrap(), file, "the file stays as it was");
    (rows, losses)
}

/// Rows, what is reported as lost, and whether the file is said to be damaged.
type Exported = (Vec<(u64, Message)>, Vec<Span>, bool);

/// What an export finds.
fn exported(file: &[u8]) -> Option<Exported> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.db.damaged-1");
    fs::write(&path, file).unwrap();
    let (mut rows, mut losses) = (Vec::new(), Vec::new());
    let exported = match Export::open(&path) {
        Ok(mut export) => {
            while let Some(portion) = export.next_portion().unwrap() {
                rows.extend(portion.messages.into_iter().map(|(Sequence(sequence), message)| (sequence, message)));
                losses.extend(portion.lost.iter().map(|loss| (loss.from_seq, loss.to_seq, loss.count)));
            }
            Some((rows, losses, export.damage().is_some()))
        }
        // Four bytes say which version wrote it.
        Err(ExportError::Newer { .. } | ExportError::Older { .. }) => None,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(super::contents(folder.path()), [("spool.db.damaged-1".to_owned(), file.to_vec())], "nothing changes");
    exported
}

/// Checks what an export finds in a damaged file: it says that the file is damaged where rows are missing.
fn check_export(written: &Written, file: &[u8], is_spared: impl Fn(&Row) -> bool) {
    if let Some((rows, losses, is_damaged)) = exported(file) {
        assert!(
            is_damaged || rows.len() == written.rows.len(),
            "rows are missing, and nothing says that it is damaged"
        );
        check_found(written, (rows, losses), is_spared);
    }
}

/// The rows that `is_spared` names are there, and no others but such as were written, each once and in order; what is missing
/// between two of them is reported. Returns how many are reported.
fn check(written: &Written, file: &[u8], limit: usize, is_spared: impl Fn(&Row) -> bool) -> u64 {
    check_found(written, salvaged(file, limit), is_spared)
}

fn check_found(
    written: &Written,
    (rows, losses): (Vec<(u64, Message)>, Vec<Span>),
    is_spared: impl Fn(&Row) -> bool,
) -> u64 {
    assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, and none twice");
    for (sequence, found) in &rows {
        let row = written.rows.get(sequence).unwrap_or_else(|| panic!("{sequence} is gone, or was never written"));
        assert!(*found == message(row.n), "{} has changed", row.n);
    }
    let found: BTreeSet<u64> = rows.iter().map(|(sequence, _)| *sequence).collect();
    let missing: Vec<_> = written.rows.iter().filter(|(sequence, _)| !found.contains(sequence)).collect();
    let wrongly: Vec<_> = missing.iter().filter(|(_, row)| is_spared(row)).map(|(_, row)| row.n).collect();
    assert!(wrongly.is_empty(), "{} are missing: {wrongly:?}", wrongly.len());
    let is_between = |sequence| found.first() < Some(sequence) && Some(sequence) < found.last();
    for (_, Row { n, .. }) in missing.iter().filter(|(sequence, _)| is_between(sequence)) {
        assert!(losses.iter().any(|(from, to, _)| (from..=to).contains(&n)), "{n} is missing, reported are {losses:?}");
    }
    losses.iter().map(|(_, _, count)| count).sum()
}

/// Where the sequence of a row is, in the page that has the row and not in those above.
fn key(written: &Written, sequence: u64) -> usize {
    // In groups of seven bits, the highest first, all but the last marked.
    let group = |shift: u32| ((sequence >> shift) & 0x7f) as u8 | if shift > 0 { 0x80 } else { 0 };
    let key: Vec<u8> = [35, 28, 21, 14, 7, 0].map(group).into();
    assert_eq!(sequence >> 42, 0, "it has six groups");
    let leaves = written.rows[&sequence].pages.iter().filter(|page| written.file[**page * PAGE] == TABLE_LEAF);
    let places = leaves.flat_map(|page| page * PAGE..(page + 1) * PAGE);
    let found: Vec<_> = places.filter(|place| written.file[*place..].starts_with(&key)).collect();
    let [place] = found[..] else { panic!("{sequence} is found at {found:?}") };
    place
}

/// A row of it, and the file with this bit of its sequence flipped.
fn misplaced(written: &Written, row: Index, bit: usize) -> (&Row, Vec<u8>) {
    let (sequence, row) = written.rows.iter().nth(row.index(written.rows.len())).unwrap();
    (row, flipped(written, key(written, *sequence) + bit / 8, bit as u32 % 8))
}

fn flipped(written: &Written, place: usize, bit: u32) -> Vec<u8> {
    let mut file = written.file.clone();
    file[place] ^= 1 << bit;
    file
}

fn limits() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), Just(2), Just(512), 1..100_usize, 1..5000_usize]
}

proptest! {
    #![proptest_config(cases(32, 20))]

    #[test]
    fn a_flipped_bit_in_a_sequence_costs_that_row_alone(row in any::<Index>(), bit in 0..48_usize, limit in limits()) {
        let (damaged, file) = misplaced(&WHOLE, row, bit);
        let lost = check(&WHOLE, &file, limit, |row| row.n != damaged.n);
        prop_assert_eq!(lost, u64::from(damaged.n != WHOLE.rows.len() as u64), "no more is reported");
    }

    #[test]
    fn a_flipped_bit_anywhere_costs_no_row_of_another_page(place in any::<Index>(), bit in 0..8_u32, limit in limits()) {
        let place = place.index(WHOLE.file.len());
        let lost = check(&WHOLE, &flipped(&WHOLE, place, bit), limit, |row| !row.pages.contains(&(place / PAGE)));
        let there = WHOLE.rows.values().filter(|row| row.pages.contains(&(place / PAGE))).count() as u64;
        prop_assert!(lost <= there, "{} of {} are reported", lost, there);
    }

    #[test]
    fn a_flipped_bit_brings_nothing_back_that_was_acknowledged(place in any::<Index>(), bit in 0..8_u32, limit in limits()) {
        let place = place.index(WORN.file.len());
        check(&WORN, &flipped(&WORN, place, bit), limit, |row| !row.pages.contains(&(place / PAGE)));
    }

    #[test]
    fn an_export_of_a_file_with_a_flipped_bit_has_all_rows_of_other_pages_and_no_others(place in any::<Index>(), bit in 0..8_u32, is_worn in any::<bool>()) {
        let written: &Written = if is_worn { &WORN } else { &WHOLE };
        let place = place.index(written.file.len());
        check_export(written, &flipped(written, place, bit), |row| !row.pages.contains(&(place / PAGE)));
    }

    #[test]
    fn an_export_of_a_file_with_a_flipped_bit_in_a_sequence_lacks_that_row_alone(row in any::<Index>(), bit in 0..48_usize) {
        let (damaged, file) = misplaced(&WHOLE, row, bit);
        check_export(&WHOLE, &file, |row| row.n != damaged.n);
    }

    #[test]
    fn several_flipped_bits_cost_no_row_of_another_page(places in prop::collection::vec((any::<Index>(), 0..8_u32), 2..6), limit in limits()) {
        let mut file = WHOLE.file.clone();
        let places: Vec<_> = places.iter().map(|(place, bit)| (place.index(file.len()), bit)).collect();
        places.iter().for_each(|(place, bit)| file[*place] ^= 1 << *bit);
        check(&WHOLE, &file, limit, |row| !places.iter().any(|(place, _)| row.pages.contains(&(place / PAGE))));
    }
}

/// In these pages there is no row, so none may be missing.
#[test]
fn no_bit_of_the_first_pages_costs_a_row() {
    for place in (0..108).chain((108..3 * PAGE).step_by(101)) {
        check(&SMALL, &flipped(&SMALL, place, place as u32 % 8), 512, |_| true);
    }
}

/// Wrong keys and pointers above the rows hide none of them.
#[test]
fn no_bit_above_the_rows_costs_an_export_any_of_them() {
    let interior: Vec<_> =
        (0..WHOLE.file.len() / PAGE).filter(|page| WHOLE.file[page * PAGE] == TABLE_INTERIOR).collect();
    assert!(!interior.is_empty(), "there are pages above the rows");
    for place in interior.iter().flat_map(|page| page * PAGE..(page + 1) * PAGE).step_by(31) {
        check_export(&WHOLE, &flipped(&WHOLE, place, place as u32 % 8), |_| true);
    }
}

/// The readings that arrive when a spool is opened with this file, and how many are reported.
fn delivered(file: &[u8], limit: usize) -> (Vec<u64>, Vec<(u64, u64)>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("spool.db"), file).unwrap();
    let mut core = Core::open(roomy(folder.path()), RunId(2), at(0)).unwrap();
    core.examine(at(0));
    // The link reads on, or again from the beginning in a new era, until nothing more comes.
    let (mut from, mut era, mut all) = (Sequence(0), core.era(), Vec::new());
    for ms in 0..COUNT / 10 {
        core.tick(at(ms * 10));
        if core.era() != era {
            (from, era) = (Sequence(0), core.era());
            all.clear();
        }
        if let Ok(batch) = core.read(from, limit, at(ms * 10)) {
            from = batch.next;
            all.extend(batch.messages);
        }
    }
    assert_eq!(from, core.head(), "all is read: {:?}", core.stats());
    assert!(all.windows(2).all(|pair| pair[0].sequence < pair[1].sequence), "in order, and none twice");
    let of = |kind| all.iter().filter(move |stored| stored.message.key.kind == kind);
    let losses = of(MessageKind::Loss).map(|s| serde_json::from_slice::<serde_json::Value>(&s.message.body).unwrap());
    let spans = losses.map(|loss| (loss["from_seq"].as_u64().unwrap(), loss["to_seq"].as_u64().unwrap()));
    (of(MessageKind::Reading).map(|stored| stored.message.seq).collect(), spans.collect())
}

fn check_delivery(written: &Written, place: usize, bit: u32, limit: usize) {
    let (found, losses) = delivered(&flipped(written, place, bit), limit);
    for Row { n, pages } in written.rows.values() {
        let is_spared = !pages.contains(&(place / PAGE));
        let is_reported = losses.iter().any(|(from, to)| (from..=to).contains(&n));
        let is_between = found.first() < Some(n) && Some(n) < found.last();
        let is_accounted_for = !is_spared && (is_reported || !is_between);
        assert!(found.contains(n) || is_accounted_for, "{n} is missing; reported are {losses:?}");
    }
}

proptest! {
    #![proptest_config(cases(12, 20))]

    #[test]
    fn a_spool_with_a_flipped_bit_delivers_the_rows_of_all_other_pages(place in any::<Index>(), bit in 0..8_u32, limit in 20..600_usize) {
        check_delivery(&SMALL, place.index(SMALL.file.len()), bit, limit);
    }

    #[test]
    fn a_spool_with_a_flipped_bit_in_a_sequence_delivers_all_other_rows(row in any::<Index>(), bit in 0..48_usize, limit in 20..600_usize) {
        let (damaged, file) = misplaced(&WHOLE, row, bit);
        let (found, _) = delivered(&file, limit);
        let missing: Vec<_> = (1..=COUNT).filter(|n| !found.contains(n)).collect();
        prop_assert_eq!(missing, [damaged.n]);
    }
}

#[test]
fn a_spool_whose_header_has_a_flipped_bit_delivers_everything() {
    for place in (0..108).step_by(2) {
        check_delivery(&SMALL, place, place as u32 / 2 % 8, 512);
    }
}
