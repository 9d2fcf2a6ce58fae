//! The broker's certificate: verified by the library, and looked at besides.
//!
//! The library calls every verifier that is not its own dangerous. This one adds nothing to what is accepted: each question
//! goes to the library's own first, and only what it has accepted is recorded. No setting turns this off.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::EndEntityCert;

use super::dates::{self, Validity};
use super::files;

/// How long what the broker showed is valid; empty before it was accepted. One connection has one.
pub(crate) type Shown = Arc<OnceLock<Validity>>;

/// A refusal for which the library has no error of its own.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The certificate signed itself.
    SelfSigned,
    /// It is an authority's own.
    IsAuthority,
    /// It is of X.509 version 1, in which it cannot say what it is for.
    Version1,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SelfSigned => "self-signed",
            Self::IsAuthority => "an authority's certificate",
            Self::Version1 => "a certificate of X.509 version 1",
        })
    }
}

impl std::error::Error for Refusal {}

#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) inner: Arc<WebPkiServerVerifier>,
    pub(super) shown: Shown,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| closer(error, end_entity))?;
        // What the broker sends besides may be idle, so only its own certificate counts.
        if let Some(validity) = dates::of(end_entity) {
            self.shown.get_or_init(|| validity);
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}

/// `error` itself, in more detail where the certificate itself says more.
fn closer(error: Error, certificate: &CertificateDer<'_>) -> Error {
    let Error::InvalidCertificate(why) = &error else { return error };
    let is_self_signed = EndEntityCert::try_from(certificate).is_ok_and(|c| c.issuer() == c.subject());
    if files::is_version_1(certificate) {
        return Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refusal::Version1))));
    }
    let refusal = match why {
        CertificateError::UnknownIssuer if is_self_signed => Refusal::SelfSigned,
        CertificateError::Other(OtherError(other))
            if matches!(other.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) =>
        {
            if is_self_signed {
                Refusal::SelfSigned
            } else {
                Refusal::IsAuthority
            }
        }
        _ => return error,
    };
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}
