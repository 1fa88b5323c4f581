//! What protection says of a flow: the sheet is asked as the program asks it, and the lists that it was made of say why.

use std::net::IpAddr;
use std::sync::Arc;

use lb_common::addr::Ipv6Be;
use lb_common::parse::Segment;
use lb_common::protect::prefixes::verdict;
use lb_common::protect::{ADDRESSES, Sheet as _, malformed, policy, refused_source};
use lb_common::stats::DropReason;

use super::addresses::Addresses;
use super::explain;
use super::reconciler::Reconciler;
use crate::dataplane::Dataplane;
use crate::model::judgement::{Judgement, List, Quota, Rule};
use crate::model::status::{Explained, Explanation, FlowQuery};
use crate::model::{Enforcement, Limit, Limits, Lists, Prefix, Protocol};
use crate::plan::prefixes::{self, Wanted, deciding, exempting};
use crate::plan::{Protected, ProtectedService};

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// What becomes of a flow, and what protection has to say of it.
    pub fn explained(&self, query: &FlowQuery) -> Explained {
        let judgement = self.judged(query);
        let refused = judgement.as_ref().filter(|j| j.enforcement == Enforcement::Enforce);
        let explanation = match refused.and_then(|judgement| judgement.refused) {
            Some(reason) => {
                let service = self.facts.config.service_at(query.protocol, query.destination);
                Explanation::Refused {
                    service: service.map(|service| Arc::clone(&service.name)),
                    reason,
                }
            }
            None => self.explain(query),
        };
        Explained { explanation, judgement }
    }

    /// `None` when its packets are judged by nobody.
    fn judged(&self, query: &FlowQuery) -> Option<Judgement> {
        let sheet = self.dataplane.protection()?;
        let place = explain::judged_at(self.dataplane.tables(), query)?;
        let flags = if place == ADDRESSES {
            sheet.header()?.flags
        } else {
            sheet.policy(place)?.flags
        };
        let known = sheet.source(place, query.source.is_ipv4(), &Ipv6Be::mapped(query.source.ip()));
        let mut refused = None;
        if flags & policy::MALFORMED != 0 {
            refused = of_both_ends(query);
        }
        let is_malformed = refused.is_some();
        refused = refused.or_else(|| reason(refused_source(known)));
        // The sheet of an earlier run, until there is one of this: it says what, and nobody says why.
        let why = self.protection.current().map(|current| Why {
            own: current.services.iter().rfind(|service| service.place == place),
            current,
            query,
        });
        let counts = why
            .as_ref()
            .filter(|_| refused.is_none() && known & verdict::EXEMPT == 0);
        Some(Judgement {
            enforcement: if flags & policy::OBSERVES == 0 {
                Enforcement::Enforce
            } else {
                Enforcement::Observe
            },
            by: why.as_ref().filter(|_| !is_malformed).and_then(Why::by),
            exempt: why.as_ref().and_then(Why::exempt),
            connections: counts.and_then(Why::connections),
            packets: counts.and_then(Why::packets),
            syn_cookies: counts.filter(|_| flags & policy::COOKIES != 0).and_then(Why::cookies),
            refused,
        })
    }
}

/// Is there something wrong with the two ends, whatever is between them?
fn of_both_ends(query: &FlowQuery) -> Option<DropReason> {
    let [source, destination] = [query.source, query.destination].map(|end| Ipv6Be::mapped(end.ip()));
    reason(malformed(&source, &destination, Segment::MENTION))
}

fn reason(code: u32) -> Option<DropReason> {
    DropReason::ALL.iter().copied().find(|&reason| reason as u32 == code)
}

/// What the sheet was made of.
struct Why<'a> {
    current: &'a Protected,
    /// The service; `None` for packets to none.
    own: Option<&'a ProtectedService>,
    query: &'a FlowQuery,
}

impl Why<'_> {
    /// The prefix that refuses the source; else the one that lets it in.
    fn by(&self) -> Option<Rule> {
        let rules = || self.each(deciding);
        let refuses = rules().find(|rule| rule.list != List::Allow);
        refuses.or_else(|| rules().last())
    }

    fn exempt(&self) -> Option<Rule> {
        let by = |wanted: &Wanted<'_>, source| Some((prefixes::List::Exempt, exempting(wanted, source)?));
        self.each(by).next()
    }

    /// Asks the lists of all, then those of the service.
    fn each(
        &self,
        ask: impl Fn(&Wanted<'_>, IpAddr) -> Option<(prefixes::List, Prefix)>,
    ) -> impl Iterator<Item = Rule> {
        let nobody = Lists::default();
        let source = self.query.source.ip();
        let all = self.current.all.as_ref();
        let of_all = Wanted {
            lists: all.map_or(&nobody, |all| &all.lists),
            bogons: all.is_some_and(|all| all.bogons),
            denies: &self.current.denies,
        };
        let rule = |service: Option<&Arc<str>>, wanted: &Wanted<'_>| {
            let (list, prefix) = ask(wanted, source)?;
            Some(Rule {
                list: named(list),
                service: service.cloned(),
                prefix,
            })
        };
        let first = rule(None, &of_all);
        let second = self.own.and_then(|service| {
            let own = service.own.as_ref();
            let wanted = Wanted {
                lists: own.map_or(&nobody, |own| &own.lists),
                bogons: false,
                denies: &service.denies,
            };
            rule(Some(&service.name), &wanted)
        });
        [first, second].into_iter().flatten()
    }

    fn connections(&self) -> Option<Quota> {
        let limit = self.quota(|limits| limits.connections);
        limit.filter(|_| self.query.protocol == Protocol::Tcp)
    }

    fn packets(&self) -> Option<Quota> {
        self.quota(|limits| limits.packets)
    }

    fn quota(&self, of: fn(&Limits) -> Option<Limit>) -> Option<Quota> {
        let service = self.own?;
        let own = service.own.as_ref().and_then(|own| of(&own.limits));
        let all = self.current.all.as_ref().and_then(|all| of(&all.limits));
        let limit = own.or(all)?;
        Some(Quota {
            rate: limit.rate.get(),
            burst: limit.burst.get(),
            length: if self.query.source.is_ipv4() {
                limit.per_v4
            } else {
                limit.per_v6
            },
            service: own.map(|_| Arc::clone(&service.name)),
        })
    }

    fn cookies(&self) -> Option<u32> {
        let own = self.own?.own.as_ref().and_then(|own| own.syn_cookies);
        let all = self.current.all.as_ref().and_then(|all| all.syn_cookies);
        Some(own.or(all)?.above)
    }
}

const fn named(list: prefixes::List) -> List {
    match list {
        prefixes::List::Allow => List::Allow,
        prefixes::List::Deny => List::Deny,
        prefixes::List::Exempt => List::Exempt,
        prefixes::List::Bogons => List::Bogons,
        prefixes::List::RunTime => List::RunTime,
    }
}
