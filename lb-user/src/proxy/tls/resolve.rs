//! Which certificate a client gets: that for the name that it asks for, exactly or by a wildcard, else the first.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// Certificates by the names that they are for.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    /// There is none while nothing has been ordered.
    first: Option<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`: one label stands before it (RFC 9525 §6.3).
    wildcard: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
}

impl Resolver {
    /// The first that comes is for whom no other one is. Those that were there before for the same name go before it, where
    /// a client can do with their keys.
    pub(super) fn add(&mut self, names: &[String], key: &Arc<CertifiedKey>) {
        self.first.get_or_insert_with(|| Arc::clone(key));
        for name in names {
            self.add_name(name, key);
        }
    }

    fn add_name(&mut self, name: &str, key: &Arc<CertifiedKey>) {
        let (names, name) = match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, name),
        };
        names.entry(name.into()).or_default().push(Arc::clone(key));
    }

    /// `name` is in lower case.
    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let by_wildcard = |name: &str| self.wildcard.get(name.split_once('.')?.1);
        let found = name.and_then(|name| self.exact.get(name).or_else(|| by_wildcard(name)));
        match found.map(Vec::as_slice) {
            None | Some([]) => self.first.as_ref(),
            Some([one]) => Some(one),
            Some(several @ [first, ..]) => {
                let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
                several.iter().find(fits).or(Some(first))
            }
        }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes()).cloned()
    }
}
