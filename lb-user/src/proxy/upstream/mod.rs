//! The backends of a service or pool, as one thread reaches them: who serves is chosen, connections are kept and made, and
//! requests wait while every backend has as many as it may.

pub(super) mod backend;
pub(super) mod connection;
pub(super) mod dial;
pub(super) mod http2;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout_at;

pub(super) use backend::Backend;
pub(super) use connection::Connection;

use self::dial::Means;
use super::choose::{self, Ask, Choice, Lease, Outcome, Settings};
use super::fault::Fault;
use super::shared::Common;
use crate::model::proxy::{HttpVersion, Proxy, Queue};
use crate::model::traffic::{PoolMember, ServiceTraffic, Traffic};
use crate::model::{MemberKey, Service};

/// What it takes to make or change a pool.
#[derive(Debug)]
pub(super) struct Plan<'p> {
    /// The service or pool.
    pub service: &'p Service,
    /// Its backends.
    pub members: &'p [PoolMember],
    /// How they are reached.
    pub means: Means,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pool {
    choose: RefCell<choose::Pool>,
    backends: RefCell<BTreeMap<SocketAddr, Rc<Backend>>>,
    rules: RefCell<Rules>,
    traffic: Arc<ServiceTraffic>,
    /// Told when a place has become free, on whatever thread, while anybody waits.
    free: Arc<Notify>,
}

#[derive(Clone, Debug)]
struct Rules {
    version: HttpVersion,
    means: Means,
    queue: Queue,
    connect: Duration,
    idle: Duration,
}

/// A backend that a request may be sent to.
#[derive(Debug)]
pub(super) struct Attached {
    /// Its place there.
    pub lease: Lease,
    /// The backend.
    pub backend: Rc<Backend>,
    /// Behind the lease: fields are dropped in their order, and the place is free when this tells so.
    _freed: Freed,
}

/// Tells one who waits for a place, when this is dropped: also where a request is given up in the middle.
#[derive(Debug)]
struct Freed {
    traffic: Arc<ServiceTraffic>,
    free: Arc<Notify>,
}

impl Drop for Freed {
    fn drop(&mut self) {
        if self.traffic.waiting.load(Relaxed) > 0 {
            self.free.notify_one();
        }
    }
}

/// How a request travels.
#[derive(Debug)]
pub(super) enum Transport {
    /// On a connection of its own.
    Http1(Box<Connection>),
    /// Beside others.
    Http2(http2::Place),
}

impl Transport {
    /// Was the connection there before?
    #[must_use]
    pub(super) const fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.reused,
            Self::Http2(place) => place.reused,
        }
    }
}

impl Pool {
    /// One whose backends come with the first [`Self::change`]. `chance` is different for each thread.
    #[must_use]
    pub(super) fn new(plan: &Plan<'_>, common: &Common, chance: u64) -> Self {
        let name = &plan.service.name;
        let shared = common.pools.service(name);
        Self {
            choose: RefCell::new(choose::Pool::new(shared, Settings::of(plan.service), chance)),
            backends: RefCell::default(),
            rules: RefCell::new(Rules::of(plan)),
            traffic: common.traffic.service(name),
            free: common.free_of(name),
        }
    }

    /// From now on it is so. Whoever stays keeps its connections, unless they are made otherwise now.
    pub(super) fn change(&self, plan: &Plan<'_>, traffic: &Traffic) {
        let (settings, rules) = (Settings::of(plan.service), Rules::of(plan));
        let same_way = rules.speaks_as(&self.rules.borrow());
        self.rules.replace(rules);
        // Of a thousand pools one changes when a backend is found down.
        if same_way && self.choose.borrow().is(settings, plan.members) {
            return;
        }
        let of = |key: &MemberKey| traffic.backend(key);
        self.choose
            .borrow_mut()
            .rebuild(settings, plan.members, of, Instant::now());
        let mut backends = self.backends.borrow_mut();
        let mut before = std::mem::take(&mut *backends);
        for member in plan.members {
            let known = before
                .remove(&member.address)
                .filter(|known| same_way && known.host == member.host);
            let backend = known.unwrap_or_else(|| Rc::new(Backend::new(member, traffic.backend(&member.key))));
            backend.cut(member.cut);
            backends.insert(member.address, backend);
        }
        // Those who are gone had nothing under way, or their drain is over.
        let gone = |address: &SocketAddr| !plan.members.iter().any(|member| member.address == *address);
        before
            .iter()
            .filter(|(address, _)| gone(address))
            .for_each(|(_, backend)| backend.cut(true));
        // There may be more places now.
        self.free.notify_waiters();
    }

    /// Closes what idles for too long.
    pub(super) fn tidy(&self) {
        let idle = self.rules.borrow().idle;
        for backend in self.backends.borrow().values() {
            backend.tidy(idle);
        }
        self.choose.borrow_mut().tick(Instant::now());
    }

    /// A backend for a request; `None` where all have as many as they may.
    ///
    /// # Errors
    /// [`Fault::Nobody`].
    pub(super) fn try_attach(&self, ask: &Ask<'_>) -> Result<Option<Attached>, Fault> {
        match self.choose.borrow_mut().choose(ask) {
            Choice::Full => Ok(None),
            Choice::Nobody => Err(Fault::Nobody),
            Choice::Backend(lease) => {
                let backend = self.backends.borrow().get(&lease.member().address).map(Rc::clone);
                let backend = backend.ok_or(Fault::Nobody)?;
                Ok(Some(Attached {
                    lease,
                    backend,
                    _freed: Freed {
                        traffic: Arc::clone(&self.traffic),
                        free: Arc::clone(&self.free),
                    },
                }))
            }
        }
    }

    /// The same for a request that waits for one, as long as it may.
    ///
    /// # Errors
    /// [`Fault::Nobody`] and [`Fault::Full`].
    pub(super) async fn wait(&self, ask: &Ask<'_>) -> Result<Attached, Fault> {
        let queue = self.rules.borrow().queue;
        let waiting = &self.traffic.waiting;
        if waiting.fetch_add(1, Relaxed) >= queue.length {
            waiting.fetch_sub(1, Relaxed);
            return Err(Fault::Full);
        }
        let _waits = Waits(&self.traffic);
        self.traffic.queued.fetch_add(1, Relaxed);
        let end = tokio::time::Instant::now() + queue.timeout;
        loop {
            let mut freed = std::pin::pin!(self.free.notified());
            // Whatever becomes free from here on is heard.
            freed.as_mut().enable();
            let ask = Ask {
                now: Instant::now(),
                ..*ask
            };
            if let Some(attached) = self.try_attach(&ask)? {
                return Ok(attached);
            }
            timeout_at(end, freed).await.map_err(|_| Fault::Full)?;
        }
    }

    /// A way to the backend: a connection that idles, or a new one.
    ///
    /// # Errors
    /// [`Fault::Connect`] and [`Fault::ConnectSlow`].
    pub(super) async fn connect(&self, to: &Attached, client: (SocketAddr, SocketAddr)) -> Result<Transport, Fault> {
        let backend = &to.backend;
        let rules = self.rules.borrow().clone();
        match rules.version {
            HttpVersion::H1 if rules.means.proxy_protocol.is_none() => {
                if let Some(connection) = backend.take(rules.idle) {
                    return Ok(Transport::Http1(Box::new(connection)));
                }
            }
            HttpVersion::H1 => {}
            HttpVersion::H2 => {
                if let Some(place) = backend.shared.borrow().iter().find_map(http2::Connection::place) {
                    return Ok(Transport::Http2(place));
                }
            }
        }
        let making = async {
            let stream = dial::dial(backend, &rules.means, client).await?;
            match rules.version {
                HttpVersion::H1 => Ok(Transport::Http1(Box::new(Connection::new(stream, backend)))),
                HttpVersion::H2 => {
                    let connection = http2::Connection::begin(stream, backend).await?;
                    let mut place = connection.place().ok_or(std::io::ErrorKind::ConnectionReset)?;
                    place.reused = false;
                    if rules.means.proxy_protocol.is_none() {
                        backend.shared.borrow_mut().push(connection);
                    }
                    Ok(Transport::Http2(place))
                }
            }
        };
        // It is rare, and takes much memory.
        let made = tokio::time::timeout(rules.connect, Box::pin(making)).await;
        connection::count(&backend.traffic, matches!(made, Ok(Ok(_))));
        made.map_err(|_| Fault::ConnectSlow)?.map_err(Fault::Connect)
    }

    /// A connection has served its request to the end, and can serve another.
    pub(super) fn keep(&self, to: &Attached, connection: Connection) {
        if self.rules.borrow().means.proxy_protocol.is_none() {
            to.backend.keep(connection);
        }
    }

    /// A request has come to its end.
    pub(super) fn end(&self, to: Attached, outcome: &Outcome) {
        self.choose.borrow_mut().end(to.lease, outcome, Instant::now());
    }

    /// A request has come that is none that is tried again.
    pub(super) fn count_request(&self, now: Instant) {
        self.choose.borrow().request(now);
    }

    /// May a request that failed there go to another, as far as the budget goes? It counts if so.
    #[must_use]
    pub(super) fn may_retry(&self, failed: &Attached, now: Instant) -> bool {
        self.choose.borrow().retry(&failed.lease, now)
    }

    /// The response's head has come, so long after the request was sent.
    pub(super) fn answered(&self, by: &Attached, latency: Duration) {
        self.choose.borrow().head(&by.lease, latency, Instant::now());
    }

    /// The backend has reported its idle slots.
    pub(super) fn heartbeat(&self, from: &Attached, value: &[u8], now: Instant) {
        self.choose.borrow().heartbeat(&from.lease, value, now);
    }

    /// Is this how its backends are named? In what they say of themselves.
    #[must_use]
    pub(super) fn names_backend(&self, authority: &[u8]) -> bool {
        let is = |backend: &Rc<Backend>| {
            let own = backend.authority.as_bytes();
            own.eq_ignore_ascii_case(authority)
                || own
                    .strip_suffix(b":80")
                    .is_some_and(|host| host.eq_ignore_ascii_case(authority))
                || own
                    .strip_suffix(b":443")
                    .is_some_and(|host| host.eq_ignore_ascii_case(authority))
                || backend.address.to_string().as_bytes() == authority
        };
        self.backends.borrow().values().any(is)
    }
}

impl Rules {
    fn of(plan: &Plan<'_>) -> Self {
        let default = Proxy::default();
        let proxy = plan.service.proxy.as_deref().unwrap_or(&default);
        Self {
            version: proxy.upstream.version,
            means: plan.means.clone(),
            queue: proxy.http.queue,
            connect: proxy.http.timeouts.connect,
            idle: proxy.http.timeouts.idle,
        }
    }

    /// Are connections of one good for the other?
    fn speaks_as(&self, other: &Self) -> bool {
        let tls = |rules: &Self| {
            rules
                .means
                .tls
                .as_ref()
                .map(|(config, name)| (Arc::as_ptr(config), name.clone()))
        };
        (self.version, self.means.proxy_protocol) == (other.version, other.means.proxy_protocol)
            && tls(self) == tls(other)
    }
}

/// Somebody waits, until this is dropped.
struct Waits<'t>(&'t ServiceTraffic);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}
