//! Describes TLS errors, each with its remedy.

use std::error::Error;
use std::io;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, InvalidMessage, OtherError};

use super::dates::date;
use super::peer::Refusal;
use fieldgate_clock as clock;
use fieldgate_model::{ClockStatus, Moment};

/// Describes the TLS error somewhere in the chain of `error`; `None` when there is none.
pub fn describe_error(error: &(dyn Error + 'static), host: &str) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(describe_tls(tls, host, clock::now()));
        }
        // An io::Error hides what it carries from source(), which goes on with the cause of that.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            next = Some(inner);
        } else {
            next = error.source();
        }
    }
    None
}

fn describe_tls(error: &rustls::Error, host: &str, now: Moment) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => describe_certificate(why, host, now),
        rustls::Error::AlertReceived(alert) => describe_alert(*alert, now),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "TLS: the broker does not speak TLS on this port; use mqtt:// or ws://, or its TLS port".into()
        }
        rustls::Error::PeerIncompatible(why) => {
            format!("TLS: the broker speaks neither TLS 1.2 nor 1.3 as it should ({why:?})")
        }
        other => format!("TLS: {other}"),
    }
}

fn describe_certificate(error: &CertificateError, host: &str, now: Moment) -> String {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => {
            "TLS: the broker's certificate is signed by an unknown authority (unknown CA); set mqtt.tls.ca_file".into()
        }
        E::NotValidForName => wrong_name(host, &[]),
        E::NotValidForNameContext { expected, presented } => match expected {
            ServerName::IpAddress(_) => wrong_address(host, presented),
            _ => wrong_name(host, presented),
        },
        E::Expired => format!("TLS: the broker's certificate has expired; {}", renew(now)),
        E::ExpiredContext { not_after, .. } => {
            format!("TLS: the broker's certificate has expired on {}; {}", date(not_after.as_secs()), renew(now))
        }
        E::NotValidYet => format!("TLS: the broker's certificate is not valid yet; {}", set_clock(now)),
        E::NotValidYetContext { not_before, .. } => {
            let from = date(not_before.as_secs());
            format!("TLS: the broker's certificate is not valid yet, only from {from} on; {}", set_clock(now))
        }
        E::Revoked => "TLS: the broker's certificate was revoked".into(),
        E::BadSignature => {
            "TLS: the signature of the broker's certificate does not fit; is mqtt.tls.ca_file the right one?".into()
        }
        E::Other(OtherError(other)) => match other.downcast_ref() {
            Some(Refusal::SelfSigned) => self_signed(host),
            Some(Refusal::Version1) => version_1(host),
            Some(Refusal::IsAuthority) => "TLS: the broker shows the certificate of an authority as its own; it needs \
                                           one that this authority has signed"
                .into(),
            None => format!("TLS: the broker's certificate cannot be used: {other}"),
        },
        other => format!("TLS: the broker's certificate cannot be used: {other}"),
    }
}

/// The line of `subjectAltName` for what we call the broker.
fn alternative_name(host: &str) -> String {
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    format!("subjectAltName={kind}:{host}")
}

fn self_signed(host: &str) -> String {
    format!(
        "TLS: the broker's certificate is self-signed (unknown CA); let an authority of your own sign one, and set \
         mqtt.tls.ca_file to that authority's; or make it again as that of no authority, and set mqtt.tls.ca_file to it: \
         openssl req -x509 -days 3650 -newkey rsa:2048 -nodes -keyout server.key -out server.pem -subj /CN={host} \
         -addext {} -addext basicConstraints=critical,CA:FALSE",
        alternative_name(host)
    )
}

fn version_1(host: &str) -> String {
    format!(
        "TLS: the broker's certificate is of X.509 version 1, which has no room for the names that it is for; sign it \
         again with them: echo {} >names && openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
         -days 365 -extfile names -out server.pem",
        alternative_name(host)
    )
}

/// The library quotes names as `DnsName("broker.lan")`.
fn plain(presented: &[String]) -> Vec<&str> {
    presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect()
}

fn wrong_name(host: &str, presented: &[String]) -> String {
    let remedy = match plain(presented).as_slice() {
        [] => "it has no subjectAltName, and its CN does not count; make one with that name".to_owned(),
        names => format!("it is for {}; use a name that it was made for", names.join(", ")),
    };
    format!("TLS: the broker's certificate is not for {host:?} (wrong host name); {remedy}")
}

fn wrong_address(host: &str, presented: &[String]) -> String {
    let names = match plain(presented).as_slice() {
        [] => "it names nothing".to_owned(),
        names => format!("it is for {}", names.join(", ")),
    };
    format!(
        "TLS: the broker's certificate is not for the IP address {host} (wrong host name); {names}; write a name that it \
         was made for into mqtt.broker, or make one with subjectAltName=IP:{host}"
    )
}

fn is_unset(now: Moment) -> bool {
    now.clock == ClockStatus::Unsynchronised
}

/// That a clock which nobody has set is the likely cause.
fn unset(now: Moment) -> String {
    let today = humantime::format_rfc3339_seconds(now.wall);
    format!("our clock has not been set and says {today}, which is the likely cause: wait for time synchronisation")
}

fn renew(now: Moment) -> String {
    if is_unset(now) { unset(now) } else { "renew it at the broker, or is our clock wrong?".into() }
}

fn set_clock(now: Moment) -> String {
    if is_unset(now) { unset(now) } else { "is the clock set?".into() }
}

fn describe_alert(alert: AlertDescription, now: Moment) -> String {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired => {
            "TLS: the broker wants a certificate of ours; set mqtt.tls.cert_file and key_file".into()
        }
        A::UnknownCA => "TLS: the broker does not know who signed our certificate; let the authority sign it that the \
                         broker has as its cafile"
            .into(),
        A::CertificateExpired if is_unset(now) => {
            format!("TLS: the broker says that our certificate has expired; {}", unset(now))
        }
        A::CertificateExpired => "TLS: our certificate has expired; renew mqtt.tls.cert_file".into(),
        A::BadCertificate | A::CertificateUnknown | A::UnsupportedCertificate | A::CertificateRevoked => {
            format!("TLS: the broker refuses our certificate ({alert:?}); its log says why")
        }
        A::ProtocolVersion => "TLS: the broker speaks neither TLS 1.2 nor 1.3".into(),
        A::HandshakeFailure => "TLS: the broker found nothing in common with us, or wants a certificate of ours \
                                (handshake failure); if it does, set mqtt.tls.cert_file and key_file"
            .into(),
        other => format!("TLS: the broker ended the handshake ({other:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn described(error: rustls::Error, clock: ClockStatus) -> String {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        describe_tls(&error, "broker.lan", Moment { boot: Duration::ZERO, wall, clock })
    }

    #[test]
    fn a_tls_error_inside_an_io_error_is_described() {
        let check = |why, part: &str| {
            let error = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(why));
            let found = describe_error(&error, "broker.lan").unwrap();
            assert!(found.contains(part), "{found}");
        };
        check(CertificateError::UnknownIssuer, "unknown CA");
        check(CertificateError::NotValidForName, "\"broker.lan\"");
        check(CertificateError::Expired, "expired");
        assert_eq!(describe_error(&io::Error::other("no tls"), "broker.lan"), None);
    }

    #[test]
    fn a_clock_that_was_never_set_is_named_as_the_likely_cause() {
        let dates = [
            rustls::Error::InvalidCertificate(CertificateError::Expired),
            rustls::Error::InvalidCertificate(CertificateError::NotValidYet),
            rustls::Error::AlertReceived(AlertDescription::CertificateExpired),
        ];
        for error in dates {
            let unset = described(error.clone(), ClockStatus::Unsynchronised);
            assert!(unset.contains("1970-01-01T00:01:00Z, which is the likely cause"), "{unset}");
            let set = described(error, ClockStatus::Synchronised);
            assert!(!set.contains("likely"), "{set}");
        }
        let name = rustls::Error::InvalidCertificate(CertificateError::NotValidForName);
        assert!(!described(name, ClockStatus::Unsynchronised).contains("clock"));
    }
}
