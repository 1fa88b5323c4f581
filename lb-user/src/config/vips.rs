//! VIPs of all services: which have a packet, and which contradict each other.
//!
//! A port of its own goes before a range, a range before all ports, so these may share an address and a protocol. Two of
//! the same kind must not have a port in common, and a range must have one that is left to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::fault::{Checked, Fault, Span, fault};
use super::service::Draft;
use crate::model::{PortRange, Ports, Protocol, Vip};

/// What is known of the ranges of one address and protocol, by their first ports: no two overlap.
type Ranges<'a> = BTreeMap<u16, (PortRange, &'a Span)>;

/// The place of every VIP, where they keep apart.
pub(super) fn apart(drafts: &[Draft]) -> Checked<HashMap<IpAddr, (&Span, &Draft)>> {
    let mut keys: HashMap<(Vip, Protocol), &Span> = HashMap::new();
    let mut ranges: HashMap<(IpAddr, Protocol), Ranges<'_>> = HashMap::new();
    let mut vips = HashMap::new();
    for draft in drafts {
        let protocol = draft.service.protocol;
        for (span, &vip) in draft.vips.iter().zip(&draft.service.vips) {
            if let Some(first) = keys.insert((vip, protocol), span) {
                let message = format!("VIP {vip}/{} is used twice", protocol.label());
                let hint = "one address, port and protocol belongs to one service";
                return Err(fault(span.clone(), message)
                    .other(first.clone(), "first here")
                    .hint(hint));
            }
            if let Ports::Range(range) = vip.ports {
                let ranges = ranges.entry((vip.ip, protocol)).or_default();
                // Of those that begin before this one ends, the last one ends last.
                match ranges.range(..=range.last()).next_back() {
                    Some((_, (other, first))) if other.overlaps(range) => {
                        return Err(overlap(span, vip, protocol, *other, first));
                    }
                    _ => _ = ranges.insert(range.first(), (range, span)),
                }
            }
            vips.entry(vip.ip).or_insert((span, draft));
        }
    }
    something_left(&keys, &ranges)?;
    Ok(vips)
}

fn overlap(span: &Span, vip: Vip, protocol: Protocol, other: PortRange, first: &Span) -> Box<Fault> {
    let message = format!("VIP {vip}/{} overlaps with the ports {other}", protocol.label());
    fault(span.clone(), message)
        .other(first.clone(), "the other ports")
        .hint("one address, port and protocol belongs to one service; a single port of another may lie in a range")
}

/// Does every range have a port that no service has for itself?
fn something_left(
    keys: &HashMap<(Vip, Protocol), &Span>,
    ranges: &HashMap<(IpAddr, Protocol), Ranges<'_>>,
) -> Checked<()> {
    if ranges.is_empty() {
        return Ok(());
    }
    let own = |(vip, protocol): &(Vip, Protocol)| vip.ports.is_one().then(|| (vip.ip, *protocol, vip.ports.first()));
    let own: BTreeSet<(IpAddr, Protocol, u16)> = keys.keys().filter_map(own).collect();
    // The first one in the file.
    let mut idle: Option<(&Span, String)> = None;
    for (&(ip, protocol), ranges) in ranges {
        for &(range, span) in ranges.values() {
            let taken = own.range((ip, protocol, range.first())..=(ip, protocol, range.last()));
            let before = idle.as_ref().is_none_or(|(other, _)| span.start < other.start);
            if taken.count() == usize::from(range.count()) && before {
                let vip = Vip {
                    ip,
                    ports: Ports::Range(range),
                };
                idle = Some((span, format!("{vip}/{}", protocol.label())));
            }
        }
    }
    match idle {
        Some((span, vip)) => Err(fault(
            span.clone(),
            format!("every port of VIP {vip} belongs to another service"),
        )
        .hint("a single port goes before a range, so nothing is left for this one")),
        None => Ok(()),
    }
}
