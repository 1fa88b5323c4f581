//! A thread of the proxy: the services as it serves them, its pools, and its clients.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::accept;
use super::client::Client;
use super::http1::RequestHead;
use super::record::Record;
use super::shared::Common;
use super::site::Site;
use super::snapshot::{Listener, Snapshot};
use super::upstream::{Plan, Pool};

/// How often connections are looked through that idle.
const TIDY: Duration = Duration::from_secs(1);

/// A service as a thread serves it, whatever becomes of its settings meanwhile.
#[derive(Debug)]
pub struct Served {
    site: RefCell<Rc<Site>>,
    worker: Rc<Worker>,
    closing: Cell<bool>,
    told: Notify,
}

impl Served {
    /// How it is served now.
    #[must_use]
    pub fn site(&self) -> Rc<Site> {
        Rc::clone(&self.site.borrow())
    }

    /// Does it come to its end? Requests under way are finished, and no new ones begun.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Waits until it does.
    pub async fn closing(&self) {
        loop {
            let mut told = std::pin::pin!(self.told.notified());
            told.as_mut().enable();
            if self.closing.get() {
                return;
            }
            told.await;
        }
    }

    fn close(&self) {
        self.closing.set(true);
        self.told.notify_waiters();
    }

    /// A connection of a client, until this is dropped.
    #[must_use]
    pub fn open(self: &Rc<Self>) -> Open {
        self.worker.connections.set(self.worker.connections.get() + 1);
        self.site.borrow().traffic.connections.fetch_add(1, Relaxed);
        Open(Rc::clone(self))
    }

    /// Part of a request's name that no other request of this process has.
    #[must_use]
    pub fn number(&self) -> (u64, u64) {
        let number = self.worker.numbers.get();
        self.worker.numbers.set(number.wrapping_add(1));
        (self.worker.chance, number)
    }

    /// A request is over: counts and logs it. `version`: 0 for HTTP/1, 1 for HTTP/2.
    pub fn finish(
        &self,
        site: &Site,
        client: &Client,
        head: &[u8],
        request: &RequestHead,
        record: &Record,
        version: usize,
    ) {
        let traffic = &site.traffic;
        traffic.requests[version].fetch_add(1, Relaxed);
        let class = usize::from(record.status / 100);
        if let Some(responses) = class.checked_sub(1).and_then(|class| traffic.responses.get(class)) {
            responses.fetch_add(1, Relaxed);
        }
        traffic.received.fetch_add(record.received + head.len() as u64, Relaxed);
        traffic.sent.fetch_add(record.sent, Relaxed);
        let took = record.begun.elapsed();
        traffic
            .latency
            .observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let _ = (client, request);
    }
}

/// A connection that counts.
#[derive(Debug)]
pub struct Open(Rc<Served>);

impl Drop for Open {
    fn drop(&mut self) {
        let worker = &self.0.worker;
        self.0.site.borrow().traffic.connections.fetch_sub(1, Relaxed);
        worker.connections.set(worker.connections.get() - 1);
        if worker.connections.get() == 0 {
            worker.empty.notify_waiters();
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Worker {
    place: usize,
    common: Arc<Common>,
    services: RefCell<BTreeMap<Arc<str>, (Rc<Served>, Listening)>>,
    pools: RefCell<BTreeMap<Arc<str>, Rc<Pool>>>,
    connections: Cell<usize>,
    empty: Notify,
    numbers: Cell<u64>,
    chance: u64,
}

/// The tasks that take connections.
type Listening = Vec<(Listener, JoinHandle<()>)>;

impl Worker {
    /// The thread of this number.
    #[must_use]
    pub fn new(place: usize, common: Arc<Common>, chance: u64) -> Rc<Self> {
        Rc::new(Self {
            place,
            common,
            services: RefCell::default(),
            pools: RefCell::default(),
            connections: Cell::new(0),
            empty: Notify::new(),
            numbers: Cell::new(0),
            chance,
        })
    }

    /// Serves until `snapshots` ends, and then until those that have begun are through, as long as they may take.
    pub async fn run(self: Rc<Self>, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let mut tidy = interval(TIDY);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut patience = Duration::ZERO;
        snapshots.mark_changed();
        loop {
            tokio::select! {
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let snapshot = Arc::clone(&snapshots.borrow_and_update());
                    self.take(&snapshot);
                    patience = snapshot.patience();
                }
                _ = tidy.tick() => self.pools.borrow().values().for_each(|pool| pool.tidy()),
            }
        }
        for (_, (served, listening)) in std::mem::take(&mut *self.services.borrow_mut()) {
            end(&served, listening);
        }
        // What is not through by then is cut off.
        let _ = timeout(patience, self.drained()).await;
    }

    async fn drained(&self) {
        loop {
            let mut empty = std::pin::pin!(self.empty.notified());
            empty.as_mut().enable();
            if self.connections.get() == 0 {
                return;
            }
            empty.await;
        }
    }

    /// From now on it is so.
    fn take(self: &Rc<Self>, snapshot: &Snapshot) {
        let config = &snapshot.upstreams.config;
        let mut pools = self.pools.borrow_mut();
        for (name, members) in &snapshot.upstreams.pools {
            let Some(service) = config.services.iter().find(|service| service.name == *name) else {
                continue;
            };
            let plan = Plan {
                service,
                members,
                means: snapshot.means(name),
            };
            let make = || {
                let chance = self.chance ^ pools.len() as u64;
                Rc::new(Pool::new(&plan, &self.common, chance))
            };
            let pool = match pools.get(name) {
                Some(pool) => Rc::clone(pool),
                None => {
                    let pool = make();
                    pools.insert(Arc::clone(name), Rc::clone(&pool));
                    pool
                }
            };
            pool.change(&plan, &self.common.traffic);
        }
        pools.retain(|name, _| snapshot.upstreams.pools.contains_key(name));
        let mut services = self.services.borrow_mut();
        let mut before = std::mem::take(&mut *services);
        for (name, front) in &snapshot.fronts {
            let Some(site) = snapshot.site(name, &pools, &self.common) else {
                continue;
            };
            let (served, listening) = before
                .remove(name)
                .unwrap_or_else(|| (self.serve(site.clone()), Vec::new()));
            served.site.replace(site);
            let listening = self.listen(&served, listening, &front.listeners);
            services.insert(Arc::clone(name), (served, listening));
        }
        for (served, listening) in before.into_values() {
            end(&served, listening);
        }
    }

    fn serve(self: &Rc<Self>, site: Rc<Site>) -> Rc<Served> {
        Rc::new(Served {
            site: RefCell::new(site),
            worker: Rc::clone(self),
            closing: Cell::new(false),
            told: Notify::new(),
        })
    }

    /// Takes connections from these, and from none of those that are gone.
    fn listen(&self, served: &Rc<Served>, before: Listening, wanted: &[Listener]) -> Listening {
        let (mut stays, gone): (Listening, Listening) = before
            .into_iter()
            .partition(|(listener, _)| wanted.iter().any(|wanted| wanted.is(listener)));
        gone.into_iter().for_each(|(_, task)| task.abort());
        for listener in wanted {
            if stays.iter().any(|(known, _)| known.is(listener)) {
                continue;
            }
            let accepting = accept::run(listener.clone(), self.place, Rc::clone(served));
            stays.push((listener.clone(), tokio::task::spawn_local(accepting)));
        }
        stays
    }
}

fn end(served: &Served, listening: Listening) {
    listening.into_iter().for_each(|(_, task)| task.abort());
    served.close();
}
