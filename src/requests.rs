//! Requests: `B/request/<verb>`, answered on `B/response/<verb>`.
//!
//! Every request that arrives is answered, with data or with why not: retained, stale, unreadable, oversized and unknown ones, and
//! those that `requests.allow` does not name. Nothing is done for these. At most `UNDER_WAY` are at work at once, each for as long
//! as its verb says, mostly `ANSWER_WITHIN`; what comes beyond is answered `busy`, and what does not even fit into the queue is
//! counted where it is filled. Responses take the way of replies: through the spool, to the requester's own topic too.
//!
//! A verb is a file below this folder and a line in `TABLE`. What a requester writes is checked against the fields of its verb
//! before anybody sees it, and is shown again as JSON or quoted, never as it came.

mod config;
mod gateway;
mod health;
mod history;
mod identify;
mod info;
mod log_level;
mod ping;
mod read;
mod reload;
mod restart;
mod set_interval;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value as Json;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::commands::ReplySender;
use crate::history::History;
use crate::recorder::ReplyMessage;
use crate::roster::SharedRoster;
use fieldgate_clock::stop::stopped;
use fieldgate_link::Incoming;
use fieldgate_model::payload::{self, MAX_COMMAND_BYTES, Request, ResponseTarget};
use fieldgate_model::{Field, Name, Reason, Recipient, Refusal, Settings as Arguments};

pub use gateway::{Ask, Question};
pub use log_level::USUAL as USUAL_LEVEL;

/// Requests that may wait for their turn.
pub const REQUEST_CAPACITY: usize = 64;

/// Requests that may be at work at once.
const UNDER_WAY: usize = 16;

/// What takes longer is answered as not done.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Ends with the data of the response, or with why there are none.
pub type Work = Pin<Box<dyn Future<Output = Result<Json, Failure>> + Send>>;

/// Why a request was not carried out.
#[derive(Debug)]
pub struct Failure {
    /// The reason and the words to answer with.
    pub refusal: Refusal,
    /// What a program may want to know of it; mostly nothing.
    pub data: Json,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, data: Json::Null }
    }
}

/// A verb, with all that check, documents and dispatch need.
pub struct VerbSpec {
    /// As in the topic and in `requests.allow`.
    pub name: &'static str,
    /// What it does, for people, in one line.
    pub page: &'static str,
    /// The keys of its payload besides `transaction`.
    pub fields: &'static [Field],
    /// A payload, for the documents.
    pub example: &'static str,
    /// Whether it is allowed where `requests:` does not say which are.
    pub is_default: bool,
    /// How large its payload may be, in bytes.
    pub max_bytes: usize,
    /// When its work is given up, and it is answered as not done.
    pub within: fn(&Arguments) -> Duration,
    /// Starts the work, or refuses it.
    pub answer: fn(&Context, &Arguments) -> Result<Work, Refusal>,
}

impl VerbSpec {
    /// What most verbs have in common.
    const USUAL: Self = Self {
        name: "",
        page: "",
        fields: &[],
        example: "",
        is_default: false,
        max_bytes: MAX_COMMAND_BYTES,
        within: |_| ANSWER_WITHIN,
        answer: |_, _| Err(Refusal::new(Reason::Unknown, "this request is not carried out")),
    };
}

/// THE TABLE: every verb, in the order in which the documents list them.
const TABLE: [VerbSpec; 11] = [
    ping::SPEC,
    info::SPEC,
    health::SPEC,
    read::SPEC,
    history::SPEC,
    reload::SPEC,
    restart::SPEC,
    log_level::SPEC,
    set_interval::SPEC,
    identify::SPEC,
    config::SPEC,
];

/// Every verb.
pub static VERBS: &[VerbSpec] = &TABLE;

/// The names of [`VERBS`], in that order; a constant, for the tables of configuration keys are constants too.
pub const NAMES: &[&str] = &{
    let mut names = [""; TABLE.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = TABLE[at].name;
        at += 1;
    }
    names
};

/// `requests:`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The verbs that are answered with more than a refusal.
    pub allow: BTreeSet<String>,
    /// The output that shows which board this is; without one the board's own light does.
    pub identify: Option<Name>,
}

/// What verbs are answered from.
pub struct Context {
    /// Which sensors there are, and how they are asked.
    pub roster: watch::Receiver<SharedRoster>,
    /// The newest readings of every sensor.
    pub history: History,
    /// To whom the gateway's own matters go.
    pub gateway: mpsc::Sender<Question>,
}

/// What requests take and where they put it.
pub struct Requests {
    /// From the commands, which know the topic as one of ours.
    pub incoming: mpsc::Receiver<Incoming>,
    /// What is allowed, as of the last reload; nothing without `requests:`.
    pub settings: watch::Receiver<Settings>,
    /// What verbs are answered from.
    pub context: Context,
    /// Where responses go: to the recorder.
    pub answers: ReplySender,
    /// Becomes true when the task is to end.
    pub stop: watch::Receiver<bool>,
}

/// A request that has ended.
struct Ended {
    verb: Name,
    transaction: Json,
    response: Option<ResponseTarget>,
    outcome: Result<Json, Failure>,
}

type InProgress = Pin<Box<dyn Future<Output = Ended> + Send>>;

impl Requests {
    /// Runs until `stop`. What has an answer then is answered; what is at work may wait for this very stop.
    pub async fn run(mut self) {
        let mut in_progress: FuturesUnordered<InProgress> = FuturesUnordered::new();
        let mut stop = self.stop.clone();
        loop {
            // Receiving and the futures under way are cancel-safe.
            tokio::select! {
                message = self.incoming.recv() => {
                    let Some(message) = message else { break };
                    let started = self.take(message, in_progress.len()).await;
                    in_progress.extend(started);
                }
                Some(ended) = in_progress.next(), if !in_progress.is_empty() => self.answer(ended).await,
                () = stopped(&mut stop) => break,
            }
        }
        while let Some(Some(ended)) = in_progress.next().now_or_never() {
            self.answer(ended).await;
        }
    }

    /// Checks one request and begins its work. `None`: it was refused, or needs no answer.
    async fn take(&mut self, message: Incoming, under_way: usize) -> Option<InProgress> {
        let level = self.context.roster.borrow().topics.commanded(&message.topic).map(|(_, level)| Name::new(level));
        let Some(Ok(verb)) = level else {
            warn!(topic = ?message.topic, "Request refused: its topic ends in no verb; there are {}.", NAMES.join(", "));
            return None;
        };
        let response = message.response.clone();
        let spec = VERBS.iter().find(|spec| spec.name == verb.as_str());
        let limit = spec.map_or(MAX_COMMAND_BYTES, |spec| spec.max_bytes);
        let (transaction, started) = match payload::decode_request(&message.payload, limit) {
            Err((transaction, refusal)) => (transaction, Err(refusal)),
            // Before anything is begun.
            Ok(request) => match refused_unread(&message) {
                Some(refusal) => (request.transaction, Err(refusal)),
                None => (request.transaction.clone(), self.start(&verb, spec, &request, under_way)),
            },
        };
        match started {
            Ok((work, within)) => Some(Box::pin(async move {
                let outcome = timeout(within, work).await;
                let late = || Refusal::new(Reason::Busy, "no answer in time").into();
                Ended { verb, transaction, response, outcome: outcome.unwrap_or_else(|_| Err(late())) }
            })),
            Err(refusal) => {
                self.answer(Ended { verb, transaction, response, outcome: Err(refusal.into()) }).await;
                None
            }
        }
    }

    /// Begins what is asked for; with how long it may take.
    fn start(
        &self,
        verb: &Name,
        spec: Option<&VerbSpec>,
        request: &Request,
        under_way: usize,
    ) -> Result<(Work, Duration), Refusal> {
        let refuse = |reason, words: String| Err(Refusal::new(reason, words));
        let Some(spec) = spec else {
            return refuse(Reason::Unknown, format!("there is no request {verb}; there are {}", NAMES.join(", ")));
        };
        if !self.settings.borrow().allow.contains(spec.name) {
            return refuse(Reason::NotAllowed, format!("requests.allow in the configuration does not name {verb}"));
        }
        let arguments = request.arguments(spec.fields)?;
        if under_way >= UNDER_WAY {
            return refuse(Reason::Busy, format!("{UNDER_WAY} requests are at work already"));
        }
        Ok(((spec.answer)(&self.context, &arguments)?, (spec.within)(&arguments)))
    }

    async fn answer(&mut self, ended: Ended) {
        let Ended { verb, transaction, response, outcome } = ended;
        let (data, refusal) = match outcome {
            Ok(data) => (data, None),
            Err(Failure { refusal, data }) => (data, Some(refusal)),
        };
        info!(%verb, %transaction, error = refusal.as_ref().map(ToString::to_string), "Request answered.");
        let payload = payload::response(&transaction, &data, refusal.as_ref());
        self.answers.send(ReplyMessage { recipient: Recipient::request(verb), payload, response }).await;
    }
}

/// What is refused whatever it asks for.
fn refused_unread(message: &Incoming) -> Option<Refusal> {
    if message.retain {
        return Some(Refusal::new(Reason::Retained, "a request that the broker kept may be older than its sense"));
    }
    let waited = || Refusal::new(Reason::Expired, "the request waited at the broker while this gateway was away");
    message.stale.then(waited)
}

#[cfg(test)]
mod tests;
