//! Backends that the file names by host: whose addresses are wanted, and what a file comes to with those that are known.
//! Pure; whoever asks name servers is above.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::address::never_a_source;
use crate::model::{Backend, Config, Mode, NamedBackend, NatSource, Service};

/// The addresses of each host, or why there are none, for people.
pub type Hosts = BTreeMap<Arc<str>, Result<BTreeSet<IpAddr>, String>>;

/// The hosts that a file names.
#[must_use]
pub fn names(file: &Config) -> BTreeSet<Arc<str>> {
    let named = file.services.iter().flat_map(|service| &service.named);
    named.map(|backend| Arc::clone(&backend.host)).collect()
}

/// The file with addresses in the place of hosts. A backend of several addresses has the one that it has in `before`,
/// else the lowest that its service can use; one that has none stays in [`Service::named`], and says why.
#[must_use]
pub fn resolve(file: &Arc<Config>, hosts: &Hosts, before: &Config) -> Arc<Config> {
    if file.services.iter().all(|service| service.named.is_empty()) {
        return Arc::clone(file);
    }
    let mut config = Config::clone(file);
    for service in &mut config.services {
        let named = std::mem::take(&mut service.named);
        let mut fixed = std::mem::take(&mut service.backends).into_iter();
        let before = before.services.iter().find(|s| s.name == service.name);
        let mut taken: HashSet<SocketAddr> = fixed.as_slice().iter().map(|backend| backend.address).collect();
        for mut backend in named {
            // Those before it in the file.
            let missing = service.named.len();
            let here = backend.place - missing;
            service
                .backends
                .extend(fixed.by_ref().take(here - service.backends.len()));
            match address(file, service, &backend, hosts, before, &taken) {
                Ok(ip) => {
                    let backend = backend.at(ip);
                    taken.insert(backend.address);
                    service.backends.push(backend);
                }
                Err(reason) => {
                    backend.reason = reason;
                    service.named.push(backend);
                }
            }
        }
        service.backends.extend(fixed);
    }
    Arc::new(config)
}

/// The address that a backend has; why none, for people.
fn address(
    file: &Config,
    service: &Service,
    backend: &NamedBackend,
    hosts: &Hosts,
    before: Option<&Service>,
    taken: &HashSet<SocketAddr>,
) -> Result<IpAddr, String> {
    let known = match hosts.get(&backend.host) {
        Some(Ok(known)) => known,
        Some(Err(reason)) => return Err(reason.clone()),
        None => return Err("not looked up yet".to_owned()),
    };
    let had = |other: &&Backend| other.host.as_ref() == Some(&backend.host) && other.name == backend.name;
    let had = before.and_then(|service| service.backends.iter().find(had));
    let had = had.map(|backend| backend.address.ip()).filter(|ip| known.contains(ip));
    let mut reason = format!("{} has no address", backend.host);
    for &ip in had.iter().chain(known) {
        match unfit(file, service, backend.at(ip).address, taken) {
            None => return Ok(ip),
            Some(why) => reason = format!("{} is {ip}, {why}", backend.host),
        }
    }
    Err(reason)
}

/// What a service cannot do with an address: as for addresses that stand in the file.
fn unfit(file: &Config, service: &Service, address: SocketAddr, taken: &HashSet<SocketAddr>) -> Option<String> {
    let ip = address.ip();
    let family = |other: IpAddr| other.is_ipv4() == ip.is_ipv4();
    if never_a_source(ip).is_some() {
        return Some("which no other machine has".to_owned());
    }
    let by_family = matches!(service.mode, Mode::Dsr | Mode::Nat);
    if by_family && !service.vips.iter().any(|vip| family(vip.ip)) {
        return Some(format!(
            "and {} needs an address of a VIP's family",
            service.mode.label()
        ));
    }
    if file.services.iter().flat_map(|s| &s.vips).any(|vip| vip.ip == ip) {
        return Some("which is a VIP".to_owned());
    }
    if file.virtual_addresses().any(|held| held == ip) {
        return Some("which is an address of a virtual router".to_owned());
    }
    let sources = file.services.iter().filter_map(|s| match &s.nat.source {
        NatSource::Floating(sources) if s.mode == Mode::Nat => Some(sources),
        _ => None,
    });
    if sources.flatten().any(|source| *source == ip) {
        return Some("which is a source of nat".to_owned());
    }
    let one_port = service.vips.iter().all(|vip| vip.ports.is_one());
    let same = |other: &&SocketAddr| **other == address || !one_port && other.ip() == ip;
    taken
        .iter()
        .any(|other| same(&other))
        .then(|| "which another backend has".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(services: &str) -> Arc<Config> {
        let toml = format!("[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n{services}");
        let parsed = crate::config::parse("test.toml", &toml);
        Arc::new(parsed.unwrap_or_else(|e| panic!("{e}")).config)
    }

    const FILE: &str = r#"
[[service]]
name = "web"
address = "192.0.2.10:80"
mode = "dsr"
[[service.backend]]
address = "a.lan:80"
[[service.backend]]
name = "fixed"
address = "10.0.0.2:80"
[[service.backend]]
address = "b.lan:80"
[[service.backend]]
address = "10.0.0.4:80"
[[service.backend]]
name = "c"
address = "c.lan:80"
weight = 7
"#;

    fn hosts(known: &[(&str, &[&str])]) -> Hosts {
        let one = |(name, ips): &(&str, &[&str])| {
            let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            (Arc::from(*name), Ok(ips))
        };
        known.iter().map(one).collect()
    }

    /// Names and addresses of backends; names and reasons of those without.
    fn shown(config: &Config) -> (String, String) {
        let service = &config.services[0];
        let have = service.backends.iter().map(|b| format!("{} {}", b.name, b.address));
        let lack = service.named.iter().map(|b| format!("{}: {}", b.name, b.reason));
        (have.collect::<Vec<_>>().join(", "), lack.collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn backends_come_in_the_order_of_the_file() {
        let file = file(FILE);
        assert_eq!(
            names(&file).iter().map(|n| &**n).collect::<Vec<_>>(),
            ["a.lan", "b.lan", "c.lan"]
        );
        let all = [
            ("a.lan", &["10.0.0.1"][..]),
            ("b.lan", &["10.0.0.3"]),
            ("c.lan", &["10.0.0.5"]),
        ];
        let config = resolve(&file, &hosts(&all), &file);
        let expected =
            "a.lan:80 10.0.0.1:80, fixed 10.0.0.2:80, b.lan:80 10.0.0.3:80, 10.0.0.4:80 10.0.0.4:80, c 10.0.0.5:80";
        assert_eq!(shown(&config), (expected.into(), String::new()));
        let last = &config.services[0].backends[4];
        assert_eq!((last.weight, last.host.as_deref()), (7, Some("c.lan")));

        let some = resolve(&file, &hosts(&all[1..2]), &file);
        let (have, lack) = shown(&some);
        assert_eq!(have, "fixed 10.0.0.2:80, b.lan:80 10.0.0.3:80, 10.0.0.4:80 10.0.0.4:80");
        assert_eq!(lack, "a.lan:80: not looked up yet, c: not looked up yet");
    }

    #[test]
    fn an_address_stays_as_long_as_the_host_has_it() {
        let file = file(FILE);
        let two = hosts(&[("c.lan", &["10.0.0.9", "10.0.0.5"])]);
        let first = resolve(&file, &two, &file);
        assert!(
            shown(&first).0.ends_with("c 10.0.0.5:80"),
            "the lowest, as on every node"
        );
        let more = hosts(&[("c.lan", &["10.0.0.3", "10.0.0.5"])]);
        assert_eq!(resolve(&file, &more, &first), first);
        let other = hosts(&[("c.lan", &["10.0.0.3"])]);
        assert!(shown(&resolve(&file, &other, &first)).0.ends_with("c 10.0.0.3:80"));
    }

    #[test]
    fn addresses_of_virtual_routers_are_no_backends() {
        let router = "[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth0\"\nrouter-id = 1\npriority = 1\n\
            addresses = [\"10.0.0.9\"]\n";
        let text = format!("[node]\ninterfaces = [\"eth0\"]\nhash-seed-file = \"/s\"\n{FILE}{router}");
        let file = Arc::new(crate::config::parse("x", &text).unwrap().config);
        let (_, lack) = shown(&resolve(&file, &hosts(&[("c.lan", &["10.0.0.9"])]), &file));
        assert!(
            lack.ends_with("c: c.lan is 10.0.0.9, which is an address of a virtual router"),
            "{lack}"
        );
    }

    #[test]
    fn what_a_service_cannot_use_is_passed_over() {
        let file = file(FILE);
        let lack = |ips: &[&str]| {
            shown(&resolve(&file, &hosts(&[("c.lan", ips)]), &file))
                .1
                .split("c: ")
                .nth(1)
                .unwrap_or("")
                .to_owned()
        };
        assert_eq!(lack(&[]), "c.lan has no address");
        assert_eq!(lack(&["127.0.0.1"]), "c.lan is 127.0.0.1, which no other machine has");
        assert_eq!(lack(&["192.0.2.10"]), "c.lan is 192.0.2.10, which is a VIP");
        assert_eq!(
            lack(&["2001:db8::5"]),
            "c.lan is 2001:db8::5, and dsr needs an address of a VIP's family"
        );
        assert_eq!(
            lack(&["10.0.0.2", "10.0.0.4"]),
            "c.lan is 10.0.0.4, which another backend has"
        );
        assert_eq!(lack(&["127.0.0.1", "10.0.0.2", "10.0.0.77"]), "");
        let refused = [(Arc::from("c.lan"), Err("no such name".to_owned()))].into();
        assert!(shown(&resolve(&file, &refused, &file)).1.ends_with("c: no such name"));
    }
}
