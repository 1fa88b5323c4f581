//! What an authority is shown that asks whose a name is (RFC 8555 §8.3, RFC 8737), in the form in which threads need it.
//!
//! Any service of the proxy answers for every name: where an authority comes to is for name servers to say, and who knows a
//! token has it from the authority. What is not asked for here goes to backends, which may have a client of their own.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use super::tls;
use crate::model::acme::{Challenge, Issued, Offer, Proof};

/// Where it asks over HTTP (RFC 8555 §8.3).
const PATH: &[u8] = b"/.well-known/acme-challenge/";

/// What it wants to speak in a handshake (RFC 8737 §6.2).
const PROTOCOL: &[u8] = b"acme-tls/1";

/// All that is open.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// By token.
    http: HashMap<Box<[u8]>, Arc<str>>,
    /// By name.
    tls: HashMap<Arc<str>, Arc<ServerConfig>>,
}

impl Answers {
    /// What is offered. What cannot be shown is said in the log, and found missing by who asks for it.
    #[must_use]
    pub(super) fn of(offer: &Offer) -> Self {
        let mut answers = Self::default();
        for Challenge { domain, proof } in &offer.challenges {
            match proof {
                Proof::Http { token, answer } => {
                    answers.http.insert(token.as_bytes().into(), Arc::clone(answer));
                }
                Proof::Tls(issued) => match config(issued) {
                    Ok(config) => {
                        answers.tls.insert(Arc::clone(domain), config);
                    }
                    Err(error) => tracing::error!(%domain, error, "a challenge cannot be shown"),
                },
            }
        }
        answers
    }

    /// What is at this token; `None`: nothing that the node knows of.
    #[must_use]
    pub(super) fn http(&self, token: &[u8]) -> Option<&str> {
        self.http.get(token).map(|answer| &**answer)
    }

    /// May somebody come for a handshake?
    #[must_use]
    pub(super) fn has_tls(&self) -> bool {
        !self.tls.is_empty()
    }

    /// What is shown to who begins so; `None`: it is a client like any other. Authorities offer nothing else besides (RFC 8737
    /// §3).
    #[must_use]
    pub(super) fn tls(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        if offered.next() != Some(PROTOCOL) || offered.next().is_some() {
            return None;
        }
        self.tls.get(hello.server_name()?).cloned()
    }
}

/// The token that a path asks for; `None`: it asks for something else.
#[must_use]
pub(super) fn token(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(PATH)
}

/// A server that shows one certificate, whatever the terms of the service are: authorities have no certificates themselves.
fn config(issued: &Issued) -> Result<Arc<ServerConfig>, String> {
    let key = tls::shown(issued).map_err(|error| error.to_string())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(One(key)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_in_their_folder_alone() {
        assert_eq!(token(b"/.well-known/acme-challenge/a-b_c"), Some(&b"a-b_c"[..]));
        assert_eq!(token(b"/.well-known/acme-challenge"), None);
        assert_eq!(token(b"/x/.well-known/acme-challenge/a"), None);
        assert_eq!(token(b"/.well-known/security.txt"), None);
    }

    #[test]
    fn answers_are_by_token() {
        let open = Challenge {
            domain: "a.example".into(),
            proof: Proof::Http {
                token: "t1".into(),
                answer: "t1.thumb".into(),
            },
        };
        let answers = Answers::of(&Offer {
            challenges: vec![open],
            ..Offer::default()
        });
        assert_eq!((answers.http(b"t1"), answers.http(b"t2")), (Some("t1.thumb"), None));
        assert!(!answers.has_tls());
    }
}
