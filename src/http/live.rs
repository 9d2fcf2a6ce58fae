//! The stream of what changes: one look for all readers, at most four times a second, and none while nobody reads.
//!
//! Each begins with everything. A reader that falls behind by [`MAX_BEHIND`] events is let go: it comes again and begins with everything, and
//! nothing has to be kept for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use hyper::body::Bytes;
use serde_json::Value as Json;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};

use crate::http::Parts;
use crate::http::state::Snapshot;
use fieldgate_clock as clock;

/// How often is looked for what has changed.
pub(super) const EVERY: Duration = Duration::from_millis(250);

/// A sign of life when nothing has changed for so long.
const PING: Duration = Duration::from_secs(5);

/// Events that a reader may be behind.
const MAX_BEHIND: usize = 16;

/// The readers and what they were sent last.
pub(super) struct Live {
    events: broadcast::Sender<Bytes>,
    places: Arc<Semaphore>,
    /// Wakes the server, which looks at nothing while nobody reads.
    joined: Notify,
    sent: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    last: Option<Snapshot>,
    count: u64,
    /// On the boot clock.
    at: Duration,
    control: bool,
}

impl Live {
    pub(super) fn new(places: usize) -> Self {
        let (events, places) = (broadcast::channel(MAX_BEHIND).0, Arc::new(Semaphore::new(places)));
        Self { events, places, joined: Notify::new(), sent: Mutex::default() }
    }

    pub(super) fn has_readers(&self) -> bool {
        self.events.receiver_count() > 0
    }

    /// Ends when there is a new reader.
    pub(super) async fn joined(&self) {
        self.joined.notified().await;
    }

    /// A new reader's stream; nothing when there are too many.
    pub(super) fn read(&self, parts: &Parts, control: bool) -> Option<impl Stream<Item = Bytes> + Send + use<>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(self.begin(place, Snapshot::of(parts, control), control))
    }

    /// The stream of a reader that has this place, from what is there now.
    fn begin(
        &self,
        place: OwnedSemaphorePermit,
        now: Snapshot,
        control: bool,
    ) -> impl Stream<Item = Bytes> + Send + use<> {
        let mut sent = self.sent();
        let first = now.whole();
        if !self.has_readers() {
            // What the last reader of before was sent says nothing of what this one knows.
            sent.last = Some(now);
        }
        sent.control = control;
        let receiver = self.events.subscribe();
        self.joined.notify_one();
        let first = event("state", sent.next(), &first);
        let first = Bytes::from([b"retry: 2000\n\n", first.as_ref()].concat());
        stream::unfold((Some(first), receiver, place), following)
    }

    /// Looks, and sends what has changed since the last time.
    pub(super) fn publish(&self, parts: &Parts) {
        let control = self.sent().control;
        self.send(Snapshot::of(parts, control));
    }

    /// Sends what of this is not as it was.
    fn send(&self, new: Snapshot) {
        let mut sent = self.sent();
        let is_same_place = sent.last.as_ref().is_some_and(|old| Arc::ptr_eq(&old.inventory, &new.inventory));
        let changed = sent.last.as_ref().filter(|_| is_same_place).map(|old| new.since(old));
        let is_due = clock::boottime().saturating_sub(sent.at) >= PING;
        let (name, json) = match changed {
            None => ("state", new.whole()),
            Some(Some(changed)) => ("change", changed),
            Some(None) if is_due => ("ping", new.ping()),
            Some(None) => return,
        };
        sent.last = Some(new);
        let number = sent.next();
        // The last reader may have gone just now.
        self.events.send(event(name, number, &json)).ok();
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sent {
    fn next(&mut self) -> u64 {
        self.count += 1;
        self.at = clock::boottime();
        self.count
    }
}

type Following = (Option<Bytes>, broadcast::Receiver<Bytes>, OwnedSemaphorePermit);

async fn following((first, mut receiver, place): Following) -> Option<(Bytes, Following)> {
    let event = match first {
        Some(first) => first,
        // An error: it fell behind, or the server ends.
        None => receiver.recv().await.ok()?,
    };
    Some((event, (None, receiver, place)))
}

/// JSON has no line ends, so one `data:` is enough.
fn event(name: &str, number: u64, json: &Json) -> Bytes {
    Bytes::from(format!("id: {number}\nevent: {name}\ndata: {json}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt};

    /// Updates of an hour.
    const HOUR: u64 = 4 * 3600;

    type Reader = std::pin::Pin<Box<dyn Stream<Item = Bytes> + Send>>;

    fn begin(live: &Live, nth: u64) -> Option<Reader> {
        let place = Arc::clone(&live.places).try_acquire_owned().ok()?;
        Some(Box::pin(live.begin(place, Snapshot::example(nth), true)))
    }

    /// What has come; nothing when nothing has, or no more will.
    fn next(reader: &mut Reader) -> Option<String> {
        reader.next().now_or_never().flatten().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_reader_begins_with_everything_and_is_then_sent_what_is_new() {
        let live = Live::new(1);
        let mut reader = begin(&live, 1).unwrap();
        assert!(begin(&live, 1).is_none(), "there is one place");
        let first = next(&mut reader).unwrap();
        assert!(first.starts_with("retry: 2000\n\nid: 1\nevent: state\ndata: {"), "{first}");
        live.send(Snapshot::example(1));
        assert_eq!(next(&mut reader), None);
        live.send(Snapshot::example(2));
        let second = next(&mut reader).unwrap();
        assert!(second.starts_with("id: 2\nevent: change\n") && second.contains("\"seq 2\""), "{second}");
        drop(reader);
        assert!(begin(&live, 3).is_some());
    }

    #[test]
    fn who_falls_behind_is_let_go() {
        let live = Live::new(2);
        let (mut slow, mut quick) = (begin(&live, 0).unwrap(), begin(&live, 0).unwrap());
        assert!(next(&mut slow).is_some() && next(&mut quick).is_some());
        for nth in 1..=MAX_BEHIND as u64 + 1 {
            live.send(Snapshot::example(nth));
            assert!(next(&mut quick).is_some(), "{nth}");
        }
        assert_eq!(slow.next().now_or_never(), Some(None), "its stream has ended");
        drop(slow);
        assert!(begin(&live, 0).is_some(), "and its place is free");
    }

    /// Bytes of this process that are resident and no file's.
    fn own_memory() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    fn stay_open(updates: u64) {
        let live = Live::new(1);
        let mut reader = begin(&live, 0).unwrap();
        let mut bytes = next(&mut reader).unwrap().len();
        let mut update = |nth| {
            live.send(Snapshot::example(nth));
            bytes += next(&mut reader).unwrap().len();
        };
        (1..1000).for_each(&mut update);
        let before = own_memory();
        (1000..1000 + updates).for_each(&mut update);
        let grown = own_memory().saturating_sub(before);
        assert!(grown <= 256 * 1024, "{grown} bytes more after {updates} updates of {bytes} bytes");
    }

    /// An hour's updates, or with `FIELDGATE_FAULTS=long` those of a day. In a process of its own, for memory is that of the whole of it.
    #[test]
    fn a_page_that_stays_open_needs_no_more_memory_as_time_goes_by() {
        const ALONE: &str = "FIELDGATE_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            let is_long = std::env::var("FIELDGATE_FAULTS").is_ok_and(|scale| scale == "long");
            return stay_open(if is_long { 24 * HOUR } else { HOUR });
        }
        let name = "http::live::tests::a_page_that_stays_open_needs_no_more_memory_as_time_goes_by";
        let mut own = std::process::Command::new(std::env::current_exe().unwrap());
        let output = own.args(["--exact", name, "--test-threads=1"]).env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
