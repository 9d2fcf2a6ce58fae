//! Why a connection ended, in words that name the place and the remedy.

use std::io;

use super::{CONNECT_TIMEOUT, Cause, CauseKind, dial};
use crate::{Broker, Transport, tls};

/// The broker closed the connection without an MQTT packet.
pub(super) fn closed(detail: &str) -> Cause {
    Cause { words: format!("the broker closed the connection{detail}"), kind: CauseKind::Closed }
}

/// Why a connection over the network failed.
pub(crate) fn io_cause(broker: &Broker, error: &io::Error) -> Cause {
    use io::ErrorKind as Kind;
    if dial::is_websocket_end(error) {
        return closed("");
    }
    match error.kind() {
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => {
            Cause { kind: CauseKind::Reset, ..closed(&format!(" ({error})")) }
        }
        _ => Cause::other(describe_io_error(broker, error)),
    }
}

fn describe_io_error(broker: &Broker, error: &io::Error) -> String {
    use io::ErrorKind;
    let place = broker.place();
    if let Some(words) = tls::describe_error(error, &broker.host) {
        return words;
    }
    let text = error.to_string();
    if error.raw_os_error().is_none() && text.contains("lookup") {
        if let Some((_, zone)) = broker.host.split_once('%') {
            return format!("cannot use {:?} ({text}); is there an interface {zone}?", broker.host);
        }
        return format!("cannot resolve {:?} ({text}); check the name in mqtt.broker and the network", broker.host);
    }
    if broker.transport == Transport::Unix {
        return describe_unix_error(&broker.path, error);
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("connection to {place} refused: nothing listens there; check the port and that the broker runs")
        }
        ErrorKind::AddrNotAvailable | ErrorKind::InvalidInput => {
            format!("cannot use the source address for {place} ({text}); check mqtt.bind_address")
        }
        ErrorKind::TimedOut => format!("no answer from {place} ({text})"),
        _ => format!("connection to {place}: {text}"),
    }
}

fn describe_unix_error(path: &str, error: &io::Error) -> String {
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            format!("there is no socket {path}; does the broker run, and has it `listener 0 {path}`?")
        }
        ErrorKind::ConnectionRefused => {
            format!("nobody listens at {path}: it is not a socket, or the broker that created it has ended")
        }
        ErrorKind::PermissionDenied => format!(
            "we may not use the socket {path}: our user must be let into the folders above it and write to the socket; \
             make us a member of its group and let the group write to it"
        ),
        _ => format!("connection to {path}: {error}"),
    }
}

/// The words for a connect that took too long.
pub(crate) fn describe_timeout(broker: &Broker) -> String {
    format!("{} did not answer within {} s", broker.place(), CONNECT_TIMEOUT.as_secs())
}

/// The first [`io::Error`] in an error's chain of causes.
pub(super) fn find_io<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref() {
            return Some(io);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_why_a_connection_fails_is_reported_with_what_to_look_at() {
        let broker = crate::testing::settings(crate::Protocol::V5).brokers.remove(0);
        for (kind, words) in [
            (io::ErrorKind::ConnectionRefused, "nothing listens there; check the port"),
            (io::ErrorKind::AddrNotAvailable, "check mqtt.bind_address"),
            (io::ErrorKind::InvalidInput, "check mqtt.bind_address"),
            (io::ErrorKind::TimedOut, "no answer from "),
            (io::ErrorKind::HostUnreachable, "connection to "),
        ] {
            let cause = io_cause(&broker, &kind.into());
            assert!(cause.words.contains(words) && cause.kind == CauseKind::Other, "{kind:?}: {cause:?}");
        }
        for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof] {
            assert_eq!(io_cause(&broker, &kind.into()).kind, CauseKind::Reset, "{kind:?}");
        }
        let lookup = |host: &str| {
            let broker = Broker { host: host.into(), ..broker.clone() };
            describe_io_error(&broker, &io::Error::other("failed to lookup address information"))
        };
        assert!(lookup("brokr").contains("check the name in mqtt.broker"));
        assert!(lookup("fe80::1%eth7").contains("is there an interface eth7?"));
    }

    #[test]
    fn a_socket_that_we_may_not_use_is_reported_with_its_remedy() {
        let (transport, host, path) = (Transport::Unix, String::new(), "/run/m.sock".to_owned());
        let broker = Broker { transport, host, port: 0, path };
        let denied = describe_io_error(&broker, &io::ErrorKind::PermissionDenied.into());
        assert!(denied.contains("/run/m.sock") && denied.contains("member of its group"), "{denied}");
    }
}
