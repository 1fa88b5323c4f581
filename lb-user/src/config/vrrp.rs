//! `[[vrrp]]`: virtual routers, and what they may contradict in each other and in services.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU8;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::address;
use super::fault::{Checked, Span, fault};
use super::node::is_interface_name;
use super::raw::{Table, Value, excerpt};
use super::service::Draft;
use super::{Reader, schema};
use crate::model::Node;
use crate::model::vrrp::{Occasion, Program, Script, Track, Tracked, VirtualRouter, VrrpVersion};

/// Longest wait that can be asked for.
const MAX_DELAY: Duration = Duration::from_secs(1_000);

/// Most addresses: what one advertisement of IPv6 carries in a packet of 1,280 bytes, which every link takes.
const MAX_ADDRESSES: usize = 77;

/// Limits of `interval` and `timeout` of a script.
const SCRIPT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);

/// Most successes or failures in a row that can be asked for.
const MAX_STREAK: u32 = 1_000;

/// Largest change of a priority.
const MAX_WEIGHT: i16 = 253;

/// A virtual router, and where it stands.
#[derive(Debug)]
pub(super) struct VrrpDraft {
    pub(super) router: VirtualRouter,
    header: Span,
    name: Span,
    id: Span,
    addresses: Vec<Span>,
    sync_group: Option<Span>,
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
        let mut tracks = Vec::new();
        for table in table.tables("track", &schema::VRRP_TRACK)? {
            tracks.push((table.span.clone(), track(&table)?));
        }
        let (track_places, tracks) = tracks.into_iter().unzip();
        let sync_group = table.get("sync-group");
        let preempt = table.get("preempt").map_or(Ok(true), |preempt| preempt.boolean())?;
        if let Some(delay) = table.get("preempt-delay").filter(|_| !preempt) {
            let warning = delay.fault("`preempt-delay` has no effect: this node never preempts");
            self.warnings.push(warning.hint("remove it, or set preempt = true"));
        }
        Ok(VrrpDraft {
            router: VirtualRouter {
                name: name.name()?.into(),
                interface: interface(&table.require("interface", "\"eth0\"")?)?,
                id: NonZeroU8::new(id.whole(1..=255)? as u8).unwrap_or(NonZeroU8::MIN),
                version,
                priority: priority(&table.require("priority", "{ lb1 = 110, lb2 = 100 }")?, node)?,
                interval: match table.get("advertisement-interval") {
                    Some(interval) => advertisement_interval(&interval, version)?,
                    None => Duration::from_secs(1),
                },
                peers: match table.get("peers") {
                    Some(peers) => of_family(peers.strings()?, v6, "a peer")?,
                    None => Vec::new(),
                },
                source: match table.get("source-address") {
                    Some(source) => {
                        let one = vec![(source.span(), source.string()?)];
                        of_family(one, v6, "`source-address`")?.into_iter().next()
                    }
                    None => None,
                },
                addresses,
                preempt,
                preempt_delay: delay("preempt-delay")?,
                start_delay: delay("start-delay")?,
                sync_group: sync_group
                    .as_ref()
                    .map(|group| group.name().map(Arc::from))
                    .transpose()?,
                notify: match table.get("notify") {
                    Some(notify) => occasions(&notify)?,
                    None => BTreeMap::new(),
                },
                tracks,
            },
            header: table.span.clone(),
            name: name.span(),
            id: id.span(),
            addresses: places,
            sync_group: sync_group.map(|group| group.span()),
            tracks: track_places,
        })
    }

    /// What virtual routers contradict in each other, in the services and in `[node]`.
    pub(super) fn virtual_routers(&mut self, routers: &[VrrpDraft], drafts: &[Draft], node: &Node) -> Checked<()> {
        let Some(first) = routers.first() else { return Ok(()) };
        if node.hash_seed_file.is_none() {
            let hint = "nodes that stand in for each other need one seed, or flows change their backend with the node: \
                        `head -c 16 /dev/urandom > /etc/fulcrum/seed`, copy it to the others, and set hash-seed-file in [node]";
            return Err(fault(first.header.clone(), "`[[vrrp]]` needs `hash-seed-file` in [node]").hint(hint));
        }
        apart(routers)?;
        let held: HashMap<IpAddr, &VrrpDraft> = routers
            .iter()
            .flat_map(|draft| draft.router.addresses.iter().map(move |ip| (*ip, draft)))
            .collect();
        for draft in drafts {
            for (span, backend) in draft.backends.iter().zip(&draft.service.backends) {
                if let Some(other) = held.get(&backend.address.ip()) {
                    let message = format!("backend {} has an address of a virtual router", backend.address);
                    return Err(fault(span.clone(), message)
                        .other(other.header.clone(), format!("held by \"{}\"", other.router.name))
                        .hint("give the backend's own address"));
                }
            }
        }
        for draft in routers {
            for (span, track) in draft.tracks.iter().zip(&draft.router.tracks) {
                if let Tracked::Service(name) = &track.subject
                    && !drafts.iter().any(|d| d.service.name == *name && !d.service.is_pool())
                {
                    let message = format!(
                        "\"{}\" tracks \"{name}\", and there is no service of this name",
                        draft.router.name
                    );
                    return Err(fault(span.clone(), message));
                }
            }
        }
        self.lonely_groups(routers);
        self.vips_of_every_node(&held, drafts);
        Ok(())
    }

    fn lonely_groups(&mut self, routers: &[VrrpDraft]) {
        for draft in routers {
            let (Some(group), Some(span)) = (&draft.router.sync_group, &draft.sync_group) else {
                continue;
            };
            let members = routers.iter().filter(|d| d.router.sync_group.as_ref() == Some(group));
            if members.count() == 1 {
                let warning = fault(span.clone(), format!("nobody else is in the sync-group \"{group}\""));
                self.warnings
                    .push(warning.hint("name the same group in the other [[vrrp]], or remove it"));
            }
        }
    }

    /// Two nodes that hold one address at once are what virtual routers are there to prevent.
    fn vips_of_every_node(&mut self, held: &HashMap<IpAddr, &VrrpDraft>, drafts: &[Draft]) {
        let mut warned: Vec<IpAddr> = Vec::new();
        for draft in drafts {
            for (span, vip) in draft.vips.iter().zip(&draft.service.vips) {
                if held.contains_key(&vip.ip) || warned.contains(&vip.ip) {
                    continue;
                }
                warned.push(vip.ip);
                let message = format!("{} is in no [[vrrp]]: every node with this file holds it", vip.ip);
                let hint =
                    "add it to the `addresses` of one, unless a routing protocol brings clients to several nodes";
                self.warnings.push(fault(span.clone(), message).hint(hint));
            }
        }
    }
}

fn apart(routers: &[VrrpDraft]) -> Checked<()> {
    let mut names: HashMap<&str, &VrrpDraft> = HashMap::new();
    let mut ids: HashMap<(&str, u8, bool), &VrrpDraft> = HashMap::new();
    let mut addresses: HashMap<IpAddr, &Span> = HashMap::new();
    for draft in routers {
        let router = &draft.router;
        if let Some(other) = names.insert(&router.name, draft) {
            let message = format!("two virtual routers are called \"{}\"", router.name);
            return Err(fault(draft.name.clone(), message).other(other.name.clone(), "first here"));
        }
        if let Some(other) = ids.insert((&router.interface, router.id.get(), router.is_v6()), draft) {
            let message = format!("router-id {} is used twice on {}", router.id, router.interface);
            return Err(fault(draft.id.clone(), message)
                .other(other.id.clone(), "first here")
                .hint("1 to 255, one for each virtual router of an interface"));
        }
        for (span, ip) in draft.addresses.iter().zip(&router.addresses) {
            if let Some(other) = addresses.insert(*ip, span) {
                let message = format!("{ip} belongs to two virtual routers");
                return Err(fault(span.clone(), message).other(other.clone(), "first here"));
            }
        }
    }
    Ok(())
}

fn interface(value: &Value<'_>) -> Checked<Arc<str>> {
    let name = value.string()?;
    if is_interface_name(name) {
        return Ok(name.into());
    }
    Err(value.fault(format!("\"{}\" cannot be the name of an interface", excerpt(name))))
}

/// One number, or one for each node by its name.
fn priority(value: &Value<'_>, node: &Node) -> Checked<NonZeroU8> {
    let number = |value: &Value<'_>| {
        let number = value.whole(1..=255)?;
        Ok(NonZeroU8::new(number as u8).unwrap_or(NonZeroU8::MIN))
    };
    if !value.is_table() {
        return number(value);
    }
    let mut own = None;
    for (_, name, value) in value.entries("priority = { lb1 = 110, lb2 = 100 }")? {
        let priority = number(&value)?;
        own = own.or((name == node.name).then_some(priority));
    }
    own.ok_or_else(|| {
        let fault = value.fault(format!("this node, \"{}\", has no priority here", node.name));
        fault.hint(format!(
            "add {} = 100, or give the node another name in [node]",
            node.name
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
    let (mut places, mut addresses) = (Vec::new(), Vec::<IpAddr>::new());
    for (span, text) in value.strings()? {
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
        if length.is_some_and(|length| !length.parse().is_ok_and(|length: u8| (1..=most).contains(&length))) {
            let message = format!("\"{}\" is not a prefix", excerpt(text));
            return Err(fault(span, message).hint(format!("write \"{ip}\" or \"{ip}/{most}\"")));
        }
        if ip.is_ipv6() && version == VrrpVersion::V2 {
            return Err(fault(span, "version 2 has no IPv6").hint("set version = 3"));
        }
        if let Some(first) = addresses.first().filter(|first| first.is_ipv4() != ip.is_ipv4()) {
            let message = format!("{first} and {ip} cannot be of one virtual router: it has one family");
            let hint = "write two [[vrrp]] with the same sync-group, so that both are where one is";
            return Err(fault(span, message).hint(hint));
        }
        if addresses.contains(&ip) {
            return Err(fault(span, format!("{ip} stands here twice")));
        }
        places.push(span);
        addresses.push(ip);
    }
    if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
        return Err(value.fault(format!("a virtual router has 1 to {MAX_ADDRESSES} addresses")));
    }
    Ok((places, addresses))
}

fn of_family(texts: Vec<(Span, &str)>, v6: bool, what: &str) -> Checked<Vec<IpAddr>> {
    let family = if v6 { "IPv6" } else { "IPv4" };
    let each = texts.into_iter().map(|(span, text)| {
        let ip = address::alone(&span, text)?;
        if ip.is_ipv6() == v6 {
            return Ok(ip);
        }
        let message = format!("{what} is {}, and the virtual router {family}", address::family(ip));
        Err(fault(span, message))
    });
    each.collect()
}

fn occasions(value: &Value<'_>) -> Checked<BTreeMap<Occasion, Arc<Program>>> {
    let mut programs = BTreeMap::new();
    for (span, word, value) in value.entries("notify = { master = \"/etc/fulcrum/on-master\" }")? {
        let Some(occasion) = Occasion::ALL.into_iter().find(|occasion| occasion.label() == word) else {
            let message = format!("unknown key `{}` in notify", excerpt(word));
            return Err(fault(span, message).hint("notify takes: master, backup, fault, stop"));
        };
        programs.insert(occasion, Arc::new(program(&value)?));
    }
    Ok(programs)
}

/// A line of words, or a list of them.
fn program(value: &Value<'_>) -> Checked<Program> {
    let mut words: Vec<String> = match value.text() {
        Some(line) => line.split_whitespace().map(str::to_owned).collect(),
        None => value.strings()?.into_iter().map(|(_, word)| word.to_owned()).collect(),
    };
    if words.iter().any(|word| word.contains('\0')) {
        return Err(value.fault("a word of a command contains a zero byte"));
    }
    if words.first().is_none_or(String::is_empty) {
        return Err(value.fault("no program is named"));
    }
    let path = words.remove(0).into();
    Ok(Program { path, arguments: words })
}

fn track(table: &Table<'_>) -> Checked<Track> {
    const KINDS: [&str; 4] = ["script", "interface", "service", "file"];
    let mut said = KINDS.iter().filter_map(|&kind| Some((kind, table.get(kind)?)));
    let (Some((kind, value)), None) = (said.next(), said.next()) else {
        let message = "[[vrrp.track]] names one of: script, interface, service, file";
        return Err(fault(table.span.clone(), message));
    };
    if kind != "script" {
        let of_scripts = ["interval", "timeout", "rise", "fall"]
            .into_iter()
            .find_map(|key| table.get(key));
        if let Some(value) = of_scripts {
            let message = format!("`{}` is of scripts, and this tracks a {kind}", value.key());
            return Err(value.fault(message));
        }
    }
    let weight = match table.get("weight") {
        Some(weight) => weight.signed(-MAX_WEIGHT..=MAX_WEIGHT)?,
        None => 0,
    };
    let subject = match kind {
        "script" => Tracked::Script(script(table, &value)?),
        "interface" => Tracked::Interface(interface(&value)?),
        "service" => Tracked::Service(value.name()?.into()),
        _ => Tracked::File(value.path()?),
    };
    Ok(Track { subject, weight })
}

fn script(table: &Table<'_>, command: &Value<'_>) -> Checked<Script> {
    let interval = match table.get("interval") {
        Some(interval) => interval.duration(SCRIPT)?,
        None => Duration::from_secs(5),
    };
    let timeout = match table.get("timeout") {
        Some(timeout) => {
            let limit = timeout.duration(SCRIPT)?;
            if limit > interval {
                return Err(timeout.fault("`timeout` must not be longer than `interval`"));
            }
            limit
        }
        None => interval,
    };
    let streak = |key| match table.get(key) {
        Some(streak) => streak.whole(1..=MAX_STREAK),
        None => Ok(1),
    };
    Ok(Script {
        program: program(command)?,
        interval,
        timeout,
        rise: streak("rise")?,
        fall: streak("fall")?,
    })
}
