//! Connects, holds, waits, and connects again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::alarms::{About, Report, Whose};
use super::backoff::{Backoff, HELD, TAKEN_OVER_TIMES};
use super::connection::{Connection, End, stopped};
use super::expiry::{Expiry, of_files};
use super::secrets::{self, with_remedy};
use super::session::{CONNECT_TIMEOUT, Cause, CauseKind, Connected, Event, Opening, Session, Will, timeout_words};
use super::tls::{self, Tls};
use super::{Broker, Parts, Settings, Transport};
use crate::clock::{self, boottime};
use crate::model::Secret;

/// Keeps the link up until `parts.stop` turns true; then flushes for at most a second, says `offline` and disconnects.
pub async fn run(parts: Parts) {
    let mut supervisor = Supervisor::new(parts);
    let mut state = State::Connect;
    loop {
        state = match state {
            State::Connect => supervisor.connect().await,
            State::Hold(held) => supervisor.hold(*held).await,
            State::Wait(wait) => supervisor.wait(wait).await,
            State::Stopped => break,
        };
    }
    supervisor.report.stopped();
}

/// From so many connections in a row on that a too large message ended, the next does without commands. Under 3.1.1 we cannot
/// tell the broker how much we take, and a retained command comes again at each subscription.
const DROWNED_TIMES: usize = 2;

enum State {
    /// Try the broker whose turn it is.
    Connect,
    /// Use the connection until it ends.
    Hold(Box<Held>),
    /// Let this long pass.
    Wait(Duration),
    /// We were told to stop.
    Stopped,
}

/// A connection that the broker has accepted.
struct Held {
    session: Session,
    connected: Connected,
    /// Only with TLS.
    expiry: Option<Expiry>,
}

struct Supervisor {
    parts: Parts,
    report: Report,
    backoff: Backoff,
    /// Whose turn it is.
    turn: usize,
    will: Will,
    /// Connections in a row that ended soon and without a word.
    brief: usize,
    /// The same, but all of them closed orderly, and no attempt failed between them.
    closed: usize,
    /// Connections in a row that a message ended which is larger than we take.
    drowned: usize,
    client_id: String,
    /// `$CREDENTIALS_DIRECTORY`, read once because the environment belongs to the start.
    credentials: Option<PathBuf>,
}

impl Supervisor {
    fn new(parts: Parts) -> Self {
        let settings = &parts.settings;
        let chosen = settings.client_id.clone().filter(|id| !id.is_empty());
        Self {
            report: Report::new(parts.status.clone()),
            backoff: Backoff::new(settings.reconnect_min, settings.reconnect_max),
            turn: 0,
            will: Will { assured: true, retain: true },
            brief: 0,
            closed: 0,
            drowned: 0,
            client_id: chosen.unwrap_or_else(|| format!("fieldgate-{:08x}", fastrand::u32(..))),
            credentials: secrets::credentials_folder(),
            parts,
        }
    }

    fn broker(&self) -> Option<Broker> {
        self.parts.settings.brokers.get(self.turn).cloned()
    }

    async fn connect(&mut self) -> State {
        let Some(broker) = self.broker() else {
            self.report.down("", "no broker is configured".into(), boottime());
            stopped(&mut self.parts.stop).await;
            return State::Stopped;
        };
        self.report.connecting(broker.to_string());
        let mut stop = self.parts.stop.clone();
        let attempt = tokio::time::timeout(CONNECT_TIMEOUT, self.attempt(&broker));
        let outcome = tokio::select! {
            () = stopped(&mut stop) => return State::Stopped,
            outcome = attempt => outcome.unwrap_or_else(|_| Err(Cause::other(timeout_words(&broker)))),
        };
        match outcome {
            Ok(held) => {
                let protocol = self.parts.settings.protocol.as_str();
                self.report.up(&broker.to_string(), protocol, held.connected.session_present);
                State::Hold(Box::new(held))
            }
            Err(cause) => {
                self.backoff.failed(cause.kind == CauseKind::Refused);
                self.closed = 0;
                self.next_turn();
                self.lost(&broker, cause)
            }
        }
    }

    /// One attempt; whoever drops it also ends the task that polls the library.
    async fn attempt(&mut self, broker: &Broker) -> Result<Held, Cause> {
        let (password, tls) = self.read_files(broker).await?;
        // What drowned us may wait in a persistent session as well; a clean one forgets it.
        let clean_session = self.parts.settings.clean_session || self.is_deaf();
        let settings = &Settings { clean_session, ..self.parts.settings.clone() };
        let config = tls.as_ref().map(|tls| Arc::clone(&tls.config));
        let opening = Opening { settings, broker, client_id: &self.client_id, password, tls: config, will: self.will };
        let mut session = Session::open(&opening, Arc::clone(&self.parts.pulse))?;
        match session.next().await {
            Event::Connected(connected) => {
                let credentials = self.credentials.clone();
                let expiry = tls.map(|tls| Expiry::new(settings.tls.clone(), credentials, tls.shown));
                Ok(Held { session, connected, expiry })
            }
            Event::Ended(mut cause) => {
                if matches!(cause.kind, CauseKind::Closed | CauseKind::Reset) {
                    let scheme = broker.transport.scheme();
                    cause.words += &format!(
                        " before it accepted us; check that {scheme}:// fits port {}, and the broker's log",
                        broker.port
                    );
                }
                Err(cause)
            }
            Event::Publish(_) => Err(Cause::other("the broker sent a message before it accepted us")),
        }
    }

    /// Password and certificates as they are now, read on a thread that may block.
    async fn read_files(&mut self, broker: &Broker) -> Result<(Option<Secret>, Option<Tls>), Cause> {
        let settings = self.parts.settings.clone();
        let credentials = self.credentials.clone();
        let wants_tls = matches!(broker.transport, Transport::Tls | Transport::Wss);
        let read = move || {
            let read = read_now(&settings, credentials.clone(), wants_tls)?;
            let notices = wants_tls.then(|| of_files(&settings.tls, credentials, clock::now()));
            Ok::<_, String>((read, notices))
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok((read, notices))) => {
                // What the broker showed at the last connect is still the newest that is known of it.
                if let Some(notices) = notices {
                    self.report.certificates(&[Whose::Ours, Whose::Authority], &notices);
                }
                Ok(read)
            }
            Ok(Err(words)) => Err(Cause::other(words)),
            Err(error) => Err(Cause::other(format!("reading password and certificates: {error}"))),
        }
    }

    async fn hold(&mut self, held: Held) -> State {
        let since = boottime();
        if !self.backoff.contended(since) {
            self.report.clear(&About::TakenOver);
        }
        let deaf = self.is_deaf();
        match Connection::new(&self.parts, &mut self.report, held.session, held.connected, deaf)
            .watching(held.expiry)
            .hold()
            .await
        {
            End::Stopped => State::Stopped,
            End::Lost(_) if *self.parts.stop.borrow() => State::Stopped,
            End::Lost(cause) => {
                let held = boottime().saturating_sub(since);
                let broker = self.broker();
                self.backoff.lost(held);
                self.count_brief(held < HELD, cause.kind);
                self.drowned = if cause.kind == CauseKind::TooLarge { self.drowned + 1 } else { 0 };
                // A broker that held us is worth leaving only for the first of the list; one that drops us at once is not
                // tried twice in a row.
                if held >= HELD {
                    self.turn = 0
                } else {
                    self.next_turn()
                }
                match broker {
                    Some(broker) => self.lost(&broker, cause),
                    None => State::Connect,
                }
            }
        }
    }

    /// Whether commands are left alone for a while, because one of them ends every connection that subscribes to them.
    fn is_deaf(&self) -> bool {
        self.drowned >= DROWNED_TIMES
    }

    /// Many brokers, and all of 3.1.1, do not say that another client took over; they only close.
    fn count_brief(&mut self, brief: bool, kind: CauseKind) {
        // A reset says nothing: a broker that has not read all that we sent ends by one as well.
        match (brief, kind) {
            (true, CauseKind::Closed) => (self.brief, self.closed) = (self.brief + 1, self.closed + 1),
            (true, CauseKind::Reset) => self.brief += 1,
            _ => (self.brief, self.closed) = (0, 0),
        }
        if self.closed >= TAKEN_OVER_TIMES {
            self.backoff.suspect();
        }
        if self.brief >= TAKEN_OVER_TIMES {
            let words = format!(
                "the broker closes each connection soon after it accepted it; does another client use our identifier {:?}?",
                self.client_id
            );
            self.report.raise(About::Brief, words);
        }
    }

    fn lost(&mut self, broker: &Broker, cause: Cause) -> State {
        let now = boottime();
        match cause.kind {
            CauseKind::TakenOver => {
                if self.backoff.taken_over(now) {
                    let words = format!(
                        "another client keeps taking over our identifier {:?}; give each its own mqtt.client_id",
                        self.client_id
                    );
                    self.report.raise(About::TakenOver, words);
                }
            }
            CauseKind::WillQos => {
                self.will.assured = false;
                self.report.raise(About::Qos, "the broker offers QoS 0 only; everything is published at that".into());
            }
            CauseKind::WillRetain => {
                self.will.retain = false;
                let words = "the broker retains no messages; status and states are told only when they change";
                self.report.raise(About::Retain, words.into());
            }
            CauseKind::Refused | CauseKind::TooLarge | CauseKind::Closed | CauseKind::Reset | CauseKind::Other => {}
        }
        self.report.down(&broker.to_string(), cause.words, now);
        let wait = self.backoff.wait(self.turn != 0, now, fastrand::f64());
        debug!(?wait, "Waiting before the next attempt.");
        State::Wait(wait)
    }

    fn next_turn(&mut self) {
        self.turn = (self.turn + 1) % self.parts.settings.brokers.len().max(1);
    }

    async fn wait(&mut self, wait: Duration) -> State {
        tokio::select! {
            () = stopped(&mut self.parts.stop) => State::Stopped,
            () = tokio::time::sleep(wait) => State::Connect,
        }
    }
}

/// Password and certificates, or why not.
fn read_now(
    settings: &Settings,
    credentials: Option<PathBuf>,
    wants_tls: bool,
) -> Result<(Option<Secret>, Option<Tls>), String> {
    let credentials = credentials.as_deref();
    let password = settings.password.as_ref().map(|source| secrets::password(source, credentials)).transpose();
    let password = password.map_err(|error| with_remedy(&format!("the password: {error}"), &error.remedy()))?;
    let tls = wants_tls.then(|| tls::prepare(&settings.tls, credentials, clock::now())).transpose();
    let tls = tls.map_err(|error| with_remedy(&format!("TLS: {error}"), &error.remedy()))?;
    Ok((password, tls))
}
