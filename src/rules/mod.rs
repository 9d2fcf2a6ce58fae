//! The rules at work: what the signal store says goes to the engine, and what that orders goes the way of commands to the workers.
//!
//! Nothing here waits for a broker, a disk or a bus. An order is handed to the worker of its output, whose guard carries it out or
//! refuses it as it does with a command; a bus that takes no orders for `deadlines::ANSWER` counts as a refusal. What each rule is at
//! is published, retained, on `B/rules` whenever it changes. `running.rs` has the engine and its view of that store.

mod running;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::commands::Switch;
use crate::deadlines;
use crate::roster::{Protected, RuleAlarms, SharedRoster};
use crate::rules::running::{Addressed, Running};
use crate::views::Views;
use crate::worker::{self, Applied, Order as WorkerOrder};
use fieldgate_bus::signals::Signals;
use fieldgate_clock as clock;
use fieldgate_clock::stop::stopped;
use fieldgate_link::{Latest, LinkState, LinkStatus};
use fieldgate_model::topic::Topics;
use fieldgate_model::{CommandValue, Name, PersistedValues, Reason, Recipient, RecipientKind, Refusal, ReplyValue};
use fieldgate_rules::{Event, Order, RuleSpec};
use fieldgate_safety::{Done, RuleOrder};

/// Switches from outside that may wait. What does not fit is refused.
pub const SWITCH_CAPACITY: usize = 16;

/// An order for which a bus has no room is tried again after so long at the latest, and when another was answered.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// What is in force.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// The rules as configured.
    pub rules: Vec<RuleSpec>,
    /// Where what they are at is published.
    pub topics: Topics,
}

/// What the rules take and where they put it.
pub struct Rules {
    /// What is in force; a reload replaces it, behind the workers' new plans.
    pub set: watch::Receiver<Arc<RuleSet>>,
    /// Which outputs there are, and the workers that drive them.
    pub roster: watch::Receiver<SharedRoster>,
    /// What they look at.
    pub signals: Signals,
    /// Whether the broker is connected.
    pub link: watch::Receiver<LinkStatus>,
    /// Rules that are switched on or off from outside.
    pub switches: mpsc::Receiver<Switch>,
    /// What earlier runs had switched, as soon as it is known.
    pub persisted_values: watch::Receiver<PersistedValues>,
    /// To the recorder: what rules publish, and how they are switched.
    pub events: mpsc::Sender<worker::Event>,
    /// Where the report `B/rules` goes: retained, newest only.
    pub latest: Latest,
    /// For those who show what rules are at.
    pub views: Views,
    /// Rules that are stopped, for health.
    pub alarms: RuleAlarms,
    /// Outputs that take no commands now, for those who ask before a command.
    pub protected: Protected,
    /// Set when the program ends: nothing is ordered any more.
    pub stopping: Arc<AtomicBool>,
    /// Becomes true when the task is to end.
    pub stop: watch::Receiver<bool>,
}

/// What earlier runs had switched.
fn switches_of(persisted: &PersistedValues) -> BTreeMap<Name, bool> {
    let all = persisted.iter().flat_map(|values| values.iter());
    let rules = all.filter(|(recipient, _)| recipient.kind == RecipientKind::Rule);
    rules.filter_map(|(rule, value)| Some((rule.name.clone(), CommandValue::of_switch(value)?))).collect()
}

/// The answer to an order, by its id.
type Answered = (u64, Result<(), Refusal>);

/// An order that was not sent yet.
struct QueuedOrder {
    addressed: Addressed,
    since: Duration,
}

/// Why an order was not sent.
enum NotSent {
    /// Its bus has no room for it now.
    Full,
    /// For a reason that stays.
    No(Refusal),
}

/// What an order is answered that its bus had no room for in time.
const FULL: &str = "the output's bus has not taken the orders before this one";

/// What became of sending an order: its worker will answer, or it is refused already.
type Sent = Result<oneshot::Receiver<Applied>, Refusal>;

/// Queues an order behind the others. What an output is to do takes the place of what it was to do before. A toggle goes by what was
/// done before it, so neither it nor what is before it is left out.
fn enqueue(queue: &mut Vec<QueuedOrder>, queued: QueuedOrder) {
    let is_toggle = |queued: &QueuedOrder| queued.addressed.order == RuleOrder::Toggle;
    let is_same = |older: &QueuedOrder| older.addressed.output == queued.addressed.output;
    if !queue.iter().any(|older| is_same(older) && is_toggle(older)) && !is_toggle(&queued) {
        queue.retain(|older| !is_same(older));
    }
    queue.push(queued);
}

/// Waits for what becomes of an order.
async fn answer(queued: QueuedOrder, sent: Sent) -> Answered {
    let answer = match sent {
        Err(refusal) => Err(refusal),
        Ok(applied) => match worker::await_answer(applied, "output").await {
            // It is kept, and carried out by itself. Until then the rule is blocked, and asking again changes nothing.
            Ok(Done { postponed: Some(why), .. }) if queued.addressed.is_set => Err(why),
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal),
        },
    };
    (queued.addressed.id, answer)
}

impl Rules {
    /// Runs until `stop`. The outputs are made safe by their workers.
    pub async fn run(mut self) {
        let set = Arc::clone(&self.set.borrow_and_update());
        let persisted = self.persisted_values.borrow_and_update().clone();
        let mut running = Running::begin(&set.rules, &self.signals, switches_of(&persisted));
        let (mut queue, mut answers) = (Vec::new(), FuturesUnordered::new());
        let mut stop = self.stop.clone();
        let mut topics = set.topics.clone();
        self.link_changed(&mut running);
        loop {
            for order in running.take_orders() {
                if let Some(answered) = self.take(&running, order, &mut queue) {
                    running.answered(answered);
                }
            }
            answers.extend(self.send_queued(&mut queue).into_iter().map(|(queued, sent)| answer(queued, sent)));
            self.publish(&mut running, &topics);
            let again = if queue.is_empty() { Duration::MAX } else { TRY_AGAIN };
            let wait = running.wake_at().saturating_sub(clock::boottime()).min(again);
            // All branches are cancel-safe: nothing is taken that does not come out here.
            tokio::select! {
                () = running.heard() => running.look(),
                () = tokio::time::sleep(wait) => running.look(),
                Some(answered) = answers.next(), if !answers.is_empty() => running.answered(answered),
                Ok(()) = self.link.changed() => self.link_changed(&mut running),
                Some(switch) = self.switches.recv() => self.switch(&mut running, switch),
                Ok(()) = self.persisted_values.changed() => self.recall(&mut running),
                Ok(()) = self.set.changed() => self.reload(&mut running, &mut topics, &mut queue),
                () = stopped(&mut stop) => return,
            }
        }
    }

    fn link_changed(&mut self, running: &mut Running) {
        let is_up = self.link.borrow_and_update().state == LinkState::Up;
        running.step(Event::Link(Some(is_up)));
    }

    /// A rule obeys at once; the disk answers the requester when it has it.
    fn switch(&self, running: &mut Running, Switch { rule, is_on, saved }: Switch) {
        running.switch(&rule, is_on);
        let value = ReplyValue::Rule(is_on).to_string();
        let event = worker::Event::ValueSet { recipient: Recipient::rule(rule), value, saved };
        // Neither waits: what the rules look at must not wait for a disk.
        if let Err(TrySendError::Full(worker::Event::ValueSet { saved, .. })) = self.events.try_send(event) {
            // The requester may have stopped waiting.
            saved.send(Err("the spool's queue is full, because its disk hangs".to_owned())).ok();
        }
    }

    /// A disk could be read later than at the start.
    fn recall(&mut self, running: &mut Running) {
        let persisted = self.persisted_values.borrow_and_update().clone();
        running.recall(switches_of(&persisted));
    }

    fn reload(&mut self, running: &mut Running, topics: &mut Topics, queue: &mut Vec<QueuedOrder>) {
        let set = Arc::clone(&self.set.borrow_and_update());
        if *topics != set.topics {
            // What was published in between is below the base that was left.
            self.latest.clear(topics.rules());
            *topics = set.topics.clone();
        }
        for addressed in running.reload(&set.rules, &self.signals) {
            // Of a rule that is no more nobody waits for the answer. It may have left its output to one that goes on.
            enqueue(queue, QueuedOrder { addressed, since: clock::boottime() });
        }
    }

    /// Publishes what an order publishes, and queues what it asks of an output.
    fn take(&self, running: &Running, order: Order, queue: &mut Vec<QueuedOrder>) -> Option<Answered> {
        if let Some((rule, event)) = running.publication(order) {
            // What the rules look at must not wait for a disk.
            if self.events.try_send(worker::Event::Published { rule: rule.clone(), event }).is_err() {
                warn!(%rule, "What the rule publishes is lost: the recorder's queue is full.");
            }
        }
        let Some(addressed) = running.address(order) else { return Some((order.id, Ok(()))) };
        enqueue(queue, QueuedOrder { addressed, since: clock::boottime() });
        None
    }

    /// Sends the workers what is queued, as far as they have room, and of each output in its order.
    fn send_queued(&self, queue: &mut Vec<QueuedOrder>) -> Vec<(QueuedOrder, Sent)> {
        let now = clock::boottime();
        let mut sent = Vec::new();
        for queued in std::mem::take(queue) {
            let is_new = now.saturating_sub(queued.since) < deadlines::ANSWER;
            let waits = queue.iter().any(|before| before.addressed.output == queued.addressed.output);
            match if waits { Err(NotSent::Full) } else { self.try_send(&queued.addressed) } {
                Err(NotSent::Full) if is_new => queue.push(queued),
                Err(NotSent::Full) => sent.push((queued, Err(Refusal::new(Reason::Busy, FULL)))),
                Err(NotSent::No(refusal)) => sent.push((queued, Err(refusal))),
                Ok(applied) => sent.push((queued, Ok(applied))),
            }
        }
        sent
    }

    fn try_send(
        &self,
        Addressed { rule, output, order, .. }: &Addressed,
    ) -> Result<oneshot::Receiver<Applied>, NotSent> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(NotSent::No(Refusal::new(Reason::Stopping, "the gateway is ending")));
        }
        let roster = self.roster.borrow();
        let unknown = || NotSent::No(Refusal::new(Reason::Unknown, "there is no such output"));
        let target = roster.targets.get(output).ok_or_else(unknown)?;
        let (answer, applied) = oneshot::channel();
        let order = WorkerOrder::Rule { actuator: output.clone(), rule: rule.clone(), order: *order, answer };
        target.inbox.try_send(order).map_err(|_| NotSent::Full)?;
        Ok(applied)
    }

    /// Publishes what has changed.
    fn publish(&self, running: &mut Running, topics: &Topics) {
        let Some(payload) = running.take_report() else { return };
        let topic = topics.rules();
        self.views.rules(payload.as_deref());
        self.alarms.replace(running.alarms());
        match payload {
            Some(payload) => self.latest.set(topic, payload),
            None => self.latest.clear(topic),
        }
        self.protected.replace(running.protected());
        for line in running.take_lines() {
            match line.is_alarm {
                true => {
                    warn!(rule = %line.rule, state = line.state, error = line.why, "Rule stopped: it goes round in a circle.")
                }
                false => info!(rule = %line.rule, state = line.state, why = line.why, "Rule changed."),
            }
        }
    }
}
