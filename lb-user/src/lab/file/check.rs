//! What tables of a lab file contradict in each other, and what they name that is not there.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;

use super::action::Action;
use super::raw::{File, Machine, Run};
use crate::config::{Checked, fault};
use crate::lab::program;
use crate::lab::start::MEANT;

/// The first thing that is wrong.
pub(super) fn whole(file: &File) -> Checked<()> {
    if file.host.is_empty() {
        return Err(fault(file.name.span(), "a lab without hosts")
            .hint("add:\n\n[[host]]\nname = \"web1\"\nrun = [{ kind = \"serve\", listen = [\"127.0.0.1:80\"] }]"));
    }
    names(file)?;
    wiring(file)?;
    loops(file)?;
    addresses(file)?;
    for host in &file.host {
        texts(host)?;
        runs(host)?;
        files(host)?;
    }
    for way in &file.forward {
        known(file.host.iter().map(|host| &**host.name.get_ref()), &way.from, "host")?;
    }
    for step in file.check.iter().chain(&file.step) {
        for action in &step.actions {
            self::action(file, action)?;
        }
    }
    Ok(())
}

/// Refuses what is there twice.
#[derive(Default)]
struct Seen<'a>(HashMap<&'a str, Range<usize>>);

impl<'a> Seen<'a> {
    fn add<T: std::ops::Deref<Target = str>>(&mut self, name: &'a Spanned<T>, what: &str) -> Checked<()> {
        match self.0.insert(name.get_ref(), name.span()) {
            Some(first) => Err(
                fault(name.span(), format!("two {what} are called \"{}\"", &**name.get_ref()))
                    .other(first, "first here")
                    .hint("give one of them another name"),
            ),
            None => Ok(()),
        }
    }
}

fn names(file: &File) -> Checked<()> {
    let mut machines = Seen::default();
    for switch in &file.switch {
        machines.add(&switch.name, "hosts or switches")?;
    }
    for host in &file.host {
        machines.add(&host.name, "hosts or switches")?;
        let mut interfaces = Seen::default();
        for interface in &host.interface {
            interfaces.add(&interface.name, "interfaces of this host")?;
        }
    }
    Ok(())
}

/// Every interface is plugged in, once.
fn wiring(file: &File) -> Checked<()> {
    let mut cables: HashMap<(String, String), Range<usize>> = HashMap::new();
    for host in &file.host {
        let mut switches = Seen::default();
        for interface in &host.interface {
            if let Some(switch) = &interface.switch {
                known(
                    file.switch.iter().map(|switch| &**switch.name.get_ref()),
                    switch,
                    "switch",
                )?;
                switches.add(switch, "interfaces of this host in a switch that")?;
            }
            let Some(peer) = &interface.peer else { continue };
            if interface.switch.is_some() {
                return Err(fault(
                    peer.span(),
                    "an interface is plugged into a switch or into a host, not into both",
                )
                .hint("leave out `switch` or `peer`"));
            }
            let place = peer.get_ref();
            let Some(other) = file.host.iter().find(|host| **host.name.get_ref() == *place.host) else {
                return Err(fault(peer.span(), format!("there is no host {}", place.host)).hint("write HOST/INTERFACE"));
            };
            let end = other.interface.iter().find(|end| **end.name.get_ref() == *place.rest);
            match end {
                Some(end) if end.switch.is_none() && end.peer.is_none() && !std::ptr::eq(end, interface) => {}
                _ => {
                    return Err(fault(peer.span(), format!("{place} is not the free end of a cable"))
                        .hint("it has to be an interface without `switch` and `peer`"));
                }
            }
            if let Some(first) = cables.insert((place.host.clone(), place.rest.clone()), peer.span()) {
                return Err(fault(peer.span(), format!("{place} is plugged in twice"))
                    .other(first, "first here")
                    .hint("a cable has two ends; use a switch"));
            }
        }
    }
    for host in &file.host {
        for interface in &host.interface {
            let own = (host.name.get_ref().to_string(), interface.name.get_ref().to_string());
            if interface.switch.is_none() && interface.peer.is_none() && !cables.contains_key(&own) {
                return Err(
                    fault(interface.name.span(), "this interface is not plugged in anywhere")
                        .hint("give it `switch = \"...\"` or `peer = \"HOST/INTERFACE\"`"),
                );
            }
        }
    }
    Ok(())
}

/// Packets would go round and round: bridges here know no spanning tree.
fn loops(file: &File) -> Checked<()> {
    let names: Vec<&str> = file.switch.iter().map(|switch| &**switch.name.get_ref()).collect();
    // Each switch's group is that of the switch it stands for.
    let mut groups: BTreeMap<&str, &str> = names.iter().map(|name| (*name, *name)).collect();
    for switch in &file.switch {
        for uplink in &switch.uplinks {
            known(names.iter().copied(), uplink, "switch")?;
            let (own, other) = (groups[&**switch.name.get_ref()], groups[&**uplink.get_ref()]);
            if own == other {
                return Err(fault(uplink.span(), "switches that are wired in a loop")
                    .hint("there is a way between the two already: leave this link out"));
            }
            groups
                .values_mut()
                .filter(|group| **group == other)
                .for_each(|group| *group = own);
        }
    }
    Ok(())
}

fn addresses(file: &File) -> Checked<()> {
    let mut seen: HashMap<IpAddr, Range<usize>> = HashMap::new();
    for host in &file.host {
        for address in host.interface.iter().flat_map(|interface| &interface.addresses) {
            let ip = address.get_ref().ip;
            if let Some(first) = seen.insert(ip, address.span()) {
                return Err(fault(address.span(), format!("{ip} is the address of two interfaces"))
                    .other(first, "first here")
                    .hint("a VIP that several hosts hold goes into `loopback`"));
            }
        }
    }
    Ok(())
}

fn runs(host: &Machine) -> Checked<()> {
    let mut seen: HashMap<&str, Range<usize>> = HashMap::new();
    for run in &host.run {
        let span = run.name.as_ref().map_or_else(|| run.kind.span(), Spanned::span);
        if let Some(first) = seen.insert(run.name(), span.clone()) {
            return Err(fault(
                span,
                format!(
                    "two processes of host {} are called \"{}\"",
                    &**host.name.get_ref(),
                    run.name()
                ),
            )
            .other(first, "first here")
            .hint("give one of them a `name`"));
        }
        run.kind.get_ref().check(host, run)?;
    }
    Ok(())
}

impl Run {
    /// What it is called on its host.
    pub(in crate::lab) fn name(&self) -> &str {
        self.name
            .as_ref()
            .map_or_else(|| self.kind.get_ref().name(), |name| name.get_ref())
    }
}

fn files(host: &Machine) -> Checked<()> {
    for file in &host.file {
        let path = std::path::Path::new(file.path.get_ref());
        let inside = path
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside || file.path.get_ref().is_empty() {
            return Err(fault(file.path.span(), "a file of a host is in the host's folder")
                .hint("write a path that neither begins with `/` nor has `..` in it"));
        }
        if file.text.is_some() == file.asset.is_some() {
            return Err(fault(file.path.span(), "a file of a host has either `text` or `asset`")
                .hint("write what is in it as `text`, or the name of a file of the binary as `asset`"));
        }
    }
    Ok(())
}

/// Texts name nothing that the host has not.
fn texts(host: &Machine) -> Checked<()> {
    let here = || host.name.span();
    if let Some(name) = host.set.keys().find(|name| MEANT.contains(&name.as_str())) {
        return Err(
            fault(here(), format!("`{{{name}}}` stands for something else already")).hint("call it otherwise in `set`")
        );
    }
    let mut texts: Vec<&String> = host.file.iter().flat_map(|file| &file.text).collect();
    for run in &host.run {
        let places = run.listen.iter().chain(&run.ready).chain(&run.config);
        texts.extend(places.map(Spanned::get_ref).chain(&run.args));
    }
    for (name, address) in [("{address}", host.address()), ("{address6}", host.address6())] {
        if address.is_none() && texts.iter().any(|text| text.contains(name)) {
            return Err(
                fault(here(), format!("this host has no address for `{name}`")).hint("give an interface of it one")
            );
        }
    }
    Ok(())
}

/// What an action names is there.
fn action(file: &File, action: &Action) -> Checked<()> {
    let hosts = || file.host.iter().map(|host| &**host.name.get_ref());
    match action {
        Action::Say(_) => Ok(()),
        Action::Requests(requests) => {
            known(hosts(), &requests.from, "host")?;
            if requests.count == 0 || requests.clients == 0 {
                return Err(
                    fault(requests.to.span(), "no requests at all").hint("let `count` and `clients` be 1 or more")
                );
            }
            Ok(())
        }
        Action::Traffic(traffic) => known(hosts(), &traffic.from, "host"),
        Action::Run(run) => {
            known(hosts(), &run.on, "host")?;
            [&run.expect, &run.never].into_iter().flatten().try_for_each(pattern)
        }
        Action::Kill(targets) | Action::Stop(targets) | Action::Start(targets) | Action::Reload(targets) => {
            targets.iter().try_for_each(|target| process(file, target))
        }
        Action::Edit(edit) => {
            let place = edit.file.get_ref();
            let is_host = |host: &&Machine| **host.name.get_ref() == *place.host;
            match file.host.iter().find(is_host) {
                Some(_) => Ok(()),
                None => {
                    Err(fault(edit.file.span(), format!("there is no host {}", place.host)).hint("write HOST/FILE"))
                }
            }
        }
        Action::Await(wait) => {
            let place = wait.at.get_ref();
            let found = file.host.iter().find(|host| **host.name.get_ref() == *place.host);
            let run = found.and_then(|host| host.run.iter().find(|run| run.name() == place.rest));
            match run {
                Some(run) if run.kind.get_ref().is_fulcrum() => Ok(()),
                _ => Err(fault(
                    wait.at.span(),
                    format!("{place} is not a process of kind `{}`", program::FULCRUM),
                )
                .hint("write HOST/PROCESS")),
            }
        }
        Action::Timeline(_) => Ok(()),
        Action::Logs(logs) => logs.like.iter().try_for_each(pattern),
    }
}

fn pattern(text: &Spanned<String>) -> Checked<()> {
    match regex::Regex::new(text.get_ref()) {
        Ok(_) => Ok(()),
        Err(error) => Err(fault(text.span(), "not a regular expression").hint(error.to_string())),
    }
}

fn process(file: &File, target: &Spanned<String>) -> Checked<()> {
    let (host, name) = match target.get_ref().split_once('/') {
        Some((host, name)) => (host, Some(name)),
        None => (&**target.get_ref(), None),
    };
    let Some(machine) = file.host.iter().find(|machine| **machine.name.get_ref() == *host) else {
        return Err(fault(target.span(), format!("there is no host {host}")).hint("write HOST or HOST/PROCESS"));
    };
    match name {
        Some(name) if machine.run.iter().all(|run| run.name() != name) => {
            let names: Vec<&str> = machine.run.iter().map(Run::name).collect();
            Err(fault(target.span(), format!("host {host} runs no {name}"))
                .hint(format!("it runs: {}", names.join(", "))))
        }
        _ => Ok(()),
    }
}

/// Refuses a name that is none of these.
fn known<'a, T: std::ops::Deref<Target = str>>(
    names: impl Iterator<Item = &'a str> + Clone,
    name: &Spanned<T>,
    what: &str,
) -> Checked<()> {
    if names.clone().any(|known| known == &**name.get_ref()) {
        return Ok(());
    }
    let names: Vec<&str> = names.collect();
    let hint = match names.is_empty() {
        true => format!("the lab has no {what}"),
        false => format!("there are: {}", names.join(", ")),
    };
    Err(fault(name.span(), format!("there is no {what} {}", &**name.get_ref())).hint(hint))
}
