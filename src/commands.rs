//! Incoming message → command → checks → bus worker → answer.
//!
//! Every command for a valid name is answered; what the link drops in a flood is counted there. Retained, stale, unknown, oversized and unreadable ones never reach an output, a total or a variable;
//! one whose `id` was seen gets the first answer again, word for word, and does nothing. Commands to different buses do not wait
//! for each other; if a bus hangs, only its own commands are answered "failed". What is done to totals is in `totals.rs`, to
//! variables in `variables.rs`, to the switches of rules in `rules.rs`.
//!
//! What was seen is remembered over restarts, see `ids.rs`; no command waits for that.

mod age;
mod ids;
mod local;
mod reply_sender;
mod requests;
mod rules;
mod totals;
mod variables;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::field::{DisplayValue, display};
use tracing::{info, warn};

use crate::commands::age::not_too_old;
use crate::commands::ids::{IdState, Ids};
use crate::recorder::ReplyMessage;
use crate::roster::{Protected, SharedRoster};
use crate::variables::Variables;
use crate::views::{LastReply, Views};
use crate::worker::{Done, Event, Order, await_answer};
use fieldgate_clock as clock;
use fieldgate_clock::stop::stopped;
use fieldgate_link::Incoming;
use fieldgate_model::payload::{self, ResponseTarget};
use fieldgate_model::{
    Action, Command, Name, Outcome, PersistedValues, Reason, Recipient, RecipientKind, Refusal, Reply, ReplyStatus,
    ReplyValue, Throttle,
};
use fieldgate_spool::CommandIds;

pub use local::{LocalReply, LocalRequester, LocalRequesters};
pub use reply_sender::ReplySender;
pub use rules::Switch;
pub use variables::keep;

/// Commands from the link that may wait: a burst. What does not fit is refused by the link and counted.
pub const COMMAND_CAPACITY: usize = 64;

/// Commands that may be under way on all buses together; each bus has its own limit besides.
const UNDER_WAY: usize = 64;

/// How long each command is given on average, once so many have come at once: readings share the link with their answers, and
/// the spool's thread with what is recorded of them.
const EACH: Duration = Duration::from_millis(5);

/// Why a repeat of a command that an earlier run may have carried out is answered "failed" and does nothing.
const INTERRUPTED: &str =
    "the gateway was restarted before this command was answered; it may have acted, and does not again";

/// A broker or a sender that sends twice would undo it.
const TOGGLE_NEEDS_ID: &str =
    "toggle needs an id, such as {\"value\":\"toggle\",\"id\":\"a1\"}: sent twice it would undo itself";

/// What happened to the commands of one output.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandTally {
    /// All that named it.
    pub commands: u64,
    /// Those that were rejected or failed.
    pub rejected: u64,
}

/// The tallies of all outputs that ever were in this run.
pub type CommandTallies = Arc<Mutex<BTreeMap<Name, CommandTally>>>;

/// What became of a command, as the reply will say.
struct Ended {
    outcome: Outcome,
    refusal: Option<Refusal>,
    value: Option<ReplyValue>,
}

/// Carries out one command; ends when its bus, or the disk, has answered or has had its time.
type Work = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// A command that has ended and is not answered yet.
struct Pending {
    recipient: Recipient,
    id: Option<String>,
    response: Option<ResponseTarget>,
    ended: Ended,
}

/// A command that was handed on, until it has ended.
type InProgress = Pin<Box<dyn Future<Output = Pending> + Send>>;

/// What the commands take and where they put it.
pub struct Commands {
    /// Messages from the link, and commands from the page.
    pub incoming: mpsc::Receiver<Incoming>,
    /// Which outputs and totals there are.
    pub roster: watch::Receiver<SharedRoster>,
    /// Where requests go, which are no commands.
    pub requests: mpsc::Sender<Incoming>,
    /// Which variables there are.
    pub variables: Variables,
    /// What earlier runs had been given, as soon as it is known.
    pub persisted_values: watch::Receiver<PersistedValues>,
    /// Where values go that are to be kept.
    pub events: mpsc::Sender<Event>,
    /// Where replies go: to the recorder.
    pub answers: ReplySender,
    /// Set when the program ends: every command is then refused.
    pub stopping: Arc<AtomicBool>,
    /// What earlier runs saw, and where to record what this one sees.
    pub command_ids: CommandIds,
    /// Outputs that rules keep for themselves.
    pub protected: Protected,
    /// To the rules: which is switched on or off.
    pub switches: mpsc::Sender<Switch>,
    /// How many commands each output got and refused, for health.
    pub tallies: CommandTallies,
    /// For those who show what commands were answered.
    pub views: Views,
    /// Becomes true when the task is to answer what is under way and end.
    pub stop: watch::Receiver<bool>,
}

impl Commands {
    /// Runs until `stop`, then answers what is still under way.
    pub async fn run(mut self) {
        let mut ids = Ids::new(self.command_ids.clone());
        let mut in_progress: FuturesUnordered<InProgress> = FuturesUnordered::new();
        let mut stop = self.stop.clone();
        let mut throttle = Throttle::new(COMMAND_CAPACITY as u32, EACH);
        loop {
            let wait = throttle.earliest().saturating_sub(clock::boottime());
            // Receiving and the futures under way are cancel-safe.
            tokio::select! {
                () = tokio::time::sleep(wait), if !wait.is_zero() => {}
                message = self.incoming.recv(), if wait.is_zero() => {
                    let Some(message) = message else { break };
                    throttle.step(clock::boottime());
                    let taken = self.take(message, &mut ids, in_progress.len()).await;
                    in_progress.extend(taken);
                }
                Some(pending) = in_progress.next(), if !in_progress.is_empty() => self.finished(pending, &mut ids).await,
                Ok(()) = self.persisted_values.changed() => {
                    let persisted = self.persisted_values.borrow_and_update().clone();
                    keep(&self.events, self.variables.recall(&persisted));
                }
                () = stopped(&mut stop) => break,
            }
        }
        while let Some(pending) = in_progress.next().await {
            self.finished(pending, &mut ids).await;
        }
    }

    /// Checks one message and hands it to its bus, to the rules or to the requests. `None`: nothing is under way for it, and it was
    /// answered if it must be.
    async fn take(&mut self, message: Incoming, ids: &mut Ids, under_way: usize) -> Option<InProgress> {
        let (kind, name) = {
            let roster = self.roster.borrow();
            let (kind, level) = roster.topics.commanded(&message.topic)?;
            (kind, Name::new(level))
        };
        if kind == RecipientKind::Request {
            self.pass_on(message).await;
            return None;
        }
        let name = match name {
            Ok(name) => name,
            Err(error) => {
                warn!(topic = %message.topic, %error, "Command refused: the name in its topic is not valid.");
                return None;
            }
        };
        let recipient = Recipient { kind, name };
        let response = message.response;
        let decoded = payload::decode_command(&message.payload);
        let id = match &decoded {
            Ok(command) => command.id.clone(),
            Err(undecodable) => undecodable.id.clone(),
        };
        if message.retain {
            let refusal = Refusal::new(Reason::Retained, "a command that the broker kept may be older than its sense");
            self.answer_once(&rejection(recipient, id, refusal), response).await;
            return None;
        }
        if message.stale {
            let refusal = Refusal::new(Reason::Expired, "the command waited at the broker while this gateway was away");
            self.answer_once(&rejection(recipient, id, refusal), response).await;
            return None;
        }
        let (recipient, id, response) = self.unless_seen(ids, recipient, id, response).await?;
        let command = match decoded {
            Ok(command) => command,
            Err(undecodable) => {
                let reply = rejection(recipient, id, undecodable.refusal);
                self.answer_for_good(ids, &reply, response).await;
                return None;
            }
        };
        match self.order(&recipient, &command, under_way) {
            Ok(work) => {
                ids.begin(&recipient, command.id.as_deref());
                let id = command.id;
                Some(Box::pin(async move { Pending { recipient, id, response, ended: work.await } }))
            }
            Err(refusal) => {
                self.answer_for_good(ids, &rejection(recipient, command.id, refusal), response).await;
                None
            }
        }
    }

    /// Answers a command whose id was seen; returns what is known of one whose id was not.
    async fn unless_seen(
        &mut self,
        ids: &mut Ids,
        recipient: Recipient,
        id: Option<String>,
        response: Option<ResponseTarget>,
    ) -> Option<(Recipient, Option<String>, Option<ResponseTarget>)> {
        match ids.look_up(&recipient, id.as_deref(), response.as_ref()) {
            IdState::New => return Some((recipient, id, response)),
            IdState::UnderWay => self.count(&recipient, false),
            IdState::Crowded => {
                let words = "too many repeats of this command wait for its answer";
                let reply = rejection(recipient, id, Refusal::new(Reason::Busy, words));
                self.answer_once(&reply, response).await;
            }
            IdState::Answered(payload) => {
                self.count(&recipient, false);
                // Of what an earlier run answered only the payload is kept.
                let rejected = ReplyStatus { outcome: Outcome::Rejected, reason: None };
                let status = payload::reply_status(&payload).unwrap_or(rejected);
                self.repeat(ReplyMessage { recipient, payload, response }, status, id.as_deref()).await;
            }
            IdState::Interrupted => {
                let refusal = Some(Refusal::new(Reason::Hardware, INTERRUPTED));
                let (outcome, value, time) = (Outcome::Failed, None, SystemTime::now());
                let reply = Reply { recipient, id, outcome, refusal, value, time };
                self.answer_for_good(ids, &reply, response).await;
            }
        }
        None
    }

    /// Hands the command to its bus.
    fn order(&self, recipient: &Recipient, command: &Command, under_way: usize) -> Result<Work, Refusal> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Refusal::new(Reason::Stopping, "the gateway is ending"));
        }
        match recipient.kind {
            RecipientKind::Output => self.drive(&recipient.name, command, under_way),
            RecipientKind::Total => totals::set(&self.roster.borrow(), &recipient.name, command, under_way),
            RecipientKind::Variable => {
                variables::set(&self.variables, &self.events, &recipient.name, command, under_way)
            }
            RecipientKind::Rule => {
                rules::set(&self.roster.borrow(), &self.switches, &recipient.name, command, under_way)
            }
            RecipientKind::Request => Err(Refusal::new(Reason::Unknown, "a request is no command")),
        }
    }

    /// Hands a command to the bus of an output.
    fn drive(&self, actuator: &Name, command: &Command, under_way: usize) -> Result<Work, Refusal> {
        let roster = self.roster.borrow();
        let target = roster
            .targets
            .get(actuator)
            .ok_or_else(|| Refusal::new(Reason::Unknown, format!("there is no output called {actuator}")))?;
        let action = target.kind.accept(&command.value)?;
        if action == Action::Toggle && command.id.is_none() {
            return Err(Refusal::new(Reason::Unreadable, TOGGLE_NEEDS_ID));
        }
        self.protected.may_be_moved(actuator)?;
        not_too_old(command.issued_at, target.max_age, clock::now())?;
        let busy = || Refusal::new(Reason::Busy, "the output's bus has not taken the commands before this one");
        if under_way >= UNDER_WAY {
            return Err(busy());
        }
        let (answer, applied) = oneshot::channel();
        let order = Order::Apply { actuator: actuator.clone(), action, lease: command.lease, answer };
        target.inbox.try_send(order).map_err(|_| busy())?;
        Ok(Box::pin(async move {
            match await_answer(applied, "output").await {
                Ok(Done { value, postponed }) => {
                    Ended { outcome: Outcome::Done, refusal: postponed, value: Some(ReplyValue::Output(value)) }
                }
                Err(refusal) => Ended::refused(refusal),
            }
        }))
    }

    async fn finished(&mut self, pending: Pending, ids: &mut Ids) {
        let Pending { recipient, id, response, ended: Ended { outcome, refusal, value } } = pending;
        let reply = Reply { recipient, id, outcome, refusal, value, time: SystemTime::now() };
        self.answer_for_good(ids, &reply, response).await;
    }

    /// Logs, counts and sends one reply, which nobody remembers: a repeat of the command is looked at again.
    async fn answer_once(&mut self, reply: &Reply, response: Option<ResponseTarget>) {
        let payload = self.log_reply(reply);
        self.answers
            .reply(ReplyMessage { recipient: reply.recipient.clone(), payload, response }, reply.status())
            .await;
    }

    /// Logs, counts and sends one reply, and gives it to all repeats of the same `id`.
    async fn answer_for_good(&mut self, ids: &mut Ids, reply: &Reply, response: Option<ResponseTarget>) {
        let payload = self.log_reply(reply);
        let id = reply.id.as_deref();
        // Recorded before it is sent: a requester that has got an answer gets the same again.
        let waiting = ids.answered(&reply.recipient, id, &payload);
        let answer = |response| ReplyMessage { recipient: reply.recipient.clone(), payload: payload.clone(), response };
        self.answers.reply(answer(response), reply.status()).await;
        for response in waiting {
            self.repeat(answer(response), reply.status(), id).await;
        }
    }

    /// Logs, counts and shows one reply; its payload.
    fn log_reply(&self, reply: &Reply) -> String {
        let reason = reply.refusal.as_ref().map(ToString::to_string);
        let value = reply.value.as_ref().map(ToString::to_string);
        let is_done = reply.outcome == Outcome::Done;
        let [actuator, sensor, variable, rule] = named(&reply.recipient);
        info!(
            actuator,
            sensor,
            variable,
            rule,
            id = reply.id,
            outcome = reply.outcome.as_str(),
            value,
            error = reason.as_deref().filter(|_| !is_done),
            note = reason.as_deref().filter(|_| is_done),
            "Command answered."
        );
        self.count(&reply.recipient, !is_done);
        self.show(reply, reason);
        String::from_utf8(payload::reply(reply)).expect("JSON is UTF-8")
    }

    /// Shows what an output's command was answered.
    fn show(&self, reply: &Reply, reason: Option<String>) {
        if reply.recipient.kind == RecipientKind::Output && self.roster.borrow().outputs.contains(&reply.recipient.name)
        {
            let value = match reply.value {
                Some(ReplyValue::Output(value)) => Some(value),
                _ => None,
            };
            let answered = LastReply { outcome: reply.outcome, value, reason, time: reply.time };
            self.views.answered(&reply.recipient.name, answered);
        }
    }

    async fn repeat(&mut self, answer: ReplyMessage, status: ReplyStatus, id: Option<&str>) {
        let [actuator, sensor, variable, rule] = named(&answer.recipient);
        info!(actuator, sensor, variable, rule, id, "Command repeated; answered as before.");
        self.answers.reply(answer, status).await;
    }

    /// For health, which has no such numbers of totals.
    fn count(&self, recipient: &Recipient, rejected: bool) {
        let actuator = &recipient.name;
        if recipient.kind != RecipientKind::Output || !self.roster.borrow().targets.contains_key(actuator) {
            return;
        }
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry(actuator.clone()).or_default();
        tally.commands += 1;
        tally.rejected += u64::from(rejected);
    }
}

impl Ended {
    /// One that could not be carried out, or was not to be.
    fn refused(refusal: Refusal) -> Self {
        let outcome = if refusal.reason == Reason::Hardware { Outcome::Failed } else { Outcome::Rejected };
        Self { outcome, refusal: Some(refusal), value: None }
    }
}

type Shown<'a> = Option<DisplayValue<&'a Name>>;

/// For the log: the output, the sensor, the variable or the rule.
fn named(recipient: &Recipient) -> [Shown<'_>; 4] {
    let name = Some(display(&recipient.name));
    match recipient.kind {
        RecipientKind::Output => [name, None, None, None],
        RecipientKind::Total => [None, name, None, None],
        RecipientKind::Variable => [None, None, name, None],
        RecipientKind::Rule => [None, None, None, name],
        RecipientKind::Request => [None, None, None, None],
    }
}

fn rejection(recipient: Recipient, id: Option<String>, refusal: Refusal) -> Reply {
    let (outcome, time) = (Outcome::Rejected, SystemTime::now());
    Reply { recipient, id, outcome, refusal: Some(refusal), value: None, time }
}
