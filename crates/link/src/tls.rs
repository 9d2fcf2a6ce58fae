//! TLS: certificates are read again for each connection, and errors are described in plain words.
//!
//! TLS 1.2 and 1.3, always verified; no setting weakens this. The crypto provider is named here and passed on with our own
//! `ClientConfig`: a default chosen for the whole process would depend on which crates happen to be linked.

mod dates;
mod describe;
mod files;
mod peer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error as ThisError;
use tokio_rustls::rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto::ring};

use super::TlsSettings;
use super::secrets::FileError;
use fieldgate_model::Moment;
use files::Files;

pub use describe::describe_error;
pub(super) use peer::Shown;

/// Why there is no TLS to connect with. Report it to the user and try again: files may be replaced at any time.
#[derive(Debug, ThisError)]
pub enum TlsError {
    /// A file that is not there, cannot be read, or can be read by too many.
    #[error(transparent)]
    File(FileError),
    /// A file without what it should hold.
    #[error("{path} contains no {what} in PEM form: {instead}", path = path.display())]
    Empty {
        /// The file that was to be read.
        path: PathBuf,
        /// What it should hold, such as a private key, in words.
        what: &'static str,
        /// What it holds in place of that, in words.
        instead: &'static str,
    },
    /// A file that is not PEM.
    #[error("{path} is not PEM: {why}", path = path.display())]
    Pem {
        /// The file that was to be read.
        path: PathBuf,
        /// What the parser says, in words.
        why: String,
    },
    /// A key behind a passphrase.
    #[error("{path} is encrypted, and a service cannot be asked for the passphrase", path = path.display())]
    Encrypted {
        /// The file that was to be read.
        path: PathBuf,
    },
    /// A key that belongs to another certificate.
    #[error("the key does not fit our certificate")]
    WrongKey,
    /// All authorities of the file have expired.
    #[error("the authority's certificate {path} expired", path = path.display())]
    AuthorityExpired {
        /// The file that was to be read.
        path: PathBuf,
    },
    /// The system has no roots.
    #[error("the system has no root certificates; install ca-certificates or set mqtt.tls.ca_file")]
    NoRoots,
    /// A certificate without its key, or the other way round.
    #[error("mqtt.tls needs a certificate and its key, or neither")]
    HalfIdentity,
    /// Refused by the TLS library.
    #[error("unusable certificate or key: {0}")]
    Unusable(#[from] rustls::Error),
    /// Roots that nothing can be verified with.
    #[error("unusable root certificates: {0}")]
    UnusableRoots(#[from] VerifierBuilderError),
}

impl TlsError {
    /// What the user can do; may be empty.
    pub fn remedy(&self) -> String {
        match self {
            Self::File(error) => error.remedy(),
            Self::Encrypted { path } => {
                format!(
                    "openssl pkey -in {path} -out PLAIN writes it without one; then chmod 640 PLAIN",
                    path = path.display()
                )
            }
            Self::WrongKey => "cert_file and the key must come from the same request".into(),
            Self::AuthorityExpired { .. } => "get the new one from the operator of the broker".into(),
            _ => String::new(),
        }
    }
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `ca_file`.
    Authority,
    /// `cert_file`.
    Certificate,
    /// `key_file` or `key_credential`.
    Key,
}

/// What the files are like now.
#[derive(Debug, Default)]
pub struct Findings {
    /// What makes a connection impossible.
    pub errors: Vec<(Part, TlsError)>,
    /// What will, or does, because of a date.
    pub notices: Vec<(Part, String)>,
}

/// Looks at the files without using them.
pub fn inspect(settings: &TlsSettings, credentials: Option<&Path>, now: Moment) -> Findings {
    let (files, errors) = Files::read(settings, credentials);
    Findings { notices: files.notices(settings, now), errors }
}

/// The client's side of TLS for one connection.
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    /// Filled in when the broker's certificate has been accepted.
    pub(super) shown: Shown,
}

/// The client's side of TLS, from the files as they are now.
///
/// # Errors
/// [`TlsError`], naming the file.
pub(super) fn prepare(settings: &TlsSettings, credentials: Option<&Path>, now: Moment) -> Result<Tls, TlsError> {
    let (files, errors) = Files::read(settings, credentials);
    if let Some((_, error)) = errors.into_iter().next() {
        return Err(error);
    }
    let roots = roots(settings.ca_file.as_deref(), files.valid_authorities(now))?;
    let provider = Arc::new(ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let shown = Shown::default();
    let verifier = Arc::new(peer::Verifier { inner, shown: Arc::clone(&shown) });
    // The safe versions are 1.2 and 1.3. The library's own verifier stands behind ours, see `peer.rs`.
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = match (files.chain, files.key) {
        (Some(chain), Some(key)) => {
            let own = SingleCertAndKey::from(files::identity(chain, key)?);
            builder.with_client_cert_resolver(Arc::new(own))
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(TlsError::HalfIdentity),
    };
    Ok(Tls { config: Arc::new(config), shown })
}

fn roots(ca_file: Option<&Path>, authorities: Vec<CertificateDer<'static>>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match ca_file {
        Some(path) if authorities.is_empty() => return Err(TlsError::AuthorityExpired { path: path.to_owned() }),
        Some(_) => {
            for certificate in authorities {
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
