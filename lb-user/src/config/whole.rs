//! What services may contradict in each other, and what they use up together.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use lb_common::limits::{MEMBERS, MEMBERS_PER_SERVICE, RING_BLOCKS, SLOTS_PER_BLOCK};

use super::fault::{Checked, Span, fault};
use super::service::Draft;
use super::{Reader, Subject, vips};
use crate::model::{Mode, Protocol, Undeclared};

impl Reader {
    pub(super) fn whole(&mut self, drafts: &[Draft], listen: Option<SocketAddr>) -> Checked<()> {
        unique_names(drafts)?;
        let vips = vips::apart(drafts)?;
        self.listens_elsewhere(drafts, listen)?;
        backends_elsewhere(drafts, &vips)?;
        one_policy_per_vip(drafts)?;
        room(drafts)?;
        self.ports(drafts, listen)?;
        self.proxies(drafts, listen)
    }

    /// The XDP program takes what is for a service, so nobody would ever reach the daemon there.
    fn listens_elsewhere(&self, drafts: &[Draft], listen: Option<SocketAddr>) -> Checked<()> {
        let tcp = drafts.iter().filter(|draft| draft.service.protocol == Protocol::Tcp);
        let mut vips = tcp.flat_map(|draft| draft.vips.iter().zip(&draft.service.vips));
        let Some((span, vip)) = vips.find(|(_, vip)| listen.is_some_and(|listen| vip.contains(listen))) else {
            return Ok(());
        };
        let fault = fault(
            span.clone(),
            format!("VIP {vip}/tcp is where `[admin] listen` wants to be reached"),
        );
        let fault = fault.hint("give one of them another port");
        Err(match self.places.get(&Subject::Listen) {
            Some(listen) => fault.other(listen.clone(), "wanted here"),
            None => fault,
        })
    }
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
