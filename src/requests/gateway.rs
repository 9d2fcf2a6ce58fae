//! What only the gateway itself can answer: it owns all parts, and its loop takes one such thing after the other.

use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::oneshot;

use crate::requests::{Context, Failure, Work};
use fieldgate_model::{Name, Reason, Refusal};

/// What the gateway is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What the gateway is: the data of the verb `info`.
    Info,
    /// What `B/health` says, as of now.
    Health,
    /// Take up the configuration file again.
    Reload,
    /// End in an orderly way, to be started again by the service manager.
    Restart,
    /// Log from another level on.
    LogLevel {
        /// The level; `None`: the one that the program was started with.
        level: Option<String>,
        /// For how long; `None`: until the program ends.
        duration: Option<Duration>,
    },
    /// Sample a sensor more or less often.
    SetInterval {
        /// The sensor's name; there may be no such sensor.
        sensor: Name,
        /// How often; `None`: as the configuration says.
        every: Option<Duration>,
        /// For how long; `None`: until the program ends.
        duration: Option<Duration>,
    },
    /// Show which board this is.
    Identify {
        /// How long it is shown.
        duration: Duration,
    },
    /// Take over a whole configuration.
    Config {
        /// The text of a configuration file.
        text: String,
        /// How soon the link must be back.
        confirm_within: Duration,
    },
}

/// A question and where the answer goes; the requester may have stopped waiting.
#[derive(Debug)]
pub struct Question {
    /// What the owner of all parts is to do or to say.
    pub ask: Ask,
    /// Takes the data of the response, or why there are none.
    pub answer: oneshot::Sender<Result<Json, Failure>>,
}

/// Asks the gateway.
///
/// # Errors
/// It has not answered what it was asked before.
pub(super) fn ask(context: &Context, ask: Ask) -> Result<Work, Refusal> {
    let (answer, answered) = oneshot::channel();
    let busy = || Refusal::new(Reason::Busy, "the gateway has not answered the requests before this");
    context.gateway.try_send(Question { ask, answer }).map_err(|_| busy())?;
    Ok(Box::pin(async move {
        let stopping = |_| Err(Refusal::new(Reason::Stopping, "the gateway is ending").into());
        answered.await.unwrap_or_else(stopping)
    }))
}
