//! Certificates that look after themselves: ordered from an authority (ACME, RFC 8555), renewed in time, shared between nodes.
//!
//! The proxy is given what it serves, certificates and answers to challenges, as one [`Offer`]; nothing here touches a
//! connection of a client. A failure changes nothing about what serves: it is said with name and step, and tried again later.
//!
//! ```text
//! schedule   when; machine: what next; lead: which node; shared: which of two. Pure.
//! order      speaks with an authority; follow: until there is a certificate; http: over what
//! keys       keys, requests, and what the node signs itself; leaf: what certificates say
//! store      the disk; sharing: what others are given, and give
//! ```

mod commands;
mod entry;
mod follow;
mod http;
mod judge;
mod keys;
mod lead;
mod leaf;
mod machine;
mod order;
mod schedule;
mod shared;
mod sharing;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::control::certificates::{PeerNews, Reply};
use crate::control::{CertificateRequest, tell};
use crate::model::Config;
use crate::model::acme::{Acme, AcmeStatus, Challenge, Failure, Heard, Issued, News as Told, Offer};
use crate::model::vrrp::HaStatus;
use crate::net::tls::certified;
use entry::Entry;
pub use judge::judge;
use leaf::Leaf;
use order::{Obtained, Task, Wish};
use schedule::Window;
use shared::{Account, Shown};
use store::{Lease, Store, account_name};

/// 1 s; certificates are looked at so often, and folders that others share.
const LOOK: Duration = Duration::from_secs(1);

/// 5 s; bounds how long it is waited for the proxy, and for peers, to show something or to serve it.
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
    /// The number of the offer that is served, and that packets are sent by.
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
        unserved: None,
        tasks: JoinSet::new(),
        looking: BTreeSet::new(),
        routers: ha.borrow_and_update().clone(),
        peers: taken.borrow_and_update().clone(),
        wishes,
        offers,
        told,
    };
    engine.reconfigure();
    // Before the first status there is none that could stand until the proxy serves.
    engine.unserved = None;
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
        if engine.is_served(served) {
            tell(&status, engine.status());
        }
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
    /// The last offer with other certificates, while the proxy serves it not yet, and how long it is waited for.
    unserved: Option<(u64, Instant)>,
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
    let leaf = Leaf::of(issued)?;
    let key = PrivateKeyDer::from_pem_slice(&issued.pem.0).map_err(|error| format!("it has no key: {error}"))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&issued.pem.0).collect();
    let chain = chain.map_err(|error| format!("it is not PEM: {error}"))?;
    certified(chain, &key).map_err(|unpaired| unpaired.to_string())?;
    Ok(leaf)
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
