//! Connects, holds, waits, and connects again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ClientConfig;
use tracing::debug;

use super::alarms::{About, Report};
use super::backoff::{Backoff, HELD, TAKEN_OVER_TIMES};
use super::connection::{Connection, End, stopped};
use super::session::{CONNECT_TIMEOUT, Cause, CauseKind, Connected, Event, Opening, Session, Will, timeout_words};
use super::{Broker, Parts, PasswordSource, Settings, Transport, tls};
use crate::clock::boottime;
use crate::model::Secret;

/// Keeps the link up until `parts.stop` turns true; then flushes for at most a second, says `offline` and disconnects.
pub async fn run(parts: Parts) {
    let mut supervisor = Supervisor::new(parts);
    let mut state = State::Connect;
    loop {
        state = match state {
            State::Connect => supervisor.connect().await,
            State::Hold(session, connected) => supervisor.hold(*session, connected).await,
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
    Hold(Box<Session>, Connected),
    /// Let this long pass.
    Wait(Duration),
    /// We were told to stop.
    Stopped,
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
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
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
            Ok((session, connected)) => {
                self.report.up(&broker.to_string(), self.parts.settings.protocol.as_str(), connected.session_present);
                State::Hold(Box::new(session), connected)
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
    async fn attempt(&self, broker: &Broker) -> Result<(Session, Connected), Cause> {
        let (password, tls) = self.read_files(broker).await?;
        // What drowned us may wait in a persistent session as well; a clean one forgets it.
        let clean_session = self.parts.settings.clean_session || self.is_deaf();
        let settings = &Settings { clean_session, ..self.parts.settings.clone() };
        let opening = Opening { settings, broker, client_id: &self.client_id, password, tls, will: self.will };
        let mut session = Session::open(&opening, Arc::clone(&self.parts.pulse))?;
        match session.next().await {
            Event::Connected(connected) => Ok((session, connected)),
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
    async fn read_files(&self, broker: &Broker) -> Result<(Option<Secret>, Option<Arc<ClientConfig>>), Cause> {
        let settings = self.parts.settings.clone();
        let credentials = self.credentials.clone();
        let wants_tls = matches!(broker.transport, Transport::Tls | Transport::Wss);
        let read = move || -> Result<_, String> {
            let password = password(&settings, credentials.as_deref())?;
            let tls = wants_tls.then(|| tls::config(&settings.tls)).transpose().map_err(|error| error.to_string())?;
            Ok((password, tls))
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result.map_err(Cause::other),
            Err(error) => Err(Cause::other(format!("reading password and certificates: {error}"))),
        }
    }

    async fn hold(&mut self, session: Session, connected: Connected) -> State {
        let since = boottime();
        if !self.backoff.contended(since) {
            self.report.clear(&About::TakenOver);
        }
        let deaf = self.is_deaf();
        match Connection::new(&self.parts, &mut self.report, session, connected, deaf).hold().await {
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

/// The password as it is now, without the newline that editors leave at the end.
fn password(settings: &Settings, credentials: Option<&Path>) -> Result<Option<Secret>, String> {
    let path = match &settings.password {
        None => return Ok(None),
        Some(PasswordSource::File(path)) => path.clone(),
        Some(PasswordSource::Credential(name)) => match credentials {
            Some(folder) => folder.join(name),
            None => {
                return Err(format!(
                    "the credential {name:?} cannot be read: $CREDENTIALS_DIRECTORY is not set; add LoadCredential={name}:… to the service"
                ));
            }
        },
    };
    let mut bytes =
        std::fs::read(&path).map_err(|error| format!("cannot read the password from {}: {error}", path.display()))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Ok(Some(Secret::new(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Protocol, TlsSettings};
    use crate::model::topic::Topics;

    fn settings(password: PasswordSource) -> Settings {
        Settings {
            brokers: Vec::new(),
            protocol: Protocol::V5,
            client_id: None,
            clean_session: true,
            keep_alive: Duration::from_secs(60),
            bind_address: None,
            username: None,
            password: Some(password),
            tls: TlsSettings::default(),
            reconnect_min: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(60),
            late_after: Duration::from_secs(30),
            topics: Topics::new("b"),
        }
    }

    #[test]
    fn one_newline_at_the_end_is_not_part_of_the_password() {
        let folder = tempfile::tempdir().unwrap();
        for (written, meant) in [("a b\n", "a b"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")] {
            std::fs::write(folder.path().join("p"), written).unwrap();
            let read =
                password(&settings(PasswordSource::Credential("p".into())), Some(folder.path())).unwrap().unwrap();
            assert_eq!(read.reveal(), meant.as_bytes());
        }
    }

    #[test]
    fn a_password_that_cannot_be_read_is_told_with_its_path() {
        let words = password(&settings(PasswordSource::File("/nonexistent/p".into())), None).unwrap_err();
        assert!(words.contains("/nonexistent/p"), "{words}");
        let words = password(&settings(PasswordSource::Credential("p".into())), None).unwrap_err();
        assert!(words.contains("CREDENTIALS_DIRECTORY"), "{words}");
    }
}
