//! The handle to the spool's thread: what can be asked of it, and the right to put something into its queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};

use crate::announced::Announced;
use crate::command_ids::CommandIds;
use crate::configuration;
use crate::error::{Closed, NotNow, ReadError};
use crate::thread::{Awaited, Request};
use crate::types::{Batch, Sequence, Settings, Stats};
use crate::vitals::{Busy, Vitals};
use fieldgate_model::{Loss, Message, Name, PersistedCounts, PersistedValues, Recipient, Saved};

/// A handle to the spool's thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool {
    pub(crate) requests: mpsc::Sender<Request>,
    /// Of items in the queue, several of which may be one request.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) head: watch::Receiver<Sequence>,
    pub(crate) era: watch::Receiver<u64>,
    pub(crate) stats: watch::Receiver<Stats>,
    pub(crate) counts: watch::Receiver<PersistedCounts>,
    pub(crate) values: watch::Receiver<PersistedValues>,
    pub(crate) command_ids: CommandIds,
    pub(crate) announced: Announced,
    pub(crate) busy: Arc<Busy>,
}

/// What the spool takes.
#[derive(Debug)]
pub enum Item {
    /// Kept until it is acknowledged.
    Message(Message),
    /// Readings that were lost before they came here.
    Loss(Loss),
    /// What a sensor has counted. Nothing that is sent later is readable before it is on disk.
    Count(Name, u64),
    /// What a user has set the count of a sensor to, which may be less than it was.
    SetCount {
        /// The sensor whose count is set.
        sensor: Name,
        /// The count from now on.
        count: u64,
        /// Answered once it is on disk, or as soon as it is known that it cannot be now. It is then written when it can be. The
        /// requester may have stopped waiting.
        saved: oneshot::Sender<Saved>,
    },
    /// What a user has set.
    SetValue {
        /// The variable, or the switch of a rule.
        recipient: Recipient,
        /// Its new value, as the spool keeps it.
        value: String,
        /// As that of [`Item::SetCount`].
        saved: oneshot::Sender<Saved>,
    },
}

/// The right to put some items into the spool's queue.
#[derive(Debug)]
pub struct Permit<'a> {
    slot: mpsc::Permit<'a, Request>,
    places: SemaphorePermit<'a>,
}

impl Permit<'_> {
    /// How many items may be sent with it.
    pub fn size(&self) -> usize {
        self.places.num_permits()
    }

    /// Sends at most [`Permit::size`] items to the spool. Together they wake the spool's thread once.
    pub fn send(mut self, items: Vec<Item>) {
        debug_assert!(items.len() <= self.size(), "{} items with a permit for {}", items.len(), self.size());
        // What is taken comes back from the thread.
        self.places.split(items.len()).into_iter().for_each(SemaphorePermit::forget);
        self.slot.send(Request::Items(items));
    }
}

impl Spool {
    /// Appends a message; waits for room in the queue.
    ///
    /// # Errors
    /// [`Closed`]: the message is lost; only after a stop.
    pub async fn append(&self, message: Message) -> Result<(), Closed> {
        self.reserve(1).await?.send(vec![Item::Message(message)]);
        Ok(())
    }

    /// Waits for places in the queue, which fills up while a disk hangs: for one at least, and takes up to `wanted` if they are
    /// free. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`]; only after a stop.
    pub async fn reserve(&self, wanted: usize) -> Result<Permit<'_>, Closed> {
        let mut places = self.places.acquire().await.map_err(|_| Closed)?;
        let more = wanted.saturating_sub(1).min(self.places.available_permits());
        // Somebody else may have been faster; then there is a place for one.
        if let Ok(more) = self.places.try_acquire_many(u32::try_from(more).unwrap_or(0)) {
            places.merge(more);
        }
        let slot = self.requests.reserve().await.map_err(|_| Closed)?;
        Ok(Permit { slot, places })
    }

    /// Reports readings that were lost before they came here.
    ///
    /// # Errors
    /// [`Closed`], as [`Spool::append`].
    pub async fn report_loss(&self, loss: Loss) -> Result<(), Closed> {
        self.reserve(1).await?.send(vec![Item::Loss(loss)]);
        Ok(())
    }

    /// Unacknowledged messages from `from` on: at most `limit`, fewer when they are large or damaged. How many there are says
    /// nothing about what follows; [`Batch::next`] does.
    ///
    /// # Errors
    /// [`ReadError`] says whether to stop or to try again.
    pub async fn read(&self, from: Sequence, limit: usize) -> Result<Batch, ReadError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Read { from, limit, answer }).await?;
        answered.await.map_err(|_| Closed)?
    }

    /// A connection begins, or reads everything again; where the present begins: the first of the newest messages that all belong
    /// to this start and were taken at `boot` or later, on [`fieldgate_clock::boottime`]. One past the newest when there are none.
    ///
    /// # Errors
    /// [`Closed`]: stop reading.
    pub async fn first_since(&self, boot: Duration) -> Result<Sequence, Closed> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::FirstSince { boot, answer }).await?;
        answered.await.map_err(|_| Closed)
    }

    /// Forgets messages that the broker has; unknown and repeated sequences are ignored. Waits for room in the queue.
    ///
    /// # Errors
    /// [`Closed`]: what was committed of them will be sent again by the next run.
    pub async fn acknowledge(&self, sequences: Vec<Sequence>) -> Result<(), Closed> {
        self.send(Request::Acknowledge(sequences, None)).await
    }

    /// Forgets messages that the broker has, without waiting for room in the queue.
    ///
    /// # Errors
    /// [`NotNow`] says whether to try again.
    pub fn try_acknowledge(&self, sequences: Vec<Sequence>) -> Result<(), NotNow<Vec<Sequence>>> {
        self.try_acknowledge_and(sequences, None)
    }

    /// Forgets them without waiting, and what becomes readable from `from` on is wanted: it is sent as soon as there is something,
    /// so that nobody need ask for what has just come. One such wish is open at a time. An earlier one is answered with nothing,
    /// and so is one from before a new era. The channel is closed when the spool has ended.
    ///
    /// # Errors
    /// [`NotNow`] says whether to try again.
    pub fn try_acknowledge_and_await(
        &self,
        sequences: Vec<Sequence>,
        from: Sequence,
        limit: usize,
    ) -> Result<oneshot::Receiver<Result<Batch, ReadError>>, NotNow<Vec<Sequence>>> {
        let (answer, answered) = oneshot::channel();
        self.try_acknowledge_and(sequences, Some(Awaited { from, limit, answer })).map(|()| answered)
    }

    fn try_acknowledge_and(
        &self,
        sequences: Vec<Sequence>,
        next: Option<Awaited>,
    ) -> Result<(), NotNow<Vec<Sequence>>> {
        self.requests.try_send(Request::Acknowledge(sequences, next)).map_err(|error| match error {
            TrySendError::Full(Request::Acknowledge(sequences, _)) => NotNow::Full(sequences),
            _ => NotNow::Closed,
        })
    }

    /// Forgets messages that can never arrive; readings among them are reported as lost, with these reasons. Never waits.
    ///
    /// # Errors
    /// [`NotNow`] says whether to try again.
    pub fn try_give_up(&self, messages: Vec<(Sequence, String)>) -> Result<(), NotNow<Vec<(Sequence, String)>>> {
        self.requests.try_send(Request::GiveUp(messages)).map_err(|error| match error {
            TrySendError::Full(Request::GiveUp(messages)) => NotNow::Full(messages),
            _ => NotNow::Closed,
        })
    }

    /// These were read and not sent, because the link reads them again later: when the spool is full they may be dropped like
    /// any other. Never waits: where the queue is full nothing is said, and they are dropped last until they are settled.
    pub fn pass_over(&self, sequences: Vec<Sequence>) {
        self.requests.try_send(Request::PassOver(sequences)).unwrap_or_default();
    }

    /// One past the newest message that is readable; changes when another becomes so.
    pub fn head(&self) -> watch::Receiver<Sequence> {
        self.head.clone()
    }

    /// Grows when messages have appeared in front of what was read, those of a file that could not be opened at the start or
    /// that was damaged: read again from the beginning. [`Spool::head`] changes then, too.
    pub fn era(&self) -> watch::Receiver<u64> {
        self.era.clone()
    }

    /// Waits until everything that was appended before is readable, so that [`Spool::head`] knows it.
    ///
    /// # Errors
    /// [`Closed`]: nothing more will become readable.
    pub async fn wait_until_readable(&self) -> Result<(), Closed> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::WhenReadable(answer)).await?;
        answered.await.map_err(|_| Closed)
    }

    /// Status of the spool, as its thread last said.
    pub fn stats(&self) -> watch::Receiver<Stats> {
        self.stats.clone()
    }

    /// What sensors had counted when the file was read: where they go on. Nothing until a file could be opened.
    pub fn counts(&self) -> watch::Receiver<PersistedCounts> {
        self.counts.clone()
    }

    /// What users had set when the file was read. Nothing until a file could be opened.
    pub fn values(&self) -> watch::Receiver<PersistedValues> {
        self.values.clone()
    }

    /// Where commands record their ids, and what earlier runs recorded.
    pub fn command_ids(&self) -> CommandIds {
        self.command_ids.clone()
    }

    /// Where the program says what it has announced, and what earlier runs had.
    pub fn announced(&self) -> Announced {
        self.announced.clone()
    }

    /// Status of the spool, also while its thread waits for the disk.
    pub fn vitals(&self) -> Vitals {
        Vitals::new(self.stats.clone(), Arc::clone(&self.busy))
    }

    /// Takes new settings over, but for the path: a move needs a restart.
    ///
    /// # Errors
    /// [`Closed`]: nothing to reconfigure.
    pub async fn reconfigure(&self, settings: Settings) -> Result<(), Closed> {
        self.send(Request::Reconfigure(settings)).await
    }

    /// Does this with what requests carry. Never waits: where the queue is full, nothing is done and the channel closed.
    pub fn configuration(&self, order: configuration::ConfigurationRequest) -> configuration::Written {
        let (answer, written) = oneshot::channel();
        self.requests.try_send(Request::Configuration { order, answer }).unwrap_or_default();
        written
    }

    /// Commits what is left and closes the file; returns when done. Other handles find the spool closed.
    pub async fn close(self) {
        let (answer, answered) = oneshot::channel();
        if self.send(Request::Close(answer)).await.is_ok() {
            // An error means that the thread ended without an answer: there is nothing left to wait for.
            answered.await.unwrap_or(());
        }
    }

    /// Changes readings on the disk, all of which memory then forgets.
    #[cfg(any(test, feature = "testing"))]
    pub async fn damage(&self, readings: Vec<(Name, u64)>) {
        self.send(Request::Damage(readings)).await.expect("the spool's thread runs");
    }

    async fn send(&self, request: Request) -> Result<(), Closed> {
        self.requests.send(request).await.map_err(|_| Closed)
    }
}
