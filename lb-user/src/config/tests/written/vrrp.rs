//! `[[vrrp]]` as text.

use std::fmt::Write as _;

use super::duration;
use crate::model::vrrp::{Program, Tracked, VirtualRouter};

pub(super) fn router(text: &mut String, router: &VirtualRouter) {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let list = |ips: &[std::net::IpAddr]| {
        let ips: Vec<String> = ips.iter().map(|ip| format!("\"{ip}\"")).collect();
        format!("[{}]", ips.join(", "))
    };
    let VirtualRouter {
        name,
        interface,
        id,
        version,
        priority,
        interval,
        peers,
        source,
        addresses,
        preempt,
        preempt_delay,
        start_delay,
        sync_group,
        notify,
        tracks,
    } = router;
    writeln!(text, "[[vrrp]]\nname = \"{name}\"\ninterface = {}", quoted(interface)).unwrap();
    writeln!(text, "router-id = {id}\nversion = {}", version.number()).unwrap();
    writeln!(text, "priority = {priority}").unwrap();
    writeln!(text, "advertisement-interval = \"{}\"", duration(*interval)).unwrap();
    writeln!(text, "peers = {}\naddresses = {}", list(peers), list(addresses)).unwrap();
    if let Some(source) = source {
        writeln!(text, "source-address = \"{source}\"").unwrap();
    }
    writeln!(text, "preempt = {preempt}").unwrap();
    writeln!(text, "preempt-delay = \"{}\"", duration(*preempt_delay)).unwrap();
    writeln!(text, "start-delay = \"{}\"", duration(*start_delay)).unwrap();
    if let Some(group) = sync_group {
        writeln!(text, "sync-group = \"{group}\"").unwrap();
    }
    let notify: Vec<String> = notify
        .iter()
        .map(|(occasion, program)| format!("{} = {}", occasion.label(), words(program)))
        .collect();
    writeln!(text, "notify = {{ {} }}", notify.join(", ")).unwrap();
    for track in tracks {
        writeln!(text, "[[vrrp.track]]\nweight = {}", track.weight).unwrap();
        match &track.subject {
            Tracked::Script(script) => {
                writeln!(text, "script = {}", words(&script.program)).unwrap();
                writeln!(text, "interval = \"{}\"", duration(script.interval)).unwrap();
                writeln!(text, "timeout = \"{}\"", duration(script.timeout)).unwrap();
                writeln!(text, "rise = {}\nfall = {}", script.rise, script.fall).unwrap();
            }
            Tracked::Interface(name) => writeln!(text, "interface = {}", quoted(name)).unwrap(),
            Tracked::Service(name) => writeln!(text, "service = \"{name}\"").unwrap(),
            Tracked::File(path) => writeln!(text, "file = {}", quoted(path.to_str().unwrap())).unwrap(),
        }
    }
}

fn words(program: &Program) -> String {
    let path = program.path.to_str().unwrap();
    let words = [path].into_iter().chain(program.arguments.iter().map(String::as_str));
    let words: Vec<String> = words.map(|word| toml::Value::from(word).to_string()).collect();
    format!("[{}]", words.join(", "))
}
