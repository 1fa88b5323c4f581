//! Whose an address is: the maps are the record of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::service::Decision;

use super::addresses::Addresses;
use super::interfaces::Move;
use super::reconciler::{Failure, Reconciler};
use crate::dataplane::Dataplane;
use crate::net::{Address, LOOPBACK};
use crate::plan::{ServiceKey, Snapshot};

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// VIPs that Fulcrum has put on the node, as the maps say. What they said last counts as well: somebody may have
    /// taken the entry away.
    pub(super) fn were_owned(&self, installed: &Snapshot) -> BTreeSet<IpAddr> {
        let said = [installed, &self.carried.placement.target];
        said.into_iter().flat_map(owned).collect()
    }

    /// Those of `vips` that are Fulcrum's own: when the maps say that it put it there, or when nobody has put it there.
    pub(super) fn own<'v>(
        &self,
        installed: &Snapshot,
        addresses: &[Address],
        vips: impl Iterator<Item = &'v IpAddr>,
    ) -> BTreeSet<IpAddr> {
        let were_owned = self.were_owned(installed);
        let said = [installed, &self.carried.placement.target];
        let known = |vip: &IpAddr| {
            said.into_iter()
                .any(|s| s.entries.get(&ServiceKey::address(*vip)).is_some_and(|d| d.is_vip()))
        };
        let present: BTreeSet<IpAddr> = addresses.iter().map(|address| address.ip).collect();
        let ours = |vip: &&IpAddr| were_owned.contains(vip) || !known(vip) && !present.contains(vip);
        vips.filter(ours).copied().collect()
    }

    /// Addresses that others put on the node and take off: those of virtual routers, and those that are announced, but for
    /// what an interface has had before, whose other ports stay reachable.
    pub(super) fn roaming(&self, addresses: &[Address]) -> BTreeSet<IpAddr> {
        let config = &self.facts.config;
        let elsewhere = |vip: &IpAddr| addresses.iter().any(|a| a.ip == *vip && a.interface != LOOPBACK);
        let announced = config.announced.iter().copied().filter(|vip| !elsewhere(vip));
        config.virtual_addresses().chain(announced).collect()
    }

    /// VIPs that are announced are on lo or nowhere: takes those of Fulcrum's own off other interfaces, where they have been
    /// before they were.
    pub(super) async fn leave_to_lo(&mut self, own: &BTreeSet<IpAddr>, addresses: &[Address]) -> Result<(), Failure> {
        let announced: BTreeSet<IpAddr> = self.facts.config.announced.iter().copied().collect();
        let ours = |a: &&Address| a.interface != LOOPBACK && announced.contains(&a.ip) && own.contains(&a.ip);
        for address in addresses.iter().filter(ours) {
            self.take_off(address.ip, &[address.interface]).await?;
        }
        Ok(())
    }

    /// Puts these VIPs where they belong. One that cannot be put there stops no other; the first refusal is returned.
    pub(super) async fn put_on(&mut self, own: &BTreeSet<IpAddr>, addresses: &[Address]) -> Result<(), Failure> {
        let present: BTreeSet<IpAddr> = addresses.iter().map(|address| address.ip).collect();
        self.repaired.present(own.intersection(&present));
        let mut outcome = Ok(());
        for &vip in own {
            let Some(Move { to, from }) = self.interfaces.place(vip, addresses) else {
                continue;
            };
            let moved = match self.addresses.add(vip, to).await {
                Ok(()) => self.take_off(vip, &from).await,
                Err(error) => Err(Failure::Add(vip, error)),
            };
            match moved {
                Ok(()) if !from.is_empty() => tracing::info!(%vip, "VIP put on the interface where it belongs"),
                Ok(()) if self.repaired.put(vip) => {}
                Ok(()) => tracing::info!(%vip, "VIP put on the node"),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// Takes a VIP off these interfaces.
    pub(super) async fn take_off(&mut self, vip: IpAddr, interfaces: &[u32]) -> Result<(), Failure> {
        for &interface in interfaces {
            let removed = self.addresses.remove(vip, interface).await;
            removed.map_err(|error| Failure::Remove(vip, error))?;
        }
        Ok(())
    }
}

/// VIPs that the maps mark as put on the node by Fulcrum.
fn owned(installed: &Snapshot) -> impl Iterator<Item = IpAddr> {
    let vips = installed
        .entries
        .iter()
        .filter(|(_, d)| d.is_vip() && d.has(Decision::OWNED));
    vips.map(|(key, _)| key.ip())
}
