//! A configuration as the text that says it; the fuzz target `config` shares this file, and so what it uses.

#[path = "written/protection.rs"]
mod protection;
#[path = "written/proxy.rs"]
mod proxy;
#[path = "written/vrrp.rs"]
mod vrrp;

use std::fmt::Write as _;
use std::time::Duration;

use crate::model::{
    Config, ExpectBody, HealthCheck, HealthKind, Hidden, NatSource, Node, Protocol, Service, TlsCheck, Undeclared, Via,
    XdpMode,
};

/// The configuration as TOML.
pub(crate) fn config(config: &Config) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let path = |path: &std::path::Path| quoted(path.to_str().unwrap());
    let mut text = String::new();
    let Node {
        flow_table_size,
        name,
        interfaces,
        xdp_mode,
        hash_seed_file,
        state_dir,
        pin_dir,
        proxy_threads,
        script_user,
    } = &config.node;
    let mode = match xdp_mode {
        XdpMode::Auto => "auto",
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    };
    let interfaces: Vec<String> = interfaces.iter().map(|name| quoted(name)).collect();
    let interfaces = interfaces.join(",\n  ");
    writeln!(
        text,
        "[node]\nname = {}\ninterfaces = [{interfaces}]\nxdp-mode = \"{mode}\"",
        quoted(name)
    )
    .unwrap();
    writeln!(text, "state-dir = {}\npin-dir = {}", path(state_dir), path(pin_dir)).unwrap();
    writeln!(text, "flow-table-size = {flow_table_size}").unwrap();
    if let Some(threads) = proxy_threads {
        writeln!(text, "proxy-threads = {threads}").unwrap();
    }
    if let Some(user) = script_user {
        writeln!(text, "script-user = {}", quoted(user)).unwrap();
    }
    if let Some(file) = hash_seed_file {
        writeln!(text, "hash-seed-file = {}", path(file)).unwrap();
    }
    let listen = config.admin.listen.map(|listen| listen.to_string());
    writeln!(
        text,
        "[admin]\nsocket = {}\nlisten = \"{}\"",
        path(&config.admin.socket),
        listen.unwrap_or_default()
    )
    .unwrap();
    if let Some(file) = &config.admin.token_file {
        writeln!(text, "token-file = {}", path(file)).unwrap();
    }
    for service in &config.services {
        self::service(&mut text, service);
    }
    for router in &config.routers {
        vrrp::router(&mut text, router);
    }
    if !config.announced.is_empty() {
        let announced: Vec<String> = config.announced.iter().map(|ip| format!("\"{ip}\"")).collect();
        writeln!(text, "[bgp]\nannounce = [{}]", announced.join(", ")).unwrap();
    }
    if let Some(peers) = &config.peers {
        let others = peers.others.iter().map(|peer| (&*peer.name, peer.address));
        let nodes = std::iter::once((config.node.name.as_str(), peers.own)).chain(others);
        let nodes: Vec<_> = nodes
            .map(|(name, address)| format!("{} = \"{address}\"", quoted(name)))
            .collect();
        let nodes = nodes.join(", ");
        writeln!(
            text,
            "[peers]\nnodes = {{ {nodes} }}\nkey-file = {}",
            path(&peers.key_file)
        )
        .unwrap();
    }
    if let Some(protection) = &config.protection {
        protection::node(&mut text, protection);
    }
    text
}

fn service(text: &mut String, service: &Service) {
    if service.is_pool() {
        return pool(text, service);
    }
    let vips: Vec<String> = service.vips.iter().map(|vip| format!("\"{vip}\"")).collect();
    writeln!(
        text,
        "[[service]]\nname = \"{}\"\naddress = [{}]",
        service.name,
        vips.join(", ")
    )
    .unwrap();
    writeln!(
        text,
        "protocol = \"{}\"\nmode = \"{}\"",
        service.protocol.label(),
        service.mode.label()
    )
    .unwrap();
    writeln!(
        text,
        "balance = \"{}\"\ntable-size = {}",
        service.balance.label(),
        service.table_size.slots()
    )
    .unwrap();
    match service.undeclared {
        Some(Undeclared::Drop) => writeln!(text, "undeclared = \"drop\"").unwrap(),
        Some(Undeclared::Pass) => writeln!(text, "undeclared = \"pass\"").unwrap(),
        None => {}
    }
    if service.steers_challenges() {
        writeln!(text, "steer-challenges = true").unwrap();
    }
    let drain = service.drain_timeout.map_or("never".to_owned(), duration);
    writeln!(text, "drain-timeout = \"{drain}\"").unwrap();
    if service.protocol == Protocol::Udp {
        writeln!(text, "track = {}", service.track).unwrap();
    }
    writeln!(text, "idle-timeout = \"{}\"", duration(service.idle_timeout)).unwrap();
    let source = match &service.nat.source {
        NatSource::Auto => "\"auto\"".to_owned(),
        NatSource::Client => "\"client\"".to_owned(),
        NatSource::Floating(one) if one.len() == 1 => format!("\"{}\"", one[0]),
        NatSource::Floating(some) => {
            let quoted: Vec<String> = some.iter().map(|ip| format!("\"{ip}\"")).collect();
            format!("[{}]", quoted.join(", "))
        }
    };
    writeln!(
        text,
        "[service.nat]\nsource = {source}\nports = \"{}\"",
        service.nat.ports
    )
    .unwrap();
    let ((v4, free_v4), (v6, free_v6)) = (service.tunnel.source_v4, service.tunnel.source_v6);
    writeln!(
        text,
        "[service.tunnel]\nsource = [\"{v4}/{}\", \"{v6}/{}\"]",
        32 - free_v4,
        128 - free_v6
    )
    .unwrap();
    if let Some(protection) = &service.protection {
        protection::service(text, protection);
    }
    if let Some(proxy) = service.proxy.as_ref().filter(|_| service.is_proxied()) {
        proxy::proxy(text, proxy);
    }
    self::health(text, "service", &service.health);
    backends(text, "service", service);
}

fn pool(text: &mut String, pool: &Service) {
    writeln!(text, "[[pool]]\nname = \"{}\"", pool.name).unwrap();
    writeln!(
        text,
        "balance = \"{}\"\ntable-size = {}",
        pool.balance.label(),
        pool.table_size.slots()
    )
    .unwrap();
    let drain = pool.drain_timeout.map_or("never".to_owned(), duration);
    writeln!(text, "drain-timeout = \"{drain}\"").unwrap();
    let upstream = &pool.proxy.as_ref().unwrap().upstream;
    proxy::upstream(text, "pool", upstream);
    health(text, "pool", &pool.health);
    backends(text, "pool", pool);
}

/// `owner` is `service` or `pool`.
fn health(text: &mut String, owner: &str, health: &HealthCheck) {
    let kind = kind(&health.kind);
    let (interval, timeout) = (duration(health.interval), duration(health.timeout));
    writeln!(
        text,
        "[{owner}.health]\nkind = {kind}\ninterval = \"{interval}\"\ntimeout = \"{timeout}\""
    )
    .unwrap();
    writeln!(text, "rise = {}\nfall = {}", health.rise, health.fall).unwrap();
    writeln!(text, "quorum = {}", health.quorum).unwrap();
    if let Some(slow_start) = health.slow_start {
        writeln!(text, "slow-start = \"{}\"", duration(slow_start)).unwrap();
    }
    if health.via != Via::default() {
        writeln!(text, "via = \"{}\"", health.via.label()).unwrap();
    }
}

fn backends(text: &mut String, owner: &str, service: &Service) {
    for backend in &service.backends {
        writeln!(
            text,
            "[[{owner}.backend]]\naddress = \"{}\"\nweight = {}",
            backend.address, backend.weight
        )
        .unwrap();
        if *backend.name != *backend.address.to_string() {
            writeln!(text, "name = \"{}\"", backend.name).unwrap();
        }
        writeln!(text, "state = \"{}\"", backend.state.label()).unwrap();
        writeln!(text, "role = \"{}\"", backend.role.label()).unwrap();
    }
}

/// A kind of check in quotes, and the keys that it has.
fn kind(kind: &HealthKind) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut text = String::new();
    let mut put = |key: &str, value: String| write!(text, "\n{key} = {value}").unwrap();
    let word = match kind {
        HealthKind::Tcp => "tcp",
        HealthKind::None => "none",
        HealthKind::Http(probe) => {
            put("path", quoted(&probe.path));
            put("method", quoted(&probe.method));
            if let Some(host) = &probe.host {
                put("host", quoted(host));
            }
            let header = |(name, value): &(String, Hidden<String>)| format!("{} = {}", quoted(name), quoted(&value.0));
            let headers: Vec<String> = probe.headers.iter().map(header).collect();
            put("headers", format!("{{ {} }}", headers.join(", ")));
            let statuses = probe.expect_status.0.iter();
            let statuses = statuses.map(|range| format!("\"{}-{}\"", range.start(), range.end()));
            put(
                "expect-status",
                format!("[{}]", statuses.collect::<Vec<_>>().join(", ")),
            );
            match &probe.expect_body {
                Some(ExpectBody::Text(text)) => put("expect-body", quoted(text)),
                Some(ExpectBody::Regex(pattern)) => put("expect-body-regex", quoted(pattern.0.as_str())),
                None => {}
            }
            match &probe.tls {
                Some(terms) => {
                    tls(terms, &mut put);
                    "https"
                }
                None => "http",
            }
        }
        HealthKind::Tls(terms) => {
            tls(terms, &mut put);
            "tls"
        }
        HealthKind::Udp(probe) => {
            for (key, bytes) in [("payload-hex", &probe.payload), ("expect-hex", &probe.expect)] {
                if !bytes.is_empty() {
                    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    put(key, quoted(&digits));
                }
            }
            put("expect-answer", probe.expect_answer.to_string());
            "udp"
        }
        HealthKind::Dns(probe) => {
            put("name", quoted(&probe.name));
            put("record", quoted(probe.record.label()));
            put("expect-record", probe.expect_record.to_string());
            "dns"
        }
        HealthKind::Mysql(probe) => {
            if let Some(login) = &probe.login {
                put("user", quoted(&login.user));
                if let Some(file) = &login.password_file {
                    put("password-file", quoted(file.to_str().unwrap()));
                }
                if let Some(terms) = &login.tls {
                    put("tls", "true".to_owned());
                    tls(terms, &mut put);
                }
                put("role", quoted(probe.role.label()));
            }
            if let Some(lag) = probe.max_lag {
                put("max-lag", quoted(&duration(lag)));
                put("without-source", probe.without_source.to_string());
            }
            "mysql"
        }
        HealthKind::Script(probe) => {
            let program = probe.program.to_str().unwrap();
            let words = [program].into_iter().chain(probe.arguments.iter().map(String::as_str));
            let words: Vec<String> = words.map(quoted).collect();
            put("command", format!("[{}]", words.join(", ")));
            put("dynamic-weight", probe.dynamic_weight.to_string());
            "script"
        }
    };
    format!("\"{word}\"{text}")
}

fn tls(terms: &TlsCheck, put: &mut impl FnMut(&str, String)) {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    if let Some(name) = &terms.server_name {
        put("server-name", quoted(name));
    }
    put("verify", terms.verify.to_string());
    if let Some(ca) = &terms.ca {
        put("ca", quoted(ca.to_str().unwrap()));
    }
}

fn duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
