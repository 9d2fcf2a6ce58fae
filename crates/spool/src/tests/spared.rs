//! What the link was given is dropped last, for the broker may have it: on the disk, in memory, and when nothing else is left.

use super::*;

/// Readings that the disk has taken until it had no more space, twenty in each second; the time of the last ones.
fn fill_up(core: &mut Core) -> u64 {
    for second in 1..=100 {
        (0..20).for_each(|n| core.append(reading("air", second * 20 + n, 400), at(second * 1000)));
        core.tick(at(second * 1000 + 1000));
        if core.stats().dropped > 0 {
            return second * 1000 + 1000;
        }
    }
    panic!("it is never full");
}

/// Appends a reading that the link is given before it has to be written, larger than what gave way last; its place.
fn append_and_read(core: &mut Core, ms: u64) -> Sequence {
    let from = core.head();
    core.append(reading("soil", 1, 40_000), at(ms));
    core.tick(at(ms));
    let given = core.read(from, 10, at(ms)).unwrap().messages;
    let soil = given.iter().find(|stored| stored.message.key.source == name("soil")).expect("it is readable at once");
    soil.sequence
}

fn is_readable(core: &mut Core, sequence: Sequence, ms: u64) -> bool {
    core.read(sequence, 1, at(ms)).unwrap().messages.iter().any(|stored| stored.sequence == sequence)
}

/// By the rule it would be the first to give way: the newest, which is not on the disk yet.
#[test]
fn where_the_newest_give_way_one_on_the_disk_goes_before_one_that_the_link_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), SECOND, WhenFull::DropNewest), 0).unwrap();
    let full = fill_up(&mut core);
    let before = core.stats().dropped;
    let read = append_and_read(&mut core, full + 1);
    core.tick(at(full + 2000));
    assert!(core.stats().dropped > before, "there was space for it");
    assert!(is_readable(&mut core, read, full + 2001), "the broker may have it, and it was dropped");
    let copy = copy_of(folder.path());
    let mut after = open(&settings(copy.path(), SECOND, WhenFull::DropNewest), 0).unwrap();
    assert!(is_readable(&mut after, read, 0), "it is on the disk");
}

fn check_all_with_the_link(when_full: WhenFull) {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), SECOND, when_full), 0).unwrap();
    let full = fill_up(&mut core);
    let given: Vec<Sequence> = read_all(&mut core, 100, full).iter().map(|stored| stored.sequence).collect();
    let before = core.stats().dropped;
    let read = append_and_read(&mut core, full + 1);
    core.tick(at(full + 2000));
    let stats = core.stats();
    assert_eq!((stats.dropped, stats.error), (before, None), "nothing may give way, and that is no fault");
    assert!(is_readable(&mut core, read, full + 2001), "it waits in memory");
    assert!(given.iter().all(|sequence| is_readable(&mut core, *sequence, full + 2001)), "the others stay too");
    assert!(core.due().is_some_and(|due| due > at(full + 2000).boot), "it is tried again, and not without a pause");
    core.acknowledge(&given[..given.len() / 2], at(full + 2002));
    core.tick(at(full + 9000));
    let copy = copy_of(folder.path());
    let mut after = open(&settings(copy.path(), SECOND, when_full), 0).unwrap();
    assert!(is_readable(&mut after, read, 0), "it is written when there is space");
}

#[test]
fn where_the_link_has_all_the_newest_waits_in_memory_and_nothing_is_dropped() {
    check_all_with_the_link(WhenFull::DropOldest);
    check_all_with_the_link(WhenFull::DropNewest);
}

/// While the disk takes nothing, memory alone has what the link was given.
#[test]
fn in_memory_those_that_the_link_has_are_dropped_last() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest] {
        let folder = tempfile::tempdir().unwrap();
        let roomy = Settings { max_size: 64 << 20, ..settings(folder.path(), SECOND, when_full) };
        let mut core = open(&roomy, 0).unwrap();
        core.fill_disk(true);
        core.append(reading("air", 1, 20_000), at(100));
        core.tick(at(100));
        let oldest = append_and_read(&mut core, 101);
        (2..=50).for_each(|n| core.append(reading("air", n, 20_000), at(n * 100)));
        core.tick(at(5001));
        let middle = append_and_read(&mut core, 5002);
        for n in 51..=300 {
            core.append(reading("air", n, 20_000), at(n * 100));
            core.tick(at(n * 100));
        }
        assert!(core.stats().dropped > 150, "{}", core.stats().dropped);
        for read in [oldest, middle] {
            assert!(is_readable(&mut core, read, 30_001), "{when_full:?}: the broker may have it, and it was dropped");
        }
    }
}
