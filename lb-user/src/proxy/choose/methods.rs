//! Which of those who may serve does: each method as a function of the candidates.
//!
//! Candidates are places in the pool, at least one, in ascending order. Every method looks at all of them, but for a ring:
//! that is quick for the hundreds that a pool has, and not for tens of thousands.
//!
//! # Over threads
//! Each thread has a pool of its own, and clients' connections are not spread evenly over threads. If each one balanced
//! for itself, two threads would find the same backend idle, and a backend with one long transfer on each thread would
//! look as busy as one with one in all. So least-connections, by-busyness, by-traffic and by-requests read
//! [`BackendTraffic`](crate::model::traffic::BackendTraffic), which all threads count in, and the spread is that of all of
//! them. Round-robin and the latencies of peak-ewma are a thread's own: where every thread's turns are even, so are all.
//!
//! # As in Apache
//! mod_lbmethod_byrequests adds its load factor to every worker's status, takes the one with the highest, and takes the sum
//! of all factors from that one. mod_lbmethod_bybusyness does the same, and has the status decide between workers
//! that are equally busy. Apache keeps the status in memory that its processes share. Here every thread has its own, and
//! plays after what the others have done: of the requests that a backend has got since it last looked, it knows that each
//! was one round. Sticky requests are such rounds too, as they are in Apache. Nobody is owed, or owes, more than
//! [`MEMORY`] rounds, which Apache does not limit.
//!
//! mod_lbmethod_bytraffic takes the one with the fewest bytes, both ways, for its factor. Between equals the status of
//! by-requests decides, where Apache takes the first.
//!
//! All of these begin anew when other backends share the traffic, or with other weights. Apache counts on, and by its traffic
//! a worker that was away gets everything until it has caught up.

use std::cmp::Ordering;
use std::sync::atomic::Ordering::Relaxed;

use super::heartbeat::ASK;
use super::member::Member;
use super::random::Random;

/// Rounds that anybody can be behind or ahead.
const MEMORY: i64 = 64;

/// nginx' smooth weighted turn, of this thread: everybody gets its weight, the richest pays the sum.
pub(super) fn turn(members: &[Member], candidates: &[usize]) -> usize {
    let mut total = 0;
    let mut best = (i64::MIN, candidates[0]);
    for &i in candidates {
        let member = &members[i];
        let credit = member.known.credit.get() + member.weight();
        member.known.credit.set(credit);
        total += member.weight();
        if credit > best.0 {
            best = (credit, i);
        }
    }
    members[best.1].known.credit.set(best.0 - total);
    best.1
}

/// Plays after what has been asked of those who share, since this thread looked last.
pub(super) fn replay(members: &[Member], sharing: &[usize]) {
    let (mut total, mut rounds) = (0i64, 0i64);
    for &i in sharing {
        let known = &members[i].known;
        total += members[i].weight();
        rounds = rounds.saturating_add(unseen(known.traffic.requests.load(Relaxed), known.seen.get()));
    }
    if rounds == 0 {
        return;
    }
    let most = total * MEMORY;
    for &i in sharing {
        let member = &members[i];
        let requests = member.known.traffic.requests.load(Relaxed);
        let got = unseen(requests, member.known.seen.get());
        let change = rounds
            .saturating_mul(member.weight())
            .saturating_sub(got.saturating_mul(total));
        let owed = member.known.owed.get().saturating_add(change);
        member.known.owed.set(owed.clamp(-most, most));
        member.known.seen.set(requests);
    }
}

fn unseen(requests: u64, seen: u64) -> i64 {
    i64::try_from(requests.wrapping_sub(seen)).unwrap_or(0)
}

/// Others share from now on, or with other weights: nobody owes a turn, and nobody has moved a byte.
pub(super) fn begin_anew(members: &[Member], sharing: &[usize]) {
    for &i in sharing {
        let known = &members[i].known;
        known.credit.set(0);
        known.owed.set(0);
        known.seen.set(known.traffic.requests.load(Relaxed));
        known.base.set(known.bytes());
    }
}

/// By Apache's status, highest first.
fn urgency(member: &Member) -> i64 {
    member.known.owed.get().saturating_add(member.weight())
}

pub(super) fn by_requests(members: &[Member], candidates: &[usize]) -> usize {
    first(candidates, |a, b| urgency(&members[b]).cmp(&urgency(&members[a])))
}

pub(super) fn by_busyness(members: &[Member], candidates: &[usize]) -> usize {
    first(candidates, |a, b| {
        let (a, b) = (&members[a], &members[b]);
        a.active().cmp(&b.active()).then_with(|| urgency(b).cmp(&urgency(a)))
    })
}

pub(super) fn by_traffic(members: &[Member], candidates: &[usize]) -> usize {
    let bytes = |member: &Member| u128::from(member.known.bytes().wrapping_sub(member.known.base.get()));
    first(candidates, |a, b| {
        let (a, b) = (&members[a], &members[b]);
        let (for_a, for_b) = (bytes(a) * b.weight() as u128, bytes(b) * a.weight() as u128);
        for_a.cmp(&for_b).then_with(|| urgency(b).cmp(&urgency(a)))
    })
}

/// The fewest requests under way for its weight; those that are equal take turns.
pub(super) fn least_connections(members: &[Member], candidates: &[usize], equals: &mut Vec<usize>) -> usize {
    equals.clear();
    let mut least = (0, 1);
    for &i in candidates {
        let (active, weight) = (i64::from(members[i].active()), members[i].weight());
        match (active * least.1).cmp(&(least.0 * weight)) {
            _ if equals.is_empty() => {}
            Ordering::Less => equals.clear(),
            Ordering::Equal => {
                equals.push(i);
                continue;
            }
            Ordering::Greater => continue,
        }
        least = (active, weight);
        equals.push(i);
    }
    turn(members, equals)
}

/// The one of two, chosen by chance and weight, that costs less.
pub(super) fn peak_ewma(members: &[Member], candidates: &[usize], random: &mut Random, now: u64) -> usize {
    let one = by_weight(members, candidates, None, random);
    if candidates.len() == 1 {
        return one;
    }
    let other = by_weight(members, candidates, Some(one), random);
    let load = |i: usize| members[i].known.peak.get().load(members[i].active(), now);
    if load(other) < load(one) { other } else { one }
}

/// By chance and weight, somebody else than `but`.
fn by_weight(members: &[Member], candidates: &[usize], but: Option<usize>, random: &mut Random) -> usize {
    let others = || candidates.iter().copied().filter(|&i| Some(i) != but);
    let weight = |i: usize| u64::from(members[i].is.weight);
    let at = random.below(others().map(weight).sum());
    pick(others(), at, weight).unwrap_or(candidates[0])
}

/// By chance and what they have last said that they have idle.
pub(super) fn heartbeat(members: &[Member], candidates: &[usize], random: &mut Random, now: u64) -> usize {
    let ready = |i: usize| members[i].known.common.ready(now);
    let slots = |i: usize| u64::from(ready(i).unwrap_or(0));
    let total: u64 = candidates.iter().map(|&i| slots(i)).sum();
    let silent = candidates.iter().any(|&i| ready(i).is_none());
    if total == 0 || silent && random.below(ASK.into()) == 0 {
        return by_requests(members, candidates);
    }
    pick(candidates.iter().copied(), random.below(total), slots).unwrap_or(candidates[0])
}

/// Whose share `at` is in.
fn pick(of: impl Iterator<Item = usize>, mut at: u64, share: impl Fn(usize) -> u64) -> Option<usize> {
    for i in of {
        match at.checked_sub(share(i)) {
            Some(rest) => at = rest,
            None => return Some(i),
        }
    }
    None
}

/// The least, and of equals the first.
fn first(candidates: &[usize], mut order: impl FnMut(usize, usize) -> Ordering) -> usize {
    let mut best = candidates[0];
    for &i in &candidates[1..] {
        if order(i, best) == Ordering::Less {
            best = i;
        }
    }
    best
}
