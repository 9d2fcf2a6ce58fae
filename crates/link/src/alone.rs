//! A connection that belongs to no link: for commands that clear what is retained, or only look.

use super::session::{CauseKind, Session};
use super::supervisor::{Attempt, Held};
use super::{Broker, Protocol, ProtocolChoice, Settings};

/// Why there is no such connection, in words.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) words: String,
    /// The broker does not accept user, password or identifier, so that only a person can help.
    pub(super) is_refused: bool,
}

/// Connects with an identifier of its own, so that it takes over no session, and without a will. `purpose` is a part of the identifier.
pub(super) async fn connect(settings: &Settings, broker: &Broker, purpose: &str) -> Result<Session, Failed> {
    let protocols: &[Protocol] = match settings.protocol {
        ProtocolChoice::Auto => &[Protocol::V5, Protocol::V4],
        ProtocolChoice::Only(Protocol::V5) => &[Protocol::V5],
        ProtocolChoice::Only(Protocol::V4) => &[Protocol::V4],
    };
    let mut failed = Failed { words: String::new(), is_refused: false };
    for protocol in protocols {
        let settings = Settings { clean_session: true, ..settings.clone() };
        let client_id = format!("fieldgate-{purpose}-{:08x}", fastrand::u32(..));
        match Attempt::alone(settings, broker, *protocol, client_id).make(|_| {}).await {
            Ok(Held { session, .. }) => return Ok(session),
            Err(cause) => {
                let may_be_protocol = matches!(cause.kind, CauseKind::WrongProtocol | CauseKind::HungUp);
                failed = Failed { words: cause.words, is_refused: cause.kind == CauseKind::Refused };
                if !may_be_protocol {
                    break;
                }
            }
        }
    }
    Err(failed)
}
