//! A connection beside that of the service: with an identifier of its own and a clean session, so that it takes nothing over and
//! leaves nothing, and without a will.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use super::session::{Cause, CauseKind, Event, Session};
use super::supervisor::{Attempt, OpenSession};
use super::{Broker, Protocol, ProtocolChoice, Settings};

/// How long the end of the connection is waited for.
const GOODBYE: Duration = Duration::from_millis(100);

/// Connects for this purpose, which stands in the identifier. Where MQTT 5 is refused and the configuration allows it, 3.1.1 is
/// tried.
///
/// # Errors
/// Why not, with the remedy.
pub(super) async fn connect(
    settings: &Settings,
    broker: &Broker,
    purpose: &str,
    credentials: Option<PathBuf>,
) -> Result<OpenSession, Cause> {
    let protocols: &[Protocol] = match settings.protocol {
        ProtocolChoice::Auto => &[Protocol::V5, Protocol::V4],
        ProtocolChoice::Only(Protocol::V5) => &[Protocol::V5],
        ProtocolChoice::Only(Protocol::V4) => &[Protocol::V4],
    };
    let mut last = Cause::other("no generation of MQTT may be tried");
    for protocol in protocols {
        let attempt = attempt(settings, broker, *protocol, purpose, credentials.clone());
        match attempt.make(|_| {}).await {
            Ok(open) => return Ok(open),
            Err(cause) if matches!(cause.kind, CauseKind::WrongProtocol | CauseKind::HungUp) => last = cause,
            Err(cause) => return Err(cause),
        }
    }
    Err(last)
}

/// Why a broker that has taken us gave no answer.
#[derive(Debug, Error)]
pub(super) enum NoAnswer {
    #[error("{}", .0.words)]
    Ended(Cause),
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
}

/// One that has not begun.
pub(super) fn attempt(
    settings: &Settings,
    broker: &Broker,
    protocol: Protocol,
    purpose: &str,
    credentials: Option<PathBuf>,
) -> Attempt {
    let settings = Settings { clean_session: true, ..settings.clone() };
    let client_id = format!("fieldgate-{purpose}-{:08x}", fastrand::u32(..));
    Attempt::alone(settings, broker, protocol, client_id, credentials)
}

/// Ends it in an orderly way, which needs no answer.
pub(super) async fn leave(mut session: Session) {
    session.disconnect().await;
    while let Ok(event) = timeout(GOODBYE, session.next()).await {
        if matches!(event, Event::Ended(_)) {
            break;
        }
    }
}
