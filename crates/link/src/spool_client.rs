//! What the link asks of the spool, without ever waiting for it: a disk that hangs must hold up neither the link nor commands.
//!
//! Questions are asked once, and asked again by the part that still wants the answer. Where the spool's thread has ended, that is
//! logged, and [`SpoolClient::is_over`] says so from then on.

use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tracing::error;

use super::forwarder::Settled;
use super::lanes::{LANE_CAPACITY, Lane};
use super::question::Question;
use fieldgate_spool::{Batch, Closed, NotNow, ReadError, Sequence, Spool};

/// A read that the spool was asked for.
struct OpenRead {
    from: Sequence,
    batch: Question<Result<Batch, ReadError>>,
}

/// One connection's side of the spool.
pub(super) struct SpoolClient {
    spool: Spool,
    head: watch::Receiver<Sequence>,
    era: watch::Receiver<u64>,
    boundary: Option<Question<Result<Sequence, Closed>>>,
    /// One for each lane.
    asked: [Option<OpenRead>; 2],
    /// The spool has ended, or its sender of `head`.
    over: bool,
}

impl SpoolClient {
    pub(super) fn new(spool: Spool) -> Self {
        let (head, era) = (spool.head(), spool.era());
        Self { spool, head, era, boundary: None, asked: [None, None], over: false }
    }

    /// Whether nothing comes any more.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// One past the newest message. A function of its own, so that the lock behind it is released before any await.
    pub(super) fn head(&self) -> Sequence {
        *self.head.borrow()
    }

    /// Whether messages have appeared in front of what was read; says so once.
    pub(super) fn is_new_era(&mut self) -> bool {
        let is_new = self.era.has_changed().unwrap_or(false);
        self.era.mark_unchanged();
        is_new
    }

    /// Forgets what was asked for the lanes.
    pub(super) fn forget_reads(&mut self) {
        self.asked = [None, None];
    }

    /// The first message that was taken at `since` or later, or where the next will be; nothing while there is no answer. Of
    /// several calls until an answer came, the time of the first counts.
    pub(super) fn first_since(&mut self, since: Duration) -> Option<Sequence> {
        let spool = &self.spool;
        let boundary = self.boundary.get_or_insert_with(|| {
            let spool = spool.clone();
            Question::new(async move { spool.first_since(since).await })
        });
        let answer = boundary.answer()?;
        self.boundary = None;
        answer.map_err(|Closed { .. }| self.end()).ok()
    }

    /// What lies in a lane from `from` on; nothing while there is no answer.
    pub(super) fn read(&mut self, lane: Lane, from: Sequence) -> Option<Batch> {
        let place = &mut self.asked[lane as usize];
        let asked = match place {
            Some(asked) if asked.from == from => asked,
            _ => {
                let spool = self.spool.clone();
                let batch = Question::new(async move { spool.read(from, LANE_CAPACITY).await });
                place.insert(OpenRead { from, batch })
            }
        };
        let answer = asked.batch.answer()?;
        *place = None;
        match answer {
            Ok(batch) => Some(batch),
            // It is asked for again when something happens next; nothing is skipped, or the order would break.
            Err(ReadError::Disk) => None,
            Err(ReadError::Closed(_)) => {
                self.end();
                None
            }
        }
    }

    /// Waits until the spool has grown or has answered. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.over {
            std::future::pending::<()>().await;
        }
        let Self { head, asked, boundary, .. } = self;
        let answered = std::future::poll_fn(|context| {
            let mut batches = asked.iter_mut().flatten().map(|asked| asked.batch.poll(context));
            let is_answered = batches.any(|answer| answer.is_ready())
                || boundary.as_mut().is_some_and(|boundary| boundary.poll(context).is_ready());
            if is_answered { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            changed = head.changed() => self.over = changed.is_err(),
            () = answered => {}
        }
    }

    /// Informs the spool of what was read and is to be read again.
    pub(super) fn pass_over(&self, passed_over: Vec<Sequence>) {
        if !passed_over.is_empty() {
            self.spool.pass_over(passed_over);
        }
    }

    /// Informs the spool of what is settled; what does not fit into its queue, because its disk hangs, is returned. With it the
    /// spool is asked for what it will offer next in the live lane, if that has read all there is (`next`): its thread wakes
    /// once for both, and its answer wakes the link once, where the news that there is something, a question and its answer were
    /// three steps from thread to thread. [`SpoolClient::read`] takes the answer.
    pub(super) fn report_settled(&mut self, settled: Settled, next: Option<Sequence>) -> Settled {
        let Settled { mut acknowledged, mut given_up } = settled;
        if !acknowledged.is_empty() {
            acknowledged = self.acknowledge(acknowledged, next);
        }
        if !given_up.is_empty() {
            let outcome = self.spool.try_give_up(given_up);
            given_up = self.left_over(outcome);
        }
        Settled { acknowledged, given_up }
    }

    fn acknowledge(&mut self, acknowledged: Vec<Sequence>, next: Option<Sequence>) -> Vec<Sequence> {
        let place = &mut self.asked[Lane::Live as usize];
        let Some(from) = next.filter(|_| place.is_none()) else {
            let outcome = self.spool.try_acknowledge(acknowledged);
            return self.left_over(outcome);
        };
        let outcome = self.spool.try_acknowledge_and_await(acknowledged, from, LANE_CAPACITY).map(|answered| {
            let batch = Question::new(async move { answered.await.map_err(|_| Closed)? });
            *place = Some(OpenRead { from, batch });
        });
        self.left_over(outcome)
    }

    fn left_over<T>(&mut self, outcome: Result<(), NotNow<Vec<T>>>) -> Vec<T> {
        match outcome {
            Ok(()) => Vec::new(),
            Err(NotNow::Full(left_over)) => left_over,
            Err(NotNow::Closed) => {
                self.end();
                Vec::new()
            }
        }
    }

    fn end(&mut self) {
        error!("The spool's thread has ended; no stored message is sent until the gateway is restarted.");
        self.over = true;
    }
}
