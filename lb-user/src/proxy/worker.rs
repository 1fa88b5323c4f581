//! A thread of the proxy: the services as it serves them, its pools, and its clients.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::accept;
use super::challenges::Answers;
use super::client::Client;
use super::fault::Fault;
use super::http1::{Known, RequestHead};
use super::log::{Entry, Request, Sink, TlsFacts, Version};
use super::record::Record;
use super::shared::Common;
use super::site::Site;
use super::snapshot::{Listener, Snapshot, patience as patience_of};
use super::upstream::{Plan, Pool};

/// How often lines of logs are handed on that have not been yet.
const FLUSH: Duration = Duration::from_millis(200);

/// How often connections are looked through that idle, in times of [`FLUSH`]: each costs a call.
const TIDY: u32 = 25;

/// A service as a thread serves it, whatever becomes of its settings meanwhile.
#[derive(Debug)]
pub(super) struct Served {
    site: RefCell<Rc<Site>>,
    /// Its access log, where it has one.
    sink: RefCell<Option<Sink>>,
    worker: Rc<Worker>,
    closing: Cell<bool>,
    told: Notify,
}

impl Served {
    /// How it is served now.
    #[must_use]
    pub(super) fn site(&self) -> Rc<Site> {
        Rc::clone(&self.site.borrow())
    }

    /// What authorities are shown that ask whose a name is.
    #[must_use]
    pub(super) fn answers(&self) -> Arc<Answers> {
        self.worker.common.answers()
    }

    /// Does it come to its end? Requests under way are finished, and no new ones begun.
    #[must_use]
    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Waits until it does.
    pub(super) async fn closing(&self) {
        loop {
            let mut told = std::pin::pin!(self.told.notified());
            told.as_mut().enable();
            if self.closing.get() {
                return;
            }
            told.await;
        }
    }

    /// Says whether it does. Connections that were told once end, whatever is said later.
    fn set_closing(&self, closing: bool) {
        self.closing.set(closing);
        if closing {
            self.told.notify_waiters();
        }
    }

    /// A connection of a client, until this is dropped.
    #[must_use]
    pub(super) fn open(self: &Rc<Self>) -> Open {
        self.worker.connections.set(self.worker.connections.get() + 1);
        let late = self.is_closing();
        let traffic = &self.site.borrow().traffic;
        traffic.connections.fetch_add(1, Relaxed);
        traffic.late.fetch_add(late.into(), Relaxed);
        Open {
            served: Rc::clone(self),
            late,
        }
    }

    /// Part of a request's name that no other request of this process has.
    #[must_use]
    pub(super) fn number(&self) -> (u64, u64) {
        let number = self.worker.numbers.get();
        self.worker.numbers.set(number.wrapping_add(1));
        (self.worker.chance, number)
    }

    /// A request is over: counts and logs it. `version`: 0 for HTTP/1, 1 for HTTP/2.
    pub(super) fn finish(
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
        traffic.sent.fetch_add(record.sent + record.sent_head, Relaxed);
        let took = record.begun.elapsed();
        traffic
            .latency
            .observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if let Some(sink) = &mut *self.sink.borrow_mut() {
            sink.write(&entry(site, client, (head, request), record, (took, version)));
        }
    }
}

/// A connection that counts.
#[derive(Debug)]
pub(super) struct Open {
    served: Rc<Served>,
    /// It was opened when the service was closing already.
    late: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        let worker = &self.served.worker;
        let traffic = &self.served.site.borrow().traffic;
        traffic.late.fetch_sub(self.late.into(), Relaxed);
        traffic.connections.fetch_sub(1, Relaxed);
        worker.connections.set(worker.connections.get() - 1);
        if worker.connections.get() == 0 {
            worker.empty.notify_waiters();
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Worker {
    place: usize,
    common: Arc<Common>,
    services: RefCell<Services>,
    pools: RefCell<BTreeMap<Arc<str>, Rc<Pool>>>,
    connections: Cell<usize>,
    empty: Notify,
    numbers: Cell<u64>,
    chance: u64,
}

/// By name, and who takes connections for each.
type Services = BTreeMap<Arc<str>, (Rc<Served>, Listening)>;

/// The tasks that take connections.
type Listening = Vec<(Listener, JoinHandle<()>)>;

impl Worker {
    /// The thread of this number.
    #[must_use]
    pub(super) fn new(place: usize, common: Arc<Common>, chance: u64) -> Rc<Self> {
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
    pub(super) async fn run(self: Rc<Self>, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let mut flush = interval(FLUSH);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flushed = 0u32;
        let mut patience = Duration::ZERO;
        let mut finishing = None;
        snapshots.mark_changed();
        loop {
            tokio::select! {
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let snapshot = Arc::clone(&snapshots.borrow_and_update());
                    self.take(&snapshot);
                    patience = patience_of(&snapshot.upstreams.config);
                    finishing = snapshot.finishing.then(|| finishing.unwrap_or_else(Instant::now));
                }
                _ = flush.tick() => {
                    self.flush();
                    flushed = flushed.wrapping_add(1);
                    if flushed.is_multiple_of(TIDY) {
                        self.pools.borrow().values().for_each(|pool| pool.tidy());
                    }
                }
            }
        }
        for (_, (served, listening)) in std::mem::take(&mut *self.services.borrow_mut()) {
            end(&served, listening);
        }
        // With it goes the last hold on what listens: the kernel takes nobody more for whom nobody is there.
        drop(snapshots);
        // What is not through by then is cut off. It counts from when they were told.
        let spent = finishing.map_or(Duration::ZERO, |since: Instant| since.elapsed());
        let _ = timeout(patience.saturating_sub(spent), self.drained()).await;
    }

    fn flush(&self) {
        for (served, _) in self.services.borrow().values() {
            if let Some(sink) = &mut *served.sink.borrow_mut() {
                sink.flush();
            }
        }
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
        for service in &config.services {
            let Some(members) = snapshot.upstreams.pools.get(&service.name) else {
                continue;
            };
            let plan = Plan {
                service,
                members,
                means: snapshot.means(service),
            };
            let chance = self.chance ^ pools.len() as u64;
            pools
                .entry(Arc::clone(&service.name))
                .or_insert_with(|| Rc::new(Pool::new(&plan, &self.common, chance)))
                .change(&plan, &self.common.traffic);
        }
        pools.retain(|name, _| snapshot.upstreams.pools.contains_key(name));
        let mut services = self.services.borrow_mut();
        let mut before = std::mem::take(&mut *services);
        for service in &config.services {
            let Some((site, listeners)) = snapshot.site(service, &pools, &self.common) else {
                continue;
            };
            let (served, listening) = before
                .remove(&service.name)
                .unwrap_or_else(|| (self.serve(site.clone()), Vec::new()));
            let before = served.site.replace(Rc::clone(&site));
            if before.proxy.http.access_log != site.proxy.http.access_log {
                served.sink.replace(self.sink(&site));
            }
            served.set_closing(snapshot.finishing);
            let listening = self.listen(&served, listening, listeners);
            services.insert(Arc::clone(&service.name), (served, listening));
        }
        for (served, listening) in before.into_values() {
            end(&served, listening);
        }
    }

    fn serve(self: &Rc<Self>, site: Rc<Site>) -> Rc<Served> {
        Rc::new(Served {
            sink: RefCell::new(self.sink(&site)),
            site: RefCell::new(site),
            worker: Rc::clone(self),
            closing: Cell::new(false),
            told: Notify::new(),
        })
    }

    fn sink(&self, site: &Site) -> Option<Sink> {
        let log = site.proxy.http.access_log.clone()?;
        Some(self.common.logs.sink(Arc::new(log), Arc::clone(&site.traffic)))
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

/// What a log knows of a request.
fn entry<'a>(
    site: &'a Site,
    client: &'a Client,
    (head, request): (&'a [u8], &'a RequestHead),
    record: &'a Record,
    (total, version): (Duration, usize),
) -> Entry<'a> {
    #[expect(clippy::disallowed_methods, reason = "it is shown, and nothing follows from it")]
    let now = SystemTime::now();
    let value = |known| request.fields.find(known).map(|field| field.value.of(head));
    let some = |text: &'a [u8]| (!text.is_empty()).then_some(text);
    Entry {
        client: SocketAddr::new(record.ip, client.address.port()),
        time: now.checked_sub(total).unwrap_or(now),
        request: (!head.is_empty()).then(|| Request {
            method: request.method.of(head),
            target: request.target.of(head),
            version: match (version, request.is_1_1) {
                (1, _) => Version::H2,
                (_, true) => Version::H1_1,
                (_, false) => Version::H1_0,
            },
        }),
        status: (record.status != Fault::GONE).then_some(record.status),
        body: record.sent,
        referer: value(Known::Referer),
        user_agent: value(Known::UserAgent),
        host: some(request.host.of(head)),
        service: &site.name,
        backend: record.backend.as_ref().map(|(name, address)| (&**name, *address)),
        total,
        wait: record.waited,
        connect: record.connect,
        first_byte: record
            .answered
            .zip(record.connected)
            .map(|(head, from)| head.saturating_sub(from)),
        received: record.received + head.len() as u64,
        sent: record.sent + record.sent_head,
        tls: client.tls.as_ref().map(|tls| TlsFacts {
            version: tls.version,
            cipher: tls.cipher,
            server_name: tls.server_name.as_deref(),
        }),
        request_id: record.id.as_deref().map(str::as_bytes),
        retries: record.retries.into(),
        fault: record.fault.as_deref(),
    }
}

fn end(served: &Served, listening: Listening) {
    listening.into_iter().for_each(|(_, task)| task.abort());
    served.set_closing(true);
}
