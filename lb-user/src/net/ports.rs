//! Ports that the kernel takes for connections of the node's own, and those that it is kept from.
//!
//! Nothing of this is recorded anywhere but in the kernel, whose list does not say who put a port there. So what an
//! earlier run has added counts as somebody else's, and stays until the machine starts anew: a port that is reserved
//! for nothing is missed by nobody.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};

use super::error::Context;
use super::{Error, Namespace};
use crate::model::PortRange;

/// Where the kernel takes ports from, where a program names none. Holds for IPv6 too.
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Those that it passes over meanwhile. A program that names one gets it all the same.
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// More than the longest list, which has every second port and a comma.
const LONGEST: usize = 1 << 18;

/// Ports.
type Ports = BTreeSet<u16>;

/// The ports that the kernel takes for connections of the node's own.
///
/// # Errors
/// When the namespace cannot be entered, or the kernel does not say.
pub fn ephemeral(namespace: &Namespace) -> Result<PortRange, Error> {
    let read = || {
        let text = fs::read_to_string(EPHEMERAL)?;
        parse_ephemeral(&text).ok_or_else(|| not_understood(&text))
    };
    namespace
        .run_inside(read)
        .and_then(|read| read)
        .doing(|| format!("reading {EPHEMERAL}"))
}

/// Ports that are kept from the kernel, in one namespace.
#[derive(Debug)]
pub struct ReservedPorts {
    namespace: Namespace,
    /// Which of them are there for [`Self::keep`].
    added: Ports,
}

impl ReservedPorts {
    /// Nothing is kept so far. What others keep, they keep.
    #[must_use]
    pub fn new(namespace: Namespace) -> Self {
        let added = Ports::new();
        Self { namespace, added }
    }

    /// Keeps `ranges`, and no longer what an earlier call has added besides.
    ///
    /// # Errors
    /// When the list cannot be read or written. Then nothing has changed, unless the new list is longer than a page: the
    /// kernel takes such in parts, so it may be left with the lower ports alone, without what others kept above them.
    /// What has been added counts as somebody else's then.
    pub fn keep(&mut self, ranges: impl IntoIterator<Item = PortRange>) -> Result<(), Error> {
        // Many services may share a range.
        let ranges: BTreeSet<PortRange> = ranges.into_iter().collect();
        let wanted: Ports = ranges.into_iter().flat_map(|r| r.first()..=r.last()).collect();
        if wanted.is_empty() && self.added.is_empty() {
            return Ok(());
        }
        let change = || {
            let listed = read()?;
            let change = Change::new(&listed, &self.added, &wanted);
            if change.listed != listed {
                write(&change.listed)?;
            }
            Ok(change.added)
        };
        let changed = self.namespace.run_inside(change).and_then(|changed| changed);
        self.added = changed.doing(|| format!("changing {RESERVED}"))?;
        Ok(())
    }
}

/// What is to be listed, and which of it is ours.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    listed: Ports,
    added: Ports,
}

impl Change {
    fn new(listed: &Ports, added: &Ports, wanted: &Ports) -> Self {
        let others: Ports = listed.difference(added).copied().collect();
        Self {
            listed: others.union(wanted).copied().collect(),
            added: wanted.difference(&others).copied().collect(),
        }
    }
}

/// The list, in one read: the kernel gives nothing to a second one, and cuts what does not fit into the first.
fn read() -> io::Result<Ports> {
    let mut bytes = vec![0; LONGEST];
    let length = File::open(RESERVED)?.read(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes[..length]);
    parse(&text).ok_or_else(|| not_understood(&text))
}

/// Replaces the list. What the kernel leaves of a long one to another write, it adds to the first.
fn write(ports: &Ports) -> io::Result<()> {
    let text = format(ports) + "\n";
    OpenOptions::new()
        .write(true)
        .open(RESERVED)?
        .write_all(text.as_bytes())
}

fn not_understood(text: &str) -> io::Error {
    let start: String = text.chars().take(40).collect();
    io::Error::new(io::ErrorKind::InvalidData, format!("what is {start:?}?"))
}

/// `32768<tab>60999`
fn parse_ephemeral(text: &str) -> Option<PortRange> {
    let mut ports = text.split_whitespace().map(str::parse);
    match (ports.next()?, ports.next()?, ports.next()) {
        (Ok(first), Ok(last), None) => PortRange::new(first, last),
        _ => None,
    }
}

/// `80,8080-8090`
fn parse(text: &str) -> Option<Ports> {
    let mut ports = Ports::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        ports.extend(first.parse::<u16>().ok()?..=last.parse().ok()?);
    }
    Some(ports)
}

/// The reverse of [`parse`].
fn format(ports: &Ports) -> String {
    let mut text = String::new();
    let mut rest = ports.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if(|next| last.checked_add(1) == Some(*next)) {
            last = next;
        }
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _ = match first == last {
            true => write!(text, "{comma}{first}"),
            false => write!(text, "{comma}{first}-{last}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Ports {
        parse(text).unwrap()
    }

    #[test]
    fn lists_are_ports_and_ranges() {
        for text in ["", "80", "80-81", "0,80-90,443,65535", "0-65535", "1,3,5"] {
            assert_eq!(format(&ports(text)), text);
            assert_eq!(ports(&format!("{text}\n")), ports(text), "as the kernel ends it");
        }
        assert_eq!(format(&ports("81,80,79-82")), "79-82");
        for text in ["x", "80-", "-80", "65536", "80 81", "1--2"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse_ephemeral("32768\t60999\n"), PortRange::new(32_768, 60_999));
        for text in ["", "1", "1 2 3", "2 1", "0 5", "a b"] {
            assert_eq!(parse_ephemeral(text), None, "{text:?}");
        }
        let every_second: Ports = (0..=u16::MAX).step_by(2).collect();
        assert!(format(&every_second).len() < LONGEST);
    }

    #[test]
    fn what_others_keep_stays() {
        for (listed, added, wanted, then_listed, then_added) in [
            ("80", "", "90-92", "80,90-92", "90-92"),
            // Part of it is there already: that part is not ours to remove.
            ("80,91", "", "90-92", "80,90-92", "90,92"),
            ("80,90-92", "90,92", "", "80,91", ""),
            ("80,90-92", "90-92", "91-95", "80,91-95", "91-95"),
            // Somebody has set the list anew.
            ("80", "90-92", "90-92", "80,90-92", "90-92"),
            ("80", "90-92", "", "80", ""),
        ] {
            let expected = Change {
                listed: ports(then_listed),
                added: ports(then_added),
            };
            let change = Change::new(&ports(listed), &ports(added), &ports(wanted));
            assert_eq!(change, expected, "{listed} {added} {wanted}");
        }
    }
}
