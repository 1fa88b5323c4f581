//! What protects services, as the program reads it: see [`lb_common::protect`].

use std::sync::Arc;

use lb_common::protect::limit::Limit as ProgramLimit;
use lb_common::protect::prefixes::Line;
use lb_common::protect::{Amounts, Header, LISTS, Policy, Roots, policy};

use super::prefixes::{self, Wanted};
use crate::model::{Enforcement, Limit, Limits, Lists, Prefix, Protection, ServiceProtection};

/// All that a sheet is made of. Two that are equal make the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// Of all services.
    pub all: Option<Protection>,
    /// Prefixes that are denied at run time, by every service.
    pub denies: Arc<[Prefix]>,
    /// The services. At one place the last one counts.
    pub services: Vec<ProtectedService>,
    /// What the node says of itself in answers with SYN cookies.
    pub tcp: Tcp,
}

/// How the node's kernel speaks TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// What it scales its windows by; `None`: cookies keep nothing but the segment size.
    pub window_scale: Option<u8>,
    /// As [`Policy::mtu`].
    pub mtu: u16,
}

impl Default for Tcp {
    /// As Linux does on Ethernet where nobody has said otherwise.
    fn default() -> Self {
        Self {
            window_scale: Some(7),
            mtu: 1500,
        }
    }
}

/// A service, as far as it is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedService {
    /// Its name, for those who look for it.
    pub name: Arc<str>,
    /// Its [`place`](lb_common::protect::place).
    pub place: u32,
    /// The proxy has it.
    pub is_proxied: bool,
    /// Its own.
    pub own: Option<ServiceProtection>,
    /// Prefixes that it alone denies at run time.
    pub denies: Arc<[Prefix]>,
}

/// Limits for all services, and after them those of each place, have numbers of their own.
const SCOPES: u32 = 4;

impl Protected {
    /// Is there nothing that refuses anything?
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let idle = |service: &ProtectedService| service.own.is_none() && service.denies.is_empty();
        self.all.is_none() && self.denies.is_empty() && self.services.iter().all(idle)
    }

    /// How many prefixes there are in all lists.
    #[must_use]
    pub fn prefixes(&self) -> usize {
        let lists = |lists: &Lists| lists.allow.len() + lists.deny.len() + lists.exempt.len();
        let all = self.all.as_ref().map_or(0, |all| lists(&all.lists));
        let own = self.services.iter().map(|service| {
            let own = service.own.as_ref().map_or(0, |own| lists(&own.lists));
            own + service.denies.len()
        });
        all + self.denies.len() + own.sum::<usize>()
    }

    /// The sheet.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let none = Protection {
            malformed: false,
            ..Protection::default()
        };
        let all = self.all.as_ref().unwrap_or(&none);
        let mut nodes = Vec::new();
        let everybody = Wanted {
            lists: &all.lists,
            bogons: all.bogons,
            denies: &self.denies,
        };
        let mut tops = prefixes::append_topped(&everybody, &mut nodes);
        let (mut roots, own) = self.owners(&mut nodes);
        let mut lines = vec![Line::default(); LISTS as usize];
        let ways = tops.iter_mut().flat_map(|top| &mut top.ways);
        let roots_of_services = roots.iter_mut().flat_map(|roots| [&mut roots.v4, &mut roots.v6]);
        prefixes::in_order(&nodes, ways.chain(roots_of_services), &mut lines);
        let [v4, v6] = &tops;
        let header = Header {
            icmp: all
                .icmp
                .map_or(ProgramLimit::default(), |limit| program_limit(limit, 2)),
            roots: Roots {
                v4: v4.root(),
                v6: v6.root(),
            },
            flags: observes(all.enforcement),
            rest: 0,
            unasked: v6.unasked(),
            unasked_finely: [v4.unasked_finely(), v6.unasked_finely()],
            pad: 0,
        };
        for top in &tops {
            top.write(&header, &mut lines);
        }
        lines[0] = header.to_line();
        for (service, own) in self.services.iter().zip(own) {
            let own = own.map_or(Roots::NOTHING, |own| roots[own]);
            let (policy, amounts) = self.policy(all, service, own);
            let line = Policy::line(service.place) as usize;
            lines[line] = policy.to_line();
            lines[line + 1] = amounts.to_line();
        }
        lines
    }

    /// Appends the lists of services, equal ones once; their roots, and which of them each service has.
    fn owners(&self, nodes: &mut Vec<Line>) -> (Vec<Roots>, Vec<Option<usize>>) {
        let nobody = Lists::default();
        let mut roots = Vec::new();
        let mut known: Vec<(&Lists, &[Prefix], usize)> = Vec::new();
        let mut own = Vec::with_capacity(self.services.len());
        for service in &self.services {
            let lists = service.own.as_ref().map_or(&nobody, |own| &own.lists);
            let denies = &*service.denies;
            if lists.is_empty() && denies.is_empty() {
                own.push(None);
                continue;
            }
            let same = known.iter().find(|(l, d, _)| *l == lists && *d == denies);
            own.push(Some(same.map_or(roots.len(), |&(.., owner)| owner)));
            if same.is_none() {
                known.push((lists, denies, roots.len()));
                let wanted = Wanted {
                    lists,
                    bogons: false,
                    denies,
                };
                roots.push(prefixes::append(&wanted, nodes));
            }
        }
        (roots, own)
    }

    fn policy(&self, all: &Protection, service: &ProtectedService, roots: Roots) -> (Policy, Amounts) {
        let nothing = ServiceProtection::default();
        let own = service.own.as_ref().unwrap_or(&nothing);
        let scope = (service.place + 1) * SCOPES;
        let Limits { connections, packets } = own.limits;
        // Those for all are counted over all.
        let limit = |own: Option<Limit>, all: Option<Limit>, number| {
            let own = own.map(|limit| program_limit(limit, scope + number));
            own.or_else(|| all.map(|limit| program_limit(limit, number)))
                .unwrap_or_default()
        };
        let amounts = Amounts {
            connections: limit(connections, all.limits.connections, 0),
            packets: limit(packets, all.limits.packets, 1),
        };
        let cookies = own.syn_cookies.or(all.syn_cookies).filter(|_| service.is_proxied);
        let mut flags = policy::EXISTS | observes(own.enforcement.unwrap_or(all.enforcement));
        if all.malformed || service.own.is_some() && self.all.is_none() {
            flags |= policy::MALFORMED;
        }
        if amounts.connections.exists() || amounts.packets.exists() {
            flags |= policy::AMOUNTS;
        }
        if cookies.is_some() {
            flags |= policy::COOKIES;
        }
        // With no limit, none is left to the kernel.
        let syns = cookies.filter(|cookies| cookies.above > 0).map(|cookies| {
            let burst = (cookies.above / 4).max(1);
            // Of no source, and in no set.
            ProgramLimit::new(cookies.above, burst, 0, 0, 0)
        });
        let policy = Policy {
            flags,
            window_scale: self.tcp.window_scale.map_or(Policy::PLAIN, u16::from),
            mtu: self.tcp.mtu,
            roots,
            syns: syns.unwrap_or_default(),
            pad: [0; 2],
        };
        (policy, amounts)
    }
}

const fn observes(enforcement: Enforcement) -> u32 {
    match enforcement {
        Enforcement::Enforce => 0,
        Enforcement::Observe => policy::OBSERVES,
    }
}

const fn program_limit(limit: Limit, scope: u32) -> ProgramLimit {
    let Limit {
        rate,
        burst,
        per_v4,
        per_v6,
    } = limit;
    ProgramLimit::new(rate.get(), burst.get(), per_v4, per_v6, scope)
}
