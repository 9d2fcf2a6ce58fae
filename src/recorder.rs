//! Turns what workers and commands say into messages: the one writer of the spool.
//!
//! Readings, replies and losses are appended to the spool, each in its order. States and statuses tell the present: they
//! go to the link's latest values and are never spooled, for a replayed old `on` would lie.
//!
//! When the disk hangs and the spool's queue is full, the recorder waits for it. That is no reason for the watchdog, since
//! outputs still work: it goes on showing that it is alive. Of the disk the spool itself tells.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{debug, error};

use crate::board::{Board, OutputView};
use crate::clock;
use crate::link::{Latest, LinkState, LinkStatus};
use crate::model::payload::{self, ResponseTarget, StoredReply};
use crate::model::{Key, Message, MessageKind, Name, Qos, Reading, RunId};
use crate::roster::SharedRoster;
use crate::spool::{Closed, Spool};
use crate::worker::Event;

/// Events of all workers that may wait for the spool: about a second of a hundred sensors at ten readings a second.
pub const EVENT_CAPACITY: usize = 1024;

/// Answers that may wait for the spool. Commands wait for room, so this only smooths bursts.
pub const ANSWER_CAPACITY: usize = 64;

/// The recorder shows that it is alive this often when nothing happens.
const IDLE: Duration = Duration::from_secs(1);

/// An answer to a command, worded already.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The output as named in the command's topic.
    pub actuator: Name,
    /// The reply's payload.
    pub payload: String,
    /// Where an MQTT 5 requester wants it too.
    pub response: Option<ResponseTarget>,
}

/// What the recorder takes and where it puts it.
#[derive(Debug)]
pub struct Recorder {
    /// This start of the program.
    pub run: RunId,
    /// From all workers; ends when they have ended.
    pub events: mpsc::Receiver<Event>,
    /// From the commands; ends when they have ended.
    pub answers: mpsc::Receiver<Answer>,
    /// Who is in the configuration in force: what a reload removed says nothing any more.
    pub roster: watch::Receiver<SharedRoster>,
    /// Whether the link is up: a reading at QoS 0 is not kept while it is down.
    pub link: watch::Receiver<LinkStatus>,
    /// Where readings, replies and losses go.
    pub spool: Spool,
    /// Where states go.
    pub latest: Latest,
    /// Someone who watches, if there is one.
    pub board: Option<Board>,
    /// What it shows of itself.
    pub progress: Arc<Progress>,
}

/// What the recorder shows of itself, for the watchdog: when it last turned, in nanoseconds on the boot clock.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    fn turn(&self) {
        self.0.store(u64::try_from(clock::boottime().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When it last turned, on the boot clock; waiting for the spool counts as turning.
    pub fn last_turn(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Waits for the spool and shows meanwhile that the recorder itself turns.
    async fn wait<T>(&self, spool: impl Future<Output = T>) -> T {
        let mut spool = pin!(spool);
        loop {
            self.turn();
            if let Ok(done) = tokio::time::timeout(IDLE, &mut spool).await {
                return done;
            }
        }
    }
}

impl Recorder {
    /// Runs until workers and commands have ended and everything they said is in the spool.
    pub async fn run(mut self) {
        let (mut events, mut answers) = (true, true);
        while events || answers {
            self.progress.turn();
            // Both branches are cancel-safe: nothing is taken from a channel that does not come out here.
            let recorded = tokio::select! {
                event = self.events.recv(), if events => match event {
                    Some(event) => self.record(event).await,
                    None => { events = false; Ok(()) }
                },
                answer = self.answers.recv(), if answers => match answer {
                    Some(answer) => self.progress.wait(self.spool.append(self.reply(answer))).await,
                    None => { answers = false; Ok(()) }
                },
                () = tokio::time::sleep(IDLE) => Ok(()),
            };
            if recorded.is_err() {
                error!("The spool has ended before the recorder; what comes now is lost.");
                return;
            }
        }
    }

    async fn record(&mut self, event: Event) -> Result<(), Closed> {
        if let Some(board) = &self.board {
            show(board, &event);
        }
        match event {
            Event::Reading { reading, qos, retain } => {
                if qos == Qos::AtMostOnce && self.link.borrow().state != LinkState::Up {
                    debug!(sensor = %reading.sensor, seq = reading.seq, "Reading at QoS 0 dropped: the link is down.");
                    return Ok(());
                }
                debug!(sensor = %reading.sensor, seq = reading.seq, "Reading.");
                self.progress.wait(self.spool.append(message(&reading, qos, retain))).await
            }
            Event::Lost(loss) => self.progress.wait(self.spool.report_loss(loss)).await,
            Event::Status { sensor, status, since, error } => {
                let roster = self.roster.borrow();
                if roster.sensors.contains(&sensor) {
                    let payload = payload::sensor_status(status, since, error.as_deref());
                    self.latest.set(roster.topics.sensor_status(&sensor), payload);
                }
                Ok(())
            }
            Event::State { actuator, value, at, cause } => {
                let roster = self.roster.borrow();
                if roster.targets.contains_key(&actuator) {
                    self.latest.set(roster.topics.state(&actuator), payload::state(value, at, cause));
                }
                Ok(())
            }
        }
    }

    fn reply(&self, answer: Answer) -> Message {
        let stored = StoredReply { payload: answer.payload, response: answer.response };
        Message {
            key: Key { kind: MessageKind::Reply, source: answer.actuator },
            run: self.run,
            seq: 0,
            taken_at: clock::now(),
            qos: Qos::AtLeastOnce,
            retain: false,
            body: stored.encode(),
        }
    }
}

/// Shows an event to whoever watches.
fn show(board: &Board, event: &Event) {
    match event {
        Event::Reading { reading, .. } => board.reading(reading),
        Event::Status { sensor, status, .. } => board.status(sensor, *status),
        Event::State { actuator, value, at, cause } => {
            board.state(actuator, OutputView { value: *value, since: *at, cause: *cause });
        }
        Event::Lost(_) => {}
    }
}

fn message(reading: &Reading, qos: Qos, retain: bool) -> Message {
    Message {
        key: Key { kind: MessageKind::Reading, source: reading.sensor.clone() },
        run: reading.run,
        seq: reading.seq,
        taken_at: reading.taken_at,
        qos,
        retain,
        body: payload::measurements(&reading.measurements),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_a_hanging_disk_is_alive() {
        let progress = Progress::default();
        let (answer, answered) = tokio::sync::oneshot::channel();
        let mut waiting = pin!(progress.wait(answered));
        let started = clock::boottime();
        assert!(tokio::time::timeout(IDLE + IDLE / 2, &mut waiting).await.is_err(), "the disk hangs");
        assert!(progress.last_turn() >= started + IDLE, "it turned while it waited");
        answer.send(()).unwrap();
        waiting.await.unwrap();
    }
}
