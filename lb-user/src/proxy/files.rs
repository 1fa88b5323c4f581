//! Files that the configuration names: certificates with their keys, authorities, error pages. What cannot be read leaves what
//! was read before, and what says the same is not made anew, so that sessions of TLS go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::tls;
use crate::model::acme::{Issued, Offer};
use crate::model::proxy::{HttpVersion, Proxy, Tls};
use crate::model::traffic::Traffic;
use crate::model::{Config, Service};

/// What was read, by service or pool.
#[derive(Debug)]
pub(super) struct Files {
    /// Of tickets.
    secret: tls::Secret,
    services: BTreeMap<Arc<str>, Read>,
    /// All of them are to be read again.
    forgotten: bool,
}

/// Of one service or pool.
#[derive(Debug)]
pub(super) struct Read {
    settings: Arc<Proxy>,
    /// The certificate that was ordered for it.
    ordered: Option<Issued>,
    /// TLS towards clients, by what it was made of; `None`: plain.
    server: Option<([u8; 32], Arc<ServerConfig>)>,
    /// TLS towards backends, by its authorities; `None`: plain.
    client: Option<(Option<Vec<u8>>, Arc<ClientConfig>)>,
    /// Error pages, by status.
    pub pages: Arc<BTreeMap<u16, Arc<[u8]>>>,
}

impl Read {
    /// TLS towards clients; `None`: plain.
    #[must_use]
    pub(super) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.server.as_ref().map(|(_, config)| Arc::clone(config))
    }
}

impl Files {
    /// Nothing yet.
    pub(super) const fn new(secret: tls::Secret) -> Self {
        Self {
            secret,
            services: BTreeMap::new(),
            forgotten: false,
        }
    }

    /// The next [`Self::read`] looks at every file.
    pub(super) fn forget(&mut self) {
        self.forgotten = true;
    }

    /// Reads what is new. A service whose files were never good is not there, nor is one that has no certificate until one is
    /// offered.
    pub(super) fn read(&mut self, config: &Config, offer: &Offer, traffic: &Traffic) {
        let forgotten = std::mem::take(&mut self.forgotten);
        let mut before = std::mem::take(&mut self.services);
        for service in &config.services {
            let Some(proxy) = &service.proxy else { continue };
            let known = before.remove(&service.name);
            let ordered = offer.certificates.get(&service.name);
            let waits = |tls: &Tls| tls.certificates.is_empty() && ordered.is_none();
            if known.is_none() && proxy.tls.as_ref().is_some_and(waits) {
                continue;
            }
            let is_same =
                |known: &Read| !forgotten && Arc::ptr_eq(&known.settings, proxy) && known.ordered.as_ref() == ordered;
            let read = match known {
                Some(known) if is_same(&known) => Some(known),
                known => match read(service, (proxy, ordered), known.as_ref(), &self.secret, traffic) {
                    Ok(read) => Some(read),
                    Err(error) => {
                        let service = &service.name;
                        match known {
                            Some(_) => {
                                tracing::error!(%service, error, "a file of the proxy cannot be used: what was read before stays");
                            }
                            None => {
                                tracing::error!(%service, error, "a file of the proxy cannot be used: the service is not served");
                            }
                        }
                        known
                    }
                },
            };
            self.services.extend(read.map(|read| (Arc::clone(&service.name), read)));
        }
    }

    /// Of this service or pool.
    #[must_use]
    pub(super) fn of(&self, name: &str) -> Option<&Read> {
        self.services.get(name)
    }

    /// TLS towards backends, where it is spoken.
    #[must_use]
    pub(super) fn clients(&self) -> BTreeMap<Arc<str>, Arc<ClientConfig>> {
        let client = |(name, read): (&Arc<str>, &Read)| {
            let (_, config) = read.client.as_ref()?;
            Some((Arc::clone(name), Arc::clone(config)))
        };
        self.services.iter().filter_map(client).collect()
    }
}

/// What is as it is `known` is not made anew.
fn read(
    service: &Service,
    (proxy, ordered): (&Arc<Proxy>, Option<&Issued>),
    known: Option<&Read>,
    secret: &tls::Secret,
    traffic: &Traffic,
) -> Result<Read, String> {
    let loaded = proxy.tls.as_ref().map(|tls| tls::server_with(tls, ordered)).transpose();
    let loaded = loaded.map_err(|error| error.to_string())?;
    let first = |certificate: &tls::Certificate| {
        let name = certificate.names.first()?;
        Some((Arc::from(name.as_str()), certificate.not_after))
    };
    let certificates = loaded.iter().flat_map(|loaded| &loaded.certificates);
    let certificates: Vec<_> = certificates.filter_map(first).collect();
    let server = loaded.map(|loaded| {
        let known = known.and_then(|known| known.server.clone());
        let same = known.filter(|(digest, _)| *digest == loaded.digest);
        same.unwrap_or_else(|| (loaded.digest, loaded.with_tickets(secret, &service.name).config))
    });
    let upstream = &proxy.upstream;
    let client = upstream.tls.as_ref().map(|tls| {
        let authorities = tls.ca.as_deref().map(content).transpose()?;
        let known = known.filter(|known| known.settings.upstream == *upstream);
        let known = known.and_then(|known| known.client.clone());
        if let Some(same) = known.filter(|(of, _)| *of == authorities) {
            return Ok(same);
        }
        let config = tls::client(tls, upstream.version == HttpVersion::H2);
        Ok::<_, String>((authorities, config.map_err(|error| error.to_string())?))
    });
    let page = |(status, path): &(u16, PathBuf)| Ok((*status, Arc::from(content(path)?)));
    let pages: Result<BTreeMap<u16, Arc<[u8]>>, String> = proxy.http.error_pages.iter().map(page).collect();
    let read = Read {
        settings: Arc::clone(proxy),
        ordered: ordered.cloned(),
        server,
        client: client.transpose()?,
        pages: Arc::new(pages?),
    };
    traffic.service(&service.name).set_certificates(certificates);
    Ok(read)
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use lb_common::hash::Seed;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    /// A new certificate with its key, as HAProxy has them.
    fn pem(name: &str) -> String {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
        cert.pem() + &signing_key.serialize_pem()
    }

    fn config(text: &str) -> Config {
        let head = "[node]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"192.0.2.1:443\"\n\
                    mode = \"proxy\"\n";
        let tail = "[[service.backend]]\naddress = \"10.0.0.1:80\"\n";
        let parsed = crate::config::parse("files.toml", &format!("{head}{text}{tail}"));
        parsed.unwrap_or_else(|error| panic!("{error}")).config
    }

    #[test]
    fn what_has_changed_is_taken_and_what_is_wrong_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [shop, page] = ["shop.pem", "503.html"].map(|name| folder.path().join(name));
        fs::write(&shop, pem("a.example")).unwrap();
        fs::write(&page, "closed").unwrap();
        let config = config(&format!(
            "[service.tls]\ncertificates = [\"{}\"]\n[service.http]\nerror-pages = {{ \"503\" = \"{}\" }}\n",
            shop.display(),
            page.display()
        ));
        let traffic = Traffic::default();
        let mut files = Files::new(tls::Secret::of(Seed([7; 2])));
        let mut look = |forget: bool| {
            if forget {
                files.forget();
            }
            files.read(&config, &Offer::default(), &traffic);
            let read = files.of("web").unwrap();
            (read.server().unwrap(), read.pages[&503].to_vec())
        };
        let (first, shown) = look(false);
        assert_eq!(shown, b"closed");
        // A page that changes is no reason to forget sessions; and nobody looks unasked.
        fs::write(&page, "open").unwrap();
        assert_eq!(look(false).1, b"closed");
        let (same, shown) = look(true);
        assert!(Arc::ptr_eq(&same, &first) && shown == b"open");
        fs::write(&shop, pem("b.example")).unwrap();
        let (second, _) = look(true);
        assert!(!Arc::ptr_eq(&second, &first));
        fs::write(&shop, "nonsense").unwrap();
        assert!(Arc::ptr_eq(&look(true).0, &second));
        fs::remove_file(&shop).unwrap();
        assert!(Arc::ptr_eq(&look(true).0, &second));
    }

    #[test]
    fn a_service_without_its_certificate_is_not_served_plain() {
        let config = config("[service.tls]\ncertificates = [\"/nowhere/shop.pem\"]\n");
        let mut files = Files::new(tls::Secret::of(Seed([7; 2])));
        files.read(&config, &Offer::default(), &Traffic::default());
        assert!(files.of("web").is_none());
    }
}
