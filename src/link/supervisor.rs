//! Connects, holds, waits, and connects again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info};

use super::alarms::Whose;
use super::connection::{Connection, End, stopped};
use super::expiry::{Expiry, of_files};
use super::failover::{Failover, Outcome};
use super::report::Report;
use super::secrets::{self, with_remedy};
use super::session::{
    CONNECT_TIMEOUT, Cause, CauseKind, Connected, Event, Opening, Session, Will, is_reachable, timeout_words,
};
use super::tls::{self, Tls};
use super::{Broker, Parts, Protocol, ProtocolChoice, Settings, Transport};
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
    failover: Failover,
    /// `$CREDENTIALS_DIRECTORY`, read once because the environment belongs to the start.
    credentials: Option<PathBuf>,
}

impl Supervisor {
    fn new(parts: Parts) -> Self {
        let settings = &parts.settings;
        let chosen = settings.client_id.clone().filter(|id| !id.is_empty());
        let client_id = chosen.unwrap_or_else(|| format!("fieldgate-{:08x}", fastrand::u32(..)));
        let (count, min, max) = (settings.brokers.len(), settings.reconnect_min, settings.reconnect_max);
        Self {
            report: Report::new(parts.status.clone()),
            failover: Failover::new(count, min, max, client_id, !settings.clean_session)
                .with(settings.protocol, settings.prefer_first),
            credentials: secrets::credentials_folder(),
            parts,
        }
    }

    fn broker(&self) -> Option<Broker> {
        self.parts.settings.brokers.get(self.failover.turn()).cloned()
    }

    async fn connect(&mut self) -> State {
        let Some(broker) = self.broker() else {
            self.report.down("", "no broker is configured".into(), boottime());
            stopped(&mut self.parts.stop).await;
            return State::Stopped;
        };
        let protocol = self.failover.protocol(boottime());
        self.report.connecting(self.failover.turn(), broker.to_string(), protocol);
        let mut stop = self.parts.stop.clone();
        let attempt = tokio::time::timeout(CONNECT_TIMEOUT, self.attempt(&broker, protocol));
        let outcome = tokio::select! {
            () = stopped(&mut stop) => return State::Stopped,
            outcome = attempt => outcome.unwrap_or_else(|_| Err(Cause::other(timeout_words(&broker)))),
        };
        match outcome {
            Ok(held) => {
                let is_old = self.failover.is_old(boottime());
                let Some(news) = self.failover.current().accepted(&held.connected, boottime()) else {
                    // Accepted in another form of the will only; the same once more in the usual form shows whether it is that.
                    held.session.disconnect().await;
                    return State::Connect;
                };
                let protocol = held.connected.protocol.as_str();
                self.report.up(&broker.to_string(), protocol, held.connected.session_present);
                self.report.apply(news);
                if is_old {
                    info!(%broker, "The broker knows MQTT 3.1.1 only, which is used there from now on.");
                }
                State::Hold(Box::new(held))
            }
            Err(cause) => {
                let now = boottime();
                let outcome = self.failover.failed(cause.kind, now, fastrand::f64());
                self.lost(&broker, cause, outcome, now)
            }
        }
    }

    /// One attempt; whoever drops it also ends the task that polls the library.
    async fn attempt(&mut self, broker: &Broker, protocol: Protocol) -> Result<Held, Cause> {
        let (password, tls) = self.read_files(broker).await?;
        // What drowned us may wait in a persistent session as well; a clean one forgets it.
        let clean_session = self.parts.settings.clean_session || self.failover.current().is_deaf();
        let settings = &Settings { clean_session, ..self.parts.settings.clone() };
        let config = tls.as_ref().map(|tls| Arc::clone(&tls.config));
        let will = self.failover.current().will(boottime());
        let will = Will { retain: will.retain && settings.retain_state, ..will };
        let client_id = self.failover.identifier();
        let opening = Opening { settings, broker, protocol, client_id, password, tls: config, will };
        let mut session = Session::open(&opening, Arc::clone(&self.parts.pulse))?;
        match session.next().await {
            Event::Connected(connected) => {
                let credentials = self.credentials.clone();
                let expiry = tls.map(|tls| Expiry::new(settings.tls.clone(), credentials, tls.shown));
                Ok(Held { session, connected, expiry })
            }
            Event::Ended(mut cause) => {
                if matches!(cause.kind, CauseKind::Closed | CauseKind::Reset | CauseKind::HungUp) {
                    cause.words += &hung_up_words(broker, settings.protocol, protocol, cause.kind);
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
        let wants_tls = is_encrypted(broker);
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
        let look = self.failover.look_at_first();
        let first = |every| first_is_there(self.parts.settings.clone(), self.credentials.clone(), every);
        let until = look.map(first);
        let broker = self.failover.current();
        match Connection::new(&self.parts, &mut self.report, broker, held.session, held.connected)
            .watching(held.expiry)
            .until(until)
            .hold()
            .await
        {
            End::Stopped => State::Stopped,
            End::Left => {
                info!(broker = %self.parts.settings.brokers[0], "The first broker can be reached again; changing over to it.");
                self.failover.change_to_first();
                State::Connect
            }
            End::Lost(..) if *self.parts.stop.borrow() => State::Stopped,
            End::Lost(cause, blame) => {
                let (broker, now) = (self.broker(), boottime());
                let held = now.saturating_sub(since);
                let outcome = self.failover.ended(&cause, blame, held, now, fastrand::f64());
                match broker {
                    Some(broker) => self.lost(&broker, cause, outcome, now),
                    None => State::Connect,
                }
            }
        }
    }

    fn lost(&mut self, broker: &Broker, cause: Cause, outcome: Outcome, now: Duration) -> State {
        self.report.apply(outcome.news);
        self.report.down(&broker.to_string(), cause.words, now);
        debug!(wait = ?outcome.wait, "Waiting before the next attempt.");
        State::Wait(outcome.wait)
    }

    async fn wait(&mut self, wait: Duration) -> State {
        tokio::select! {
            () = stopped(&mut self.parts.stop) => State::Stopped,
            () = tokio::time::sleep(wait) => State::Connect,
        }
    }
}

/// What a broker that ended the connection before it accepted us may have meant.
fn hung_up_words(broker: &Broker, choice: ProtocolChoice, protocol: Protocol, kind: CauseKind) -> String {
    let remedy = match (choice, protocol) {
        (ProtocolChoice::Only(Protocol::V5), _) if kind == CauseKind::HungUp => {
            "if it knows MQTT 3.1.1 only, write `protocol: 3.1.1`; else "
        }
        (ProtocolChoice::Auto, Protocol::V4) => "it does so with MQTT 5 and with 3.1.1; ",
        _ => "",
    };
    let place = match broker.transport {
        Transport::Unix => "the broker's log".to_owned(),
        transport => format!("that {}:// fits port {}, and the broker's log", transport.scheme(), broker.port),
    };
    format!(" before it accepted us; {remedy}check {place}")
}

/// Ends when the way to the first broker stands; it is looked at again and again, `every` so often.
async fn first_is_there(settings: Settings, credentials: Option<PathBuf>, every: Duration) {
    let Some(first) = settings.brokers.first() else { return std::future::pending().await };
    loop {
        tokio::time::sleep(every).await;
        let (files, folder, encrypted) = (settings.tls.clone(), credentials.clone(), is_encrypted(first));
        let read = move || encrypted.then(|| tls::prepare(&files, folder.as_deref(), clock::now())).transpose();
        if let Ok(Ok(tls)) = tokio::task::spawn_blocking(read).await
            && is_reachable(first, tls.map(|tls| tls.config), settings.bind_address).await
        {
            return;
        }
        // Why not is said whenever it is connected to.
        debug!(broker = %first, "The first broker cannot be reached yet.");
    }
}

fn is_encrypted(broker: &Broker) -> bool {
    matches!(broker.transport, Transport::Tls | Transport::Wss)
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
