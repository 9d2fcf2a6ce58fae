//! Turns what workers and commands say into messages, which it alone hands to the spool.
//!
//! Readings, replies and losses are appended to the spool, each in its order. States and statuses show the present: they
//! go to the link's latest values and are never spooled, for a replayed old `on` would lie.
//!
//! When the disk hangs and the spool's queue is full, readings and answers wait for it, and the workers count what does not
//! fit. States go on, and so does the sign of life for the watchdog: outputs still work, and the spool reports the disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{debug, error};

use crate::curves::Curves;
use crate::history::History;
use crate::plain;
use crate::roster::SharedRoster;
use crate::views::{OutputView, Views};
use crate::worker::Event;
use fieldgate_clock as clock;
use fieldgate_link::{Latest, LinkState, LinkStatus};
use fieldgate_model::payload::{self, ResponseTarget, StoredReply};
use fieldgate_model::{Key, Message, MessageKind, Qos, Reading, Recipient, RecipientKind, RunId};
use fieldgate_spool::{Item, Spool};

/// Events of all workers that may wait for the spool: about a second of a hundred sensors at ten readings a second.
pub const EVENT_CAPACITY: usize = 1024;

/// States and statuses that may wait; the workers keep the newest of what does not fit.
pub const STATE_CAPACITY: usize = 64;

/// Replies that may wait for the spool. Commands wait when it is full, so this only smooths bursts.
pub const ANSWER_CAPACITY: usize = 64;

/// Events that are taken together at most: what has come at once goes on to the spool at once, and wakes its thread once.
const BURST: usize = 64;

/// The recorder shows that it is alive this often when nothing happens.
const IDLE: Duration = crate::deadlines::IDLE_TURN;

/// The reply to a command, as its final payload.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyMessage {
    /// What the command was addressed to.
    pub recipient: Recipient,
    /// The reply as JSON, as it is published.
    pub payload: String,
    /// Where an MQTT 5 requester wants it too.
    pub response: Option<ResponseTarget>,
}

/// What the recorder takes and where it puts it.
#[derive(Debug)]
pub struct Recorder {
    /// This start of the program.
    pub run: RunId,
    /// Readings and losses of all workers; ends when they have ended.
    pub events: mpsc::Receiver<Event>,
    /// States and statuses of all workers. They have a channel of their own, for the present does not wait behind readings
    /// that wait for the disk.
    pub states: mpsc::Receiver<Event>,
    /// From the commands; ends when they have ended.
    pub answers: mpsc::Receiver<ReplyMessage>,
    /// The devices of the configuration in force: events of what a reload removed are dropped.
    pub roster: watch::Receiver<SharedRoster>,
    /// Whether the link is up: a reading at QoS 0 is not kept while it is down.
    pub link: watch::Receiver<LinkStatus>,
    /// Where readings, replies and losses go.
    pub spool: Spool,
    /// Where states and statuses go: retained, newest only.
    pub latest: Latest,
    /// Where the newest values are kept.
    pub views: Views,
    /// Where the newest readings are kept.
    pub history: History,
    /// Where the last hour is kept.
    pub curves: Curves,
    /// Its sign of life.
    pub last_turn: Arc<LastTurn>,
}

/// The recorder's sign of life for the watchdog: the last turn of its loop, in nanoseconds on the boot clock.
#[derive(Debug, Default)]
pub struct LastTurn(AtomicU64);

impl LastTurn {
    fn turn(&self) {
        self.0.store(u64::try_from(clock::boottime().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When that was, on the boot clock.
    pub fn at(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Recorder {
    /// Runs until workers and commands have ended and all their events are in the spool.
    pub async fn run(mut self) {
        let (mut events, mut states, mut answers) = (true, true, true);
        let mut taken = Vec::with_capacity(BURST);
        // What the spool has no room for yet. Until it has, nothing else is taken, but states go on.
        let mut waiting: VecDeque<Item> = VecDeque::with_capacity(BURST);
        let mut idle = clock::interval(IDLE);
        while events || states || answers || !waiting.is_empty() {
            self.last_turn.turn();
            let is_free = waiting.is_empty();
            // All branches are cancel-safe: nothing is taken from a channel that does not come out here.
            tokio::select! {
                permit = self.spool.reserve(waiting.len()), if !is_free => match permit {
                    Ok(permit) => {
                        let count = permit.size().min(waiting.len());
                        permit.send(waiting.drain(..count).collect());
                    }
                    Err(_) => {
                        error!(
                            "The spool's thread ended before the recorder; readings and replies are lost until the gateway is \
                             restarted."
                        );
                        return;
                    }
                },
                count = self.events.recv_many(&mut taken, BURST), if events && is_free => {
                    events = count > 0;
                    taken.drain(..).for_each(|event| self.record(event, &mut waiting));
                }
                event = self.states.recv(), if states => match event {
                    // A state is published at once and waits for nothing.
                    Some(event) => self.record(event, &mut waiting),
                    None => states = false,
                },
                answer = self.answers.recv(), if answers && is_free => match answer {
                    Some(answer) => waiting.push_back(Item::Message(self.reply(answer))),
                    None => answers = false,
                },
                _ = idle.tick() => {}
            }
        }
    }

    /// Publishes what is retained, and adds what belongs into the spool to `waiting`.
    fn record(&self, event: Event, waiting: &mut VecDeque<Item>) {
        show(&self.views, &event);
        match event {
            Event::Reading { reading, qos, retain, count } => {
                self.show_plainly(&reading);
                self.history.keep(|| message(&reading, qos, retain));
                self.curves.keep(&reading);
                let message = self.reading(&reading, qos, retain);
                // In front of the reading.
                waiting.extend(count.map(|count| Item::Count(reading.sensor, count)));
                waiting.extend(message.map(Item::Message));
            }
            Event::Count { sensor, count } => waiting.push_back(Item::Count(sensor, count)),
            Event::CountSet { sensor, count, saved } => waiting.push_back(Item::SetCount { sensor, count, saved }),
            Event::ValueSet { recipient, value, saved } => {
                waiting.push_back(Item::SetValue { recipient, value, saved });
            }
            Event::Published { rule, event } => {
                let key = Key { kind: MessageKind::Event, source: rule };
                waiting.push_back(Item::Message(self.message(key, event.encode())));
            }
            Event::Lost(loss) => waiting.push_back(Item::Loss(loss)),
            Event::Status { sensor, status, since, error } => {
                let roster = self.roster.borrow();
                if roster.sensors.contains(&sensor) {
                    let payload = payload::sensor_status(status, since, error.as_deref());
                    self.latest.set(roster.topics.sensor_status(&sensor), payload);
                }
            }
            Event::State { actuator, value, target, at, cause, rule } => {
                let roster = self.roster.borrow();
                if roster.outputs.contains(&actuator) {
                    let payload = payload::state(value, target, at, cause, rule.as_ref());
                    self.latest.set(roster.topics.state(&actuator), payload);
                }
                if let Some(topic) = roster.plain.state(&actuator) {
                    self.latest.set(topic.clone(), plain::state(value));
                }
            }
        }
    }

    /// Publishes the newest values as bare text, where that is wanted.
    fn show_plainly(&self, reading: &Reading) {
        let roster = self.roster.borrow();
        for (topic, text) in roster.plain.values(&reading.sensor, &reading.measurements) {
            self.latest.set(topic.clone(), text.into_owned().into_bytes());
        }
    }

    /// The message of a reading; nothing when it is at QoS 0 and the link is down.
    fn reading(&self, reading: &Reading, qos: Qos, retain: bool) -> Option<Message> {
        if qos == Qos::AtMostOnce && self.link.borrow().state != LinkState::Up {
            debug!(sensor = %reading.sensor, seq = reading.seq, "Reading at QoS 0 dropped: the link is down.");
            return None;
        }
        debug!(sensor = %reading.sensor, seq = reading.seq, "Reading.");
        Some(message(reading, qos, retain))
    }

    fn reply(&self, answer: ReplyMessage) -> Message {
        let stored = StoredReply { payload: answer.payload, response: answer.response };
        let kind = match answer.recipient.kind {
            RecipientKind::Output => MessageKind::Reply,
            RecipientKind::Total => MessageKind::TotalReply,
            RecipientKind::Variable => MessageKind::VariableReply,
            RecipientKind::Rule => MessageKind::RuleReply,
            RecipientKind::Request => MessageKind::Response,
        };
        self.message(Key { kind, source: answer.recipient.name }, stored.encode())
    }

    /// A message of now that is no reading.
    fn message(&self, key: Key, body: Vec<u8>) -> Message {
        Message { key, run: self.run, seq: 0, taken_at: clock::now(), qos: Qos::AtLeastOnce, retain: false, body }
    }
}

/// Writes an event to the views.
fn show(views: &Views, event: &Event) {
    match event {
        Event::Reading { reading, .. } => views.reading(reading),
        Event::Status { sensor, status, since, error } => views.status(sensor, *status, *since, error.as_deref()),
        Event::State { actuator, value, target, at, cause, rule } => {
            let (value, target, since, cause, rule) = (*value, *target, *at, *cause, rule.clone());
            views.state(actuator, OutputView { value, target, since, cause, rule });
        }
        Event::Lost(_)
        | Event::Count { .. }
        | Event::CountSet { .. }
        | Event::ValueSet { .. }
        | Event::Published { .. } => {}
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
        body: payload::measurements(&reading.measurements, reading.samples),
    }
}
