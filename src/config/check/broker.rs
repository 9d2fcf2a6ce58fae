//! Broker addresses: `mqtt://broker.lan:1883`.
//!
//! Pure. No message quotes a part that may be a password.

use std::net::{IpAddr, Ipv6Addr};

use crate::config::mask;
use crate::config::tree::Span;
use fieldgate_link::{Broker, Transport};

/// Before the two slashes of a socket of this machine.
const UNIX: &str = "unix:";

/// As many bytes as the kernel's `sun_path` takes, less the zero at its end.
const MAX_SOCKET_PATH: usize = 107;

/// Where brokers listen for websockets by default.
const WEBSOCKET_PATH: &str = "/mqtt";

/// What is wrong with an address, and which part of it.
#[derive(Debug, PartialEq)]
pub(in crate::config) struct BadAddress {
    /// Bytes of the address.
    pub(super) part: Span,
    pub(in crate::config) what: String,
    pub(in crate::config) hint: String,
}

impl BadAddress {
    fn new(part: Span, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { part, what: what.into(), hint: hint.into() }
    }
}

/// Reads an address.
pub(in crate::config) fn parse(text: &str) -> Result<Broker, BadAddress> {
    let all = 0..text.len();
    if text.len() >= UNIX.len() && text.as_bytes()[..UNIX.len()].eq_ignore_ascii_case(UNIX.as_bytes()) {
        return unix(text);
    }
    if let Some(at) = text.rfind('@') {
        let part = mask::in_address(text).unwrap_or(0..at);
        let hint = "write `username:` and `password_file:` instead";
        return Err(BadAddress::new(part, "a broker's address has no user and no password in it", hint));
    }
    let (transport, start) = scheme(text)?;
    let websocket = matches!(transport, Transport::Ws | Transport::Wss);
    if let Some(bad) = text.find(['?', '#']).filter(|at| !websocket || text[*at..].contains('#')) {
        let (what, hint) = ("the address of a broker has no fragment, and a query only for ws:// and wss://", "");
        return Err(BadAddress::new(bad..text.len(), what, hint));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(BadAddress::new(all, "a broker's address has no blanks in it", ""));
    }
    let slash = text[start..].find(['/', '?']).map_or(text.len(), |at| start + at);
    let path = path(text, slash..text.len(), websocket)?;
    let (host, port) = authority(text, start..slash)?;
    Ok(Broker { transport, host, port: port.unwrap_or(default_port(transport)), path })
}

/// Path and query of a websocket; nothing may stand there for the others.
fn path(text: &str, span: Span, websocket: bool) -> Result<String, BadAddress> {
    let written = &text[span.clone()];
    if !websocket {
        let hint = "use ws:// or wss://, or leave it out";
        let only_websockets = || Err(BadAddress::new(span, "only websockets have a path", hint));
        return if matches!(written, "" | "/") { Ok(String::new()) } else { only_websockets() };
    }
    if !written.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
        let hint = "write such a byte as % and its two hexadecimal digits";
        return Err(BadAddress::new(span, "this cannot stand in the path of an address as it is", hint));
    }
    Ok(match written.split_once('?') {
        None if matches!(written, "" | "/") => WEBSOCKET_PATH.to_owned(),
        Some(("", query)) => format!("{WEBSOCKET_PATH}?{query}"),
        _ => written.to_owned(),
    })
}

/// `unix:///path/of/the/socket`. There is nothing in it that could be a password.
fn unix(text: &str) -> Result<Broker, BadAddress> {
    let part = UNIX.len()..text.len();
    let Some(path) = text[UNIX.len()..].strip_prefix("//").filter(|path| path.starts_with('/')) else {
        let hint = "write for example unix:///run/mosquitto/mosquitto.sock";
        return Err(BadAddress::new(part, "a socket is named by its whole path, so three / follow unix:", hint));
    };
    if path.ends_with('/') || path.contains('\0') {
        return Err(BadAddress::new(part, "this cannot be the path of a socket", ""));
    }
    if path.len() > MAX_SOCKET_PATH {
        let what = format!("the path of a socket has at most {MAX_SOCKET_PATH} bytes, this one has {}", path.len());
        return Err(BadAddress::new(part, what, "let the broker listen at a shorter one"));
    }
    Ok(Broker { transport: Transport::Unix, host: String::new(), port: 0, path: path.to_owned() })
}

/// Whether something in the query of an address is called like a password.
pub(super) fn has_secret_query(broker: &Broker) -> bool {
    let query = broker.path.split_once('?').map_or("", |(_, query)| query);
    broker.transport != Transport::Unix
        && query.split('&').any(|pair| mask::is_secret(pair.split('=').next().unwrap_or("")))
}

fn scheme(text: &str) -> Result<(Transport, usize), BadAddress> {
    let hint = "write mqtt://host, mqtts://host, ws://host, wss://host or unix:///path";
    let Some(end) = text.find("://") else {
        return Err(BadAddress::new(0..text.len(), "a broker's address begins with its scheme", hint));
    };
    let transport = match text[..end].to_ascii_lowercase().as_str() {
        "mqtt" => Transport::Tcp,
        "mqtts" => Transport::Tls,
        "ws" => Transport::Ws,
        "wss" => Transport::Wss,
        "tcp" => return Err(BadAddress::new(0..end, "tcp is not a scheme for brokers", "did you mean mqtt?")),
        "ssl" | "tls" => {
            return Err(BadAddress::new(0..end, "this is not a scheme for brokers", "did you mean mqtts?"));
        }
        "http" => return Err(BadAddress::new(0..end, "http is not a scheme for brokers", "did you mean ws?")),
        "https" => return Err(BadAddress::new(0..end, "https is not a scheme for brokers", "did you mean wss?")),
        _ => return Err(BadAddress::new(0..end, "this is not a scheme for brokers", hint)),
    };
    Ok((transport, end + 3))
}

fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Tcp => 1883,
        Transport::Tls => 8883,
        Transport::Ws => 80,
        Transport::Wss => 443,
        Transport::Unix => 0,
    }
}

/// Host and port of `text[span]`.
fn authority(text: &str, span: Span) -> Result<(String, Option<u16>), BadAddress> {
    let words = &text[span.clone()];
    let (host, rest) = match words.strip_prefix('[') {
        Some(inside) => {
            let Some((host, rest)) = inside.split_once(']') else {
                return Err(BadAddress::new(span, "the bracket of the IPv6 address is not closed", ""));
            };
            check_v6(host, &span)?;
            (host, rest)
        }
        None if words.parse::<Ipv6Addr>().is_ok() => {
            return Err(BadAddress::new(span, "an IPv6 address must be in brackets", format!("write [{words}]")));
        }
        None => words.split_at(words.rfind(':').unwrap_or(words.len())),
    };
    if host.is_empty() {
        return Err(BadAddress::new(span, "the address names no host", ""));
    }
    let zone = words.starts_with('[').then_some('%');
    let fits = |c: &char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':') || Some(*c) == zone;
    if let Some(bad) = host.chars().find(|c| !fits(c)) {
        return Err(BadAddress::new(span, format!("{bad:?} cannot stand in a host name"), ""));
    }
    if host.contains(':') && !words.starts_with('[') {
        return Err(BadAddress::new(span, "the address has more than one port", "write host:port"));
    }
    if host.len() > 253 {
        return Err(BadAddress::new(span, "a host name has at most 253 characters", ""));
    }
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return Err(BadAddress::new(span, "only a port may follow the bracket", "write [address]:port")),
        // The text is not quoted: where the host was forgotten it may be a password.
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => {
                let part = span.end - port.len()..span.end;
                return Err(BadAddress::new(part, "the port is not a number from 1 to 65535", ""));
            }
        },
    };
    Ok((host.to_owned(), port))
}

/// An IPv6 address, or a link-local one with the interface that leads there: `fe80::1%wlan0` (RFC 4007).
fn check_v6(host: &str, span: &Span) -> Result<(), BadAddress> {
    let bad = |what: &str, hint: &str| Err(BadAddress::new(span.clone(), what, hint));
    let (address, zone) = host.split_once('%').map_or((host, None), |(address, zone)| (address, Some(zone)));
    match (address.parse::<Ipv6Addr>(), zone) {
        (Err(_), _) => bad("what stands in the brackets is not an IPv6 address", ""),
        (Ok(_), Some(zone)) if zone.is_empty() || zone.contains(['%', ':']) => {
            bad("an interface follows the % of an IPv6 address", "write for example [fe80::1%wlan0]")
        }
        (Ok(ip), Some(_)) if !ip.is_unicast_link_local() => {
            bad("only link-local addresses, fe80::, need an interface behind a %", "leave it out")
        }
        (Ok(ip), None) if ip.is_unicast_link_local() => {
            bad("a link-local address needs its interface", "write for example [fe80::1%wlan0]")
        }
        (Ok(_), _) => Ok(()),
    }
}

/// Whether what is sent to this broker stays on the machine.
pub(super) fn is_local(broker: &Broker) -> bool {
    let host = broker.host.as_str();
    broker.transport == Transport::Unix
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, transport: Transport, host: &str, port: u16, path: &str) {
        assert_eq!(parse(text), Ok(Broker { transport, host: host.into(), port, path: path.into() }), "{text}");
    }

    #[test]
    fn an_address_has_scheme_host_and_the_usual_port() {
        check("mqtt://broker.lan:1884", Transport::Tcp, "broker.lan", 1884, "");
        check("mqtt://broker.lan", Transport::Tcp, "broker.lan", 1883, "");
        check("MQTTS://10.0.0.1/", Transport::Tls, "10.0.0.1", 8883, "");
        check("ws://h", Transport::Ws, "h", 80, "/mqtt");
        check("wss://h:9001/a/b", Transport::Wss, "h", 9001, "/a/b");
        check("mqtt://[fd00::1]:1883", Transport::Tcp, "fd00::1", 1883, "");
        check("mqtt://[::1]", Transport::Tcp, "::1", 1883, "");
        check("mqtt://[fe80::1%wlan0]:1884", Transport::Tcp, "fe80::1%wlan0", 1884, "");
        check("wss://h/a?b=c&d=%2F?", Transport::Wss, "h", 443, "/a?b=c&d=%2F?");
        check("ws://h:81?b", Transport::Ws, "h", 81, "/mqtt?b");
        check("unix:///run/user@1/m.sock", Transport::Unix, "", 0, "/run/user@1/m.sock");
        check("UNIX:///a b?#", Transport::Unix, "", 0, "/a b?#");
    }

    #[test]
    fn whatever_is_not_an_address_is_refused_without_quoting_what_may_be_a_password() {
        for text in [
            "",
            "host",
            "host:1883",
            "mqtt:/host",
            "mqtt//host",
            "tcp://host",
            "http://h",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://h:0",
            "mqtt://h:65536",
            "mqtt://h:",
            "mqtt://h:hunter2",
            "mqtt://h/path",
            "mqtt://::1",
            "mqtt://[::1",
            "mqtt://[h]",
            "mqtt://[::1]x",
            "mqtt://a:b:1",
            "mqtt://a b",
            "mqtt://pi:hunter2@host",
            "pi:hunter2@host",
            "mqtt://pi:a/hunter2@host",
            "mqtt://h/?token=hunter2",
            "mqtt://h?hunter2",
            "wss://h/a?b#hunter2",
            "wss://h/a?b=\"hunter2\"",
            "mqtt://h#hunter2",
            "mqtt://[fe80::1]",
            "mqtt://[fe80::1%]",
            "mqtt://[fd00::1%eth0]",
            "mqtt://[fe80::1%eth0%1]",
            "mqtt://fe80%eth0",
            "unix://run/m.sock",
            "unix:/run/m.sock",
            "unix://@abstract",
            "unix:///",
            "unix://",
            "unix:///run/",
            "mqtt://ä\u{0}",
            "mqtt://h!",
        ] {
            let error = parse(text).expect_err(text);
            assert!(!error.what.contains("hunter2") && !error.hint.contains("hunter2"), "{error:?}");
            assert!(error.part.end <= text.len() && error.part.start <= error.part.end, "{error:?}");
        }
    }
}
