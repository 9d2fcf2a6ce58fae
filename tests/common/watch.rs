//! Somebody who looks at the state files of simulated buses all the time and notes when their outputs change.
//!
//! What lasts for less than a millisecond may be missed, and where much happens also which of two versions brought a change;
//! there the program's log, which has every movement, is the better witness: see [`Seen::recorded`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::pace::slack_noted;
use super::sim_file::SimFile;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// A line was driven to another level.
#[derive(Clone, Copy, Debug)]
struct Change {
    output: usize,
    on: bool,
    at: SystemTime,
}

/// From when to when a line was high; without an end it still was when the watch ended.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub from: SystemTime,
    pub to: Option<SystemTime>,
}

impl Span {
    /// How long, if it has ended.
    pub fn lasted(&self) -> Option<Duration> {
        Some(self.to?.duration_since(self.from).unwrap())
    }

    /// By how much longer or shorter it may be because the machine was late.
    pub fn slack(&self) -> Duration {
        self.to.map_or(Duration::ZERO, |to| slack_noted(self.from, to))
    }
}

/// What a watch has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many versions of the files.
    pub versions: usize,
    changes: Vec<Change>,
}

impl Seen {
    /// What somebody else has recorded: which output was driven on or off when, in order.
    pub fn recorded(notes: impl IntoIterator<Item = (usize, bool, SystemTime)>) -> Self {
        let (mut changes, mut levels): (Vec<Change>, BTreeMap<usize, bool>) = <_>::default();
        for (output, on, at) in notes {
            if levels.insert(output, on).unwrap_or(false) != on {
                changes.push(Change { output, on, at });
            }
        }
        Self { versions: changes.len(), changes }
    }

    /// When the nth output was high, in order.
    pub fn on(&self, output: usize) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for change in self.changes.iter().filter(|change| change.output == output) {
            match (change.on, spans.last_mut()) {
                (true, _) => spans.push(Span { from: change.at, to: None }),
                (false, Some(last)) => last.to = Some(change.at),
                (false, None) => {}
            }
        }
        spans
    }

    /// When it was low between two times at which it was high.
    pub fn off(&self, output: usize) -> Vec<Span> {
        let between = |pair: &[Span]| Some(Span { from: pair[0].to?, to: Some(pair[1].from) });
        self.on(output).windows(2).filter_map(between).collect()
    }

    /// The times from the end of one output to the beginning of the other; panics if both were on at once.
    pub fn rests_between(&self, one: usize, other: usize) -> Vec<Span> {
        let mut spans: Vec<(usize, Span)> =
            [one, other].iter().flat_map(|n| self.on(*n).into_iter().map(move |s| (*n, s))).collect();
        spans.sort_by_key(|(_, span)| span.from);
        let rest = |pair: &[(usize, Span)]| {
            let ((before, first), (after, second)) = (pair[0], pair[1]);
            let end = first.to.unwrap_or_else(|| panic!("output {after} went on while {before} was on: {pair:?}"));
            assert!(end <= second.from, "output {after} went on while {before} was on: {pair:?}");
            (before != after).then_some(Span { from: end, to: Some(second.from) })
        };
        spans.windows(2).filter_map(rest).collect()
    }

    /// The shortest of these times, `None` where none follows another.
    pub fn rest_between(&self, one: usize, other: usize) -> Option<Duration> {
        self.rests_between(one, other).iter().filter_map(Span::lasted).min()
    }
}

/// The watch; it goes on until [`Watch::end`].
pub struct Watch {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    /// Over these lines of these files, from now on.
    pub fn over(outputs: &[(&SimFile, &str)]) -> Self {
        let mut files: BTreeMap<PathBuf, Vec<(usize, String)>> = BTreeMap::new();
        for (nth, (file, line)) in outputs.iter().enumerate() {
            files.entry(file.path.clone()).or_default().push((nth, (*line).to_owned()));
        }
        let (stopping, levels) = (Arc::new(AtomicBool::new(false)), vec![false; outputs.len()]);
        let stop = Arc::clone(&stopping);
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut eye = Eye { seen: Seen::default(), levels, stamps: BTreeMap::new() };
            loop {
                // Once more after the end was asked for, so that nothing is missed that was there by then.
                let last = stop.load(Ordering::Acquire);
                for (path, lines) in &files {
                    eye.look(path, lines);
                }
                // Nobody need wait for the first look.
                ready.send(()).ok();
                if last {
                    return eye.seen;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
        started.recv().unwrap();
        Self { stopping, thread }
    }

    /// What it has seen.
    pub fn end(self) -> Seen {
        self.stopping.store(true, Ordering::Release);
        self.thread.join().unwrap()
    }
}

struct Eye {
    seen: Seen,
    levels: Vec<bool>,
    stamps: BTreeMap<PathBuf, (u64, i64, i64)>,
}

impl Eye {
    fn look(&mut self, path: &Path, lines: &[(usize, String)]) {
        let Ok(mut file) = File::open(path) else { return };
        let metadata = file.metadata().unwrap();
        let stamp = (metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
        if self.stamps.insert(path.to_owned(), stamp) == Some(stamp) {
            return;
        }
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        self.seen.versions += 1;
        for (output, line) in lines {
            let on = document["lines"][line] == 1;
            if std::mem::replace(&mut self.levels[*output], on) != on {
                self.seen.changes.push(Change { output: *output, on, at: metadata.modified().unwrap() });
            }
        }
    }
}
