//! Follows what others publish, for a command that only looks: it subscribes, and never publishes anything, not even a will.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::backoff::Backoff;
use super::guest;
use super::secrets::credentials_folder;
use super::session::{Cause, CauseKind, Event, Filter, Grant, Session};
use super::{Broker, Settings};

/// How long the broker may take to answer a subscription, and a disconnect to be written.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(10);

/// Somebody sits in front of it: the longest wait before the next attempt, and the longest silence before the broker is asked whether
/// it is still there.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What [`follow`] reports, in the order in which it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A broker has accepted us, and is asked for the topics.
    Up {
        /// Its address, such as `mqtt://host:1883`.
        broker: String,
    },
    /// It does not let us see this.
    Denied {
        /// The topic filter and why, in words.
        why: String,
    },
    /// A message on one of the topics that are followed.
    Message {
        /// The full topic, without wildcards.
        topic: String,
        /// Its payload, as it came.
        payload: Bytes,
        /// Whether it is older than our subscription: the broker had kept it.
        is_retained: bool,
    },
    /// There is no connection.
    Down {
        /// The broker that was connected or tried.
        broker: String,
        /// Why there is none, in words.
        error: String,
        /// When it is tried again.
        retry_in: Duration,
        /// Only a person can help: the broker does not accept user or password.
        is_refused: bool,
    },
}

/// Follows these topic filters at the first broker of `settings` that accepts us, and connects again when it is lost. Returns when nobody
/// wants to know any more.
pub async fn follow(settings: &Settings, topics: &[String], followed: mpsc::Sender<Followed>) {
    let settings = Settings { keep_alive: settings.keep_alive.min(LONGEST_PAUSE), ..settings.clone() };
    let mut backoff = Backoff::new(settings.reconnect_min, settings.reconnect_max.min(LONGEST_PAUSE));
    for broker in settings.brokers.iter().cycle() {
        let began = Instant::now();
        let cause = match guest::connect(&settings, broker, "watch", credentials_folder()).await {
            Ok(open) => match listen(open.session, broker, topics, &followed).await {
                Some(words) => {
                    backoff.lost(began.elapsed());
                    Cause::other(words)
                }
                None => return,
            },
            Err(cause) => {
                backoff.failed(false);
                cause
            }
        };
        let retry_in = backoff.wait(fieldgate_clock::boottime(), fastrand::f64());
        let is_refused = cause.kind == CauseKind::Refused;
        if followed
            .send(Followed::Down { broker: broker.to_string(), error: cause.words, retry_in, is_refused })
            .await
            .is_err()
        {
            return;
        }
        tokio::time::sleep(retry_in).await;
    }
}

/// Passes on what comes; returns why the connection ended, or nothing when nobody wants to know any more.
async fn listen(
    mut session: Session,
    broker: &Broker,
    topics: &[String],
    followed: &mpsc::Sender<Followed>,
) -> Option<String> {
    followed.send(Followed::Up { broker: broker.to_string() }).await.ok()?;
    for topic in topics {
        // What is retained has its flag then, and what is published meanwhile has not.
        let filter = Filter { topic: topic.clone(), retain_as_published: false, send_retained: true, no_local: false };
        let mut granted = session.subscribe(vec![filter]);
        let deadline = Instant::now() + SUBSCRIBE_WITHIN;
        let grant = loop {
            tokio::select! {
                grant = &mut granted => break grant,
                event = session.next() => {
                    match pass(event, followed).await {
                        Passed::On => {}
                        Passed::Ended(words) => return Some(words),
                        Passed::Unwanted => return None,
                    }
                }
                () = tokio::time::sleep_until(deadline) => return Some("the broker does not answer a subscription".into()),
            }
        };
        match grant {
            Grant::Granted => {}
            Grant::Refused(why) => followed.send(Followed::Denied { why }).await.ok()?,
            // Its end is the next event.
            Grant::Lost => break,
        }
    }
    loop {
        tokio::select! {
            event = session.next() => {
                match pass(event, followed).await {
                    Passed::On => {}
                    Passed::Ended(words) => return Some(words),
                    Passed::Unwanted => return None,
                }
            }
            () = followed.closed() => break,
        }
    }
    // So that the broker need not find out.
    timeout(SUBSCRIBE_WITHIN, session.disconnect()).await.unwrap_or_default();
    None
}

/// How it goes on after an event.
enum Passed {
    /// The connection is still there.
    On,
    /// It has ended, for this reason.
    Ended(String),
    /// Nobody wants to know any more.
    Unwanted,
}

async fn pass(event: Event, followed: &mpsc::Sender<Followed>) -> Passed {
    match event {
        Event::Connected(_) => {}
        Event::Publish(arrived) => {
            let (topic, payload, is_retained) = (arrived.topic, arrived.payload, arrived.retain);
            if followed.send(Followed::Message { topic, payload, is_retained }).await.is_err() {
                return Passed::Unwanted;
            }
        }
        Event::Ended(cause) => return Passed::Ended(cause.words),
    }
    Passed::On
}
