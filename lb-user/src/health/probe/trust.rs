//! Whom the node believes in a TLS handshake: authorities of a file or of the system, read once a minute at most.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;

use crate::model::TlsCheck;
use crate::net::tls;

/// How long what was read of authorities is believed: a file that changes is read again after this.
const TRUST_FOR: Duration = Duration::from_secs(60);

/// What is to be spoken over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    /// Nothing, or what needs no negotiation.
    Any,
    /// HTTP/1.1 (RFC 7301).
    Http,
}

/// What was read of authorities, shared by all probes.
#[derive(Debug, Default)]
pub struct Trust {
    read: Mutex<HashMap<Key, Read>>,
}

type Key = (Protocol, bool, Option<PathBuf>);

#[derive(Debug)]
struct Read {
    at: Instant,
    config: Arc<ClientConfig>,
}

impl Trust {
    /// The terms as the library wants them, read when nobody has for a minute. Probes that come meanwhile wait for it.
    pub(super) async fn config(
        self: &Arc<Self>,
        check: &TlsCheck,
        protocol: Protocol,
    ) -> Result<Arc<ClientConfig>, String> {
        let key: Key = (protocol, check.verify, check.ca.clone());
        if let Ok(read) = self.read.try_lock()
            && let Some(config) = fresh(&read, &key)
        {
            return Ok(config);
        }
        // In a task of its own, which comes to its end though this probe may not have the time.
        let trust = Arc::clone(self);
        let reading = tokio::spawn(async move { trust.read(key).await });
        reading.await.map_err(|error| error.to_string())?
    }

    async fn read(&self, key: Key) -> Result<Arc<ClientConfig>, String> {
        let mut read = self.read.lock().await;
        if let Some(config) = fresh(&read, &key) {
            return Ok(config);
        }
        let (protocol, verify, ca) = key.clone();
        let made = tokio::task::spawn_blocking(move || client(protocol, verify, ca.as_deref())).await;
        let config = Arc::new(made.map_err(|error| error.to_string())??);
        read.retain(|_, read| read.at.elapsed() < TRUST_FOR);
        let now = Read {
            at: Instant::now(),
            config: Arc::clone(&config),
        };
        read.insert(key, now);
        Ok(config)
    }
}

fn fresh(read: &HashMap<Key, Read>, key: &Key) -> Option<Arc<ClientConfig>> {
    let read = read.get(key).filter(|read| read.at.elapsed() < TRUST_FOR)?;
    Some(Arc::clone(&read.config))
}

fn client(protocol: Protocol, verify: bool, ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut config = tls::client(verify, ca).map_err(|error| match ca {
        Some(path) => format!("{}: {error}", path.display()),
        None => error.to_string(),
    })?;
    config.resumption = Resumption::disabled();
    if protocol == Protocol::Http {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    Ok(config)
}
