//! Ports that `nat` takes of the node: whom they collide with.
//!
//! A packet for such a port may be a backend's answer, so nothing else may be asked there. And a port belongs to one
//! range: services that name the same one share it, two that overlap would each count on what the other takes.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::fault::{Checked, fault};
use super::service::Draft;
use super::whole::Door;
use crate::model::{NatSource, PortRange, Ports, Protocol};

/// Do ranges, VIPs, backends and what the daemon listens on keep apart?
pub(super) fn apart(drafts: &[Draft], doors: &[Door]) -> Checked<()> {
    let ranges = ranges(drafts)?;
    requests_elsewhere(drafts, &ranges)?;
    backends_elsewhere(drafts)?;
    doors_elsewhere(drafts, doors)
}

/// The same for the daemon. On loopback nobody is reached from outside.
fn doors_elsewhere(drafts: &[Draft], doors: &[Door]) -> Checked<()> {
    for door in doors.iter().filter(|door| !door.address.ip().is_loopback()) {
        let taken = |draft: &&Draft| {
            let ports = draft.service.nat_ports();
            let ours = ports.is_some_and(|own| own.contains(door.address.port()));
            ours && draft.service.protocol == Protocol::Tcp && takes(&draft.service.nat.source, door.address.ip())
        };
        if let Some(draft) = drafts.iter().find(taken) {
            let message = format!(
                "{door} {} lies in the ports {} that nat of \"{}\" takes",
                door.address, draft.service.nat.ports, draft.service.name
            );
            let hint = format!(
                "give one of them other ports: `{}` in [{}], or `ports` in [service.nat]",
                door.key, door.table
            );
            return Err(fault(door.span.as_ref().unwrap_or(&draft.nat.ports).clone(), message)
                .other(draft.nat.ports.clone(), "taken here")
                .hint(hint));
        }
    }
    Ok(())
}

/// May a node that sends from `source` be asked at `ip`? Which addresses are its own, the file does not say.
fn takes(source: &NatSource, ip: IpAddr) -> bool {
    match source {
        NatSource::Auto => true,
        NatSource::Client => false,
        NatSource::Floating(addresses) => ip.is_unspecified() || addresses.contains(&ip),
    }
}

/// Services that take ports of the node, with these ports.
fn takers(drafts: &[Draft]) -> impl Iterator<Item = (&Draft, PortRange)> {
    drafts
        .iter()
        .filter_map(|draft| Some((draft, draft.service.nat_ports()?)))
}

/// Every range by its first port; no two overlap.
fn ranges(drafts: &[Draft]) -> Checked<BTreeMap<u16, PortRange>> {
    let mut owners: BTreeMap<u16, (PortRange, &Draft)> = BTreeMap::new();
    for (draft, range) in takers(drafts) {
        // Those that are there do not overlap: of those that begin before this one ends, the last one ends last.
        match owners.range(..=range.last()).next_back() {
            Some((_, (other, owner))) if *other != range && other.overlaps(range) => {
                let message = format!(
                    "the ports {range} of \"{}\" overlap with the ports {other} of \"{}\"",
                    draft.service.name, owner.service.name
                );
                let hint = "nat services share their ports, where all name the same, or have ports of their own: set \
                            `ports` in [service.nat]";
                return Err(fault(draft.nat.ports.clone(), message)
                    .other(owner.nat.ports.clone(), "the other ports")
                    .hint(hint));
            }
            _ => _ = owners.entry(range.first()).or_insert((range, draft)),
        }
    }
    Ok(owners.into_iter().map(|(first, (range, _))| (first, range)).collect())
}

/// A VIP at which answers for a nat service arrive: could those be told from requests?
fn requests_elsewhere(drafts: &[Draft], ranges: &BTreeMap<u16, PortRange>) -> Checked<()> {
    let mut takers_of: HashMap<(PortRange, Protocol, IpAddr), &Draft> = HashMap::new();
    for (draft, range) in takers(drafts) {
        let Some(vip) = draft.service.vips.first() else {
            continue;
        };
        let sources = match &draft.service.nat.source {
            NatSource::Auto => vec![own_of_family(vip.ip)],
            NatSource::Client => Vec::new(),
            NatSource::Floating(addresses) => addresses.clone(),
        };
        for source in sources {
            takers_of
                .entry((range, draft.service.protocol, source))
                .or_insert(draft);
        }
    }
    for draft in drafts {
        let protocol = draft.service.protocol;
        for (span, vip) in draft.vips.iter().zip(&draft.service.vips) {
            let (first, last) = (vip.ports.first(), vip.ports.last());
            // No two overlap: of those that begin before the VIP's ports end, all that reach into them are the last ones.
            let begun = ranges.range(..=last).rev().map(|(_, &range)| range);
            for range in begun.take_while(|range| range.last() >= first) {
                let taker = |source| takers_of.get(&(range, protocol, source));
                let Some(taker) = taker(own_of_family(vip.ip)).or_else(|| taker(vip.ip)) else {
                    continue;
                };
                let lies = if vip.ports.is_one() { "lies in" } else { "has some of" };
                let message = format!(
                    "VIP {vip}/{} {lies} the ports {range} that nat of \"{}\" takes",
                    protocol.label(),
                    taker.service.name
                );
                let hint = match vip.ports {
                    Ports::All => {
                        "answers of backends arrive there: set `source` in [service.nat] to an address of the node that \
                         is no VIP"
                    }
                    Ports::One(_) | Ports::Range(_) => {
                        "answers of backends arrive there: choose other `ports` in [service.nat]"
                    }
                };
                return Err(fault(span.clone(), message)
                    .other(taker.nat.ports.clone(), "taken here")
                    .hint(hint));
            }
        }
    }
    Ok(())
}

/// Stands for the node's own addresses of the family of `ip`.
const fn own_of_family(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// A floating source is an address of the node while it serves, so nothing that is sent there would leave it.
fn backends_elsewhere(drafts: &[Draft]) -> Checked<()> {
    let mut sources: HashMap<IpAddr, &Draft> = HashMap::new();
    for (draft, _) in takers(drafts) {
        if let NatSource::Floating(addresses) = &draft.service.nat.source {
            sources.extend(addresses.iter().map(|ip| (*ip, draft)));
        }
    }
    for draft in drafts {
        for (span, backend) in draft.backends.iter().zip(&draft.service.backends) {
            if let Some(owner) = sources.get(&backend.address.ip()) {
                let message = format!("backend {} has the address of a nat source", backend.address);
                let label = format!("the source of \"{}\"", owner.service.name);
                return Err(fault(span.clone(), message)
                    .other(owner.nat.source.clone(), label)
                    .hint("a source is an address of this node, a backend is another machine"));
            }
        }
    }
    Ok(())
}
