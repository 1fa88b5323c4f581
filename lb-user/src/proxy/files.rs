//! Files that the configuration names: certificates with their keys, authorities, error pages. What cannot be read leaves what
//! was read before, and what says the same is not made anew, so that sessions of TLS go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::tls;
use crate::model::Config;
use crate::model::proxy::{HttpVersion, Proxy};
use crate::model::traffic::{ServiceTraffic, Traffic};

/// What was read, by service or pool.
#[derive(Debug, Default)]
pub struct Files {
    services: BTreeMap<Arc<str>, Read>,
    /// All of them are to be read again.
    forgotten: bool,
}

/// Of one service or pool.
#[derive(Debug)]
pub struct Read {
    settings: Arc<Proxy>,
    digest: [u8; 32],
    /// TLS towards clients; `None`: plain.
    pub server: Option<Arc<ServerConfig>>,
    /// TLS towards backends; `None`: plain.
    pub client: Option<Arc<ClientConfig>>,
    /// Error pages, by status.
    pub pages: Arc<BTreeMap<u16, Arc<[u8]>>>,
}

impl Files {
    /// The next [`Self::read`] looks at every file.
    pub fn forget(&mut self) {
        self.forgotten = true;
    }

    /// Reads what is new. A service whose files were never good is not there.
    pub fn read(&mut self, config: &Config, traffic: &Traffic) {
        let forgotten = std::mem::take(&mut self.forgotten);
        let mut before = std::mem::take(&mut self.services);
        for service in &config.services {
            let Some(proxy) = &service.proxy else { continue };
            let known = before.remove(&service.name);
            let is_same = |known: &Read| !forgotten && Arc::ptr_eq(&known.settings, proxy);
            let read = match known {
                Some(known) if is_same(&known) => Some(known),
                known => match read(proxy, known.as_ref(), &traffic.service(&service.name)) {
                    Ok(Some(read)) => Some(read),
                    Ok(None) => known.map(|known| Read {
                        settings: Arc::clone(proxy),
                        ..known
                    }),
                    Err(reason) => {
                        let what = if known.is_some() { "what was read before stays" } else { "the service is not served" };
                        tracing::error!(service = %service.name, reason, "a file of the proxy cannot be used; {what}");
                        known
                    }
                },
            };
            self.services.extend(read.map(|read| (Arc::clone(&service.name), read)));
        }
    }

    /// Of this service or pool.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Read> {
        self.services.get(name)
    }

    /// TLS towards backends, where it is spoken.
    #[must_use]
    pub fn clients(&self) -> BTreeMap<Arc<str>, Arc<ClientConfig>> {
        let client = |(name, read): (&Arc<str>, &Read)| Some((Arc::clone(name), Arc::clone(read.client.as_ref()?)));
        self.services.iter().filter_map(client).collect()
    }
}

/// `None` where nothing is other than it is `known`.
fn read(proxy: &Arc<Proxy>, known: Option<&Read>, traffic: &ServiceTraffic) -> Result<Option<Read>, String> {
    let digest = digest(proxy)?;
    let same = |known: &&Read| known.digest == digest;
    let known = known.filter(same);
    let server_stays = known.filter(|known| known.settings.tls == proxy.tls);
    let client_stays = known.filter(|known| known.settings.upstream == proxy.upstream);
    let pages_stay = known.filter(|known| known.settings.http.error_pages == proxy.http.error_pages);
    if server_stays.and(client_stays).and(pages_stay).is_some() {
        return Ok(None);
    }
    let server = match (server_stays, &proxy.tls) {
        (Some(known), _) => known.server.clone(),
        (None, Some(tls)) => {
            let loaded = tls::server(tls).map_err(|error| error.to_string())?;
            let first = |certificate: &tls::Certificate| {
                Some((Arc::from(certificate.names.first()?.as_str()), certificate.not_after))
            };
            traffic.set_certificates(loaded.certificates.iter().filter_map(first));
            Some(loaded.config)
        }
        (None, None) => None,
    };
    let http2 = proxy.upstream.version == HttpVersion::H2;
    let client = match (client_stays, &proxy.upstream.tls) {
        (Some(known), _) => known.client.clone(),
        (None, Some(tls)) => Some(tls::client(tls, http2).map_err(|error| error.to_string())?),
        (None, None) => None,
    };
    let page = |(status, path): &(u16, PathBuf)| Ok((*status, Arc::from(content(path)?)));
    let pages: Result<BTreeMap<u16, Arc<[u8]>>, String> = proxy.http.error_pages.iter().map(page).collect();
    Ok(Some(Read {
        settings: Arc::clone(proxy),
        digest,
        server,
        client,
        pages: Arc::new(pages?),
    }))
}

/// Of all files that are named.
fn digest(proxy: &Proxy) -> Result<[u8; 32], String> {
    let tls = proxy.tls.iter().flat_map(|tls| {
        let pairs = tls.certificates.iter().flat_map(|files| [&files.certificate, &files.key]);
        pairs.chain(&tls.client_ca)
    });
    let upstream = proxy.upstream.tls.iter().filter_map(|tls| tls.ca.as_ref());
    let pages = proxy.http.error_pages.iter().map(|(_, path)| path);
    let mut digest = Sha256::new();
    for path in tls.chain(upstream).chain(pages) {
        let content = content(path)?;
        digest.update(content.len().to_le_bytes());
        digest.update(&content);
    }
    Ok(digest.finalize().into())
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}
