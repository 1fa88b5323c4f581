//! Next hops of backends: which interface, and which MAC address, packets for them go to.
//!
//! [`run`] asks the kernel for route and neighbour of each target, tells what it finds, and tells again whenever that
//! changes. It listens for changes; every [`SWEEP`] it looks at everything again, in case it missed one. Failures end
//! nothing: they become [`NextHopState::Pending`] with the reason, and the next look may be luckier.
//!
//! Neighbours are entered as managed: the kernel then keeps them resolved although it sends them nothing itself (the
//! packets are XDP's), and tries again by itself when one doesn't answer. Entries that an administrator fixed are used
//! as they are. What was entered is deleted when no target needs it any more.

mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::sync::mpsc::{self, PermitIterator};
use tokio::sync::watch;
use tokio::time::{self, Instant, MissedTickBehavior};

use super::neighbour::{self, Ask, Key, Neighbour};
use super::route::Route;
use super::{Error, Events, Net};
use crate::model::{NextHopState, chain};
use seen::{Needs, Seen};

/// 10 s; bounds how long a change can go unseen whose message was lost.
const SWEEP: Duration = Duration::from_secs(10);

/// 50 ms between looks at everything, so that a routing daemon that rewrites its table costs little.
const BREATH: Duration = Duration::from_millis(50);

/// Targets that are looked at together: their questions are with the kernel at the same time, since on a node that is busy
/// each answer waits for its turn.
const TOGETHER: usize = 64;

/// What can change the way to a target.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// Resolves `targets` in the namespace of `net`, and says on `out` what became of each: once when it is new, then at
/// each change. Nothing is said of a target that left. When `out` is full, it waits, and changes coalesce. Ends when
/// either channel is closed, and then takes back the neighbour entries it made.
pub async fn run(net: Net, targets: watch::Receiver<BTreeSet<IpAddr>>, out: mpsc::Sender<(IpAddr, NextHopState)>) {
    drive(net, Means::default(), targets, out).await;
}

/// What a resolver has to work with. Kernels differ in it, and messages get lost; the sweep makes up for either.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// Between two looks at everything.
    pub sweep: Duration,
    /// The kernel tells of changes.
    pub events: bool,
    /// The kernel is asked to manage neighbours; it may still not know how to.
    pub managed: bool,
}

impl Default for Means {
    fn default() -> Self {
        Self {
            sweep: SWEEP,
            events: true,
            managed: true,
        }
    }
}

/// [`run`] with these means.
pub async fn drive(
    net: Net,
    means: Means,
    mut targets: watch::Receiver<BTreeSet<IpAddr>>,
    out: mpsc::Sender<(IpAddr, NextHopState)>,
) {
    let mut resolver = Resolver::new(net, means);
    let mut sweep = time::interval(means.sweep);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut events = resolver.listen();
    targets.mark_changed();
    loop {
        tokio::select! {
            changed = targets.changed() => {
                if changed.is_err() {
                    break;
                }
                let wanted = targets.borrow_and_update().clone();
                resolver.aim(&wanted).await;
            }
            _ = sweep.tick() => {
                events = events.or_else(|| resolver.listen());
                resolver.renew().await;
                resolver.everything_changed();
            }
            event = async { events.as_mut()?.next().await }, if events.is_some() => match event {
                Some(event) => {
                    resolver.heard(&event);
                    // Whatever else is there already; one look answers all of it.
                    while let Some(Some(event)) = events.as_mut().and_then(|events| events.next().now_or_never()) {
                        resolver.heard(&event);
                    }
                }
                None => events = None, // the next sweep opens another
            },
            () = time::sleep_until(resolver.full_look), if resolver.all_stale => resolver.everything_is_due(),
            // First the places in the queue, then the looks: what is told is never older than the wait.
            places = out.reserve_many(resolver.due.len().min(TOGETHER).min(out.max_capacity())),
                if !resolver.due.is_empty() => match places {
                    Ok(places) => resolver.tell_some(places).await,
                    Err(_) => break,
                },
        }
    }
    resolver.aim(&BTreeSet::new()).await;
}

struct Resolver {
    net: Net,
    means: Means,
    /// Targets, and what was told of each last.
    targets: BTreeMap<IpAddr, Option<NextHopState>>,
    /// Targets to look at again.
    due: BTreeSet<IpAddr>,
    /// The one that was looked at last: they take turns, so that those which change all the time leave the others theirs.
    last: Option<IpAddr>,
    /// Neighbour entries, as far as the last look at each target got.
    needs: Needs,
    /// What the looks since the last message have seen.
    seen: Seen,
    /// Everything is to be looked at again, at `full_look`.
    all_stale: bool,
    full_look: Instant,
    /// Neighbour entries made here.
    entered: BTreeMap<Key, Ask>,
}

impl Resolver {
    fn new(net: Net, means: Means) -> Self {
        Self {
            net,
            means,
            targets: BTreeMap::new(),
            due: BTreeSet::new(),
            last: None,
            needs: Needs::default(),
            seen: Seen::default(),
            all_stale: false,
            full_look: Instant::now(),
            entered: BTreeMap::new(),
        }
    }

    fn listen(&self) -> Option<Events> {
        if !self.means.events {
            return None;
        }
        self.net
            .listen(&GROUPS)
            .inspect_err(|error| {
                tracing::warn!(%error, "cannot listen for changes of routes and neighbours; looking now and then");
            })
            .ok()
    }

    /// Takes the new set of targets.
    async fn aim(&mut self, wanted: &BTreeSet<IpAddr>) {
        self.due.retain(|ip| wanted.contains(ip));
        let gone: Vec<IpAddr> = self.targets.keys().copied().filter(|ip| !wanted.contains(ip)).collect();
        for ip in gone {
            self.targets.remove(&ip);
            self.need(ip, None).await;
        }
        for &ip in wanted {
            self.targets.entry(ip).or_insert_with(|| {
                self.due.insert(ip);
                None
            });
        }
    }

    /// A target needs this neighbour entry from now on. The one that it needed is deleted when it was made here and no
    /// other target needs it.
    async fn need(&mut self, target: IpAddr, entry: Option<Key>) {
        let unneeded = self.needs.set(target, entry);
        let Some(key) = unneeded.filter(|key| self.entered.remove(key).is_some()) else {
            return;
        };
        if let Err(error) = self.net.forget(key).await {
            tracing::warn!(
                error = %chain(&error),
                "a neighbour entry stays behind"
            );
        }
    }

    /// Where the kernel does not manage entries, uses them, so that it looks after them.
    async fn renew(&mut self) {
        self.seen.forget();
        for (&key, &ask) in &self.entered {
            if ask == Ask::Once
                && let Err(error) = self.net.resolve(key, Ask::Once).await
            {
                tracing::debug!(error = %chain(&error), "cannot renew a neighbour");
            }
        }
    }

    fn everything_changed(&mut self) {
        self.all_stale = true;
    }

    fn everything_is_due(&mut self) {
        self.all_stale = false;
        self.full_look = Instant::now() + BREATH;
        self.seen.forget();
        self.due.extend(self.targets.keys().copied());
    }

    /// Notes what a message of the kernel may have changed.
    fn heard(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) {
        use RouteNetlinkMessage::{DelNeighbour, NewNeighbour};
        self.seen.forget();
        match &message.payload {
            NetlinkPayload::InnerMessage(NewNeighbour(message) | DelNeighbour(message)) => {
                if let Some(key) = neighbour::key(message) {
                    self.due.extend(self.needs.of(key));
                }
            }
            // Routes, addresses, links; and messages that were lost.
            _ => self.everything_changed(),
        }
    }

    /// Looks at as many of the targets that are due as there are places, and tells of those that have changed.
    async fn tell_some(&mut self, mut places: PermitIterator<'_, (IpAddr, NextHopState)>) {
        let some: Vec<IpAddr> = std::iter::from_fn(|| self.next_due()).take(places.len()).collect();
        let routes = join_all(some.iter().map(|&ip| self.net.route(ip))).await;
        for (ip, route) in some.into_iter().zip(routes) {
            let (hop, state) = self.look(ip, route).await;
            self.need(ip, hop).await;
            let told = self.targets.get_mut(&ip);
            if let Some(told) = told.filter(|told| told.as_ref() != Some(&state)) {
                *told = Some(state.clone());
                if let Some(place) = places.next() {
                    place.send((ip, state));
                }
            }
        }
        if self.due.is_empty() {
            // What is due later wants to see what is then.
            self.seen.forget();
        }
    }

    /// Whose turn it is.
    fn next_due(&mut self) -> Option<IpAddr> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.due.range((after, Bound::Unbounded)).next();
        let next = next.or_else(|| self.due.first()).copied()?;
        self.due.remove(&next);
        self.last = Some(next);
        Some(next)
    }

    /// The way to a target, as the kernel sees it now.
    async fn look(&mut self, ip: IpAddr, route: Result<Route, Error>) -> (Option<Key>, NextHopState) {
        let mut hop = None;
        let state = match self.try_look(ip, route, &mut hop).await {
            Ok(state) => state,
            Err(error) => NextHopState::Pending(chain(&error)),
        };
        (hop, state)
    }

    async fn try_look(
        &mut self,
        ip: IpAddr,
        route: Result<Route, Error>,
        hop: &mut Option<Key>,
    ) -> Result<NextHopState, Error> {
        let route = route?;
        let link = match route.interface() {
            Some(index) => self.seen.link(&self.net, index).await?,
            None => None,
        };
        let way = match route.way(ip, link) {
            Ok(way) => way,
            Err(reason) => return Ok(NextHopState::Unresolved(reason)),
        };
        let key = way.key;
        *hop = Some(key);
        let entry = self.seen.neighbour(&self.net, key).await?;
        let entry = self.enter(key, entry).await?;
        Ok(way.state(ip, entry))
    }

    /// Sees to it that the kernel keeps an entry resolved; returns it as it is then.
    async fn enter(&mut self, key: Key, entry: Option<Neighbour>) -> Result<Option<Neighbour>, Error> {
        match care(entry, self.entered.get(&key).copied()) {
            Care::LeaveAlone => {
                self.entered.remove(&key);
                return Ok(entry);
            }
            Care::Nothing => return Ok(entry),
            Care::Ask => {}
        }
        if self.means.managed {
            // Kernels before 5.16 refuse the unknown flag, or pass over it.
            match self.net.resolve(key, Ask::Managed).await {
                Ok(()) => {
                    let entry = self.seen.neighbour_now(&self.net, key).await?;
                    if entry.is_some_and(|entry| entry.managed) {
                        self.entered.insert(key, Ask::Managed);
                        return Ok(entry);
                    }
                }
                Err(refused) if refused.errno() == Some(nix::errno::Errno::EINVAL) => {}
                Err(refused) => return Err(refused),
            }
        }
        self.net.resolve(key, Ask::Once).await?;
        self.entered.insert(key, Ask::Once);
        self.seen.neighbour_now(&self.net, key).await
    }
}

/// What is to be done about an entry so that it stays resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// An administrator fixed it; it is not ours, and will not be deleted as ours.
    LeaveAlone,
    /// Done already.
    Nothing,
    /// Ask the kernel to resolve it.
    Ask,
}

/// By what the table holds, and by how it was `asked` for earlier.
fn care(entry: Option<Neighbour>, asked: Option<Ask>) -> Care {
    match (entry, asked) {
        (Some(entry), _) if entry.fixed => Care::LeaveAlone,
        (Some(entry), Some(Ask::Managed)) if entry.managed => Care::Nothing,
        // It is renewed at every sweep.
        (Some(_), Some(Ask::Once)) => Care::Nothing,
        // New, or gone, or made anew by somebody else.
        (Some(_) | None, _) => Care::Ask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_asked_for_until_somebody_keeps_it() {
        let entry = Neighbour {
            mac: None,
            failed: false,
            fixed: false,
            managed: false,
        };
        let managed = Neighbour { managed: true, ..entry };
        let fixed = Neighbour { fixed: true, ..entry };
        for (found, asked, expected) in [
            (None, None, Care::Ask),
            (None, Some(Ask::Managed), Care::Ask),
            (None, Some(Ask::Once), Care::Ask),
            // The kernel made it for somebody's packet, and may drop it again.
            (Some(entry), None, Care::Ask),
            (Some(entry), Some(Ask::Managed), Care::Ask),
            (Some(entry), Some(Ask::Once), Care::Nothing),
            // Managed, but not known to be ours: after a restart.
            (Some(managed), None, Care::Ask),
            (Some(managed), Some(Ask::Managed), Care::Nothing),
            (Some(managed), Some(Ask::Once), Care::Nothing),
            (Some(fixed), None, Care::LeaveAlone),
            (Some(fixed), Some(Ask::Managed), Care::LeaveAlone),
            (Some(fixed), Some(Ask::Once), Care::LeaveAlone),
        ] {
            assert_eq!(care(found, asked), expected, "{found:?} {asked:?}");
        }
    }
}
