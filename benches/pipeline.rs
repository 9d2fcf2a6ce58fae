//! Readings through the spool, from its queue back to the link and out of its memory or its file: `cargo bench --bench pipeline`.
//!
//! The whole program beside others is measured from outside; docs/performance.md says how.

#![allow(missing_docs, clippy::unwrap_used, reason = "a measurement has no users, and may panic")]

use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fieldgate_clock as clock;
use fieldgate_model::{Key, Message, MessageKind, Name, Qos, RunId};
use fieldgate_spool::{self as spool, Sequence, Settings, Spool, WhenFull};
use tokio::runtime::{Builder, Runtime};

/// As many as the link sends without an acknowledgement.
const TOGETHER: u64 = 64;

fn settings(folder: &Path, commit_every: Duration) -> Settings {
    Settings { path: folder.to_owned(), max_size: 64 << 20, commit_every, when_full: WhenFull::DropOldest }
}

fn reading(seq: u64) -> Message {
    Message {
        key: Key { kind: MessageKind::Reading, source: Name::new("greenhouse").unwrap() },
        run: RunId(7),
        seq,
        taken_at: clock::now(),
        qos: Qos::AtLeastOnce,
        retain: false,
        body: br#""temperature":21.53,"humidity":44.8"#.to_vec(),
    }
}

/// Appends, waits until all of it is readable, and forgets it.
async fn pass(spool: &Spool, messages: Vec<Message>) {
    for message in messages {
        spool.append(message).await.unwrap();
    }
    spool.wait_until_readable().await.unwrap();
    let head = spool.head().borrow().0;
    spool.acknowledge((head - TOGETHER..head).map(Sequence).collect()).await.unwrap();
}

fn through(criterion: &mut Criterion, what: &str, commit_every: Duration) {
    let (folder, runtime): (_, Runtime) =
        (tempfile::tempdir().unwrap(), Builder::new_current_thread().build().unwrap());
    let (spool, thread) = spool::open(settings(folder.path(), commit_every), RunId(7)).unwrap();
    let mut group = criterion.benchmark_group("spool");
    group.throughput(Throughput::Elements(TOGETHER));
    group.bench_function(what, |bencher| {
        let messages = || (1..=TOGETHER).map(reading).collect();
        bencher.iter_batched(messages, |messages| runtime.block_on(pass(&spool, messages)), BatchSize::SmallInput);
    });
    group.finish();
    runtime.block_on(spool.close());
    thread.join().unwrap();
}

fn pipeline(criterion: &mut Criterion) {
    through(criterion, "through memory", Duration::from_secs(1));
    through(criterion, "on disk first", Duration::ZERO);
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
