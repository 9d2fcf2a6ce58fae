//! One OS thread per bus: it opens the bus, builds the devices on it, samples what is due and drives the outputs. Buses that sit
//! on another one (a channel of a multiplexer, the pins of an expander) share the thread of the wires that they all use.
//!
//! Hardware blocks, so it blocks here and nowhere else. Everything on one bus happens in one order on one thread: no two
//! drivers ever share a bus by accident, and no lock is needed. A bus that hangs stops only itself.
//!
//! The thread never waits for anyone else: orders come in by a bounded [`Inbox`], events go out by a bounded channel. When
//! that is full a reading becomes a [`Loss`], for its number has been given already, and states wait for the next round.
//!
//! Read `run.rs` for the loop, `sensor.rs` and `output.rs` for a device's life, `schedule.rs` for what is due.

mod adopt;
mod backoff;
mod bus_slots;
mod finish;
mod keeping_up;
mod output;
mod plan;
mod run;
pub mod schedule;
mod sensor;
mod timetable;
mod trips;
mod trouble;
mod wait;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::deadlines;
use crate::worker::wait::Waker;
use fieldgate_bus as bus;
use fieldgate_bus::signals::Signals;
use fieldgate_clock as clock;
use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;
use fieldgate_model::payload::StoredEvent;
use fieldgate_model::{
    Action, Count, Loss, Measurement, Name, OutputValue, PersistedCounts, Qos, Reading, Reason, Recipient, Refusal,
    RunId, Saved, SensorStatus, StateCause,
};
use fieldgate_safety::{RuleOrder, SharedInterlocks};

pub use fieldgate_safety::{Applied, Done};
pub use plan::{ActuatorSettings, Plan, SensorSettings};
pub use sensor::TotalSet;
pub use trips::Trips;
pub use trouble::BusAlarms;

/// Orders that may wait for one bus. A bus takes an order within one sampling, so more than this means that it hangs; the
/// next command is then answered "busy" rather than carried out much later.
const INBOX_CAPACITY: usize = 16;

/// What a sensor has done in this run. Outlives a reload, so that `seq` goes on.
#[derive(Debug, Default)]
pub struct Tally {
    /// The last `seq` that was given: how many readings were taken.
    pub taken: AtomicU64,
    /// Samples that succeeded, of which readings were made.
    pub samples: AtomicU64,
    /// Values that filters took.
    pub filtered: AtomicU64,
    /// How often sampling it failed.
    pub failed: AtomicU64,
    /// Ticks that passed without a sampling.
    pub skipped: AtomicU64,
    /// What it has counted, if it is one that counts.
    pub count: Arc<Count>,
    status: AtomicU8,
}

impl Tally {
    /// Status of the sensor.
    pub fn status(&self) -> SensorStatus {
        match self.status.load(Ordering::Relaxed) {
            0 => SensorStatus::Ok,
            1 => SensorStatus::Degraded,
            _ => SensorStatus::Down,
        }
    }

    /// Records the status of the sensor.
    pub fn set_status(&self, status: SensorStatus) {
        let code = match status {
            SensorStatus::Ok => 0,
            SensorStatus::Degraded => 1,
            SensorStatus::Down => 2,
        };
        self.status.store(code, Ordering::Relaxed);
    }
}

/// What the recorder is given: by workers, and [`Event::ValueSet`] and [`Event::Published`] by commands and rules.
#[derive(Debug)]
pub enum Event {
    /// A sensor was sampled.
    Reading {
        /// What was measured, numbered and with its time.
        reading: Reading,
        /// Its quality of service.
        qos: Qos,
        /// Whether the broker keeps the newest.
        retain: bool,
        /// What the sensor has counted, to be kept before this is published.
        count: Option<u64>,
    },
    /// What a sensor has counted without a reading that says so, to be kept.
    Count {
        /// The sensor that counts.
        sensor: Name,
        /// All that it has counted; its `CountScale` makes a total of that.
        count: u64,
    },
    /// A user has set what a sensor has counted.
    CountSet {
        /// The sensor that counts.
        sensor: Name,
        /// The count from now on, perhaps less than before.
        count: u64,
        /// Answered by the spool.
        saved: oneshot::Sender<Saved>,
    },
    /// A user has set something that no worker knows of, such as a variable.
    ValueSet {
        /// The variable, or the switch of a rule.
        recipient: Recipient,
        /// Its new value, as the spool keeps it.
        value: String,
        /// Answered by the spool.
        saved: oneshot::Sender<Saved>,
    },
    /// A rule publishes something.
    Published {
        /// The rule that has begun.
        rule: Name,
        /// The topic below the base topic, and the payload.
        event: StoredEvent,
    },
    /// Readings that were taken and could not be handed on.
    Lost(Loss),
    /// The status of a sensor has changed.
    Status {
        /// The sensor whose status it is.
        sensor: Name,
        /// Its status from now on.
        status: SensorStatus,
        /// Since when, by the wall clock.
        since: SystemTime,
        /// Why it is not well, in words.
        error: Option<String>,
    },
    /// An output does something else than before.
    State {
        /// The output that does it.
        actuator: Name,
        /// What it does; `None` when the hardware does not follow.
        value: Option<OutputValue>,
        /// Where it is going to, in percent, while it is on its way.
        target: Option<f64>,
        /// Since when, by the wall clock.
        at: SystemTime,
        /// Why it does that.
        cause: StateCause,
        /// The rule that is the cause, if one is.
        rule: Option<Name>,
    },
}

/// What a worker can be asked to do.
#[derive(Debug)]
pub enum Order {
    /// Make an output do something.
    Apply {
        /// The output to drive.
        actuator: Name,
        /// What it is to do.
        action: Action,
        /// For how long (`for` in a command); until the next command without it.
        lease: Option<Duration>,
        /// Where the result goes; the requester may have stopped waiting.
        answer: oneshot::Sender<Applied>,
    },
    /// Make an output do what a rule says.
    Rule {
        /// The output to drive.
        actuator: Name,
        /// The rule that orders it.
        rule: Name,
        /// What the rule orders of the output.
        order: RuleOrder,
        /// Where the result goes; the requester may have stopped waiting.
        answer: oneshot::Sender<Applied>,
    },
    /// Set the total of a sensor that counts.
    SetTotal {
        /// The sensor that counts.
        sensor: Name,
        /// The total from now on, in its unit.
        total: f64,
        /// What its [`Count`] had counted when the total was this.
        counted: u64,
        /// Where the result goes; the requester may have stopped waiting.
        answer: oneshot::Sender<Result<TotalSet, Refusal>>,
    },
    /// Sample a sensor as soon as its bus may be used.
    Sample {
        /// The sensor to sample.
        sensor: Name,
        /// Where the sample goes, filtered, or why there is none; the requester may have stopped waiting.
        answer: oneshot::Sender<Result<Vec<Measurement>, Refusal>>,
    },
    /// Release what this plan, which will follow, does not contain unchanged.
    Release {
        /// The plan that will follow.
        plan: Plan,
        /// Answered when that is done; the requester may have stopped waiting.
        done: oneshot::Sender<()>,
    },
    /// Go on with another plan for the same bus.
    Replan(Plan),
}

/// The way into one worker.
#[derive(Clone, Debug)]
pub struct Inbox {
    orders: SyncSender<Order>,
    waker: Waker,
}

/// The order was not taken: the bus hangs, or its thread has ended.
#[derive(Debug)]
pub struct NotTaken;

impl Inbox {
    /// One without a worker behind it, and its orders.
    #[cfg(test)]
    pub fn for_tests(capacity: usize) -> (Self, std::sync::mpsc::Receiver<Order>) {
        let (orders, taken) = sync_channel(capacity);
        let (waker, _) = wait::pair().expect("descriptors");
        (Self { orders, waker }, taken)
    }

    /// Sends an order without waiting.
    ///
    /// # Errors
    /// [`NotTaken`] when the inbox is full or the worker has ended: answer "busy".
    pub fn try_send(&self, order: Order) -> Result<(), NotTaken> {
        match self.orders.try_send(order) {
            Ok(()) => {
                self.waker.wake();
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(NotTaken),
        }
    }
}

/// Waits for what a worker answers to an order, for [`deadlines::ANSWER`] at most. `device` says in the refusal what the order was for.
///
/// # Errors
/// The worker refuses it, has ended without an answer, or hangs: the order may still be carried out then.
pub async fn await_answer<T>(answer: oneshot::Receiver<Result<T, Refusal>>, device: &str) -> Result<T, Refusal> {
    match tokio::time::timeout(deadlines::ANSWER, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Refusal::new(Reason::Hardware, format!("the {device} is gone"))),
        Err(_) => Err(Refusal::new(Reason::Hardware, "the bus does not answer")),
    }
}

/// What a worker is doing, for the watchdog and for the report of a bus that hangs.
#[derive(Debug, Default)]
pub struct Activity {
    /// Nanoseconds on the boot clock at the last turn of the loop.
    turned: AtomicU64,
    /// Outputs of the thread.
    outputs: AtomicUsize,
    /// The device of the transfer that is under way, and since when.
    busy: Mutex<Option<(Name, Duration)>>,
}

impl Activity {
    fn turn_at(&self, now: Duration) {
        self.turned.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn turn(&self) {
        self.turn_at(clock::boottime());
    }

    fn busy_with(&self, device: Option<&Name>) {
        self.busy_at(device, clock::boottime());
    }

    fn busy_at(&self, device: Option<&Name>, now: Duration) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = device.map(|name| (name.clone(), now));
    }

    fn drives(&self, outputs: usize) {
        self.outputs.store(outputs, Ordering::Relaxed);
    }

    /// Whether it has outputs, which must be made safe.
    pub fn has_outputs(&self) -> bool {
        self.outputs.load(Ordering::Relaxed) > 0
    }

    /// When the loop last turned, on the boot clock. An idle worker turns at least every `wait::LONGEST_SLEEP`.
    pub fn last_turn(&self) -> Duration {
        Duration::from_nanos(self.turned.load(Ordering::Relaxed))
    }

    /// The device of the transfer that is under way, and since when, if there is one.
    pub fn busy(&self) -> Option<(Name, Duration)> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What every worker shares with the rest of the program.
#[derive(Clone, Debug)]
pub struct Context {
    /// This start of the program.
    pub run: RunId,
    /// Where readings and losses go.
    pub events: mpsc::Sender<Event>,
    /// Where states and statuses go.
    pub states: mpsc::Sender<Event>,
    /// When the broker was last heard.
    pub heartbeat: Arc<BrokerHeartbeat>,
    /// What sensors had counted in earlier runs; nothing until a disk could be read.
    pub persisted_counts: watch::Receiver<PersistedCounts>,
    /// Buses that do not work.
    pub alarms: BusAlarms,
    /// Where samples are shown to sensors that are computed from them.
    pub signals: Signals,
    /// Outputs that must not be on together.
    pub interlocks: SharedInterlocks,
    /// How often outputs were taken away from what had been requested of them.
    pub trips: Trips,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    /// How the bus at its root is opened.
    pub root: bus::Settings,
    /// Where its orders are sent.
    pub inbox: Inbox,
    /// What it is doing.
    pub activity: Arc<Activity>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
    /// Closed when the first plan has been taken up.
    begun: Option<oneshot::Receiver<()>>,
}

impl Worker {
    /// Starts a thread for `plan`. Its outputs are driven to their safe state before any sensor is built.
    ///
    /// # Errors
    /// [`NoThread`]
    pub fn spawn(label: &str, plan: Plan, context: Context) -> Result<Self, NoThread> {
        Self::try_spawn(label, plan, context).map_err(|source| NoThread { bus: label.to_owned(), source })
    }

    fn try_spawn(label: &str, plan: Plan, context: Context) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(INBOX_CAPACITY);
        let (waker, waiter) = wait::pair()?;
        let (stop, activity) = (Arc::new(AtomicBool::new(false)), Arc::new(Activity::default()));
        activity.turn();
        let (ending, ended) = oneshot::channel();
        let (beginning, begun) = oneshot::channel();
        let root = plan.buses.first().map_or(bus::Settings::Host, |(_, root)| root.clone());
        let (stopped, shown) = (Arc::clone(&stop), Arc::clone(&activity));
        let thread = std::thread::Builder::new().name(format!("bus {label}")).spawn(move || {
            run::Loop::new(plan, context, inbox, waiter, stopped, shown).run(beginning);
            // An error means that the grace period has passed and the wait is over.
            ending.send(()).ok();
        })?;
        Ok(Self { root, inbox: Inbox { orders, waker }, activity, stop, thread, ended, begun: Some(begun) })
    }

    /// Waits until every output was driven to its safe state for the first time, or failed; returns at once when called again.
    pub async fn begun(&mut self) {
        if let Some(begun) = self.begun.take() {
            // When the thread has ended the channel is closed without an answer, which means the same here.
            begun.await.ok();
        }
    }

    /// Asks the worker to make its outputs safe and to end; returns at once.
    pub fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.inbox.waker.wake();
    }

    /// Waits for the thread's end, for `grace` at most.
    pub async fn join(self, grace: Duration) -> ThreadEnd {
        match tokio::time::timeout(grace, self.ended).await {
            Ok(_) if self.thread.join().is_ok() => ThreadEnd::Orderly,
            Ok(_) => ThreadEnd::Panicked,
            Err(_) => ThreadEnd::Hangs,
        }
    }
}

/// How the thread of a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadEnd {
    /// Its outputs are safe, as far as they can be driven.
    Orderly,
    /// By a panic: its outputs may not be safe.
    Panicked,
    /// Not at all: it is left behind in a device, since a blocked system call cannot be ended from outside.
    Hangs,
}

/// The kernel gave no thread, or no pipe to wake it. Its sensors and outputs cannot be used before the program is started again.
#[derive(Debug, Error)]
#[error("a thread for the bus {bus} could not be started")]
pub struct NoThread {
    /// As the worker is called: by its bus.
    pub bus: String,
    #[source]
    source: io::Error,
}
