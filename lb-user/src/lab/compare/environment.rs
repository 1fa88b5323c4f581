//! Where it was measured.

use std::fs;
use std::process::{Command, Stdio};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::model::Environment;
use crate::lab::program::installed;

/// Programs whose versions count, with what makes them say it.
const PROGRAMS: [(&str, &str); 4] = [
    ("haproxy", "-v"),
    ("nginx", "-v"),
    ("nft", "--version"),
    ("ipvsadm", "--version"),
];

/// What is true of every run, since the lab is what it is.
const OFFLOADS: [&str; 3] = [
    "Fulcrum's program is attached natively, to a veth interface: the other end of that cable has a program that passes \
     everything, which veth needs before it takes what XDP sends.",
    "That other end, a port of the switch, computes no checksums later than it must, and neither end of the cable \
     merges or splits segments (TSO), for all subjects alike: the lab stays as it is while they change.",
    "In tunnel, servers take packets out by XDP programs of their own, attached while that is measured: their cables \
     lose TSO as well, and their work is in the machine's time, not in the balancer's.",
];

pub(super) fn look() -> Environment {
    let read = |place: &str| fs::read_to_string(place).unwrap_or_default();
    let mut versions = vec![("fulcrum".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    for (program, how) in PROGRAMS {
        if let Some(version) = version(program, how) {
            versions.push((program.to_owned(), version));
        }
    }
    Environment {
        kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        processor: processor(&read("/proc/cpuinfo")),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory: memory(&read("/proc/meminfo")),
        versions,
        offloads: OFFLOADS.map(str::to_owned).to_vec(),
    }
}

/// The time, in UTC, as RFC 3339 has it.
pub(super) fn now() -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// The first thing with digits and a dot in what a program says of itself; some say it on standard error.
fn version(program: &str, how: &str) -> Option<String> {
    let mut command = Command::new(installed(program)?);
    let output = command.arg(how).stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    number(&said).map(str::to_owned)
}

fn number(said: &str) -> Option<&str> {
    let mut words = said.split(|c: char| c.is_whitespace() || c == '/');
    words
        .find(|word| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
        .map(|word| word.trim_start_matches('v'))
}

fn processor(text: &str) -> String {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(key, value)| (key.trim() == name).then(|| value.trim().to_owned()))
    };
    // The second is what machines with arm64 have.
    let named = value("model name").or_else(|| value("CPU part"));
    named.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// In bytes.
fn memory(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_say_their_versions_in_many_ways() {
        for (said, expected) in [
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n",
                "2.6.12-1+deb12u4",
            ),
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("nftables v1.0.6 (Lester Gooch #5)\n", "1.0.6"),
            (
                "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n",
                "1.31",
            ),
        ] {
            assert_eq!(number(said), Some(expected));
        }
        assert_eq!(number("no idea"), None);
    }

    #[test]
    fn the_machine_is_read() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: AMD EPYC\n";
        assert_eq!(processor(text), "AMD EPYC");
        assert_eq!(processor(""), std::env::consts::ARCH);
        assert_eq!(memory("MemTotal:        4096 kB\nMemFree: 1 kB\n"), 4096 * 1024);
        assert!(now().ends_with('Z') && now().len() >= 20, "{}", now());
    }
}
