//! Taking in what peers know of flows.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use lb_common::addr::{Ipv6Be, PortBe};
use lb_common::backend::MacFlags;
use lb_common::flow::Ports;
use lb_common::hash::Seed;
use lb_common::id::{MemberId, MemberIndex};
use lb_common::nat::{NatKey, Stamp, Ticks, Translation};
use lb_common::select;
use lb_common::service::{Decision, Mode};
use lb_common::slot::Entry;

use super::{Shared, floating, travels, unreadable};
use crate::control::addresses::Addresses;
use crate::control::carried::Carried;
use crate::control::interfaces::Interfaces;
use crate::control::reconciler::Reconciler;
use crate::dataplane::{ApplyError, Dataplane};
use crate::model::peers::{FlowState, SharedFlow, Taken};
use crate::model::{Config, Interface};
use crate::plan::Table;
use crate::plan::entries::{Flow, is_stray, locate};

/// Flows of peers whose slot is not in motion here yet, or whose backend is not up: both may be within a moment, since nodes
/// see the same backends.
const EARLY: usize = 1 << 16;

/// For about a minute.
const EARLY_FOR: Ticks = 56;

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// Takes in what a peer knows.
    pub(in crate::control) fn take_flows(&mut self, flows: &[SharedFlow]) -> Taken {
        let mut taken = Taken::default();
        if self.facts.config.peers.is_none() {
            return taken;
        }
        let took = self.taking().and_then(|mut taking| {
            flows.iter().try_for_each(|flow| {
                taken += taking.take(flow)?;
                Ok(())
            })
        });
        unreadable(&took);
        taken
    }

    /// Takes in what has come too early before.
    pub(super) fn take_early(&mut self) {
        let early = std::mem::take(&mut self.shared.early);
        if early.is_empty() {
            return;
        }
        let took = self.taking().and_then(|mut taking| {
            early.iter().try_for_each(|&(came, flow)| {
                let since = taking.now.wrapping_sub(came);
                if since > EARLY_FOR {
                    return Ok(());
                }
                let before = taking.shared.early.len();
                let age = flow.age.saturating_add(since);
                taking.take(&SharedFlow { age, ..flow })?;
                // Still too early: it goes on waiting from when it came.
                if let Some(waits) = taking.shared.early.get_mut(before) {
                    *waits = (came, flow);
                }
                Ok(())
            })
        });
        unreadable(&took);
    }

    fn taking(&mut self) -> Result<Taking<'_, D>, ApplyError> {
        let config = &self.facts.config;
        Ok(Taking {
            now: self.dataplane.now()?,
            floating: floating(config),
            carried: &self.carried,
            members: OnceCell::new(),
            landings: Landings::new(config, &self.interfaces),
            seed: self.seed,
            dataplane: &mut self.dataplane,
            shared: &mut self.shared,
        })
    }
}

/// What flows of peers are taken in with.
struct Taking<'a, D> {
    dataplane: &'a mut D,
    shared: &'a mut Shared,
    seed: Seed,
    floating: HashSet<Ipv6Be>,
    carried: &'a Carried,
    /// Of every service, by member base, once one is asked for.
    members: OnceCell<HashMap<u32, &'a BTreeMap<SocketAddr, MemberId>>>,
    landings: Landings<'a>,
    now: Ticks,
}

impl<D: Dataplane> Taking<'_, D> {
    fn take(&mut self, flow: &SharedFlow) -> Result<Taken, ApplyError> {
        let service = Flow::from(&flow.key).service(self.dataplane.tables());
        let heard = self.now.wrapping_sub(flow.age);
        match flow.state {
            FlowState::Translated {
                source,
                client,
                idle,
                seen,
            } if service.mode() == Some(Mode::Nat) && travels(&self.floating, &flow.key, source.0) => {
                let stamp = Stamp(u64::from(seen) & !Stamp::CLAIMED | u64::from(heard) << 32);
                self.take_translated(flow, source, MacFlags::new(client, 0), idle, stamp)
            }
            FlowState::Known { flags, sequence } => {
                let Some(table) = Table::of(service) else {
                    return Ok(Taken::FOREIGN);
                };
                let Some(member) = self.member(service, flow.backend) else {
                    return Ok(Taken::FOREIGN);
                };
                self.take_known(flow, table, Entry::known(member, flags, sequence, heard))
            }
            FlowState::Translated { .. } => Ok(Taken::FOREIGN),
        }
    }

    /// It is too early for this one.
    fn wait(&mut self, flow: &SharedFlow) -> Taken {
        if self.shared.early.len() >= EARLY {
            return Taken::NO_ROOM;
        }
        self.shared.early.push((self.now, *flow));
        Taken::TAKEN
    }

    fn member(&self, service: Decision, (address, port): (Ipv6Be, PortBe)) -> Option<MemberIndex> {
        let placed = || {
            self.carried
                .placed()
                .map(|(decision, _, ids)| (decision.member_base(), ids))
        };
        let ids = self
            .members
            .get_or_init(|| placed().collect())
            .get(&service.member_base())?;
        let id = ids.get(&SocketAddr::new(address.to_ip(), port.host()))?;
        u16::try_from(id.0 - service.member_base()).ok().map(MemberIndex)
    }

    fn take_translated(
        &mut self,
        flow: &SharedFlow,
        (source, port): (Ipv6Be, PortBe),
        client: MacFlags,
        idle: Ticks,
        stamp: Stamp,
    ) -> Result<Taken, ApplyError> {
        let Some(landing) = self.landings.of(flow.key.destination.to_ip()) else {
            return Ok(Taken::FOREIGN);
        };
        let made = NatKey {
            source,
            destination: flow.backend.0,
            ports: Ports {
                source: port,
                destination: flow.backend.1,
            },
            protocol: flow.key.protocol,
        };
        // A sum does not see which address and port is whose.
        let (ip_delta, l4_delta) = flow.key.differences(&made);
        let mut entry = Translation {
            stamp,
            source: made.source,
            destination: made.destination,
            ports: made.ports,
            member: MemberId::NONE,
            client,
            local: MacFlags::new(landing.mac, 0),
            interface: landing.index,
            idle,
            ip_delta,
            l4_delta,
            pad: [0; 4],
        };
        let (tables, protocol) = (self.dataplane.tables(), made.protocol as u8);
        let Some((member, _)) = select::backend_of(tables, &entry, protocol) else {
            let is_known = select::backend_at(tables, made.destination, made.ports.destination, protocol).is_some();
            return Ok(if is_known { self.wait(flow) } else { Taken::FOREIGN });
        };
        entry.member = member;
        let back = flow.key.reversed();
        let (ip_delta, l4_delta) = made.differences(&flow.key);
        let lease = Translation {
            source: back.source,
            destination: back.destination,
            ports: back.ports,
            ip_delta,
            l4_delta,
            ..entry
        };
        if !self.dataplane.adopt_flow(&flow.key, &entry, &lease)? {
            return Ok(Taken::NO_ROOM);
        }
        self.shared.know(&flow.key, stamp.0);
        Ok(Taken::TAKEN)
    }

    fn take_known(&mut self, flow: &SharedFlow, table: Table, entry: Entry) -> Result<Taken, ApplyError> {
        let tables = self.dataplane.tables();
        let belongs = locate(tables, self.seed, Flow::from(&flow.key));
        if is_stray(table, tables, belongs.as_ref(), entry) {
            return Ok(self.wait(flow));
        }
        let known = self.dataplane.entry(table, &flow.key)?;
        // Who is about to remove or to replace it is right, and so is who has heard of the flow since.
        let later = |known: Entry| known.is_claimed() || known.seen().wrapping_sub(entry.seen()).cast_signed() >= 0;
        if known.is_some_and(later) {
            return Ok(Taken::TAKEN);
        }
        let again = known.is_some_and(|known| known.member() == entry.member());
        if let Some(other) = known.filter(|_| !again) {
            self.dataplane.forget(table, &[(flow.key, other)], Entry::MEMBER)?;
        }
        if !self.dataplane.put_entry(table, &flow.key, entry, again)? {
            return Ok(Taken::NO_ROOM);
        }
        self.shared.know(&flow.key, entry.word);
        Ok(Taken::TAKEN)
    }
}

/// Interfaces by which clients come.
struct Landings<'a> {
    by_vip: HashMap<IpAddr, &'a Interface>,
    other: Option<&'a Interface>,
}

impl<'a> Landings<'a> {
    /// VIPs of virtual routers are reached by their interface; others by the first one, until a client says otherwise.
    fn new(config: &Config, interfaces: &'a Interfaces) -> Self {
        let mut by_vip = HashMap::new();
        for router in &config.routers {
            if let Some(interface) = interfaces.named(Some(&router.interface)) {
                by_vip.extend(router.addresses.iter().map(|ip| (*ip, interface)));
            }
        }
        Self {
            by_vip,
            other: interfaces.named(None),
        }
    }

    fn of(&self, vip: IpAddr) -> Option<&'a Interface> {
        self.by_vip.get(&vip).copied().or(self.other)
    }
}
