//! The gateway seen by a browser and by Prometheus: a page, its JSON, metrics, and whether all parts turn.
//!
//! Nothing listens unless `http:` is in the configuration. It is a side door: whatever comes in, readings, commands and the link go on. So
//! everything has a limit (below), nobody's slowness is waited for, answers are made at most four times a second however many ask for
//! them, and what moves an output is a command like any other, handed to [`crate::commands`].
//!
//! `access.rs` says who may ask for what, `routes.rs` what there is, `state.rs` and `live.rs` what the page is sent,
//! `connection.rs` how long anybody may take. What is shown comes from memory that others write; no worker, no disk and no broker
//! is asked.

mod access;
mod cached;
mod connection;
mod control;
mod guesses;
mod live;
mod page;
mod routes;
mod state;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::commands::LocalRequesters;
use crate::curves::Curves;
use crate::health::Liveness;
use crate::http::access::Access;
use crate::http::live::Live;
use crate::metrics::Metrics;
use crate::roster::{Protected, SharedRoster};
use crate::variables::Variables;
use fieldgate_clock as clock;
use fieldgate_clock::stop::stopped;
use fieldgate_link::{Incoming, SecretSource, secrets};
use fieldgate_model::Secret;

/// Connections at once. One more is answered 503 and closed, unread.
pub const MAX_CONNECTIONS: usize = 64;

/// Streams of events among them. One more is answered 503.
pub const MAX_STREAMS: usize = 16;

/// How long the head of a request may take, also on a connection that waits for its next one.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long the body of a request may take.
pub const BODY_WITHIN: Duration = Duration::from_secs(10);

/// How long the other side may leave an answer, or an event, unread.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(20);

/// Bytes of a request's head; hyper answers 431 to more.
pub const MAX_HEAD: usize = 16 * 1024;

/// Fields of a request's head.
pub const MAX_FIELDS: usize = 64;

/// Bytes of a request's body: a command.
pub const MAX_BODY: usize = fieldgate_model::payload::MAX_COMMAND_BYTES;

/// After an error, no connection is accepted for so long; what is sent to those that are open goes on.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Before an address that cannot be listened on is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// `http:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `http.listen`.
    pub listen: SocketAddr,
    /// `http.password_file` or `http.password_credential`.
    pub password: Option<SecretSource>,
    /// `http.control`: whether commands are taken.
    pub control: bool,
    /// By which names, in lower case, a browser may know this gateway besides its addresses and `localhost`.
    pub names: Vec<String>,
}

/// What is shown, and where commands go.
#[derive(Clone, Debug)]
pub struct HttpResources {
    /// The gateway's numbers, readings and states.
    pub metrics: Metrics,
    /// The measurements of the last hour, for the page's curves.
    pub curves: Curves,
    /// The variables and what they are now.
    pub variables: Variables,
    /// Outputs that rules keep for themselves.
    pub protected: Protected,
    /// What the watchdog was fed by.
    pub liveness: Liveness,
    /// Where commands from the page go.
    pub commands: mpsc::Sender<Incoming>,
    /// Who waits for their answers.
    pub requesters: LocalRequesters,
}

impl HttpResources {
    /// Which outputs, variables and rules there are, and their topics. Not to be held while something is awaited.
    fn roster(&self) -> watch::Ref<'_, SharedRoster> {
        self.metrics.sources.roster.borrow()
    }
}

/// The task of the HTTP server, before it runs.
pub struct Http {
    /// What is in force; a reload replaces it. Nothing: nobody listens.
    pub settings: watch::Receiver<Option<Settings>>,
    /// What the page and metrics show, and where commands go.
    pub resources: HttpResources,
    /// Where systemd puts credentials.
    pub credentials: Option<PathBuf>,
    /// Becomes true when the task is to end.
    pub stop: watch::Receiver<bool>,
}

/// What all connections share while one configuration is in force.
pub(crate) struct Site {
    resources: HttpResources,
    access: Access,
    live: Live,
    cached: cached::Cached,
}

impl Http {
    /// Runs until `stop`. Connections end with it, and with settings that are replaced.
    pub async fn run(mut self) {
        loop {
            let settings = self.settings.borrow_and_update().clone();
            let serving = async {
                match &settings {
                    Some(settings) => serve(settings, &self.resources, self.credentials.as_deref()).await,
                    None => std::future::pending().await,
                }
            };
            // Dropped, `serving` closes what it has opened.
            tokio::select! {
                () = serving => {}
                changed = self.settings.changed() => if changed.is_err() { return },
                () = stopped(&mut self.stop) => return,
            }
        }
    }
}

/// The password, if there is to be one, read on a thread that may block. Nothing where it cannot be read, which the log says.
async fn password(settings: &Settings, credentials: Option<&Path>) -> Option<Option<Secret>> {
    let Some(source) = settings.password.clone() else { return Some(None) };
    let credentials = credentials.map(Path::to_owned);
    let read = tokio::task::spawn_blocking(move || secrets::password(&source, credentials.as_deref()));
    match read.await {
        Ok(Ok(password)) => Some(Some(password)),
        Ok(Err(error)) => {
            let remedy = error.remedy();
            warn!(%error, remedy, "The password of the page cannot be read, so nothing listens; reload when it can.");
            None
        }
        Err(error) => {
            warn!(%error, "The password of the page was not read, so nothing listens; reload to try again.");
            None
        }
    }
}

async fn serve(settings: &Settings, resources: &HttpResources, credentials: Option<&Path>) {
    let Some(password) = password(settings, credentials).await else { return std::future::pending().await };
    let listener = listen(settings.listen).await;
    let access = Access::new(settings, password);
    let live = Live::new(MAX_STREAMS);
    let site = Arc::new(Site { resources: resources.clone(), access, live, cached: cached::Cached::default() });
    let mut connections = JoinSet::new();
    let mut tick = clock::interval(live::EVERY);
    let mut not_before = None;
    loop {
        // All branches are cancel-safe.
        tokio::select! {
            accepted = accept(&listener, not_before) => match accepted {
                Ok((stream, from)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(connection::serve(stream, from.ip(), Arc::clone(&site)));
                }
                Ok((stream, _)) => refuse(&stream),
                // No descriptor is free, or the other side has gone already.
                Err(error) => {
                    warn!(%error, "A connection to the page could not be accepted.");
                    not_before = Some(Instant::now() + ACCEPT_AGAIN);
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            // What follows is asked again whether anybody reads.
            () = site.live.joined() => {}
            _ = tick.tick(), if site.live.has_readers() => site.live.publish(&site.resources),
        }
    }
}

/// Accepts a connection, but none before this time. Cancel-safe: the time stays as it is.
async fn accept(listener: &TcpListener, not_before: Option<Instant>) -> io::Result<(TcpStream, SocketAddr)> {
    if let Some(time) = not_before {
        sleep_until(time).await;
    }
    listener.accept().await
}

/// Tries until it succeeds: the address may be that of an interface that comes later.
async fn listen(address: SocketAddr) -> TcpListener {
    let mut is_logged = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                // Port 0 lets the kernel choose.
                let address = listener.local_addr().unwrap_or(address);
                info!(%address, "The page and the metrics are served.");
                return listener;
            }
            Err(error) if !std::mem::replace(&mut is_logged, true) => {
                warn!(%address, %error, "The address of the page cannot be listened on; will try again.");
            }
            Err(_) => {}
        }
        sleep(TRY_AGAIN).await;
    }
}

/// A new connection has room for this, so it does not wait; what it does not take is of no importance.
fn refuse(stream: &TcpStream) {
    let answer =
        b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 10\r\ncontent-length: 0\r\n\r\n";
    let _taken: io::Result<usize> = stream.try_write(answer);
}
