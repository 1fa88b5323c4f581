//! A TLS handshake, and the certificate in it.
//!
//! Every probe makes a whole handshake, without resuming an earlier one, so the certificate that is judged is the one
//! that the backend has now. TLS 1.2 and 1.3.

use std::io;

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError};

use super::link::{Stream, connect};
use super::trust::Protocol;
use super::{Answer, Call, Phase};
use crate::model::TlsCheck;
use crate::net::tls::validity;

/// Why TLS failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What answers does not speak TLS.
    #[error("not TLS")]
    NotTls,
    /// The connection was closed during the handshake.
    #[error("connection closed in the TLS handshake")]
    Closed,
    /// The backend ended the handshake, with this alert.
    #[error("the backend refused the TLS handshake: {0}")]
    Alert(String),
    /// The certificate is out of date.
    #[error("the certificate has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the certificate is not valid yet")]
    NotYet,
    /// It comes from nobody who is believed.
    #[error("the certificate's issuer is unknown")]
    UnknownIssuer,
    /// It is for somebody else.
    #[error("the certificate is not for {0}")]
    OtherName(String),
    /// Something else is wrong with it.
    #[error("the certificate is not good: {0}")]
    Certificate(String),
    /// Something else is wrong.
    #[error("TLS failed: {0}")]
    Other(String),
}

pub(super) async fn probe(check: &TlsCheck, call: Call<'_>) -> Result<Answer, super::Failure> {
    let stream = connect(call).await?;
    handshake(check, Protocol::Any, stream, call).await?;
    Ok(Answer::Encrypted)
}

/// TLS over a connection, and a note of the certificate.
pub(super) async fn handshake(
    check: &TlsCheck,
    protocol: Protocol,
    stream: Stream,
    call: Call<'_>,
) -> Result<TlsStream<Stream>, super::Failure> {
    let local = |text: String| super::Failure::Local(text);
    let name = match &check.server_name {
        Some(name) => ServerName::try_from(name.clone()).map_err(|_| local(format!("{name:?} is no server's name")))?,
        None => ServerName::from(call.address.ip()),
    };
    // Slow disks are no fault of the backend.
    let config = call
        .deadline
        .bound(Phase::Encrypting, call.means.trust.config(check, protocol));
    let config = config
        .await
        .map_err(|_| local("the certificates to believe could not be read in time".to_owned()))?;
    let connector = TlsConnector::from(config.map_err(local)?);
    let shaken = call
        .deadline
        .bound(Phase::Encrypting, connector.connect(name.clone(), stream))
        .await?;
    let stream = shaken.map_err(|error| failure(error, &name, call))?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    if let Some(validity) = leaf.and_then(|leaf| validity(leaf)) {
        call.probes.certificate(Some(validity.not_after));
    }
    Ok(stream)
}

fn failure(error: io::Error, name: &ServerName<'_>, call: Call<'_>) -> super::Failure {
    let Some(tls) = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<rustls::Error>())
    else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => Failure::Closed.into(),
            _ => error.into(),
        };
    };
    let failure = match tls {
        rustls::Error::InvalidMessage(_) => Failure::NotTls,
        rustls::Error::AlertReceived(alert) => Failure::Alert(format!("{alert:?}")),
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::Expired => Failure::Expired,
            CertificateError::ExpiredContext { not_after, .. } => {
                call.probes.certificate(Some(not_after.as_secs()));
                Failure::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Failure::NotYet,
            CertificateError::UnknownIssuer => Failure::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Failure::OtherName(name.to_str().into_owned())
            }
            other => Failure::Certificate(other.to_string()),
        },
        other => Failure::Other(other.to_string()),
    };
    failure.into()
}
