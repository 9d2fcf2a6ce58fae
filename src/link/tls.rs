//! TLS: certificates are read anew for each connection, and what goes wrong is told in words.
//!
//! The crypto provider is named here and handed over with our own `ClientConfig`: a default chosen for the whole process
//! would depend on which crates happen to be linked.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error as ThisError;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, InvalidMessage, RootCertStore, crypto::ring,
};

use super::TlsSettings;

/// Why there is no TLS to connect with. Tell the user and try again: files may be replaced at any time.
#[derive(Debug, ThisError)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file without what it should hold.
    #[error("{path} holds no {what} in PEM form", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// A file that is not PEM.
    #[error("{path} is not PEM: {why}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The system has no roots.
    #[error("the system has no root certificates; install ca-certificates or set mqtt.tls.ca_file")]
    NoRoots,
    /// A certificate without its key, or the other way round.
    #[error("mqtt.tls needs both cert_file and key_file, or neither")]
    HalfIdentity,
    /// Refused by the TLS library.
    #[error("unusable certificate or key: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The client's side of TLS, from the files as they are now.
///
/// # Errors
/// [`TlsError`], naming the file.
pub fn config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(settings.ca_file.as_deref())?);
    let config = match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => builder.with_client_auth_cert(certificates(cert)?, private_key(key)?)?,
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(TlsError::HalfIdentity),
    };
    Ok(Arc::new(config))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                store.add(certificate)?;
            }
        }
        None => {
            // A damaged one among the system's is no reason to refuse the others.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(TlsError::NoRoots);
            }
        }
    }
    Ok(store)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(TlsError::Empty { path: path.to_owned(), what: "certificate" }),
        Err(error) => Err(TlsError::Pem { path: path.to_owned(), why: error.to_string() }),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    match PrivateKeyDer::from_pem_slice(&read(path)?) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(TlsError::Empty { path: path.to_owned(), what: "private key" }),
        Err(error) => Err(TlsError::Pem { path: path.to_owned(), why: error.to_string() }),
    }
}

/// The TLS error somewhere in the chain of `error`, in words; `None` when there is none.
pub fn words(error: &(dyn Error + 'static), host: &str) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(describe(tls, host));
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

fn describe(error: &rustls::Error, host: &str) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => certificate_words(why, host),
        rustls::Error::AlertReceived(alert) => alert_words(*alert),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "TLS: the broker does not speak TLS on this port; use mqtt:// or ws://, or its TLS port".into()
        }
        other => format!("TLS: {other}"),
    }
}

fn certificate_words(error: &CertificateError, host: &str) -> String {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => {
            "TLS: the broker's certificate is signed by an unknown authority (unknown CA); set mqtt.tls.ca_file".into()
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            format!("TLS: the broker's certificate is not for {host:?} (wrong host name); use the name it was made for")
        }
        E::Expired | E::ExpiredContext { .. } => {
            "TLS: the broker's certificate has expired; renew it, or is our clock wrong?".into()
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "TLS: the broker's certificate is not valid yet; is the clock set?".into()
        }
        E::Revoked => "TLS: the broker's certificate was revoked".into(),
        E::BadSignature => {
            "TLS: the signature of the broker's certificate does not fit; is mqtt.tls.ca_file the right one?".into()
        }
        other => format!("TLS: the broker's certificate cannot be used: {other}"),
    }
}

fn alert_words(alert: AlertDescription) -> String {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired => {
            "TLS: the broker wants a certificate of ours; set mqtt.tls.cert_file and key_file".into()
        }
        A::UnknownCA => "TLS: the broker does not know who signed our certificate".into(),
        A::CertificateExpired => "TLS: our certificate has expired".into(),
        A::BadCertificate | A::CertificateUnknown | A::UnsupportedCertificate | A::CertificateRevoked => {
            format!("TLS: the broker refuses our certificate ({alert:?})")
        }
        A::ProtocolVersion => "TLS: the broker speaks neither TLS 1.2 nor 1.3".into(),
        A::HandshakeFailure => {
            "TLS: the broker found nothing in common with us, or wants a certificate of ours (handshake failure)".into()
        }
        other => format!("TLS: the broker ended the handshake ({other:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_error_inside_an_io_error_is_told_in_words() {
        let check = |why, part: &str| {
            let error = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(why));
            let told = words(&error, "broker.lan").unwrap();
            assert!(told.contains(part), "{told}");
        };
        check(CertificateError::UnknownIssuer, "unknown CA");
        check(CertificateError::NotValidForName, "\"broker.lan\"");
        check(CertificateError::Expired, "expired");
        check(CertificateError::NotValidYet, "is the clock set?");
        assert_eq!(words(&io::Error::other("no tls"), "broker.lan"), None);
    }

    #[test]
    fn a_missing_file_is_named() {
        let ca_file = Some(PathBuf::from("/nonexistent/ca.pem"));
        let error = config(&TlsSettings { ca_file, ..TlsSettings::default() }).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
    }
}
