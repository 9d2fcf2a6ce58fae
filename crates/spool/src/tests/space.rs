//! What the spool takes of the disk: its files together, and its log.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{SECOND, at, contents, open, read_all, reading, settings};
use crate::core::Core;
use crate::store::Limits;
use crate::{MIN_SIZE, Settings, WhenFull};

fn length(folder: &Path, file: &str) -> u64 {
    fs::metadata(folder.join(file)).map_or(0, |found| found.len())
}

/// Appends readings of a thousand bytes, thirty at a time, and calls `look` after each time.
fn flood(core: &mut Core, bytes: u64, look: impl Fn()) {
    for burst in 0..bytes / 30_000 {
        (0..30).for_each(|n| core.append(reading("air", 30 * burst + n, 1000), at(burst)));
        core.tick(at(burst));
        look();
    }
}

#[test]
fn all_files_together_keep_to_max_size_however_much_comes() {
    for max_size in [MIN_SIZE, 4 * MIN_SIZE] {
        let folder = tempfile::tempdir().unwrap();
        let limited = Settings { max_size, ..settings(folder.path(), Duration::ZERO, WhenFull::DropOldest) };
        let mut core = open(&limited, 0).unwrap();
        flood(&mut core, 2 * max_size, || {
            let taken: usize = contents(folder.path()).iter().map(|(_, content)| content.len()).sum();
            assert!(taken as u64 <= max_size, "{taken} of {max_size} bytes");
        });
        assert!(core.stats().dropped > 0, "it was never full");
    }
}

#[test]
fn the_log_keeps_to_a_max_size_that_has_become_smaller() {
    let folder = tempfile::tempdir().unwrap();
    let small = settings(folder.path(), Duration::ZERO, WhenFull::DropOldest);
    let mut core = open(&Settings { max_size: 64 << 20, ..small.clone() }, 0).unwrap();
    core.reconfigure(small, at(0));
    let limit = MIN_SIZE - Limits::of(MIN_SIZE).capacity;
    flood(&mut core, 4 * MIN_SIZE, || {
        let log = length(folder.path(), "spool.db-wal");
        assert!(log <= limit, "{log} of {limit} bytes");
    });
}

#[test]
fn the_reserve_follows_max_size() {
    let folder = tempfile::tempdir().unwrap();
    let small = settings(folder.path(), Duration::ZERO, WhenFull::DropOldest);
    let large = Settings { max_size: 64 << 20, ..small.clone() };
    let mut core = open(&small, 0).unwrap();
    for (i, limited) in [large.clone(), small, large].into_iter().enumerate() {
        let wanted = Limits::of(limited.max_size).batch;
        core.reconfigure(limited, at(0));
        core.append(reading("air", i as u64, 1000), at(0));
        core.tick(at(0));
        assert_eq!(length(folder.path(), "spool.db.reserve"), wanted);
    }
}

/// A deletion needs space too: without the reserve, what the broker has taken could never be given back.
#[test]
fn a_full_disk_gets_the_reserve_and_gives_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    let reserve = || length(folder.path(), "spool.db.reserve");
    core.append(reading("air", 1, 1000), at(1));
    core.tick(at(1));
    let usual = reserve();
    core.fill_disk(true);
    core.append(reading("air", 2, 100_000), at(2));
    core.tick(at(2));
    assert!(usual > 0 && reserve() == 0, "{usual}, then {}", reserve());
    core.fill_disk(false);
    core.tick(at(20_000));
    assert_eq!((core.stats().error, reserve()), (None, usual));
}

#[test]
fn the_space_of_a_backlog_is_given_back_when_the_broker_has_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = Settings { max_size: 64 << 20, ..settings(folder.path(), SECOND, WhenFull::DropOldest) };
    let mut core = open(&roomy, 0).unwrap();
    (1..=3000).for_each(|n| core.append(reading("air", n, 1000), at(0)));
    core.tick(at(1000));
    assert!(length(folder.path(), "spool.db") + length(folder.path(), "spool.db-wal") > 3_000_000);
    let sent: Vec<_> = read_all(&mut core, 1000, 1000).iter().map(|stored| stored.sequence).collect();
    core.acknowledge(&sent, at(1000));
    core.tick(at(3000));
    assert_eq!(core.stats().queued, 0);
    let left = length(folder.path(), "spool.db") + length(folder.path(), "spool.db-wal");
    assert!(left < 100_000, "{left} bytes");
}
