//! The shape of a lab file. Serde reads it strictly: an unknown key is refused, and a value that is not of its kind.
//! What tables contradict in each other is looked for by [`super::check`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use toml::Spanned;

use super::action::Action;
use super::value::{Host, Loss, Place, Prefixed, Span as Time, Url, Word};
use crate::lab::asset::Asset;
use crate::lab::program::Kind;

/// A whole lab.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct File {
    /// Its name: part of the names of its namespaces, and of its folder.
    pub(in crate::lab) name: Spanned<Word>,
    /// One line for `lab list`.
    pub(in crate::lab) summary: String,
    /// What is drawn when it comes up.
    #[serde(default)]
    pub(in crate::lab) diagram: String,
    /// What it does not show yet, and why; said when it comes up.
    #[serde(default)]
    pub(in crate::lab) missing: Vec<String>,
    /// What its commands and servers use beside the programs of its hosts, by the Debian package: a program, or the path
    /// of a file.
    #[serde(default)]
    pub(in crate::lab) needs: BTreeMap<String, String>,
    /// Names for /etc/hosts on every host, beside those of the hosts.
    #[serde(default)]
    pub(in crate::lab) names: BTreeMap<String, IpAddr>,
    #[serde(default)]
    pub(in crate::lab) certificate: Vec<Certificate>,
    /// Ways in from outside, from loopback of the machine.
    #[serde(default)]
    pub(in crate::lab) forward: Vec<Forward>,
    #[serde(default)]
    pub(in crate::lab) switch: Vec<Switch>,
    #[serde(default)]
    pub(in crate::lab) host: Vec<Machine>,
    /// What has to hold when it is up, and again when a tour is over.
    #[serde(default)]
    pub(in crate::lab) check: Vec<Step>,
    /// The guided tour.
    #[serde(default)]
    pub(in crate::lab) step: Vec<Step>,
}

/// A certificate by the lab's own authority, whose own is `{lab}/ca.pem`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Certificate {
    /// In the lab's folder; chain and key in one file.
    pub(in crate::lab) file: String,
    /// DNS names and addresses that it is for.
    pub(in crate::lab) names: Vec<String>,
}

/// A way in from outside.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Forward {
    /// What is there, in a few words.
    pub(in crate::lab) what: String,
    /// The host that connects.
    pub(in crate::lab) from: Spanned<Host>,
    pub(in crate::lab) to: Spanned<Url>,
}

/// A bridge in a namespace of its own, where no firewall of the machine reaches it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Switch {
    pub(in crate::lab) name: Spanned<Host>,
    /// Largest packet that passes it, in bytes. Without it, each port has what its host's interface has.
    pub(in crate::lab) mtu: Option<u32>,
    /// Switches that it is wired to.
    #[serde(default)]
    pub(in crate::lab) uplinks: Vec<Spanned<Host>>,
}

/// A machine: a namespace with interfaces, files and processes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Machine {
    pub(in crate::lab) name: Spanned<Host>,
    /// A host further up that this one is as, in all that it says nothing of, but for interfaces.
    pub(in crate::lab) like: Option<Spanned<Host>>,
    /// What stands for `{NAME}` in its texts, by name.
    #[serde(default)]
    pub(in crate::lab) set: BTreeMap<String, String>,
    #[serde(default)]
    pub(in crate::lab) interface: Vec<Interface>,
    /// Addresses on `lo`: VIPs, for direct return.
    #[serde(default)]
    pub(in crate::lab) loopback: Vec<IpAddr>,
    #[serde(default)]
    pub(in crate::lab) route: Vec<Route>,
    /// Keys as sysctl(8) has them, below `net.`, set before interfaces come up.
    #[serde(default)]
    pub(in crate::lab) sysctl: BTreeMap<String, Number>,
    #[serde(default)]
    pub(in crate::lab) file: Vec<Text>,
    /// What it runs, in the order of starting.
    #[serde(default)]
    pub(in crate::lab) run: Vec<Run>,
}

/// A value of sysctl(8): with or without quotes.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(in crate::lab) enum Number {
    Number(i64),
    Text(String),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// A network card: plugged into a switch, or the end of a cable between two hosts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Interface {
    pub(in crate::lab) name: Spanned<Host>,
    pub(in crate::lab) switch: Option<Spanned<Host>>,
    /// `HOST/INTERFACE` at the other end of a cable. One of both ends says so.
    pub(in crate::lab) peer: Option<Spanned<Place>>,
    #[serde(default)]
    pub(in crate::lab) addresses: Vec<Spanned<Prefixed>>,
    /// Largest packet, in bytes.
    pub(in crate::lab) mtu: Option<u32>,
    /// Part of the packets from here that get lost on the way.
    pub(in crate::lab) loss: Option<Loss>,
    /// An XDP program will send packets back out of it: the other end gets a program that passes everything (without
    /// one, veth loses them) and computes no checksums later than it must (the program could not correct them).
    #[serde(default)]
    pub(in crate::lab) xdp: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Route {
    /// Everything, when it is left out.
    pub(in crate::lab) to: Option<Prefixed>,
    pub(in crate::lab) via: IpAddr,
}

/// A file in the host's folder. [`crate::lab::start`] says what stands for what in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Text {
    pub(in crate::lab) path: Spanned<String>,
    pub(in crate::lab) text: Option<String>,
    /// In place of `text`: a file that comes with the binary, as it is.
    pub(in crate::lab) asset: Option<Asset>,
    /// May be executed.
    #[serde(default)]
    pub(in crate::lab) executable: bool,
}

/// What a host runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Run {
    pub(in crate::lab) kind: Spanned<Kind>,
    /// Unlike those of the host's other processes; `kind`, when it is left out.
    pub(in crate::lab) name: Option<Spanned<Word>>,
    /// What stands in the program's configuration file, apart from what every lab needs in it.
    pub(in crate::lab) config: Option<Spanned<String>>,
    /// Where `serve` listens, or stands in: `ADDRESS:PORT`.
    #[serde(default)]
    pub(in crate::lab) listen: Vec<Spanned<String>>,
    /// Arguments after those that every lab needs. Of kind `command`, the program is the first of them.
    #[serde(default)]
    pub(in crate::lab) args: Vec<String>,
    /// The Debian package of a `command`.
    pub(in crate::lab) package: Option<String>,
    /// It serves when a TCP connection to this is accepted, or when the socket is there: `ADDRESS:PORT`, or a path.
    pub(in crate::lab) ready: Option<Spanned<String>>,
    /// Longest wait for that.
    pub(in crate::lab) within: Option<Time>,
    /// It is waited for to end, well, before the next is started.
    #[serde(default)]
    pub(in crate::lab) once: bool,
    /// Where the program is not installed, the embedded server listens in its stead on `listen`.
    #[serde(default)]
    pub(in crate::lab) or_serve: bool,
}

/// Something that is told, done and looked at.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Step {
    pub(in crate::lab) title: String,
    #[serde(default)]
    pub(in crate::lab) text: String,
    #[serde(default, rename = "do")]
    pub(in crate::lab) actions: Vec<Action>,
}

impl Machine {
    /// Its first address of IPv4.
    pub(in crate::lab) fn address(&self) -> Option<IpAddr> {
        self.addresses().find(IpAddr::is_ipv4)
    }

    /// Its first address of IPv6.
    pub(in crate::lab) fn address6(&self) -> Option<IpAddr> {
        self.addresses().find(IpAddr::is_ipv6)
    }

    /// Of all its interfaces.
    pub(in crate::lab) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.interface.iter().flat_map(|interface| &interface.addresses);
        addresses.map(|address| address.get_ref().ip)
    }
}
