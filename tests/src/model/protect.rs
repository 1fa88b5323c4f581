//! What protects services, said a second time: from the file, with searches through lists, and with buckets that are known
//! as exactly as the program's clock is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;

use lb_common::nat::NatKey;
use lb_common::protect::{ADDRESSES, FIRST_REASON, Refusals};
use lb_common::stats::DropReason;
use lb_user::model::protection::BOGONS;
use lb_user::model::{Config, Enforcement, Limit, Lists, Prefix, Protection, ServiceProtection};

use super::craft::Cookie;
use super::{After, Packet, Part, Segment};

/// How late the program's clock may be, in nanoseconds: two ticks of the slowest kernel.
const LATE: u64 = 20_000_000;

/// What a source may be ahead at least: a tick.
const TICK: u64 = 10_000_000;

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    /// Of all, counted over all services.
    All,
    /// Of the service at this place.
    Service(u32),
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Counted {
    Connections,
    Packets,
    Icmp,
    /// SYNs that are left to the kernel.
    Syns,
    /// SYNs that whoever listens at this port gets now and then.
    Knocks(u16),
}

/// A bucket, and what those who share it have in common.
type Bucket = (Owner, Counted, u128);

/// A limit, in nanoseconds: for each, and by how much one may be ahead.
#[derive(Clone, Copy, Debug)]
struct Pace {
    interval: u64,
    tolerance: u64,
}

/// A listener gets one SYN in 4 s.
const KNOCKS: Pace = Pace {
    interval: 4_000_000_000,
    tolerance: 0,
};

impl Pace {
    fn of(rate: u32, burst: u32) -> Self {
        let interval = (1e9 / f64::from(rate)).round() as u64;
        Self {
            interval,
            tolerance: (u64::from(burst - 1) * interval).max(TICK),
        }
    }
}

impl From<Limit> for Pace {
    fn from(limit: Limit) -> Self {
        Self::of(limit.rate.get(), limit.burst.get())
    }
}

/// What becomes of a packet at the rungs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It goes on.
    Admitted,
    /// It is dropped.
    Refused(DropReason),
    /// It would be refused or counted, but is not for this node.
    Stray,
    /// A cookie is the answer.
    Answered,
}

/// What services are protected by, and what is remembered of sources.
#[derive(Clone, Debug)]
pub(super) struct Protected {
    all: Option<Protection>,
    services: HashMap<u32, ServiceProtection>,
    /// When each has nothing left to make up for: not before, and not after.
    buckets: HashMap<Bucket, (u64, u64)>,
    /// What has been refused, by place.
    pub(super) refusals: BTreeMap<u32, Refusals>,
    /// Those that were given out.
    pub(super) cookies: Vec<Cookie>,
    /// By place and flow, less the number of the SYN, which is part of each.
    given: HashMap<(u32, NatKey), Vec<u32>>,
    /// Services that have given one out: within the two minutes that they are good, which no test takes.
    giving: HashSet<u32>,
}

impl Protected {
    /// What a file says, whose services are at these places; `None` if nothing.
    pub(super) fn of(config: &Config, place: impl Fn(&lb_user::model::Service) -> u32) -> Option<Self> {
        let own = |service: &lb_user::model::Service| Some((place(service), service.protection.clone()?));
        let services: HashMap<_, _> = config.services.iter().filter_map(own).collect();
        if config.protection.is_none() && services.is_empty() {
            return None;
        }
        Some(Self {
            all: config.protection.clone(),
            services,
            buckets: HashMap::new(),
            refusals: BTreeMap::new(),
            cookies: Vec::new(),
            given: HashMap::new(),
            giving: HashSet::new(),
        })
    }

    fn all(&self) -> Protection {
        let nothing = Protection {
            malformed: false,
            ..Protection::default()
        };
        self.all.clone().unwrap_or(nothing)
    }

    /// A packet to the service at this place.
    pub(super) fn service(
        &mut self,
        place: u32,
        packet: &Packet,
        segment: &Segment,
        stray: bool,
        after: &dyn After,
    ) -> Judged {
        let all = self.all();
        let own = self.services.get(&place);
        // A table of its own, if only an empty one, has what an empty table of all has.
        let malformed = all.malformed || self.all.is_none() && own.is_some();
        let own = own.cloned().unwrap_or_default();
        let lists = [&all.lists, &own.lists];
        let mut reason = segment.fault(packet).filter(|_| malformed);
        reason = reason.or_else(|| refused(packet, all.bogons, &lists));
        let limits = [
            (
                Counted::Packets,
                DropReason::PacketRate,
                own.limits.packets,
                all.limits.packets,
            ),
            (
                Counted::Connections,
                DropReason::ConnectionRate,
                own.limits.connections,
                all.limits.connections,
            ),
        ];
        if reason.is_none() && !is_exempt(packet, &lists) {
            if stray && limits.iter().any(|(_, _, own, all)| own.or(*all).is_some()) {
                return Judged::Stray;
            }
            for (counted, excess, own, all) in limits {
                if counted == Counted::Connections && !segment.opens || reason.is_some() {
                    continue;
                }
                let all = all.map(|limit| (Owner::All, limit));
                let Some((owner, limit)) = own.map(|limit| (Owner::Service(place), limit)).or(all) else {
                    continue;
                };
                let bucket = (owner, counted, shared(packet, limit));
                let admitted = || !self.has_counted(place, excess, after);
                let admitted = self.guess(bucket, limit.into(), after).unwrap_or_else(admitted);
                self.take(bucket, limit.into(), admitted, after);
                reason = (!admitted).then_some(excess);
            }
        }
        self.judged(place, own.enforcement, reason, stray)
    }

    /// A packet to a VIP that is Fulcrum's, and to none of its services: of ICMP, or to a port that nobody declares.
    pub(super) fn address(&mut self, packet: &Packet, after: &dyn After) -> Judged {
        let all = self.all();
        let lists = [&all.lists];
        let mut reason = refused(packet, all.bogons, &lists);
        let limit = all.icmp.filter(|_| !packet.has_ports() && !is_exempt(packet, &lists));
        if let Some(limit) = limit.filter(|_| reason.is_none()) {
            let bucket = (Owner::All, Counted::Icmp, shared(packet, limit));
            let admitted = || !self.has_counted(ADDRESSES, DropReason::IcmpRate, after);
            let admitted = self.guess(bucket, limit.into(), after).unwrap_or_else(admitted);
            self.take(bucket, limit.into(), admitted, after);
            reason = (!admitted).then_some(DropReason::IcmpRate);
        }
        self.judged(ADDRESSES, None, reason, false)
    }

    /// A packet to a service of the proxy, which the rungs before have admitted.
    pub(super) fn cookie(
        &mut self,
        place: u32,
        packet: &Packet,
        key: &NatKey,
        segment: &Segment,
        after: &dyn After,
    ) -> Judged {
        let all = self.all();
        let own = self.services.get(&place).cloned().unwrap_or_default();
        let (Some(cookies), Some(header)) = (own.syn_cookies.or(all.syn_cookies), segment.header) else {
            return Judged::Admitted;
        };
        if packet.part != Part::Whole {
            return Judged::Admitted;
        }
        if !segment.opens {
            if !self.giving.contains(&place) {
                return Judged::Admitted;
            }
            let said = header.acknowledged.wrapping_sub(header.number);
            let given = self.given.get(&(place, *key)).map_or(&[][..], Vec::as_slice);
            let is_near = |cookie: &u32| said.wrapping_sub(*cookie).wrapping_add(3) <= 6;
            // What is near is the same with another segment size, if there is one.
            let not_missed = || given.iter().any(is_near) && !self.has_counted(place, DropReason::SynCookie, after);
            if header.acknowledges() && (given.contains(&said) || not_missed()) {
                self.refusals.entry(place).or_default().accepted += 1;
                return Judged::Admitted;
            }
            return self.judged(place, own.enforcement, Some(DropReason::SynCookie), false);
        }
        if own.enforcement.unwrap_or(all.enforcement) == Enforcement::Observe {
            return Judged::Admitted;
        }
        let syn = (Owner::Service(place), Counted::Syns, 0);
        let pace = Pace::of(cookies.above.max(1), (cookies.above / 4).max(1));
        let knock = (
            Owner::All,
            Counted::Knocks(key.ports.destination.host()),
            number(packet.destination),
        );
        let answered = after.refusals(place).answered > self.refusals.entry(place).or_default().answered;
        let spares = match cookies.above {
            0 => Some(false),
            _ => self.guess(syn, pace, after),
        };
        let knocks = self.guess(knock, KNOCKS, after);
        match (
            spares.or(answered.then_some(false)),
            knocks.or(answered.then_some(false)),
        ) {
            (Some(true), _) => self.take(syn, pace, true, after),
            (Some(false), Some(false)) => {
                self.refusals.entry(place).or_default().answered += 1;
                self.giving.insert(place);
                return Judged::Answered;
            }
            (Some(false), _) => self.take(knock, KNOCKS, true, after),
            (None, Some(false)) => self.take(syn, pace, true, after),
            // Which of the two it was shows later.
            (None, _) => {
                self.blur(syn, pace, after);
                self.blur(knock, KNOCKS, after);
            }
        }
        Judged::Admitted
    }

    /// A cookie has been given out.
    pub(super) fn give(&mut self, place: u32, cookie: Cookie) {
        let number = cookie.cookie.wrapping_sub(cookie.number);
        self.given.entry((place, cookie.flow)).or_default().push(number);
        self.cookies.push(cookie);
    }

    /// Counts what is refused for a reason; what becomes of the packet.
    fn judged(&mut self, place: u32, own: Option<Enforcement>, reason: Option<DropReason>, stray: bool) -> Judged {
        let Some(reason) = reason else {
            return Judged::Admitted;
        };
        if stray {
            return Judged::Stray;
        }
        let enforcement = own.unwrap_or(self.all().enforcement);
        let refusals = self.refusals.entry(place).or_default();
        match enforcement {
            Enforcement::Enforce => {
                refusals.refused[index(reason)] += 1;
                Judged::Refused(reason)
            }
            Enforcement::Observe => {
                refusals.observed[index(reason)] += 1;
                Judged::Admitted
            }
        }
    }

    /// Has the program counted one more than the model?
    fn has_counted(&self, place: u32, reason: DropReason, after: &dyn After) -> bool {
        let count = |refusals: &Refusals| refusals.refused[index(reason)] + refusals.observed[index(reason)];
        count(&after.refusals(place)) > self.refusals.get(&place).map_or(0, count)
    }

    /// Is there something left in a bucket? `None` if that depends on what the program's clock has said.
    fn guess(&self, bucket: Bucket, pace: Pace, after: &dyn After) -> Option<bool> {
        let now = clock(after);
        match self.buckets.get(&bucket) {
            Some(&(_, latest)) if latest <= now.start + pace.tolerance => Some(true),
            Some(&(earliest, _)) if earliest > now.end + pace.tolerance => Some(false),
            Some(_) => None,
            None => Some(true),
        }
    }

    /// The program has taken something out, or has found nothing.
    fn take(&mut self, bucket: Bucket, pace: Pace, admitted: bool, after: &dyn After) {
        let now = clock(after);
        let (earliest, latest) = self.buckets.entry(bucket).or_insert((0, 0));
        if admitted {
            *earliest = now.start.max(*earliest) + pace.interval;
            *latest = now.end.max(*latest).min(now.end + pace.tolerance) + pace.interval;
        } else {
            *earliest = (*earliest).max(now.start + pace.tolerance);
        }
    }

    /// It may have taken something out.
    fn blur(&mut self, bucket: Bucket, pace: Pace, after: &dyn After) {
        let earliest = self.buckets.get(&bucket).map_or(0, |&(earliest, _)| earliest);
        self.take(bucket, pace, true, after);
        self.buckets.entry(bucket).and_modify(|bucket| bucket.0 = earliest);
    }
}

/// When the program may have run, as its clock says.
pub(super) fn clock(after: &dyn After) -> Range<u64> {
    let Range { start, end } = after.time();
    start - LATE..end
}

fn index(reason: DropReason) -> usize {
    (reason as u32 - FIRST_REASON) as usize
}

/// An address as a number; IPv4 is mapped.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

/// The source of a packet, as far as a limit tells sources apart. `/0` of both families is one bucket.
fn shared(packet: &Packet, limit: Limit) -> u128 {
    let (number, free) = match packet.source {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32 - limit.per_v4),
        IpAddr::V6(ip) => (u128::from(ip), 128 - limit.per_v6),
    };
    number & u128::MAX.checked_shl(free.into()).unwrap_or(0)
}

/// The longest prefix of a list that holds the source. IPv6 addresses stand for themselves, also those that IPv4 is mapped
/// into.
fn longest(list: &[Prefix], source: IpAddr) -> Option<u8> {
    let begins_alike = |prefix: &&Prefix| {
        let bits = if source.is_ipv4() { 32 } else { 128 };
        let differ = number(prefix.ip) ^ number(source);
        prefix.ip.is_ipv4() == source.is_ipv4() && differ.checked_shr(bits - u32::from(prefix.length)).unwrap_or(0) == 0
    };
    list.iter().filter(begins_alike).map(|prefix| prefix.length).max()
}

/// Why the source of a packet is refused, for all services or for its own.
fn refused(packet: &Packet, bogons: bool, lists: &[&Lists]) -> Option<DropReason> {
    let longest = |list: &[Prefix]| longest(list, packet.source);
    let none_has = BOGONS.map(|text| text.parse().expect("a prefix"));
    if bogons && longest(&none_has).is_some() && longest(&lists[0].allow).is_none() {
        return Some(DropReason::Bogon);
    }
    let denied = |lists: &&Lists| longest(&lists.deny).is_some_and(|denied| Some(denied) > longest(&lists.allow));
    lists.iter().any(denied).then_some(DropReason::Denied)
}

fn is_exempt(packet: &Packet, lists: &[&Lists]) -> bool {
    lists
        .iter()
        .any(|lists| longest(&lists.exempt, packet.source).is_some())
}
