//! Connects, serves the connection until it ends, waits, and connects again.
//!
//! [`run`] is the link's whole life and returns when it is stopped. Which broker is tried next, with which protocol, and
//! how long it waits before that, are decisions of `failover.rs`, `dialect.rs` and `backoff.rs`; the way back to the first broker is
//! `preference.rs`.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinError;
use tracing::{debug, info, warn};

use super::alarms::Whose;
use super::broker_state::BrokerState;
use super::connection::{Connection, End};
use super::dialect::Accepted;
use super::expiry::{Expiry, Notices, of_files};
use super::failover::{Failover, Outcome};
use super::lock::lock;
use super::report::Report;
use super::secrets::{self, FileError, with_remedy};
use super::session::{CONNECT_TIMEOUT, Cause, CauseKind, Connected, Event, Opening, Session, Will, describe_timeout};
use super::tls::{self, Tls, TlsError};
use super::{Broker, LinkResources, Protocol, ProtocolChoice, Settings, Transport};
use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;
use fieldgate_clock::stop::stopped;
use fieldgate_clock::{self as clock, boottime};
use fieldgate_model::Secret;

/// What a link has learnt of its brokers, for the next one.
pub struct Handover {
    settings: Settings,
    report: Report,
    failover: Failover,
}

impl Handover {
    /// Whether the new settings name the same brokers, used in the same way.
    fn fits(&self, new: &Settings) -> bool {
        let Settings { keep_alive, late_after, .. } = *new;
        Settings { keep_alive, late_after, ..self.settings.clone() } == *new
    }
}

/// Keeps the link up until `resources.stop` turns true; then flushes for at most a second, says `offline` and disconnects. Begins
/// with the broker at which the link before ended, where its settings were the same but for the keep-alive and the age of late
/// readings.
pub async fn run(resources: LinkResources) -> Handover {
    let mut supervisor = Supervisor::new(resources);
    let mut state = State::Connect;
    loop {
        state = match state {
            State::Connect => supervisor.connect().await,
            State::Connected(open) => supervisor.serve(*open).await,
            State::Wait(wait) => supervisor.wait(wait).await,
            State::Stopped => break,
        };
    }
    supervisor.report.stopped();
    let Supervisor { resources, report, failover, .. } = supervisor;
    Handover { settings: resources.settings, report, failover }
}

enum State {
    /// Try the broker whose turn it is.
    Connect,
    /// Use the connection until it ends.
    Connected(Box<OpenSession>),
    /// Let this long pass.
    Wait(Duration),
    /// The link was asked to stop.
    Stopped,
}

/// A connection that the broker has accepted.
pub(super) struct OpenSession {
    pub(super) session: Session,
    pub(super) connected: Connected,
    /// Looks at when certificates end; none without TLS.
    expiry: Option<Expiry>,
}

struct Supervisor {
    resources: LinkResources,
    report: Report,
    failover: Failover,
    /// `$CREDENTIALS_DIRECTORY`, read once because the environment belongs to the start.
    credentials: Option<PathBuf>,
}

impl Supervisor {
    fn new(mut resources: LinkResources) -> Self {
        let credentials = secrets::credentials_folder();
        if let Some(Handover { report, failover, .. }) =
            resources.handover.take().filter(|handover| handover.fits(&resources.settings))
        {
            return Self { resources, report, failover, credentials };
        }
        let settings = &resources.settings;
        let chosen = settings.client_id.clone().filter(|id| !id.is_empty());
        let client_id = chosen.unwrap_or_else(|| format!("fieldgate-{:08x}", fastrand::u32(..)));
        let (count, min, max) = (settings.brokers.len(), settings.reconnect_min, settings.reconnect_max);
        let failover = Failover::new(count, min, max, client_id, !settings.clean_session)
            .with(settings.protocol, settings.prefer_first);
        Self { report: Report::new(resources.status.clone()), failover, credentials, resources }
    }

    fn broker(&self) -> Option<Broker> {
        self.resources.settings.brokers.get(self.failover.turn()).cloned()
    }

    async fn connect(&mut self) -> State {
        let Some(broker) = self.broker() else {
            self.report.down("", "no broker is configured".into(), boottime());
            stopped(&mut self.resources.stop).await;
            return State::Stopped;
        };
        let now = boottime();
        let protocol = self.failover.protocol(now);
        self.report.connecting(self.failover.turn(), broker.to_string(), protocol);
        let attempt = Attempt::new(self, &broker, protocol, now);
        let mut stop = self.resources.stop.clone();
        let outcome = tokio::select! {
            () = stopped(&mut stop) => return State::Stopped,
            outcome = attempt.make(|notices| self.report.certificates(&[Whose::Ours, Whose::Authority], notices)) => outcome,
        };
        match outcome {
            Ok(open) => self.accepted(open).await,
            Err(cause) => {
                let now = boottime();
                let outcome = self.failover.failed(cause.kind, now, fastrand::f64());
                self.lost(&broker, cause, outcome, now)
            }
        }
    }

    /// The broker in turn has accepted us.
    async fn accepted(&mut self, open: OpenSession) -> State {
        let now = boottime();
        let dialect = self.failover.accepted(now);
        let alarm_changes =
            if dialect == Accepted::Unclear { None } else { self.failover.current().accepted(&open.connected, now) };
        let (Some(alarm_changes), Some(broker)) = (alarm_changes, self.broker()) else {
            // Accepted in another generation of MQTT, or in another form of the will only: once more in the usual one shows
            // whether it is that.
            open.session.disconnect().await;
            return State::Connect;
        };
        self.report.up(&broker.to_string(), open.connected.protocol.as_str(), open.connected.session_present);
        self.report.apply(alarm_changes);
        if dialect == Accepted::IsOld {
            info!(%broker, "The broker knows MQTT 3.1.1 only; that is used from now on.");
        }
        State::Connected(Box::new(open))
    }

    async fn serve(&mut self, open: OpenSession) -> State {
        let since = boottime();
        // Filled when the first broker has answered, and then the one in use is left.
        let first = Arc::<Mutex<Option<OpenSession>>>::default();
        let look = self.look_at_first(since, Arc::clone(&first));
        let broker = self.failover.current();
        let end = Connection::new(&self.resources, &mut self.report, broker, open.session, open.connected)
            .watching(open.expiry)
            .run_until(look)
            .await;
        match (end, taken_from(&first)) {
            (End::Stopped, _) => State::Stopped,
            (End::Lost(..), _) if *self.resources.stop.borrow() => State::Stopped,
            // Lost as well: a cluster ends the older connection of an identifier.
            (_, Some(open)) => {
                self.change_to_first();
                self.report.connecting(0, self.resources.settings.brokers[0].to_string(), open.connected.protocol);
                self.accepted(open).await
            }
            (End::Left, None) => {
                self.change_to_first();
                State::Connect
            }
            (End::Lost(cause, blame), None) => {
                let (broker, now) = (self.broker(), boottime());
                let lasted = now.saturating_sub(since);
                let outcome = self.failover.ended(&cause, blame, lasted, now, fastrand::f64());
                match broker {
                    Some(broker) => self.lost(&broker, cause, outcome, now),
                    None => State::Connect,
                }
            }
        }
    }

    fn change_to_first(&mut self) {
        info!(broker = %self.resources.settings.brokers[0], "The first broker accepts connections again; switching back to it.");
        self.failover.change_to_first();
    }

    /// Ends when the first broker has answered an attempt, which is made again and again while another serves; what it has
    /// accepted is then in `found`.
    fn look_at_first(
        &mut self,
        now: Duration,
        found: Arc<Mutex<Option<OpenSession>>>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let every = self.failover.look_at_first()?;
        let first = self.resources.settings.brokers.first()?.clone();
        let protocol = self.failover.first().dialect.next(now);
        let attempt = Attempt::new(self, &first, protocol, now);
        let mut logged = String::new();
        Some(async move {
            loop {
                tokio::time::sleep(every).await;
                match attempt.make(|_| {}).await {
                    Ok(open) => {
                        lock(&found).replace(open);
                        return;
                    }
                    Err(Cause { kind: CauseKind::Other, words }) => {
                        debug!(broker = %first, error = words, "The first broker cannot be reached yet.");
                    }
                    Err(Cause { kind: CauseKind::Refused, words }) => {
                        if logged != words {
                            warn!(
                                broker = %first,
                                error = words,
                                "The first broker can be reached again, but refuses the connection; staying with the other one."
                            );
                        }
                        logged = words;
                    }
                    // It needs another protocol version or will, which the regular attempts find out.
                    Err(_) => return,
                }
            }
        })
    }

    fn lost(&mut self, broker: &Broker, cause: Cause, outcome: Outcome, now: Duration) -> State {
        self.report.apply(outcome.alarm_changes);
        self.report.down(&broker.to_string(), cause.words, now);
        debug!(wait = ?outcome.wait, "Waiting before the next attempt.");
        State::Wait(outcome.wait)
    }

    async fn wait(&mut self, wait: Duration) -> State {
        tokio::select! {
            () = stopped(&mut self.resources.stop) => State::Stopped,
            () = tokio::time::sleep(wait) => State::Connect,
        }
    }
}

/// Describes an end of the connection before the broker accepted it, with the likely causes.
fn describe_hang_up(broker: &Broker, choice: ProtocolChoice, protocol: Protocol, kind: CauseKind) -> String {
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

/// All that an attempt to connect needs, whatever happens meanwhile.
pub(super) struct Attempt {
    settings: Settings,
    broker: Broker,
    protocol: Protocol,
    client_id: String,
    will: Option<Will>,
    credentials: Option<PathBuf>,
    heartbeat: Arc<BrokerHeartbeat>,
}

impl Attempt {
    fn new(supervisor: &mut Supervisor, broker: &Broker, protocol: Protocol, now: Duration) -> Self {
        let settings = supervisor.resources.settings.clone();
        let is_first = settings.brokers.first() == Some(broker);
        let failover = &mut supervisor.failover;
        let client_id = failover.identifier().to_owned();
        let known: &mut BrokerState = if is_first { failover.first() } else { failover.current() };
        let will = known.will(now);
        let will = Will { retain: will.retain && settings.retain_state, ..will };
        // What was too large for us may wait in a persistent session as well; a clean one forgets it.
        let clean_session = settings.clean_session || known.suspends_commands();
        let (credentials, heartbeat) = (supervisor.credentials.clone(), Arc::clone(&supervisor.resources.heartbeat));
        let settings = Settings { clean_session, ..settings };
        Self { settings, broker: broker.clone(), protocol, client_id, will: Some(will), credentials, heartbeat }
    }

    /// One that belongs to no link and leaves no will.
    pub(super) fn alone(
        settings: Settings,
        broker: &Broker,
        protocol: Protocol,
        client_id: String,
        credentials: Option<PathBuf>,
    ) -> Self {
        let heartbeat = Arc::default();
        Self { settings, broker: broker.clone(), protocol, client_id, will: None, credentials, heartbeat }
    }

    /// One attempt; dropping it also ends the task that polls the library. `notify` gets what the files say about
    /// certificates.
    pub(super) async fn make(&self, notify: impl FnMut(&Notices)) -> Result<OpenSession, Cause> {
        let attempt = tokio::time::timeout(CONNECT_TIMEOUT, self.open(notify));
        attempt.await.unwrap_or_else(|_| Err(Cause::other(describe_timeout(&self.broker))))
    }

    async fn open(&self, mut notify: impl FnMut(&Notices)) -> Result<OpenSession, Cause> {
        let ((password, tls), notices) = self.read_files().await?;
        notices.iter().for_each(&mut notify);
        let config = tls.as_ref().map(|tls| Arc::clone(&tls.config));
        let opening = Opening {
            settings: &self.settings,
            broker: &self.broker,
            protocol: self.protocol,
            client_id: &self.client_id,
            password,
            tls: config,
            will: self.will,
        };
        let mut session = Session::open(&opening, Arc::clone(&self.heartbeat))?;
        match session.next().await {
            Event::Connected(connected) => {
                let expiry = tls.map(|tls| Expiry::new(self.settings.tls.clone(), self.credentials.clone(), tls.shown));
                Ok(OpenSession { session, connected, expiry })
            }
            Event::Ended(mut cause) => {
                if matches!(cause.kind, CauseKind::Closed | CauseKind::Reset | CauseKind::HungUp) {
                    cause.words += &describe_hang_up(&self.broker, self.settings.protocol, self.protocol, cause.kind);
                }
                Err(cause)
            }
            Event::Publish(_) => Err(Cause::other("the broker sent a message before it accepted us")),
        }
    }

    /// Password and certificates as they are now, read on a thread that may block; and what there is to say about those files,
    /// where they are used. Without any, there is no such thread.
    pub(super) async fn read_files(&self) -> Result<(Files, Option<Notices>), FilesError> {
        let wants_tls = is_encrypted(&self.broker);
        if self.settings.password.is_none() && !wants_tls {
            return Ok(((None, None), None));
        }
        let (settings, credentials) = (self.settings.clone(), self.credentials.clone());
        let read = move || {
            let read = read_now(&settings, credentials.clone(), wants_tls)?;
            let notices = wants_tls.then(|| of_files(&settings.tls, credentials, clock::now()));
            Ok((read, notices))
        };
        tokio::task::spawn_blocking(read).await?
    }
}

fn taken_from(found: &Mutex<Option<OpenSession>>) -> Option<OpenSession> {
    lock(found).take()
}

pub(super) fn is_encrypted(broker: &Broker) -> bool {
    matches!(broker.transport, Transport::Tls | Transport::Wss)
}

/// Password and certificates.
pub(super) type Files = (Option<Secret>, Option<Tls>);

/// Why password or certificates cannot be used. The next attempt reads them again.
#[derive(Debug, Error)]
pub enum FilesError {
    /// The password's file.
    #[error("the password: {0}")]
    Password(FileError),
    /// What TLS needs.
    #[error("TLS: {0}")]
    Tls(TlsError),
    /// The thread that reads them ended by a panic.
    #[error("reading password and certificates: {0}")]
    Thread(#[from] JoinError),
}

impl FilesError {
    /// What the user can do; may be empty.
    pub fn remedy(&self) -> String {
        match self {
            Self::Password(error) => error.remedy(),
            Self::Tls(error) => error.remedy(),
            Self::Thread(_) => String::new(),
        }
    }
}

impl From<FilesError> for Cause {
    fn from(error: FilesError) -> Self {
        Self::other(with_remedy(&error, &error.remedy()))
    }
}

fn read_now(settings: &Settings, credentials: Option<PathBuf>, wants_tls: bool) -> Result<Files, FilesError> {
    let credentials = credentials.as_deref();
    let password = settings.password.as_ref().map(|source| secrets::password(source, credentials)).transpose();
    let password = password.map_err(FilesError::Password)?;
    let tls = wants_tls.then(|| tls::prepare(&settings.tls, credentials, clock::now())).transpose();
    Ok((password, tls.map_err(FilesError::Tls)?))
}
