//! The fault suite: every fault of ../shared/faults.md that threatens readings or outputs, made to happen, with its oracle.
//!
//! The oracle behind every row: readings received + readings reported on `B/loss` = readings taken, exactly, and in order. Each
//! test is named after its row (`n1_…`, `p2_…`) and ends with a line that says how often the fault was tried and what
//! happened; `docs/reliability.md` holds those of a whole run.
//!
//! `FIELDGATE_FAULTS` says how much: `short` (the default, with every run of the tests), `sample` (CI besides) or `long`
//! (the full numbers; `sh deploy/test.sh --long`). `FIELDGATE_SEED` repeats a run whose seed was printed, and
//! `FIELDGATE_PROGRAM` puts another build under test: `broken.sh` does that to see that the suite can fail.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and it polls with a deadline")]
#![allow(clippy::print_stderr, reason = "a fault says its seed and what happened")]

#[path = "../common/mod.rs"]
mod common;

mod broker;
mod buses;
mod carried;
mod clock;
mod configuration;
mod corruption;
mod disk;
mod folder;
mod killed;
mod lives;
mod log;
mod moody;
mod network;
mod outputs;
mod process;
mod seams;
mod security;
mod sensors;
mod signals;
mod stranded;
mod suite;
mod tracer;

use std::collections::BTreeSet;
use std::path::Path;

/// The families of rows that this suite answers for.
const FAMILIES: &str = "NBPDCSAKLH";

fn rows_of(page: &str) -> BTreeSet<String> {
    let first = |line: &str| line.strip_prefix("| ")?.split(" |").next().map(str::to_owned);
    let is_row =
        |row: &String| row.starts_with(|family: char| FAMILIES.contains(family)) && row[1..].parse::<u8>().is_ok();
    page.lines().filter_map(first).filter(is_row).collect()
}

fn sources(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let own = files.map(|path| std::fs::read_to_string(path).unwrap());
    own.chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

/// The rows after which a function is named, in upper case.
fn rows_tested() -> BTreeSet<String> {
    let row = |line: &str| {
        let name = line.trim_start().trim_start_matches("async ").strip_prefix("fn ")?;
        Some(name.split('_').next()?.to_uppercase())
    };
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults"));
    sources.iter().flat_map(|source| source.lines().filter_map(row)).collect()
}

#[test]
fn every_row_has_a_test() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/faults.md");
    let Ok(page) = std::fs::read_to_string(&page) else {
        return suite::left_out("the list of faults", "there is no ../shared/faults.md");
    };
    let rows = rows_of(&page);
    assert!(rows.len() > 20, "{rows:?}");
    let untested: Vec<_> = rows.difference(&rows_tested()).cloned().collect();
    assert!(untested.is_empty(), "no test for {untested:?}");
}
