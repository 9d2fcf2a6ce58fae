//! The stream of what changes: one look for all readers, at most four times a second, and none while nobody reads.
//!
//! Each begins with everything, as it was at the last look, and is then sent what has changed since: a page that puts one upon the
//! other has all of it. A reader that falls behind by [`MAX_BEHIND`] events is let go: it comes again and begins with everything,
//! and nothing has to be kept for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use hyper::body::Bytes;
use serde_json::Value as Json;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};

use crate::http::HttpResources;
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
    pub(super) fn read(
        &self,
        resources: &HttpResources,
        control: bool,
    ) -> Option<impl Stream<Item = Bytes> + Send + use<>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(self.begin(place, Snapshot::of(resources, control), control))
    }

    /// The stream of a reader that has this place, from what is there now.
    fn begin(
        &self,
        place: OwnedSemaphorePermit,
        now: Snapshot,
        control: bool,
    ) -> impl Stream<Item = Bytes> + Send + use<> {
        let mut sent = self.sent();
        let sent_last = sent.last.take().filter(|_| self.has_readers());
        // What comes next is what has changed since the others were sent something, so this one begins there and not now: a value that
        // has changed and changes back would never be sent.
        let base = sent_last.unwrap_or(now);
        let first = base.whole();
        sent.last = Some(base);
        sent.control = control;
        let receiver = self.events.subscribe();
        self.joined.notify_one();
        let first = event("state", sent.next(), &first);
        let first = Bytes::from([b"retry: 2000\n\n", first.as_ref()].concat());
        stream::unfold((Some(first), receiver, place), following)
    }

    /// Looks, and sends what has changed since the last time.
    pub(super) fn publish(&self, resources: &HttpResources) {
        let control = self.sent().control;
        self.send(Snapshot::of(resources, control));
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
mod tests;
