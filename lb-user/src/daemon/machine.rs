//! What a file promises and only this machine can confirm: for `nat` ports that the kernel leaves alone, and addresses
//! that somebody owns; for `proxy` certificates, keys and authorities that can be read and used; interfaces of virtual
//! routers; the token; the user that programs run as, and programs that nobody else can replace.
//!
//! Seen first, then judged, at the start and at every reload; what a reload is refused for is looked at again until it
//! is taken or the file is another. That an address stays is not looked after: also a VIP
//! that leaves the node with this very reload is still there when it is judged.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result};

use super::privilege;
use crate::acme;
use crate::api::token::{self, Token};
use crate::config::{self, ConfigError, Parsed, Subject, Warning};
use crate::model::{Config, Interface, NatSource, PortRange, Ports, Service, chain, rights};
use crate::net::tcp::{Cookies, window_scale};
use crate::net::{Net, ReservedPorts, ports, watch};
use crate::peers::key;
use crate::plan::Tcp;
use crate::process::{self, Programs, User};
use crate::proxy::tls::{self, Dates};

/// Lowest port of a range that a hint names: those below are for servers.
const LOWEST: u16 = 1024;

/// What is seen of the machine.
#[derive(Clone, Debug)]
struct Facts {
    /// Ports that the kernel takes for connections of its own.
    ephemeral: PortRange,
    /// Every address of the node.
    addresses: BTreeSet<IpAddr>,
}

impl Facts {
    async fn gather(net: &Net) -> Result<Self> {
        let ephemeral = ports::ephemeral(net.namespace()).context("cannot tell which ports the kernel takes")?;
        let addresses = net.addresses().await.context("cannot tell the addresses of the node")?;
        Ok(Self {
            ephemeral,
            addresses: addresses.into_iter().map(|address| address.ip).collect(),
        })
    }
}

/// What a file that this machine keeps has besides.
#[derive(Debug)]
pub(super) struct Confirmed {
    /// Of what is not kept for long.
    pub(super) warnings: Vec<Warning>,
    /// Of `token-file`.
    pub(super) token: Option<Token>,
}

/// Refuses a file that promises what this machine does not keep. `running` is what it would replace: at the start nothing.
///
/// # Errors
/// The refusal, or why the machine cannot be asked. A file without `nat`, TLS, virtual routers and
/// peers asks nothing.
pub(super) async fn confirm(net: &Net, parsed: &Parsed, running: Option<&Config>) -> Result<Confirmed> {
    let (token, warning) = token::read(parsed)?;
    let mut warnings = Vec::from_iter(warning);
    warnings.extend(config::open_secrets(parsed));
    warnings.extend(process::warnings(parsed));
    of_routers(net, parsed, running).await?;
    warnings.extend(key::confirm(parsed)?);
    if parsed.config.peers.is_some() || translating(&parsed.config).next().is_some() {
        check(parsed, &Facts::gather(net).await?)?;
    }
    let speaks = |service: &Service| {
        let proxy = service.proxy.as_ref();
        proxy.is_some_and(|proxy| proxy.tls.is_some() || proxy.upstream.tls.is_some())
    };
    if !parsed.config.services.iter().any(speaks) {
        return Ok(Confirmed { warnings, token });
    }
    let dates = running.map_or(Dates::Warned, |_| Dates::Refused);
    let (parsed, now) = (parsed.clone(), tls::now());
    // Thousands of certificates take a while to be read.
    let judged = tokio::task::spawn_blocking(move || {
        acme::judge(&parsed)?;
        tls::judge(&parsed, now, dates)
    });
    warnings.extend(judged.await.context("cannot look at certificates")??);
    Ok(Confirmed { warnings, token })
}

/// What starts programs, as the user that the file names. What this process may do, and who that is, stays as it was at the
/// start.
///
/// # Errors
/// When there is no such user, or this process may not become it.
pub(super) fn programs(parsed: &Parsed) -> Result<Programs, ConfigError> {
    let user = User::of(parsed)?;
    match user.as_ref().and_then(|_| privilege::missing_for_scripts()) {
        Some(missing) => {
            let hint = "give them to the daemon, as the unit of the package does, or leave `script-user` out";
            Err(parsed.error_at(&Subject::ScriptUser, missing, hint))
        }
        None => Ok(Programs::of(user)),
    }
}

/// A `state-dir` that is there is of no use to others: what it holds decides what the next start does.
///
/// # Errors
/// When others may write to it. Closing it is not for us: it may be somebody else's, too.
pub(super) fn state_dir(parsed: &Parsed) -> Result<Option<Warning>, ConfigError> {
    let folder = &parsed.config.node.state_dir;
    // What is not there yet is made as it should be, and what cannot be looked at cannot be used either.
    let Ok(metadata) = fs::metadata(folder) else {
        return Ok(None);
    };
    let (shown, mode) = (folder.display(), metadata.mode());
    let (subject, hint) = (Subject::StateDir, format!("chmod go= {shown}"));
    if rights::others_write(mode, metadata.gid()) {
        let message = format!("others than root may write to {shown}, and so to what the next start believes");
        return Err(parsed.error_at(&subject, message, hint));
    }
    let message = format!("others than root may look into {shown}");
    Ok((mode & 0o077 != 0).then(|| parsed.warning_at(&subject, message, hint)))
}

/// The interfaces of `[node]`: all of them, since a name that nothing has may be a slip of the pen, and each once.
pub(super) async fn interfaces(net: &Net, parsed: &Parsed) -> Result<Vec<Interface>> {
    let names = &parsed.config.node.interfaces;
    let found = watch::look(net, names).await?;
    let mut seen = HashMap::new();
    for Interface { name, index, .. } in &found {
        if let Some(first) = seen.insert(index, name) {
            let refused = parsed.error_at(
                &Subject::Interface(name.clone()),
                format!("`{name}` and `{first}` are one interface"),
                "an interface may have several names (`ip link` shows them as altname): name it once",
            );
            return Err(refused.into());
        }
    }
    match names.iter().find(|name| !found.iter().any(|i| i.name == **name)) {
        None => Ok(found),
        Some(name) => Err(absent(net, parsed, &Subject::Interface(name.clone()), name)
            .await
            .into()),
    }
}

/// Virtual routers are on interfaces that there are: a name that nothing has may be a slip of the pen. One that has gone since
/// the start is a fault of its virtual routers, and no reason to refuse a change of something else.
async fn of_routers(net: &Net, parsed: &Parsed, running: Option<&Config>) -> Result<()> {
    let known = |name: &str| running.is_some_and(|running| running.routers.iter().any(|r| *r.interface == *name));
    for router in &parsed.config.routers {
        let name = &router.interface;
        let there = known(name)
            || net
                .link(name)
                .await
                .context("cannot tell which interfaces there are")?
                .is_some();
        if !there {
            let subject = Subject::VrrpInterface(router.name.to_string());
            return Err(absent(net, parsed, &subject, name).await.into());
        }
    }
    Ok(())
}

/// No interface has this name.
async fn absent(net: &Net, parsed: &Parsed, subject: &Subject, name: &str) -> ConfigError {
    let links = net.links().await.unwrap_or_default();
    let others: Vec<_> = links.into_iter().map(|l| l.name).filter(|name| name != "lo").collect();
    let hint = format!("this machine has: {}", others.join(", "));
    parsed.error_at(subject, format!("no interface `{name}`"), hint)
}

/// Services that take ports of the node, with these ports.
fn translating(config: &Config) -> impl Iterator<Item = (&Service, PortRange)> {
    config.services.iter().filter_map(|s| Some((s, s.nat_ports()?)))
}

fn check(parsed: &Parsed, facts: &Facts) -> Result<(), ConfigError> {
    let config = &parsed.config;
    if let Some(own) = config.peers.as_ref().map(|peers| peers.own.ip())
        && !facts.addresses.contains(&own)
    {
        let message = format!("this machine does not have {own}, where its peers would look for it");
        let hint = format!(
            "put it on an interface, or give \"{}\" an address that it has",
            config.node.name
        );
        return Err(parsed.error_at(&Subject::OwnPeer, message, hint));
    }
    let vips: BTreeSet<IpAddr> = config.services.iter().flat_map(|s| &s.vips).map(|vip| vip.ip).collect();
    for (service, range) in translating(config) {
        let name = service.name.to_string();
        if range.overlaps(facts.ephemeral) {
            let message = format!(
                "the kernel takes ports {} for connections of its own, so \"{name}\" cannot have {range}",
                facts.ephemeral
            );
            let hint = remedy(config, range, facts.ephemeral);
            return Err(parsed.error_at(&Subject::NatPorts(name), message, hint));
        }
        let NatSource::Floating(sources) = &service.nat.source else {
            continue;
        };
        let of_router = |ip: IpAddr| config.virtual_addresses().any(|other| other == ip);
        let owned = |ip: &&IpAddr| facts.addresses.contains(ip) || vips.contains(ip) || of_router(**ip);
        if let Some(ip) = sources.iter().find(|ip| !owned(ip)) {
            let message = format!("this machine does not have {ip}, and it is no VIP: answers would not come back");
            let hint = "put it on an interface, or make it a VIP of a service or an address of a [[vrrp]]";
            return Err(parsed.error_at(&Subject::NatSource(name), message, hint));
        }
    }
    Ok(())
}

/// How a range and the kernel come apart: other ports, as many, or fewer for the kernel.
fn remedy(config: &Config, range: PortRange, ephemeral: PortRange) -> String {
    let others = match free(config, range.count(), ephemeral) {
        Some(free) => format!("choose others in [service.nat], such as ports = \"{free}\""),
        None => "choose others in [service.nat]".to_owned(),
    };
    let below = (range.first() - 1).checked_sub(ephemeral.first());
    let above = ephemeral.last().checked_sub(range.last().saturating_add(1));
    let rest = if below >= above {
        PortRange::new(ephemeral.first(), range.first() - 1)
    } else {
        PortRange::new(range.last().saturating_add(1), ephemeral.last())
    };
    match rest.filter(|rest| !rest.overlaps(range)) {
        Some(rest) => format!(
            "{others}, or give the kernel less: sysctl -w net.ipv4.ip_local_port_range=\"{} {}\"",
            rest.first(),
            rest.last()
        ),
        None => others,
    }
}

/// The highest range of `count` ports that nobody has.
fn free(config: &Config, count: u16, ephemeral: PortRange) -> Option<PortRange> {
    let mut taken: Vec<PortRange> = translating(config).map(|(_, range)| range).collect();
    let vips = config.services.iter().flat_map(|s| &s.vips);
    // A service on all ports lies in the way of every range alike, or of none.
    let vips = vips.filter(|vip| vip.ports != Ports::All);
    let vips = vips.map(|vip| (vip.ports.first(), vip.ports.last()));
    let peers = config.peers.as_ref().map(|peers| peers.own);
    let doors = config.admin.listen.into_iter().chain(peers);
    let asked = vips.chain(doors.map(|door| (door.port(), door.port())));
    taken.extend(asked.filter_map(|(first, last)| PortRange::new(first, last)));
    taken.retain(|range| !range.overlaps(ephemeral));
    taken.push(ephemeral);
    let mut last = u16::MAX;
    loop {
        let first = last.checked_sub(count - 1).filter(|first| *first >= LOWEST)?;
        let range = PortRange::new(first, last)?;
        match taken
            .iter()
            .filter(|other| other.overlaps(range))
            .map(|other| other.first())
            .min()
        {
            Some(before) => last = before - 1,
            None => return Some(range),
        }
    }
}

/// Keeps the ports of `config` from the kernel. Where that is not possible the node serves all the same: the ranges
/// lie apart from what the kernel takes by itself.
pub(super) fn reserve(reserved: &mut ReservedPorts, config: &Config) {
    if let Err(error) = reserved.keep(translating(config).map(|(_, range)| range)) {
        let ranges: BTreeSet<PortRange> = translating(config).map(|(_, range)| range).collect();
        let ranges: Vec<String> = ranges.iter().map(PortRange::to_string).collect();
        tracing::warn!(
            error = %chain(&error),
            ports = %ranges.join(","),
            "the ports of nat are not kept from the kernel; let /proc/sys be written, or add them to \
             net.ipv4.ip_local_reserved_ports"
        );
    }
}

/// How the kernel speaks TCP on these interfaces. What it does not say is as it is by default.
pub(super) async fn tcp(net: &Net, interfaces: &[Interface]) -> Tcp {
    let default = Tcp::default();
    let window_scale = window_scale(net.namespace()).unwrap_or_else(|error| {
        tracing::warn!(error = %chain(&error), "how windows are scaled is not known: as by default");
        default.window_scale
    });
    let links = net.links().await.unwrap_or_default();
    let of_node = links
        .iter()
        .filter(|link| interfaces.iter().any(|i| i.index == link.index));
    let mtu = of_node.map(|link| u16::try_from(link.mtu).unwrap_or(u16::MAX)).min();
    Tcp {
        window_scale,
        mtu: mtu.unwrap_or(default.mtu).max(LEAST_MTU),
    }
}

/// Of IPv6 (RFC 8200 §5).
const LEAST_MTU: u16 = 1280;

/// Has the kernel take the program's SYN cookies where a service of `config` has some. Where that is not possible, clients that
/// get one while there is a flood do not come through.
pub(super) fn take_cookies(cookies: &mut Cookies, config: &Config) {
    let all = config.protection.as_ref().is_some_and(|all| all.syn_cookies.is_some());
    let own = |service: &Service| service.protection.as_ref().is_some_and(|own| own.syn_cookies.is_some());
    let wanted = config
        .proxied()
        .any(|service| !service.is_pool() && (all || own(service)));
    if let Err(error) = cookies.set(wanted) {
        tracing::warn!(
            error = %chain(&error),
            "the kernel does not take SYN cookies of the program; let /proc/sys be written, or set net.ipv4.tcp_syncookies \
             and net.ipv4.tcp_timestamps to 2"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::parse;

    const HEAD: &str = "[node]\ninterfaces = [\"eth0\"]\n";

    /// A service in `nat`: four lines, and two for `[service.nat]`.
    fn service(name: &str, vip: &str, nat: &str) -> String {
        format!(
            "[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\nmode = \"nat\"\n[service.nat]\n{nat}\n\
            [[service.backend]]\naddress = \"10.0.0.6:80\"\n"
        )
    }

    fn facts(ephemeral: (u16, u16), addresses: &[&str]) -> Facts {
        Facts {
            ephemeral: PortRange::new(ephemeral.0, ephemeral.1).unwrap(),
            addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        }
    }

    fn judged(text: &str, facts: &Facts) -> Result<(), ConfigError> {
        check(&parse("test.toml", &format!("{HEAD}{text}")).unwrap(), facts)
    }

    #[track_caller]
    fn refused(text: &str, facts: &Facts, line: usize, message: &str, hint: &str) {
        let error = judged(text, facts).unwrap_err();
        let said = (error.line(), error.message(), error.hint());
        assert_eq!(said, (Some(line), message, Some(hint)), "\n{error}");
    }

    #[test]
    fn the_kernel_has_ports_of_its_own() {
        let usual = facts((32_768, 60_999), &[]);
        let ports = |range: &str| service("web", "192.0.2.10:80", &format!("ports = \"{range}\""));
        judged(&service("web", "192.0.2.10:80", ""), &usual).unwrap();
        judged(&ports("22768-32767"), &usual).unwrap();
        judged(&ports("61000-65535"), &usual).unwrap();
        refused(
            &ports("30000-39999"),
            &usual,
            8,
            "the kernel takes ports 32768-60999 for connections of its own, so \"web\" cannot have 30000-39999",
            "choose others in [service.nat], such as ports = \"22768-32767\", or give the kernel less: sysctl -w \
             net.ipv4.ip_local_port_range=\"40000 60999\"",
        );
        // What fits above the kernel's ports is named first; of what is left, the kernel gets the larger part.
        let error = judged(&ports("60000-60099"), &usual).unwrap_err();
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("\"65436-65535\"") && hint.contains("\"32768 59999\""),
            "{hint}"
        );
        // The default has no place of its own.
        let busy = facts((1_024, 65_535), &[]);
        refused(
            &service("web", "192.0.2.10:80", ""),
            &busy,
            3,
            "the kernel takes ports 1024-65535 for connections of its own, so \"web\" cannot have 20000-29999",
            "choose others in [service.nat], or give the kernel less: sysctl -w \
             net.ipv4.ip_local_port_range=\"30000 65535\"",
        );
        // Nothing would be left for the kernel.
        let error = judged(&ports("81-65535"), &usual).unwrap_err();
        assert_eq!(error.hint(), Some("choose others in [service.nat]"));
        // Where no port of the node is taken, the kernel may have them.
        judged(&service("web", "192.0.2.10:80", "source = \"client\""), &busy).unwrap();
        judged(&service("web", "192.0.2.10:80", "").replace("nat\"", "dsr\""), &busy).unwrap();
    }

    #[test]
    fn a_hint_names_ports_that_nobody_has() {
        let usual = facts((32_768, 60_999), &[]);
        let text = [
            service("web", "192.0.2.10:80", "ports = \"40000-40999\""),
            service("a", "192.0.2.10:65000", "ports = \"63000-64999\""),
            service("b", "192.0.2.10:62000", "ports = \"1-2\""),
        ];
        let error = judged(&text.concat(), &usual).unwrap_err();
        assert!(error.hint().unwrap().contains("\"61000-61999\""), "{error}");
        let error = judged(&text[..2].concat(), &usual).unwrap_err();
        assert!(error.hint().unwrap().contains("\"62000-62999\""), "{error}");
        // Peers are told where the daemon listens.
        let told = "name = \"lb1\"\n[peers]\nnodes = { lb1 = \"10.0.0.2:62500\", lb2 = \"10.0.0.3:62500\" }\n\
                    key-file = \"/etc/fulcrum/peers.key\"\n";
        let here = facts((32_768, 60_999), &["10.0.0.2"]);
        let error = judged(&format!("{told}{}", text[..2].concat()), &here).unwrap_err();
        assert!(error.hint().unwrap().contains("\"61500-62499\""), "{error}");
    }

    #[test]
    fn a_state_dir_that_others_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = service("web", "192.0.2.10:80", "");
        let text = format!(
            "[node]\ninterfaces = [\"eth0\"]\nstate-dir = \"{}\"\n{text}",
            folder.path().display()
        );
        let parsed = parse("test.toml", &text).unwrap();
        let judged = |mode| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            state_dir(&parsed)
        };
        assert!(judged(0o700).unwrap().is_none());
        assert!(judged(0o755).unwrap().unwrap().to_string().contains("may look into"));
        let refused = judged(0o757).unwrap_err();
        assert!(
            refused.line() == Some(3) && refused.hint().is_some_and(|hint| hint.starts_with("chmod go= ")),
            "{refused}"
        );
        folder.close().unwrap();
        assert!(state_dir(&parsed).unwrap().is_none(), "it is made");
    }

    #[test]
    fn a_floating_source_has_an_owner() {
        let floating = service("web", "192.0.2.10:80", "source = [\"2001:db8::250\", \"10.0.0.250\"]");
        refused(
            &floating,
            &facts((32_768, 60_999), &["10.0.0.250"]),
            8,
            "this machine does not have 2001:db8::250, and it is no VIP: answers would not come back",
            "put it on an interface, or make it a VIP of a service or an address of a [[vrrp]]",
        );
        let both = facts((32_768, 60_999), &["10.0.0.250", "2001:db8::250"]);
        judged(&floating, &both).unwrap();
        let nothing = facts((32_768, 60_999), &[]);
        judged(&service("web", "192.0.2.10:80", "source = \"192.0.2.10\""), &nothing).unwrap();
        judged(&floating.replace("nat\"", "dsr\""), &nothing).unwrap();
    }
}
