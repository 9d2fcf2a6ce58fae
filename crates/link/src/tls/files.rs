//! The files of `mqtt.tls`, as they are now.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, InconsistentKeys, sign::CertifiedKey};

use super::{Part, TlsError, dates};
use crate::TlsSettings;
use crate::secrets::{self, FileError, SecretSource};
use fieldgate_model::{ClockStatus, Moment};

/// What the files hold; what could not be read is absent here and reported separately.
#[derive(Default)]
pub(super) struct Files {
    pub(super) authorities: Option<Vec<CertificateDer<'static>>>,
    pub(super) chain: Option<Vec<CertificateDer<'static>>>,
    pub(super) key: Option<PrivateKeyDer<'static>>,
}

impl Files {
    /// Reads all of them and says everything that is wrong.
    pub(super) fn read(settings: &TlsSettings, credentials: Option<&Path>) -> (Self, Vec<(Part, TlsError)>) {
        let mut wrong = Vec::new();
        let mut take = |part, path: &Option<PathBuf>| {
            let path = path.as_deref()?;
            certificates(path).map_err(|error| wrong.push((part, error))).ok()
        };
        let authorities = take(Part::Authority, &settings.ca_file);
        let chain = take(Part::Certificate, &settings.cert_file);
        let key = settings
            .key
            .as_ref()
            .and_then(|source| private_key(source, credentials).map_err(|error| wrong.push((Part::Key, error))).ok());
        if let (Some(chain), Some(key)) = (&chain, &key)
            && let Err(error) = identity(chain.clone(), key.clone_key())
        {
            wrong.push(match error {
                rustls::Error::InconsistentKeys(_) => (Part::Key, TlsError::WrongKey),
                rustls::Error::InvalidCertificate(_) => (Part::Certificate, error.into()),
                _ => (Part::Key, error.into()),
            });
        }
        (Self { authorities, chain, key }, wrong)
    }

    /// What is to be said of the time that the certificates are valid for.
    pub(super) fn notices(&self, settings: &TlsSettings, now: Moment) -> Vec<(Part, String)> {
        let name = |what: &str, path: &Option<PathBuf>| {
            format!("{what} {}", path.as_deref().map(Path::display).map(|path| path.to_string()).unwrap_or_default())
        };
        let own = name("our certificate", &settings.cert_file);
        let authority = name("the authority's certificate", &settings.ca_file);
        let of = |part, name: &str, all: &Option<Vec<CertificateDer<'static>>>| {
            let soonest = all.as_deref().and_then(|all| match part {
                // Several authorities stand in one file while one replaces the other: the newest counts.
                Part::Authority => all.iter().filter_map(dates::of).max_by_key(|validity| validity.until),
                _ => dates::soonest(all),
            });
            soonest.and_then(|validity| validity.notice(name, now)).map(|words| (part, words))
        };
        [of(Part::Certificate, &own, &self.chain), of(Part::Authority, &authority, &self.authorities)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The authorities without those that have expired: the library trusts whatever it is given, for ever.
    pub(super) fn valid_authorities(&self, now: Moment) -> Vec<CertificateDer<'static>> {
        let is_past = |certificate: &CertificateDer<'static>| {
            now.clock == ClockStatus::Synchronised && dates::of(certificate).is_some_and(|v| v.is_over(now))
        };
        self.authorities.iter().flatten().filter(|certificate| !is_past(certificate)).cloned().collect()
    }
}

/// Our certificate with its key. What the library cannot read of one of version 1 is for the broker to judge.
pub(super) fn identity(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    let own = CertifiedKey::new(chain, ring::default_provider().key_provider.load_private_key(key)?);
    match own.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(own),
        Err(rustls::Error::InvalidCertificate(_)) if own.cert.first().is_some_and(is_version_1) => {
            // Of a root the library reads the key in version 1 as well.
            let of_certificate = own.cert.first().and_then(|own| webpki::anchor_from_trusted_cert(own).ok());
            let of_certificate = of_certificate.map(|anchor| webpki::spki_for_anchor(&anchor));
            match (of_certificate, own.key.public_key()) {
                (Some(one), Some(other)) if one != other => Err(InconsistentKeys::KeyMismatch.into()),
                _ => Ok(own),
            }
        }
        Err(error) => Err(error),
    }
}

/// Whether this is a certificate of X.509 version 1, as plain `openssl x509 -req` makes it: one without extensions.
pub(super) fn is_version_1(certificate: &CertificateDer<'_>) -> bool {
    matches!(webpki::EndEntityCert::try_from(certificate), Err(webpki::Error::UnsupportedCertVersion))
        && webpki::anchor_from_trusted_cert(certificate).is_ok()
}

/// All certificates of a file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = secrets::read(path)?;
    if holds(&bytes, "PRIVATE KEY-----") {
        secrets::guard(&SecretSource::File(path.to_owned()))?;
    }
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(empty(path, "certificate", &bytes)),
        Err(error) => Err(TlsError::Pem { path: path.to_owned(), why: error.to_string() }),
    }
}

fn private_key(source: &SecretSource, credentials: Option<&Path>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let path = &source.path(credentials)?;
    let key = key_of(path, &secrets::read(path)?)?;
    // Last, so that a certificate in the key's place, which everybody may read, is reported as what it is.
    secrets::guard(source)?;
    Ok(key)
}

fn key_of(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    // PKCS #8 says so in its first line, the older form of OpenSSL in the second.
    if holds(bytes, "BEGIN ENCRYPTED PRIVATE KEY") || holds(bytes, "4,ENCRYPTED") {
        return Err(TlsError::Encrypted { path: path.to_owned() });
    }
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(empty(path, "private key", bytes)),
        Err(error) => Err(TlsError::Pem { path: path.to_owned(), why: error.to_string() }),
    }
}

/// What a file holds instead, as far as that can be recognised.
fn empty(path: &Path, what: &'static str, bytes: &[u8]) -> TlsError {
    let instead = if bytes.is_empty() {
        "it is empty"
    } else if holds(bytes, "PRIVATE KEY-----") {
        "it contains a private key"
    } else if holds(bytes, "BEGIN CERTIFICATE REQUEST") {
        "it holds the request for a certificate, not what the authority made of it"
    } else if holds(bytes, "BEGIN CERTIFICATE") {
        "it contains a certificate"
    } else if bytes.starts_with(&[0x30]) {
        "it looks like DER; `openssl x509 -inform der` or `openssl pkey -inform der` makes PEM of it"
    } else if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        "it is written in UTF-16; save it as UTF-8"
    } else {
        "it holds something else"
    };
    TlsError::Empty { path: path.to_owned(), what, instead }
}

fn holds(bytes: &[u8], words: &str) -> bool {
    bytes.windows(words.len()).any(|window| window == words.as_bytes())
}

impl From<FileError> for TlsError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}
