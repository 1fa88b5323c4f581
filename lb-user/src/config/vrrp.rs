//! `[[vrrp]]`: virtual routers, and what they may contradict in each other and in services.

mod track;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use super::address;
use super::fault::{Checked, Span, fault};
use super::node;
use super::raw::{Table, Value, excerpt};
use super::service::Draft;
use super::{Reader, Subject, schema};
use crate::model::vrrp::{Track, Tracked, VirtualRouter, VrrpVersion};
use crate::model::{NatSource, Node};

/// Longest wait that can be asked for.
const MAX_DELAY: Duration = Duration::from_secs(1_000);

/// Most addresses: what one advertisement of IPv6 carries in a packet of 1,280 bytes, which every link takes.
const MAX_ADDRESSES: usize = 77;

/// Addresses of virtual routers: the place of each, and whose it is.
type Held<'a> = HashMap<IpAddr, (&'a Span, &'a VrrpDraft)>;

/// A virtual router, and where it stands.
#[derive(Debug)]
pub(super) struct VrrpDraft {
    pub(super) router: VirtualRouter,
    header: Span,
    name: Span,
    id: Span,
    /// As many as addresses.
    pub(super) addresses: Vec<Span>,
    /// As many as peers.
    peers: Vec<Span>,
    source: Option<Span>,
    sync_group: Option<Span>,
    /// As many as tracks: where it says what is tracked.
    tracks: Vec<Span>,
}

impl Reader {
    pub(super) fn vrrp(&mut self, table: &Table<'_>, node: &Node) -> Checked<VrrpDraft> {
        let name = table.require("name", "\"VI_1\"")?;
        let id = table.require("router-id", "41")?;
        let version = match table.get("version") {
            Some(version) => match version.whole(2..=3)? {
                2 => VrrpVersion::V2,
                _ => VrrpVersion::V3,
            },
            None => VrrpVersion::V3,
        };
        let delay = |key| match table.get(key) {
            Some(delay) => delay.duration(Duration::ZERO..=MAX_DELAY),
            None => Ok(Duration::ZERO),
        };
        let (places, addresses) = addresses(&table.require("addresses", "[\"192.0.2.10\"]")?, version)?;
        let v6 = addresses[0].is_ipv6();
        let tracks = table.tables("track", &schema::VRRP_TRACK)?;
        let tracks: Vec<(Span, Track)> = tracks.iter().map(track::track).collect::<Checked<_>>()?;
        let (track_places, tracks): (Vec<Span>, Vec<Track>) = tracks.into_iter().unzip();
        let (peer_places, peers) = match table.get("peers") {
            Some(peers) => of_nodes(peers.strings()?, v6, "a peer")?,
            None => (Vec::new(), Vec::new()),
        };
        let (source_places, source) = match table.get("source-address") {
            Some(source) => of_nodes(vec![(source.span(), source.string()?)], v6, "`source-address`")?,
            None => (Vec::new(), Vec::new()),
        };
        let sync_group = table.get("sync-group");
        let preempt = table.get("preempt").map_or(Ok(true), |preempt| preempt.boolean())?;
        if let Some(delay) = table.get("preempt-delay").filter(|_| !preempt) {
            let warning = delay.fault("`preempt-delay` has no effect: this node never preempts");
            self.warnings.push(warning.hint("remove it, or set preempt = true"));
        }
        let notify = match table.get("notify") {
            Some(value) => {
                let programs = track::occasions(&value)?;
                programs
                    .values()
                    .for_each(|program| self.runs(&program.path, value.span()));
                programs
            }
            None => BTreeMap::new(),
        };
        for (track, place) in tracks.iter().zip(&track_places) {
            if let Tracked::Script(script) = &track.subject {
                self.runs(&script.program.path, place.clone());
            }
        }
        let place = table.require("interface", "\"eth0\"")?;
        self.places
            .insert(Subject::VrrpInterface(name.name()?.to_owned()), place.span());
        Ok(VrrpDraft {
            router: VirtualRouter {
                name: name.name()?.into(),
                interface: interface(&place)?,
                id: NonZeroU8::new(id.whole(1..=255)? as u8).unwrap_or(NonZeroU8::MIN),
                version,
                priority: priority(&table.require("priority", "{ lb1 = 110, lb2 = 100 }")?, node)?,
                interval: match table.get("advertisement-interval") {
                    Some(interval) => advertisement_interval(&interval, version)?,
                    None => Duration::from_secs(1),
                },
                peers,
                source: source.into_iter().next(),
                addresses,
                preempt,
                preempt_delay: delay("preempt-delay")?,
                start_delay: delay("start-delay")?,
                sync_group: sync_group
                    .as_ref()
                    .map(|group| group.name().map(Arc::from))
                    .transpose()?,
                notify,
                tracks,
            },
            header: table.span.clone(),
            name: name.span(),
            id: id.span(),
            addresses: places,
            peers: peer_places,
            source: source_places.into_iter().next(),
            sync_group: sync_group.map(|group| group.span()),
            tracks: track_places,
        })
    }

    /// What virtual routers contradict in each other, in the services, in `[node]` and in `[admin]`.
    pub(super) fn virtual_routers(
        &mut self,
        routers: &[VrrpDraft],
        drafts: &[Draft],
        node: &Node,
        listen: Option<SocketAddr>,
        nodes: &[(SocketAddr, Span)],
    ) -> Checked<()> {
        let Some(first) = routers.first() else { return Ok(()) };
        need_one_seed(&first.header, "[[vrrp]]", node)?;
        let held = apart(routers)?;
        nodes_elsewhere(routers, nodes, &held)?;
        self.listens_on_every_node(listen, &held)?;
        backends_elsewhere(drafts, &held)?;
        tracked_services(routers, drafts)?;
        self.lonely_groups(routers);
        self.sources_elsewhere(&held, drafts);
        Ok(())
    }

    /// A node that does not hold the address could not listen there, and would not start.
    fn listens_on_every_node(&self, listen: Option<SocketAddr>, held: &Held<'_>) -> Checked<()> {
        let Some((listen, (place, owner))) = listen.and_then(|listen| Some((listen, held.get(&listen.ip())?))) else {
            return Ok(());
        };
        let all = match listen {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let all = SocketAddr::new(all, listen.port());
        let span = self.places.get(&Subject::Listen).unwrap_or(place);
        let message = format!(
            "`[admin] listen` is on {}, which only the master of \"{}\" holds",
            listen.ip(),
            owner.router.name
        );
        Err(fault(span.clone(), message)
            .other((*place).clone(), "held by whoever is master")
            .hint(format!("name the node's own address, or \"{all}\" for all that it has")))
    }

    fn lonely_groups(&mut self, routers: &[VrrpDraft]) {
        let mut members: HashMap<&str, usize> = HashMap::new();
        for group in routers.iter().filter_map(|draft| draft.router.sync_group.as_deref()) {
            *members.entry(group).or_default() += 1;
        }
        for draft in routers {
            if let (Some(group), Some(span)) = (&draft.router.sync_group, &draft.sync_group)
                && members.get(&**group) == Some(&1)
            {
                let warning = fault(span.clone(), format!("nobody else is in the sync-group \"{group}\""));
                self.warnings
                    .push(warning.hint("name the same group in the other [[vrrp]], or remove it"));
            }
        }
    }

    /// Answers to a translated flow come to the master of its source, and only the master of its VIP knows it at first.
    fn sources_elsewhere(&mut self, held: &Held<'_>, drafts: &[Draft]) {
        for draft in drafts {
            let NatSource::Floating(sources) = &draft.service.nat.source else {
                continue;
            };
            for (span, vip) in draft.vips.iter().zip(&draft.service.vips) {
                let of_vip = held.get(&vip.ip);
                let apart = sources.iter().find(|source| match (of_vip, held.get(*source)) {
                    (Some((_, a)), Some((_, b))) => !go_together(a, b),
                    _ => false,
                });
                if let Some(source) = apart {
                    let message = format!("{} and the source {source} may be on two nodes", vip.ip);
                    let hint = "let them be of one virtual router, or of two with the same sync-group: answers come \
                                to the source, and have to find the node that has the client";
                    self.warnings.push(fault(span.clone(), message).hint(hint));
                    break;
                }
            }
        }
    }

    /// Two nodes that hold one address at once are what virtual routers are there to prevent.
    pub(super) fn vips_of_every_node(&mut self, routers: &[VrrpDraft], drafts: &[Draft], announced: &[IpAddr]) {
        if routers.is_empty() {
            return;
        }
        let held = routers.iter().flat_map(|draft| &draft.router.addresses);
        let mut fine: HashSet<IpAddr> = held.chain(announced).copied().collect();
        for draft in drafts {
            for (span, vip) in draft.vips.iter().zip(&draft.service.vips) {
                if !fine.insert(vip.ip) {
                    continue;
                }
                let message = format!("{} is in no [[vrrp]]: every node with this file holds it", vip.ip);
                let hint = "add it to the `addresses` of one, or to what [bgp] announces, where a routing protocol brings \
                            clients to several nodes";
                self.warnings.push(fault(span.clone(), message).hint(hint));
            }
        }
    }
}

/// Is there one, where nodes stand in for each other by what `table` says?
pub(super) fn need_one_seed(place: &Span, table: &str, node: &Node) -> Checked<()> {
    if node.hash_seed_file.is_some() {
        return Ok(());
    }
    let hint = "nodes that stand in for each other need one seed, or flows change their backend with the node: \
                `head -c 16 /dev/urandom > /etc/fulcrum/seed`, copy it to the others, and set hash-seed-file in [node]";
    Err(fault(place.clone(), format!("`{table}` needs `hash-seed-file` in [node]")).hint(hint))
}

/// Are both master together?
fn go_together(a: &VrrpDraft, b: &VrrpDraft) -> bool {
    let (a, b) = (&a.router, &b.router);
    a.name == b.name || a.sync_group.is_some() && a.sync_group == b.sync_group
}

/// All addresses of virtual routers, where these keep apart.
fn apart(routers: &[VrrpDraft]) -> Checked<Held<'_>> {
    let mut names: HashMap<&str, &VrrpDraft> = HashMap::new();
    let mut ids: HashMap<(&str, u8, bool), &VrrpDraft> = HashMap::new();
    let mut held = Held::new();
    for draft in routers {
        let router = &draft.router;
        if let Some(other) = names.insert(&router.name, draft) {
            let message = format!("two virtual routers are called \"{}\"", router.name);
            return Err(fault(draft.name.clone(), message).other(other.name.clone(), "first here"));
        }
        if let Some(other) = ids.insert((&router.interface, router.id.get(), router.is_v6()), draft) {
            let interface = excerpt(&router.interface);
            let message = format!("router-id {} is used twice on {interface}", router.id);
            return Err(fault(draft.id.clone(), message)
                .other(other.id.clone(), "first here")
                .hint("1 to 255, one for each virtual router of an interface and of a family of IP"));
        }
        for (span, ip) in draft.addresses.iter().zip(&router.addresses) {
            if let Some((other, _)) = held.insert(*ip, (span, draft)) {
                let message = format!("{ip} belongs to two virtual routers");
                return Err(fault(span.clone(), message).other(other.clone(), "first here"));
            }
        }
    }
    Ok(held)
}

/// Nodes talk with addresses that stay where they are.
fn nodes_elsewhere(routers: &[VrrpDraft], nodes: &[(SocketAddr, Span)], held: &Held<'_>) -> Checked<()> {
    let of_router = |draft: &VrrpDraft| {
        let peers = draft.router.peers.iter().zip(&draft.peers);
        let source = draft.router.source.iter().zip(&draft.source);
        let named = |what| move |(ip, span): (&IpAddr, &Span)| (what, *ip, span.clone());
        let all = peers.map(named("peer")).chain(source.map(named("source-address")));
        all.collect::<Vec<_>>()
    };
    let nodes = nodes.iter().map(|(address, span)| ("node", address.ip(), span.clone()));
    for (what, ip, span) in routers.iter().flat_map(of_router).chain(nodes) {
        if let Some((place, owner)) = held.get(&ip) {
            let message = format!("the {what} {ip} is an address of a virtual router");
            return Err(fault(span, message)
                .other((*place).clone(), format!("held by \"{}\"", owner.router.name))
                .hint("name the address that the node itself has, whoever is master"));
        }
    }
    Ok(())
}

/// Whoever is master holds the address, so packets for a backend with it would never leave that node.
fn backends_elsewhere(drafts: &[Draft], held: &Held<'_>) -> Checked<()> {
    for draft in drafts {
        for (span, backend) in draft.backends.iter().zip(&draft.service.backends) {
            if let Some((place, owner)) = held.get(&backend.address.ip()) {
                let message = format!("backend {} has an address of a virtual router", backend.address);
                return Err(fault(span.clone(), message)
                    .other((*place).clone(), format!("held by \"{}\"", owner.router.name))
                    .hint("give the backend's own address"));
            }
        }
    }
    Ok(())
}

fn tracked_services(routers: &[VrrpDraft], drafts: &[Draft]) -> Checked<()> {
    let services = drafts.iter().map(|draft| &draft.service);
    let services: HashSet<&str> = services.filter(|s| !s.is_pool()).map(|s| &*s.name).collect();
    for draft in routers {
        for (span, track) in draft.tracks.iter().zip(&draft.router.tracks) {
            if let Tracked::Service(name) = &track.subject
                && !services.contains(&**name)
            {
                let router = &draft.router.name;
                let message = format!("\"{router}\" tracks \"{name}\", and there is no service of this name");
                return Err(fault(span.clone(), message).hint("name a [[service]] of this file"));
            }
        }
    }
    Ok(())
}

fn interface(value: &Value<'_>) -> Checked<Arc<str>> {
    let name = value.string()?;
    node::interface_name(&value.span(), name)?;
    Ok(name.into())
}

/// One number, or one for each node by its name.
fn priority(value: &Value<'_>, node: &Node) -> Checked<NonZeroU8> {
    let number = |value: &Value<'_>| {
        let number = value.whole(1..=255)?;
        Ok(NonZeroU8::new(number as u8).unwrap_or(NonZeroU8::MIN))
    };
    // TOML takes a dot for the way into a table of its own, names of hosts have some.
    let key = |name: &str| match name.contains('.') {
        true => format!("\"{name}\""),
        false => name.to_owned(),
    };
    if !value.is_table() {
        return number(value);
    }
    let mut own = None;
    for (_, name, value) in value.entries("priority = { lb1 = 110, lb2 = 100 }")? {
        let priority = number(&value).map_err(|fault| match value.is_table() {
            true => fault.hint("a name with dots stands in quotes: priority = { \"lb1.example\" = 110 }"),
            false => fault,
        })?;
        own = own.or((name == node.name).then_some(priority));
    }
    own.ok_or_else(|| {
        let fault = value.fault(format!("this node, \"{}\", has no priority here", node.name));
        fault.hint(format!(
            "add {} = 100, or give the node another name in [node]",
            key(&node.name)
        ))
    })
}

fn advertisement_interval(value: &Value<'_>, version: VrrpVersion) -> Checked<Duration> {
    let (limits, unit, what) = match version {
        VrrpVersion::V2 => (
            Duration::from_secs(1)..=Duration::from_secs(255),
            1_000,
            "whole seconds, in version 2",
        ),
        VrrpVersion::V3 => (
            Duration::from_millis(10)..=Duration::from_millis(40_950),
            10,
            "a multiple of 10ms",
        ),
    };
    let interval = value.duration(limits)?;
    if interval.as_millis() % unit != 0 {
        return Err(value.fault(format!("`advertisement-interval` must be {what}")));
    }
    Ok(interval)
}

/// `192.0.2.10`, or with the length of its subnet's prefix, `192.0.2.10/24`, as other programs want it.
fn addresses(value: &Value<'_>, version: VrrpVersion) -> Checked<(Vec<Span>, Vec<IpAddr>)> {
    let texts = value.strings()?;
    if texts.is_empty() || texts.len() > MAX_ADDRESSES {
        return Err(value.fault(format!("a virtual router has 1 to {MAX_ADDRESSES} addresses")));
    }
    let (mut places, mut addresses) = (Vec::<Span>::new(), Vec::<IpAddr>::new());
    for (span, text) in texts {
        let (ip, length) = match text.split_once('/') {
            Some((ip, length)) => (ip, Some(length)),
            None => (text, None),
        };
        // The first address of IPv6 may be the virtual router's link-local one (RFC 9568 section 5.2.9).
        let ip = match ip.parse::<Ipv6Addr>() {
            Ok(v6) if v6.is_unicast_link_local() => IpAddr::V6(v6),
            _ => address::alone(&span, ip)?,
        };
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let digits = |length: &str| length.bytes().all(|b| b.is_ascii_digit());
        let good = |length: &str| digits(length) && length.parse().is_ok_and(|length: u8| (1..=most).contains(&length));
        if length.is_some_and(|length| !good(length)) {
            let message = format!("\"{}\" is not a prefix", excerpt(text));
            return Err(fault(span, message).hint(format!("write \"{ip}\" or \"{ip}/{most}\"")));
        }
        if ip.is_ipv6() && version == VrrpVersion::V2 {
            return Err(fault(span, "version 2 has no IPv6").hint("set version = 3"));
        }
        if let Some(first) = addresses.first().filter(|first| first.is_ipv4() != ip.is_ipv4()) {
            let message = format!("{first} and {ip} cannot be of one virtual router: it has one family");
            let hint = "write two [[vrrp]] with the same sync-group, so that both are where one is";
            let label = format!("the first is {}", address::family(*first));
            return Err(fault(span, message).other(places[0].clone(), label).hint(hint));
        }
        if let Some(first) = addresses.iter().position(|other| *other == ip) {
            return Err(fault(span, format!("{ip} stands here twice")).other(places[first].clone(), "first here"));
        }
        places.push(span);
        addresses.push(ip);
    }
    Ok((places, addresses))
}

/// Addresses of nodes, of the virtual router's family, none twice.
fn of_nodes(texts: Vec<(Span, &str)>, v6: bool, what: &str) -> Checked<(Vec<Span>, Vec<IpAddr>)> {
    let family = if v6 { "IPv6" } else { "IPv4" };
    let mut known: HashMap<IpAddr, Span> = HashMap::new();
    let each = texts.into_iter().map(|(span, text)| {
        let ip = address::alone(&span, text)?;
        if ip.is_ipv6() != v6 {
            let message = format!("{what} is {}, and the virtual router {family}", address::family(ip));
            return Err(fault(span, message).hint(format!("name an address of {family}")));
        }
        if let Some(first) = known.insert(ip, span.clone()) {
            return Err(fault(span, format!("{ip} stands here twice")).other(first, "first here"));
        }
        Ok((span, ip))
    });
    each.collect()
}
