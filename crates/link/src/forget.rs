//! Clears what is retained, for a gateway that is not to come back: one connection that neither says `online` nor takes commands.
//!
//! What the broker keeps below the base topic is found by subscribing, so that what an earlier configuration left is cleared as well, and
//! what is not there is not reported. Where the broker does not let us look, and elsewhere, what the caller knows of is cleared unseen.

use std::collections::BTreeSet;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::guest;
use super::secrets::credentials_folder;
use super::session::{Cause, Event, Filter, Grant, Publication, PublishOutcome, Session};
use super::{Broker, Settings};
use fieldgate_model::Qos;

/// How long the broker may take for an answer.
const BROKER_ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How long what the broker keeps is waited for, behind the answer to the subscription, where it does not send back our own message
/// that comes behind all of it.
const ALL_SENT: Duration = Duration::from_secs(3);

/// Topics that are cleared at once.
const AT_ONCE: usize = 16;

/// What became of it at one broker.
#[derive(Debug)]
pub struct Forgotten {
    /// Its address, such as `mqtt://host:1883`.
    pub broker: String,
    /// What was retained there and is no more.
    pub cleared: Vec<String>,
    /// Topics with the reason for which they could not be cleared.
    pub refused: Vec<(String, String)>,
    /// Why not everything was done.
    pub error: Option<ForgetError>,
}

/// Why not everything could be cleared. What was cleared before then is; the same again does the rest.
#[derive(Debug, Error)]
pub enum ForgetError {
    /// The broker did not take us, or the connection ended; in words, with the remedy as far as the program knows one.
    #[error("{0}")]
    Connection(String),
    /// The broker closed the connection while this was done.
    #[error("the connection ended when we {0}")]
    Closed(&'static str),
    /// It was asked, and said nothing.
    #[error("the broker does not answer")]
    NoAnswer,
    /// The access list does not let the user publish on them.
    #[error("the broker does not let us clear some topics")]
    Refused,
}

impl From<Cause> for ForgetError {
    fn from(cause: Cause) -> Self {
        Self::Connection(cause.words)
    }
}

/// Clears what is retained at every broker of `settings`: what is found below the base topic, or what is `known` to be there where the
/// broker does not let us look, and what was `announced` elsewhere.
pub async fn forget(settings: &Settings, known: &BTreeSet<String>, announced: &BTreeSet<String>) -> Vec<Forgotten> {
    let mut all = Vec::new();
    for broker in &settings.brokers {
        let mut done = Forgotten { broker: broker.to_string(), cleared: Vec::new(), refused: Vec::new(), error: None };
        done.error = at_broker(settings, broker, known, announced, &mut done).await.err();
        all.push(done);
    }
    all
}

async fn at_broker(
    settings: &Settings,
    broker: &Broker,
    known: &BTreeSet<String>,
    announced: &BTreeSet<String>,
    done: &mut Forgotten,
) -> Result<(), ForgetError> {
    let mut session = guest::connect(settings, broker, "forget", credentials_folder()).await?.session;
    let found = find(&mut session, settings, known).await?;
    let topics: Vec<_> = found.union(announced).cloned().collect();
    for some in topics.chunks(AT_ONCE) {
        for (topic, outcome) in clear(&mut session, some).await? {
            match outcome {
                PublishOutcome::Acknowledged => done.cleared.push(topic),
                PublishOutcome::Lost => return Err(ForgetError::Closed("published")),
                PublishOutcome::Refused(words) | PublishOutcome::Unacceptable(words) => {
                    done.refused.push((topic, words))
                }
            }
        }
    }
    guest::leave(session).await;
    if done.refused.is_empty() { Ok(()) } else { Err(ForgetError::Refused) }
}

/// What the broker keeps of ours below the base topic. `B/status` is cleared on the way: the broker sends that back behind everything
/// that it keeps. Where it does not, it does not let us look, and everything that is known may be there.
async fn find(
    session: &mut Session,
    settings: &Settings,
    known: &BTreeSet<String>,
) -> Result<BTreeSet<String>, ForgetError> {
    let topics = &settings.topics;
    let topic = format!("{}/#", topics.base());
    let filter = Filter { topic, retain_as_published: false, send_retained: true, no_local: false };
    let mut granted = session.subscribe(vec![filter]);
    let mut found = BTreeSet::new();
    let mut take = |event| -> Result<Option<(String, bool)>, Cause> {
        let message = live(event)?;
        if let Some((topic, true)) = &message
            && topics.may_be_retained(topic)
        {
            found.insert(topic.clone());
        }
        Ok(message)
    };
    let deadline = Instant::now() + BROKER_ANSWERS_WITHIN;
    let grant = loop {
        tokio::select! {
            event = session.next() => drop(take(event)?),
            grant = &mut granted => break grant,
            () = tokio::time::sleep_until(deadline) => break Grant::Refused("no answer".into()),
        }
    };
    match grant {
        Grant::Granted => {}
        Grant::Refused(_) => return Ok(known.clone()),
        Grant::Lost => return Err(ForgetError::Closed("subscribed")),
    }
    let status = topics.status();
    let _fate = session.publish(Publication::plain(status.clone(), "", Qos::AtLeastOnce, true));
    let deadline = Instant::now() + ALL_SENT;
    while let Ok(event) = timeout_at(deadline, session.next()).await {
        if take(event)? == Some((status.clone(), false)) {
            return Ok(found);
        }
    }
    found.extend(known.iter().cloned());
    Ok(found)
}

/// The topic of a message and whether the broker kept it.
fn live(event: Event) -> Result<Option<(String, bool)>, Cause> {
    match event {
        Event::Publish(arrived) => Ok(Some((arrived.topic, arrived.retain && !arrived.payload.is_empty()))),
        Event::Connected(_) => Ok(None),
        Event::Ended(cause) => Err(cause),
    }
}

async fn clear(session: &mut Session, topics: &[String]) -> Result<Vec<(String, PublishOutcome)>, ForgetError> {
    let mut outcomes: Vec<_> = topics
        .iter()
        .map(|topic| (topic, session.publish(Publication::plain(topic.clone(), "", Qos::AtLeastOnce, true))))
        .collect();
    let deadline = Instant::now() + BROKER_ANSWERS_WITHIN;
    let mut all = Vec::new();
    for (topic, outcome) in &mut outcomes {
        let outcome = loop {
            tokio::select! {
                outcome = &mut *outcome => break outcome,
                // What we clear comes back, and must be taken from the way.
                event = session.next() => drop(live(event)?),
                () = tokio::time::sleep_until(deadline) => return Err(ForgetError::NoAnswer),
            }
        };
        all.push(((*topic).clone(), outcome));
    }
    Ok(all)
}
