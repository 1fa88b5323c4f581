//! Starts the threads of the proxy, and tells them what to do: reads files, opens sockets, and hands both over with the
//! configuration as one [`Snapshot`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lb_common::hash::Seed;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::rustls::crypto::ring;

use super::challenges::Answers;
use super::files::Files;
use super::gate::Gates;
use super::log::Logs;
use super::shared::Common;
use super::snapshot::{Front, Listener, Snapshot};
use super::sockets::Listening;
use super::tls;
use super::worker::Worker;
use crate::model::acme::{Offer, Offered};
use crate::model::traffic::{Traffic, Upstreams};
use crate::model::{Config, Service, Vip};

/// Bounds how long an address is not listened at that somebody else has held.
const RETRY: Duration = Duration::from_secs(2);

/// How long the disk may take for the last lines of access logs.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What the proxy works with.
#[derive(Debug)]
pub struct Setup {
    /// Of the fleet.
    pub seed: Seed,
    /// What it counts.
    pub traffic: Arc<Traffic>,
    /// The configuration in force, and who may serve.
    pub upstreams: watch::Receiver<Arc<Upstreams>>,
    /// Changes when the files that the configuration names are to be read again.
    pub reread: watch::Receiver<u64>,
    /// Certificates that were ordered, and what those are shown who sign them.
    pub offers: watch::Receiver<Arc<Offer>>,
    /// Told of the last offer that is served.
    pub offered: watch::Sender<Offered>,
    /// Where it listens.
    pub listening: Listening,
    /// While it is true, requests under way are finished and connections end, so that few are open; new ones are served.
    pub finishing: watch::Receiver<bool>,
    /// Told when it takes connections.
    pub serving: oneshot::Sender<()>,
    /// The proxy ends with its sender.
    pub stopped: watch::Receiver<()>,
}

/// Serves until it is stopped, and then until requests under way are through, as long as they may take.
pub async fn run(setup: Setup) {
    let Setup {
        seed,
        traffic,
        mut upstreams,
        mut reread,
        mut offers,
        offered,
        listening,
        mut finishing,
        serving,
        mut stopped,
    } = setup;
    let first = Arc::clone(&upstreams.borrow_and_update());
    let threads = threads(&first.config);
    take_descriptors();
    let logs = match Logs::start() {
        Ok(logs) => logs,
        Err(error) => {
            tracing::error!(%error, "the proxy does not start: no thread for its logs");
            return;
        }
    };
    let common = Arc::new(Common::new(seed, logs, traffic));
    let mut files = Files::new(tls::Secret::of(seed));
    let offer = Arc::clone(&offers.borrow_and_update());
    files.read(&first.config, &offer, &common.traffic);
    common.show(Answers::of(&offer));
    let mut gates = Gates::default();
    let mut whole = follow(&listening, &first.config, &offer, threads);
    gates.follow(gated(&listening, &first.config, &offer), &common);
    let (snapshots, receiver) = watch::channel(Arc::new(snapshot(
        first,
        &listening,
        &files,
        *finishing.borrow_and_update(),
    )));
    let (alive, mut ends) = mpsc::channel::<()>(1);
    for place in 0..threads {
        if let Err(error) = start(place, Arc::clone(&common), receiver.clone(), alive.clone()) {
            tracing::error!(%error, "a thread of the proxy does not start");
        }
    }
    drop((alive, receiver));
    offered.send_replace(offer.offered());
    drop(offer);
    // Whoever has gone away does not need it.
    let _ = serving.send(());
    let mut retry = Instant::now() + RETRY;
    loop {
        tokio::select! {
            Ok(()) = upstreams.changed() => {}
            Ok(()) = reread.changed() => {
                files.forget();
                common.logs.reopen();
            }
            Ok(()) = offers.changed() => {}
            Ok(()) = finishing.changed() => {}
            () = sleep_until(retry), if !whole => {}
            // All of them have ended, which none should.
            _ = ends.recv() => return,
            _ = stopped.changed() => break,
        }
        let now = Arc::clone(&upstreams.borrow_and_update());
        let offer = Arc::clone(&offers.borrow_and_update());
        files.read(&now.config, &offer, &common.traffic);
        if offer.number != offered.borrow().number {
            common.show(Answers::of(&offer));
        }
        whole = follow(&listening, &now.config, &offer, threads);
        gates.follow(gated(&listening, &now.config, &offer), &common);
        retry = Instant::now() + RETRY;
        common.retain(&now.config);
        let finishing = *finishing.borrow_and_update();
        snapshots.send_replace(Arc::new(snapshot(now, &listening, &files, finishing)));
        offered.send_replace(offer.offered());
    }
    // Threads finish what has begun; nobody new is taken.
    drop((snapshots, gates));
    listening.lock().follow(&BTreeSet::new(), threads);
    let _ = ends.recv().await;
    if let Some(common) = Arc::into_inner(common)
        && !common.logs.finish(LAST_LINES)
    {
        tracing::warn!("lines of access logs are lost: the disk is too slow");
    }
}

/// As many descriptors as this process may have: each connection takes two.
fn take_descriptors() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the proxy may run out of descriptors");
    }
}

/// Threads of the proxy: as many as the file says, else one for each CPU.
#[must_use]
pub fn threads(config: &Config) -> usize {
    let cpus = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    config
        .node
        .proxy_threads
        .map_or_else(cpus, |threads| threads.get().into())
}

fn start(
    place: usize,
    common: Arc<Common>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    alive: mpsc::Sender<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Names of requests begin with it: it is to be another one on each node, and after each start.
    let mut chance = [0; 8];
    let random = ring::default_provider().secure_random.fill(&mut chance);
    random.map_err(|_| io::Error::other("the system has no random numbers"))?;
    let chance = u64::from_ne_bytes(chance);
    std::thread::Builder::new()
        .name(format!("proxy-{place}"))
        .spawn(move || {
            let _alive = alive;
            LocalSet::new().block_on(&runtime, Worker::new(place, common, chance).run(snapshots));
        })?;
    Ok(())
}

/// Services that have clients of HTTP.
fn fronts(config: &Config) -> impl Iterator<Item = &Service> {
    config.at_proxy().filter(|service| !service.is_pool())
}

fn addresses(service: &Service) -> impl Iterator<Item = SocketAddr> {
    service.vips.iter().filter_map(Vip::socket_address)
}

fn follow(listening: &Listening, config: &Config, offer: &Offer, threads: usize) -> bool {
    let mut wanted: BTreeSet<SocketAddr> = fronts(config).flat_map(addresses).collect();
    wanted.extend(gates(config, offer));
    listening.lock().follow(&wanted, threads)
}

/// Where nobody listens but while authorities may come.
fn gates(config: &Config, offer: &Offer) -> impl Iterator<Item = SocketAddr> {
    let comes = offer.is_challenged();
    config.challenged().filter(move |_| comes)
}

fn gated(listening: &Listening, config: &Config, offer: &Offer) -> Vec<Listener> {
    let sockets = listening.lock();
    gates(config, offer).filter_map(|address| sockets.at(address)).collect()
}

fn snapshot(upstreams: Arc<Upstreams>, listening: &Listening, files: &Files, finishing: bool) -> Snapshot {
    let sockets = listening.lock();
    let front = |service: &Service| {
        let of = files.of(&service.name)?;
        let front = Front {
            listeners: addresses(service).filter_map(|address| sockets.at(address)).collect(),
            tls: of.server(),
            pages: Arc::clone(&of.pages),
        };
        Some((Arc::clone(&service.name), front))
    };
    let fronts: BTreeMap<_, _> = fronts(&upstreams.config).filter_map(front).collect();
    let clients = files.clients();
    Snapshot {
        fronts,
        finishing,
        clients,
        upstreams,
    }
}
