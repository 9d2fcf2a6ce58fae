//! Broker addresses: `mqtt://broker.lan:1883`.
//!
//! Pure. No message quotes a part that may be a password.

use std::net::{IpAddr, Ipv6Addr};

use crate::config::mask;
use crate::config::tree::Span;
use crate::link::{Broker, Transport};

/// What is wrong with an address, and which part of it.
#[derive(Debug, PartialEq)]
pub(super) struct BadAddress {
    /// Bytes of the address.
    pub(super) part: Span,
    pub(super) what: String,
    pub(super) hint: String,
}

impl BadAddress {
    fn new(part: Span, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { part, what: what.into(), hint: hint.into() }
    }
}

/// Reads an address.
pub(super) fn parse(text: &str) -> Result<Broker, BadAddress> {
    let all = 0..text.len();
    if let Some(at) = text.rfind('@') {
        let part = mask::in_address(text).unwrap_or(0..at);
        let hint = "write `username:` and `password_file:` instead";
        return Err(BadAddress::new(part, "a broker's address has no user and no password in it", hint));
    }
    let (transport, start) = scheme(text)?;
    if let Some(bad) = text.find(['?', '#']) {
        return Err(BadAddress::new(bad..text.len(), "a broker's address has no query and no fragment", ""));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(BadAddress::new(all, "a broker's address has no blanks in it", ""));
    }
    let slash = text[start..].find('/').map_or(text.len(), |at| start + at);
    let websocket = matches!(transport, Transport::Ws | Transport::Wss);
    let path = match &text[slash..] {
        "" | "/" if websocket => "/mqtt",
        "" | "/" => "",
        path if websocket => path,
        _ => {
            return Err(BadAddress::new(
                slash..text.len(),
                "only websockets have a path",
                "use ws:// or wss://, or leave it out",
            ));
        }
    };
    let (host, port) = authority(text, start..slash)?;
    Ok(Broker { transport, host, port: port.unwrap_or(default_port(transport)), path: path.to_owned() })
}

fn scheme(text: &str) -> Result<(Transport, usize), BadAddress> {
    let hint = "write mqtt://host, mqtts://host, ws://host or wss://host";
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
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(BadAddress::new(span, "what stands in the brackets is not an IPv6 address", ""));
            }
            (host, rest)
        }
        None if words.parse::<Ipv6Addr>().is_ok() => {
            return Err(BadAddress::new(span, "an IPv6 address stands in brackets", format!("write [{words}]")));
        }
        None => words.split_at(words.rfind(':').unwrap_or(words.len())),
    };
    if host.is_empty() {
        return Err(BadAddress::new(span, "the address names no host", ""));
    }
    if let Some(bad) = host.chars().find(|c| !c.is_alphanumeric() && !matches!(c, '.' | '-' | '_' | ':')) {
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

/// Whether what is sent to this host stays on the machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
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
            "ws://h/?token=hunter2",
            "mqtt://h#hunter2",
            "mqtt://ä\u{0}",
            "mqtt://h!",
        ] {
            let error = parse(text).expect_err(text);
            assert!(!error.what.contains("hunter2") && !error.hint.contains("hunter2"), "{error:?}");
            assert!(error.part.end <= text.len() && error.part.start <= error.part.end, "{error:?}");
        }
    }
}
