//! What services may contradict in each other, and what they use up together.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use lb_common::limits::{MEMBERS, MEMBERS_PER_SERVICE, RING_BLOCKS, SLOTS_PER_BLOCK};

use super::fault::{Checked, Span, fault};
use super::peers::PeersDraft;
use super::service::Draft;
use super::{Reader, Subject, ports, vips};
use crate::model::{Mode, Protocol, Undeclared};

impl Reader {
    pub(super) fn whole(
        &mut self,
        drafts: &[Draft],
        listen: Option<SocketAddr>,
        peers: Option<&PeersDraft>,
    ) -> Checked<()> {
        let listen_at = self.places.get(&Subject::Listen);
        let doors: Vec<Door> = listen
            .map(|address| Door {
                table: "admin",
                key: "listen",
                address,
                span: listen_at.cloned(),
            })
            .into_iter()
            .chain(peers.into_iter().flat_map(PeersDraft::doors))
            .collect();
        unique_names(drafts)?;
        let vips = vips::apart(drafts)?;
        doors_elsewhere(drafts, &doors)?;
        backends_elsewhere(drafts, &vips)?;
        one_policy_per_vip(drafts)?;
        room(drafts)?;
        ports::apart(drafts, &doors)?;
        self.proxies(drafts, listen)
    }
}

/// Where a daemon itself takes connections: this one, or one on another node.
#[derive(Debug)]
pub(super) struct Door {
    /// Of the key that says so.
    pub(super) table: &'static str,
    pub(super) key: &'static str,
    pub(super) address: SocketAddr,
    /// None: by default.
    pub(super) span: Option<Span>,
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`[{}] {}`", self.table, self.key)
    }
}

/// The XDP program takes what is for a service, so nobody would ever reach the daemon there.
fn doors_elsewhere(drafts: &[Draft], doors: &[Door]) -> Checked<()> {
    let tcp = drafts.iter().filter(|draft| draft.service.protocol == Protocol::Tcp);
    let vips = tcp.flat_map(|draft| draft.vips.iter().zip(&draft.service.vips));
    for (span, vip) in vips {
        if let Some(door) = doors.iter().find(|door| vip.contains(door.address)) {
            let message = format!("VIP {vip}/tcp is where {door} wants to be reached");
            let fault = fault(span.clone(), message).hint("give one of them another port");
            return Err(match &door.span {
                Some(door) => fault.other(door.clone(), "wanted here"),
                None => fault,
            });
        }
    }
    Ok(())
}

fn unique_names(drafts: &[Draft]) -> Checked<()> {
    let mut names: HashMap<&str, &Draft> = HashMap::new();
    let what = |one: &Draft, other: &Draft| match (one.service.is_pool(), other.service.is_pool()) {
        (false, false) => "services",
        (true, true) => "pools",
        _ => "of services and pools",
    };
    for draft in drafts {
        if let Some(other) = names.insert(&draft.service.name, draft) {
            let message = format!("two {} are called \"{}\"", what(draft, other), draft.service.name);
            return Err(fault(draft.name.clone(), message).other(other.name.clone(), "first here"));
        }
    }
    Ok(())
}

/// The node itself holds every VIP, so packets for a backend with such an address would never leave it.
fn backends_elsewhere(drafts: &[Draft], vips: &HashMap<IpAddr, (&Span, &Draft)>) -> Checked<()> {
    for draft in drafts {
        for (span, backend) in draft.backends.iter().zip(&draft.service.backends) {
            if let Some((vip, owner)) = vips.get(&backend.address.ip()) {
                let message = format!("backend {} has the address of a VIP", backend.address);
                let label = format!("a VIP of \"{}\"", owner.service.name);
                let hint = "give the backend's own address; it holds the VIP besides, on its loopback interface";
                return Err(fault(span.clone(), message).other((*vip).clone(), label).hint(hint));
            }
        }
    }
    Ok(())
}

fn one_policy_per_vip(drafts: &[Draft]) -> Checked<()> {
    let mut policies: HashMap<IpAddr, (Undeclared, &Span)> = HashMap::new();
    for draft in drafts {
        let (Some(policy), Some(span)) = (draft.service.undeclared, &draft.undeclared) else {
            continue;
        };
        for vip in &draft.service.vips {
            match policies.insert(vip.ip, (policy, span)) {
                Some((other, first)) if other != policy => {
                    let message = format!(
                        "two services contradict each other about undeclared ports of {}",
                        vip.ip
                    );
                    let hint = "`undeclared` holds for the whole address: say it once, or the same in both";
                    return Err(fault(span.clone(), message)
                        .other(first.clone(), "said here")
                        .hint(hint));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Do all services fit into the maps? The proxy's are not in there; each of the others takes a region of the ring, and a power of two of members, since their
/// indices begin at 1.
fn room(drafts: &[Draft]) -> Checked<()> {
    let mut blocks = 0u64;
    let mut members = 0u64;
    for draft in drafts.iter().filter(|draft| draft.service.mode != Mode::Proxy) {
        blocks += u64::from(draft.service.table_size.slots() / SLOTS_PER_BLOCK);
        if blocks > u64::from(RING_BLOCKS) {
            let slots = u64::from(RING_BLOCKS) * u64::from(SLOTS_PER_BLOCK);
            let message = format!("from this service on, the rings need more than {slots} slots in all");
            let span = draft.table_size.as_ref().unwrap_or(&draft.header).clone();
            return Err(fault(span, message).hint("set a smaller table-size; 100 slots per backend are enough"));
        }
        members += ((draft.backends.len() + draft.service.named.len()) as u64 + 1)
            .next_power_of_two()
            .max(MEMBERS_PER_SERVICE.into());
        if members > u64::from(MEMBERS) {
            let message = format!("from this service on, the backends need more than {MEMBERS} places in all");
            let hint = "a service takes one place more than it has backends, rounded up to a power of two";
            return Err(fault(draft.header.clone(), message).hint(hint));
        }
    }
    Ok(())
}
