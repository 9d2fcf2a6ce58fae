//! What was announced: over restarts, without a disk, and in damaged files.

use std::path::Path;
use std::time::Duration;

use super::no_disk::without_disk;
use super::{SECOND, at, copy_of, damaged_in_the_middle, open, settings};
use crate::{Announcements, Settings, WhenFull};
use fieldgate_model::RunId;

fn usual(folder: &Path) -> Settings {
    settings(folder, SECOND, WhenFull::DropOldest)
}

fn rows(all: &[(&str, &str)]) -> Announcements {
    all.iter().map(|(name, body)| ((*name).to_owned(), body.as_bytes().to_vec())).collect()
}

/// What a start now, after a power cut, knows.
fn after_a_cut(folder: &Path) -> Announcements {
    let copy = copy_of(folder);
    open(&usual(copy.path()), 0).unwrap().announced().unwrap().as_ref().clone()
}

fn execute(folder: &Path, sql: &str) {
    rusqlite::Connection::open(folder.join("spool.db")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn what_is_announced_is_written_at_once_and_what_is_taken_back_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!(core.announced().unwrap().len(), 0);
    for all in [rows(&[("a", "1"), ("b", "1")]), rows(&[("b", "2")]), rows(&[])] {
        core.set_announced(all.clone());
        assert_eq!(core.due(), Some(Duration::ZERO));
        core.tick(at(1));
        assert_eq!(core.due(), None);
        assert_eq!(after_a_cut(folder.path()), all);
    }
}

#[test]
fn a_file_of_the_schema_before_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    open(&usual(folder.path()), 0).unwrap().close(at(0));
    execute(folder.path(), "DROP TABLE announced; DROP TABLE value; PRAGMA user_version = 4");
    let mut core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!((core.stats().error, core.announced().unwrap().len()), (None, 0));
    core.set_announced(rows(&[("a", "1")]));
    core.tick(at(1));
    assert_eq!(after_a_cut(folder.path()), rows(&[("a", "1")]));
}

#[test]
fn a_row_that_has_changed_on_the_card_is_not_believed_and_that_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = open(&usual(folder.path()), 0).unwrap();
    before.set_announced(rows(&[("a", "1"), ("b", "1")]));
    before.close(at(0));
    execute(folder.path(), "UPDATE announced SET body = x'39' WHERE name = 'a'");
    let core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!(core.announced().as_deref(), Some(&rows(&[("b", "1")])));
    assert!(core.stats().error.unwrap().starts_with("what was announced on a is damaged on the disk"));
}

#[test]
fn announcements_move_from_a_damaged_file_into_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    damaged_in_the_middle(folder.path(), |before| {
        before.set_announced(rows(&[("a", "1")]));
        before.tick(at(0));
    });
    let mut core = open(&usual(folder.path()), 0).unwrap();
    assert!(core.stats().error.is_some_and(|error| error.contains("damaged")));
    assert_eq!(core.announced().as_deref(), Some(&rows(&[("a", "1")])));
    core.tick(at(10));
    assert_eq!(after_a_cut(folder.path()), rows(&[("a", "1")]));
}

#[test]
fn without_a_disk_nothing_is_known_and_what_is_said_meanwhile_is_written_when_there_is_one() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("spool");
    let mut before = open(&usual(&folder), 0).unwrap();
    before.set_announced(rows(&[("old", "1")]));
    before.close(at(0));
    let mut core = without_disk(&usual(&folder), 0);
    assert_eq!(core.announced(), None);
    core.set_announced(rows(&[("new", "1")]));
    core.tick(at(5000));
    core.tick(at(10_000));
    assert_eq!(core.announced().as_deref(), Some(&rows(&[("new", "1"), ("old", "1")])));
    assert_eq!(after_a_cut(&folder), rows(&[("new", "1"), ("old", "1")]));
}

#[tokio::test]
async fn the_handle_never_waits_and_the_next_run_knows_what_was_said_last() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, thread) = crate::open(usual(folder.path()), RunId(1)).unwrap();
    assert_eq!(spool.announced().earlier().unwrap().len(), 0);
    (0..100).for_each(|n: u32| spool.announced().set(rows(&[("a", &n.to_string())])));
    spool.close().await;
    thread.join().unwrap();
    let (spool, _thread) = crate::open(usual(folder.path()), RunId(2)).unwrap();
    assert_eq!(spool.announced().earlier().as_deref(), Some(&rows(&[("a", "99")])));
}
