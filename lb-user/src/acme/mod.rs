//! Certificates that look after themselves: ordered from an authority (ACME, RFC 8555), renewed in time, shared between nodes.
//!
//! The proxy is given what it serves, certificates and answers to challenges, as one [`Offer`]; nothing here touches a
//! connection of a client. A failure changes nothing about what serves: it is said with name and step, and tried again later.
//!
//! ```text
//! schedule   when; machine: what next; lead: which node; shared: which of two. Pure.
//! order      speaks with an authority; http: over what
//! keys       keys, requests, and what the node signs itself; leaf: what certificates say
//! store      the disk
//! ```

mod commands;
mod entry;
mod http;
mod judge;
mod keys;
mod lead;
mod leaf;
mod machine;
mod order;
mod schedule;
mod shared;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::control::certificates::{PeerNews, Reply};
use crate::control::{CertificateRequest, tell};
use crate::model::acme::{Acme, AcmeStatus, Challenge, Failure, Heard, Issued, News as Told, Offer};
use crate::model::vrrp::HaStatus;
use crate::model::{Config, Hidden};
use entry::Entry;
pub use judge::judge;
use leaf::Leaf;
use order::{Obtained, Task, Wish};
use schedule::Window;
use shared::{Account, News, Shown};
use store::{Lease, Store, account_name};

/// 1 s; certificates are looked at so often, and folders that others share.
const LOOK: Duration = Duration::from_secs(1);

/// 5 s; bounds how long it is waited for the proxy and for peers to show something.
const SHOW: Duration = Duration::from_secs(5);

/// 2 s; nodes that share a folder show by then what one of them does.
const FOLDER: Duration = Duration::from_secs(2);

/// How often an authority is asked when to renew, whatever it says itself (RFC 9773 §4.3).
const ASK: std::ops::RangeInclusive<u64> = 60..=24 * 3_600;

/// 6 h; then it is asked again where it could not be.
const ASK_AGAIN: u64 = 6 * 3_600;

/// 10 s; so long after its start a node waits for peers that may go before it.
const PEERS: Duration = Duration::from_secs(10);

/// News of tasks that have not been taken yet. When they are so many, tasks wait.
const QUEUE: usize = 64;

/// What it works with.
pub struct Setup {
    /// The configuration in force.
    pub configs: watch::Receiver<Arc<Config>>,
    /// What the proxy serves; it holds what [`load`] has found.
    pub offers: watch::Sender<Arc<Offer>>,
    /// The number of the offer that it serves.
    pub offered: watch::Receiver<u64>,
    /// How certificates stand, for those who ask.
    pub status: watch::Sender<AcmeStatus>,
    /// What commands ask for.
    pub requests: mpsc::Receiver<CertificateRequest>,
    /// Of which addresses this node is master.
    pub ha: watch::Receiver<HaStatus>,
    /// What peers are told.
    pub told: watch::Sender<Arc<Told>>,
    /// Which peers are there, and the number of what each has taken in.
    pub taken: watch::Receiver<BTreeMap<Arc<str>, u64>>,
    /// What peers tell.
    pub heard: mpsc::Receiver<PeerNews>,
}

/// What there is to serve before anything is ordered: what is on the disk, and stand-ins.
#[must_use]
pub fn load(config: &Config) -> Offer {
    let mut certificates = BTreeMap::new();
    for (service, acme) in wanted(config) {
        let entry = Entry::load(&service, acme, config);
        certificates.extend(entry.serves().map(|issued| (service, issued)));
    }
    Offer {
        certificates,
        ..Offer::default()
    }
}

/// Orders and renews until the configuration's sender is gone.
pub async fn run(setup: Setup) {
    let Setup {
        mut configs,
        offers,
        mut offered,
        status,
        mut requests,
        mut ha,
        told,
        mut taken,
        mut heard,
    } = setup;
    let (wishes, mut wished) = mpsc::channel(QUEUE);
    let mut engine = Engine {
        started: Instant::now(),
        config: Arc::clone(&configs.borrow_and_update()),
        entries: BTreeMap::new(),
        accounts: BTreeMap::new(),
        leases: BTreeMap::new(),
        challenges: BTreeMap::new(),
        challenged: 0,
        foreign: BTreeMap::new(),
        showing: Vec::new(),
        tasks: JoinSet::new(),
        looking: BTreeSet::new(),
        routers: ha.borrow_and_update().clone(),
        peers: taken.borrow_and_update().clone(),
        wishes,
        offers,
        told,
    };
    engine.reconfigure();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = configs.changed() => {
                if changed.is_err() {
                    return;
                }
                engine.config = Arc::clone(&configs.borrow_and_update());
                engine.reconfigure();
            }
            Some(wish) = wished.recv() => engine.grant(wish),
            Some(done) = engine.tasks.join_next() => engine.done(done),
            Some(request) = requests.recv() => engine.command(request),
            Some(Heard { peer, bytes, reply }) = heard.recv() => {
                engine.hear(&peer, &bytes.0);
                engine.shows(0, Duration::ZERO, reply);
            }
            Ok(()) = ha.changed() => engine.routers = ha.borrow_and_update().clone(),
            Ok(()) = taken.changed() => engine.peers = taken.borrow_and_update().clone(),
            Ok(()) = offered.changed() => {}
            _ = look.tick() => engine.look(),
        }
        let served = *offered.borrow_and_update();
        engine.shown(served);
        engine.begin();
        tell(&status, engine.status());
    }
}

/// What has become of a task.
enum Done {
    Obtained(Arc<str>, Arc<Acme>, Result<Obtained, Failure>),
    Suggested(Arc<str>, Result<Option<(Window, Duration)>, Failure>),
    Commanded,
    Revoked(Arc<str>, Leaf, Result<(), Failure>, Reply),
    RolledOver(Arc<str>, Result<(), Failure>, Reply),
    Kept(Arc<str>, Result<(), String>),
    Looked(Store, Found),
}

/// What a folder has that others share.
struct Found {
    certificates: Vec<(Arc<str>, Issued)>,
    accounts: Vec<(String, Account)>,
    shown: Option<Shown>,
}

/// Someone who waits until something is shown.
struct Showing {
    /// The number of the offer.
    number: u64,
    /// The number of what peers are told.
    told: u64,
    /// Not before: others have to find it first.
    from: Instant,
    until: Instant,
    reply: oneshot::Sender<()>,
}

struct Engine {
    started: Instant,
    config: Arc<Config>,
    entries: BTreeMap<Arc<str>, Entry>,
    /// By folder, and by what they are called.
    accounts: BTreeMap<(PathBuf, String), Account>,
    /// By folder.
    leases: BTreeMap<PathBuf, Lease>,
    /// By service.
    challenges: BTreeMap<Arc<str>, Vec<Challenge>>,
    /// Since when they are as they are.
    challenged: u64,
    /// Of other nodes, by whom they were heard from.
    foreign: BTreeMap<Arc<str>, Shown>,
    showing: Vec<Showing>,
    tasks: JoinSet<Done>,
    /// Folders that are being looked at.
    looking: BTreeSet<PathBuf>,
    routers: HaStatus,
    peers: BTreeMap<Arc<str>, u64>,
    wishes: mpsc::Sender<Wish>,
    offers: watch::Sender<Arc<Offer>>,
    told: watch::Sender<Arc<Told>>,
}

impl Engine {
    /// Takes what the file says now. What stays as it is goes on.
    fn reconfigure(&mut self) {
        let mut before = std::mem::take(&mut self.entries);
        for (service, acme) in wanted(&self.config) {
            let entry = match before.remove(&service) {
                Some(entry) if entry.acme == acme => entry,
                _ => Entry::load(&service, acme, &self.config),
            };
            self.entries.insert(service, entry);
        }
        self.challenges.retain(|service, _| self.entries.contains_key(service));
        for entry in self.entries.values() {
            let key = (entry.folder.clone(), account_name(&entry.acme.authority));
            if self.accounts.contains_key(&key) {
                continue;
            }
            match entry.store.account(&entry.acme.authority) {
                Ok(account) => self.accounts.extend(account.map(|account| (key, account))),
                Err(fault) => tracing::error!(reason = %fault, "an account is not known any more; another one is made"),
            }
        }
        self.publish();
    }

    /// Once a second: what others have done, and what could not be kept.
    fn look(&mut self) {
        let now = now();
        for (service, entry) in &mut self.entries {
            if let Some(issued) = entry.unkept(now) {
                let (store, service) = (entry.store.clone(), Arc::clone(service));
                self.tasks.spawn_blocking(move || {
                    let kept = store.keep_certificate(&service, &issued);
                    Done::Kept(service, kept.map_err(|fault| fault.to_string()))
                });
            }
        }
        let shared: BTreeMap<PathBuf, Store> = self
            .entries
            .values()
            .filter(|entry| entry.is_shared() && !self.looking.contains(&entry.folder))
            .map(|entry| (entry.folder.clone(), entry.store.clone()))
            .collect();
        for (folder, store) in shared {
            let of_folder = self.entries.iter().filter(|(_, entry)| entry.folder == folder);
            let services: Vec<_> = of_folder
                .map(|(service, entry)| (Arc::clone(service), entry.acme.authority.clone()))
                .collect();
            self.looking.insert(folder);
            self.tasks.spawn_blocking(move || {
                let certificate =
                    |(service, _): &(Arc<str>, _)| Some((Arc::clone(service), store.certificate(service).ok()??));
                let account =
                    |(_, authority): &(_, _)| Some((account_name(authority), store.account(authority).ok()??));
                let found = Found {
                    certificates: services.iter().filter_map(certificate).collect(),
                    accounts: services.iter().filter_map(account).collect(),
                    shown: store.shown(),
                };
                Done::Looked(store, found)
            });
        }
        let stale = |shown: &Shown| shown.challenges(now).is_empty();
        if self.foreign.values().any(stale) {
            self.foreign.retain(|_, shown| !stale(shown));
            self.publish();
        }
    }

    /// Begins what is due. One at a time with each account: authorities count, and who is asked politely answers.
    fn begin(&mut self) {
        let now = now();
        let busy = |entry: &&Entry| entry.is_busy();
        let mut taken: BTreeSet<_> = self.entries.values().filter(busy).map(Entry::account_key).collect();
        let services: Vec<Arc<str>> = self.entries.keys().cloned().collect();
        let mut leads = BTreeSet::new();
        for service in services {
            let orders = self.leads(&service);
            let Some(entry) = self.entries.get_mut(&service) else {
                continue;
            };
            if !orders {
                entry.elsewhere();
                continue;
            }
            if !entry.is_busy() {
                entry.here();
            }
            leads.insert(entry.folder.clone());
            if entry.is_busy() || taken.contains(&entry.account_key()) {
                continue;
            }
            let orders = entry.is_due(now);
            if !orders && !entry.asks(now) {
                continue;
            }
            // Who has the lease has it for as long as it leads.
            let folder = entry.folder.clone();
            if let btree_map::Entry::Vacant(place) = self.leases.entry(folder) {
                match entry.store.lease() {
                    Ok(Some(lease)) => {
                        place.insert(lease);
                    }
                    Ok(None) => {
                        entry.elsewhere();
                        continue;
                    }
                    Err(fault) => {
                        entry.cannot_store(&fault, now);
                        continue;
                    }
                }
            }
            taken.insert(entry.account_key());
            let task = self.task(&service);
            let (Some(task), Some(entry)) = (task, self.entries.get_mut(&service)) else {
                continue;
            };
            if orders {
                entry.begins();
                self.tasks.spawn(async move {
                    let obtained = task.obtain().await;
                    Done::Obtained(Arc::clone(&task.service), Arc::clone(&task.acme), obtained)
                });
            } else {
                entry.begins_to_ask();
                self.tasks.spawn(async move {
                    let suggested = task.suggestion().await;
                    Done::Suggested(Arc::clone(&task.service), suggested)
                });
            }
        }
        let busy: BTreeSet<_> = self
            .entries
            .values()
            .filter(busy)
            .map(|entry| entry.folder.clone())
            .collect();
        self.leases
            .retain(|folder, _| leads.contains(folder) || busy.contains(folder));
    }

    /// Does this node order for this service?
    fn leads(&self, service: &str) -> bool {
        let Some(entry) = self.entries.get(service) else {
            return false;
        };
        let all = self.config.peers.as_ref().map_or(0, |peers| peers.others.len());
        // Who shares a folder has a lease in it, and needs no peers to know.
        let peers: Vec<Arc<str>> = if entry.is_shared() {
            Vec::new()
        } else if self.peers.len() < all && self.started.elapsed() < PEERS {
            return false;
        } else {
            self.peers.keys().cloned().collect()
        };
        lead::orders(&self.routers.routers, &entry.addresses, &self.config.node.name, &peers)
    }

    fn task(&self, service: &Arc<str>) -> Option<Task> {
        let entry = self.entries.get(service)?;
        Some(Task {
            service: Arc::clone(service),
            acme: Arc::clone(&entry.acme),
            store: entry.store.clone(),
            account: self.accounts.get(&entry.account_key()).cloned(),
            held: entry.leaf().cloned(),
            wishes: self.wishes.clone(),
        })
    }

    /// Does what a task asks for.
    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Account(acme, account) => {
                let folder = folder(&acme, &self.config);
                let known = self.accounts.entry((folder, account_name(&acme.authority)));
                known.insert_entry(account);
                self.publish();
            }
            Wish::Show(service, challenges, reply) => {
                let clears = challenges.is_empty();
                self.challenges.insert(Arc::clone(&service), challenges);
                self.challenges.retain(|_, challenges| !challenges.is_empty());
                self.challenged = now();
                self.publish();
                let entry = self.entries.get(&service);
                let shared = entry
                    .filter(|entry| entry.is_shared())
                    .map(|entry| (entry.store.clone(), entry.folder.clone()));
                let is_shared = shared.is_some();
                if let Some((store, folder)) = shared {
                    self.show_in(&store, &folder);
                }
                if clears {
                    // Nobody waits for something to be gone.
                    let _ = reply.send(());
                } else {
                    let told = self.told.borrow().number;
                    self.shows(told, if is_shared { FOLDER } else { Duration::ZERO }, reply);
                }
            }
        }
    }

    /// Answers when what there is now is shown: here, and where peers have taken in `told`, and after `after` at the earliest.
    fn shows(&mut self, told: u64, after: Duration, reply: oneshot::Sender<()>) {
        let now = Instant::now();
        self.showing.push(Showing {
            number: self.offers.borrow().number,
            told,
            from: now + after,
            until: now + SHOW,
            reply,
        });
    }

    /// Shows other nodes of a folder what this one shows to authorities.
    fn show_in(&mut self, store: &Store, folder: &Path) {
        let here = |service: &Arc<str>| self.entries.get(service).is_some_and(|entry| entry.folder == folder);
        let open = self.challenges.iter().filter(|(service, _)| here(service));
        let shown = Shown::new(
            &self.config.node.name,
            self.challenged,
            open.flat_map(|(_, challenges)| challenges),
        );
        let store = store.clone();
        self.tasks.spawn_blocking(move || {
            if let Err(fault) = store.keep_shown(&shown) {
                tracing::warn!(reason = %fault, "other nodes do not show what authorities ask for");
            }
            Done::Commanded
        });
    }

    /// Tells those who wait, now that the proxy serves the offer of this number.
    fn shown(&mut self, served: u64) {
        let now = Instant::now();
        let (there, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.showing).into_iter().partition(|showing| {
            let everywhere = served >= showing.number && self.peers.values().all(|taken| *taken >= showing.told);
            now >= showing.from && (everywhere || now >= showing.until)
        });
        self.showing = waiting;
        for showing in there {
            // Whoever has given up does not need it.
            let _ = showing.reply.send(());
        }
    }

    fn done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let now = now();
        match done {
            Ok(Done::Obtained(service, acme, obtained)) => {
                let Some(entry) = self.entries.get_mut(&service).filter(|entry| entry.acme == acme) else {
                    return;
                };
                entry.obtained(obtained, now);
                self.keep_attempts(&service);
                self.publish();
            }
            Ok(Done::Suggested(service, suggested)) => {
                if let Some(entry) = self.entries.get_mut(&service) {
                    entry.suggested(suggested, now);
                }
            }
            Ok(Done::Kept(service, kept)) => {
                if let Some(entry) = self.entries.get_mut(&service) {
                    entry.kept(kept);
                }
            }
            Ok(Done::Looked(store, found)) => self.looked(&store, found),
            Ok(Done::Commanded) => {}
            Ok(Done::Revoked(service, leaf, revoked, reply)) => self.revoked(&service, &leaf, revoked, reply),
            Ok(Done::RolledOver(service, rolled, reply)) => self.rolled_over(&service, rolled, reply),
            Err(error) => {
                tracing::error!(%error, "a task about certificates failed");
                self.entries.values_mut().for_each(|entry| entry.is_lost(now));
            }
        }
    }

    /// What becomes of tries counts after a restart, too. Where there is no place for it, that is said with the next one.
    fn keep_attempts(&mut self, service: &Arc<str>) {
        let Some(entry) = self.entries.get(service) else { return };
        let (store, service, attempts) = (entry.store.clone(), Arc::clone(service), entry.attempts().clone());
        self.tasks.spawn_blocking(move || {
            if let Err(fault) = store.keep_attempts(&service, &attempts) {
                tracing::debug!(reason = %fault, "what became of tries is not kept");
            }
            Done::Commanded
        });
    }

    /// Takes what others have left in a folder that they share.
    fn looked(&mut self, store: &Store, found: Found) {
        let Some(folder) = self
            .entries
            .values()
            .find(|entry| entry.store == *store)
            .map(|entry| entry.folder.clone())
        else {
            self.looking.clear();
            return;
        };
        self.looking.remove(&folder);
        let mut news = false;
        for (service, issued) in found.certificates {
            news |= self
                .entries
                .get_mut(&service)
                .is_some_and(|entry| entry.take(issued, false));
        }
        for (name, account) in found.accounts {
            let key = (folder.clone(), name);
            if account.beats(self.accounts.get(&key)) {
                self.accounts.insert(key, account);
                news = true;
            }
        }
        if let Some(shown) = found.shown.filter(|shown| shown.node != self.config.node.name) {
            let from: Arc<str> = folder.display().to_string().into();
            news |= self.foreign.get(&from) != Some(&shown);
            self.foreign.insert(from, shown);
        }
        if news {
            self.publish();
        }
    }

    /// Takes what a peer tells.
    fn hear(&mut self, peer: &Arc<str>, bytes: &[u8]) {
        let news = match News::decode(bytes) {
            Ok(news) => news,
            Err(reason) => {
                tracing::warn!(%peer, reason, "what a peer tells of certificates makes no sense");
                return;
            }
        };
        match news {
            News::Certificate(service, pem) => {
                let Some(entry) = self.entries.get_mut(&*service) else {
                    return;
                };
                let issued = Issued {
                    pem: Arc::new(pem),
                    file: entry.store.certificate_file(&service).into(),
                };
                if !entry.take(issued, true) {
                    return;
                }
                tracing::info!(service, %peer, "a certificate comes from a peer");
            }
            News::Account(name, account) => {
                let of = |entry: &&Entry| !entry.is_shared() && account_name(&entry.acme.authority) == name;
                let Some(entry) = self.entries.values().find(of) else {
                    return;
                };
                let key = entry.account_key();
                if !account.beats(self.accounts.get(&key)) {
                    return;
                }
                let (store, authority, kept) = (entry.store.clone(), entry.acme.authority.clone(), account.clone());
                self.tasks.spawn_blocking(move || {
                    if let Err(fault) = store.keep_account(&authority, &kept) {
                        tracing::error!(reason = %fault, "an account that a peer has told of cannot be kept");
                    }
                    Done::Commanded
                });
                self.accounts.insert(key, account);
            }
            News::Shown(shown) => {
                self.foreign.insert(Arc::clone(peer), shown);
            }
        }
        self.publish();
    }

    /// Gives the proxy and the peers what there is, where that is news.
    fn publish(&self) {
        let now = now();
        let certificates = self
            .entries
            .iter()
            .filter_map(|(service, entry)| Some((Arc::clone(service), entry.serves()?)));
        let own = self.challenges.values().flatten().cloned();
        let offer = Offer {
            number: 0,
            certificates: certificates.collect(),
            challenges: own
                .chain(self.foreign.values().flat_map(|shown| shown.challenges(now)))
                .collect(),
        };
        self.offers.send_if_modified(|known| {
            let before = known.number;
            let same = known.certificates == offer.certificates && known.challenges == offer.challenges;
            if !same {
                *known = Arc::new(Offer {
                    number: before + 1,
                    ..offer
                });
            }
            !same
        });
        let records = self.records();
        self.told.send_if_modified(|known| {
            let same = known.records == records;
            if !same {
                *known = Arc::new(Told {
                    number: known.number + 1,
                    records,
                });
            }
            !same
        });
    }

    /// What peers are told: what lies in a folder that they mount is theirs already.
    fn records(&self) -> Vec<Arc<Hidden<Vec<u8>>>> {
        let own: Vec<_> = self.entries.iter().filter(|(_, entry)| !entry.is_shared()).collect();
        let mut news: Vec<News> = Vec::new();
        let mut accounts = BTreeSet::new();
        for (service, entry) in &own {
            let key = entry.account_key();
            if let Some(account) = self.accounts.get(&key)
                && accounts.insert(key.clone())
            {
                news.push(News::Account(key.1, account.clone()));
            }
            if let Some(issued) = entry.issued() {
                let pem = Hidden(issued.pem.0.clone());
                news.push(News::Certificate(service.as_ref().to_owned(), pem));
            }
        }
        if !own.is_empty() {
            let of_own = self
                .challenges
                .iter()
                .filter(|(service, _)| own.iter().any(|(name, _)| name == service));
            let open = of_own.flat_map(|(_, challenges)| challenges);
            news.push(News::Shown(Shown::new(&self.config.node.name, self.challenged, open)));
        }
        news.iter().filter_map(News::encode).map(Arc::new).collect()
    }

    fn status(&self) -> AcmeStatus {
        let of = |(service, _): &(Arc<str>, _)| self.entries.get(service).map(|entry| entry.status(service));
        wanted(&self.config).collect::<Vec<_>>().iter().filter_map(of).collect()
    }
}

/// What services of this file order, in its order.
fn wanted(config: &Config) -> impl Iterator<Item = (Arc<str>, Arc<Acme>)> {
    config.services.iter().filter_map(|service| {
        let acme = service.proxy.as_ref()?.tls.as_ref()?.acme.as_ref()?;
        Some((Arc::clone(&service.name), Arc::clone(acme)))
    })
}

/// Where what belongs to a certificate lies.
fn folder(acme: &Acme, config: &Config) -> PathBuf {
    acme.authority
        .storage
        .clone()
        .unwrap_or_else(|| config.node.state_dir.join("acme"))
}

/// What a certificate says, once it is known to be one that serves: with its own key.
///
/// # Errors
/// What is wrong with it, for people.
fn usable(issued: &Issued) -> Result<Leaf, String> {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::sign::CertifiedKey;
    use tokio_rustls::rustls::{Error, InconsistentKeys};

    let leaf = Leaf::of(issued)?;
    let key = PrivateKeyDer::from_pem_slice(&issued.pem.0).map_err(|error| format!("it has no key: {error}"))?;
    let key = ring::sign::any_supported_type(&key).map_err(|error| format!("its key cannot be used: {error}"))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&issued.pem.0).collect();
    let chain = chain.map_err(|error| format!("it is not PEM: {error}"))?;
    match CertifiedKey::new(chain, key).keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(leaf),
        Err(_) => Err("the private key is not that of the certificate".to_owned()),
    }
}

/// A client that believes these.
///
/// # Errors
/// For people.
fn client_config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "certificates begin and end by it")]
fn now() -> u64 {
    order::seconds(SystemTime::now())
}
