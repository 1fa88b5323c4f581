//! What a reload of a file would change, by the very code that a reload uses: [`merge`](super::merge) makes the desired
//! state, `plan` places it, and the result is compared with what is installed. Nothing is changed.
//!
//! Backends that nobody has probed yet are supposed to come up: what is shown is where a change leads, and not the first
//! moment of it.

mod backend;
mod keys;
mod service;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::addresses::Addresses;
use super::interfaces::Move;
use super::merge::Facts;
use super::reconciler::Reconciler;
use crate::dataplane::Dataplane;
use crate::model::preview::{AddressPreview, Preview};
use crate::model::{Config, chain};
use crate::net::{Address, LOOPBACK};
use crate::plan::outlook::plans;
use crate::plan::{Placement, Snapshot};
use service::Sides;

/// Maps, and the facts that they follow from.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) facts: &'a Facts,
    pub(super) maps: &'a Snapshot,
}

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// What a reload of `file` would change, as things are now.
    ///
    /// # Errors
    /// Why maps or addresses cannot be read, for people.
    pub async fn preview(&mut self, file: Arc<Config>) -> Result<Preview, String> {
        let addresses = self.addresses.present().await;
        let addresses = addresses.map_err(|error| format!("the node's addresses cannot be read: {error}"))?;
        tokio::task::block_in_place(|| self.preview_with(file, &addresses))
    }

    fn preview_with(&self, file: Arc<Config>, addresses: &[Address]) -> Result<Preview, String> {
        let installed = match &self.installed {
            Some(installed) => installed.clone(),
            None => self.dataplane.installed().map_err(|error| chain(&error))?,
        };
        let mut facts = self.facts.clone();
        let mut overrides = facts.replace(file);
        overrides.retain(|member| self.facts.overrides().iter().any(|(other, _)| other == member));
        facts.suppose(&self.facts);
        let mut drains = self.drains.clone();
        drains.observe(&facts.config, self.now());
        facts.cut.clone_from(drains.over());

        // What is not as it should be today is no change of the file's.
        let mut memory = self.memory.clone();
        let mut outlook = |from: &Snapshot, facts: &Facts| {
            let own = self.own(&installed, addresses, facts.vips().keys());
            plans(from, &facts.desired(&own), &mut memory)
        };
        let now = outlook(&installed, &self.facts);
        let before = target(&now, &installed);
        let then = outlook(before, &facts);
        let sides = Sides::new(
            Side {
                facts: &self.facts,
                maps: before,
            },
            Side {
                facts: &facts,
                maps: target(&then, before),
            },
            &then,
        );
        let flows = |member: &_| self.flows_of(member);
        Ok(Preview {
            keys: keys::of_node(&self.facts.file, &facts.file),
            services: sides.services(&flows),
            addresses: self.address_changes(&facts, &installed, addresses),
            overrides: overrides.into_iter().map(|m| (m.service, m.backend)).collect(),
            fault: then.last().and_then(|plan| plan.full).map(|full| full.to_string()),
        })
    }

    fn address_changes(&self, facts: &Facts, installed: &Snapshot, addresses: &[Address]) -> Vec<AddressPreview> {
        let (old, new) = (self.facts.vips(), facts.vips());
        let name = |index: u32| match self.facts.interfaces.get(&index) {
            Some(name) => name.as_ref().to_owned(),
            None if index == LOOPBACK => "lo".to_owned(),
            None => format!("interface {index}"),
        };
        let own: BTreeSet<IpAddr> = self.own(installed, addresses, new.keys());
        // Those come and go at other times.
        let roaming: BTreeSet<IpAddr> = facts.config.roaming_addresses().collect();
        let new_here = |vip: &&IpAddr| !old.contains_key(vip) && !roaming.contains(*vip);
        let come = own.iter().filter(new_here).filter_map(|&address| {
            let Move { to, .. } = self.interfaces.place(address, addresses)?;
            Some(AddressPreview {
                address,
                added: true,
                interface: name(to),
            })
        });
        let were_owned = self.were_owned(installed);
        let leave = |address: &&Address| were_owned.contains(&address.ip) && !new.contains_key(&address.ip);
        let go = addresses.iter().filter(leave).map(|address| AddressPreview {
            address: address.ip,
            added: false,
            interface: name(address.interface),
        });
        come.chain(go).collect()
    }
}

/// Where plans lead.
fn target<'a>(plans: &'a [Placement], from: &'a Snapshot) -> &'a Snapshot {
    plans.last().map_or(from, |plan| &plan.target)
}
