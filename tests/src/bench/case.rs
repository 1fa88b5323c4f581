//! The table of cases.

use super::setting::{Setting, Shield};
use super::shared::{ADJUST, BARE, EMPTY, REFERENCE, SUBJECT};

/// 1 M flows.
const MILLION: u32 = 1_000_000;
/// 64 k flows.
const MANY: u32 = 1 << 16;
/// Every packet opens a flow that was not there before.
pub const NEW: u32 = u32::MAX;

/// Room for [`MILLION`], and for what new flows add.
const LARGE_TABLE: u32 = 1 << 21;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP, opens a connection.
    Syn,
    /// TCP, of a connection that is open.
    Data,
    /// UDP.
    Datagram,
    /// For an address that is nobody's.
    Nobody,
    /// TCP, opens a connection with all that Linux offers, and is answered with a cookie.
    Answered,
    /// TCP, of a connection that is open, from a source that is denied.
    Denied,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// What it is measured on.
    pub setting: Setting,
    /// What is sent.
    pub kind: Kind,
    /// From how many flows; [`NEW`] for ever new ones.
    pub flows: u32,
    /// Which program is measured: the balancer, or one that shows what measuring costs.
    pub(super) target: u32,
    /// What it is compared with: the minimal balancer, or this one without protection.
    pub(super) reference: u32,
}

impl Case {
    fn new(what: &str, setting: Setting, kind: Kind, flows: u32) -> Self {
        let Setting {
            mode,
            balance,
            v6,
            services,
            backends,
            sends,
            ..
        } = setting;
        let family = if v6 { ", IPv6" } else { "" };
        let sent = if sends { ", sent" } else { "" };
        let size = match (services, backends) {
            (1, 16) => String::new(),
            _ => format!(", {services} x {backends}"),
        };
        Self {
            name: format!("{mode} {balance}: {what}{family}{size}{sent}"),
            setting,
            kind,
            flows,
            target: SUBJECT,
            reference: REFERENCE,
        }
    }

    /// Beside the balancer without what protects it here.
    fn protected(what: &str, shield: Shield, setting: Setting, kind: Kind, flows: u32) -> Self {
        let setting = Setting { shield, ..setting };
        let plain = Self::new(what, setting, kind, flows);
        Self {
            name: format!("protection: {}", plain.name),
            reference: BARE,
            ..plain
        }
    }

    fn of(target: u32, name: &str) -> Self {
        let setting = Setting::new("dsr", "maglev");
        Self {
            name: name.to_owned(),
            target,
            ..Self::new("", setting, Kind::Data, 1)
        }
    }

    /// Whether it wants tables that no other case has filled.
    pub(super) fn is_alone(&self) -> bool {
        self.setting.remembers() && self.flows > MANY
    }
}

/// Every mode with the balance that keeps no state of its own, and every balance.
const WHOLE: [(&str, &str); 3] = [("dsr", "maglev"), ("tunnel", "maglev"), ("nat", "maglev")];
const SHORT: [(&str, &str); 6] = [
    ("dsr", "source-hash"),
    ("tunnel", "source-hash"),
    ("dsr", "round-robin"),
    ("tunnel", "round-robin"),
    ("dsr", "least-connections"),
    ("tunnel", "least-connections"),
];

/// All of them, those of a setting together.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = vec![
        Case::of(EMPTY, "nothing but the wrapper"),
        Case::of(ADJUST, "nothing but adjust_head"),
    ];
    for (mode, balance) in WHOLE {
        whole(&mut cases, Setting::new(mode, balance));
    }
    for (mode, balance) in SHORT {
        let setting = Setting::new(mode, balance);
        established(&mut cases, setting);
        opening(&mut cases, setting);
        cases.push(Case::new(
            "established, 1 flow",
            Setting { v6: true, ..setting },
            Kind::Data,
            1,
        ));
    }
    protection(&mut cases);
    sent(&mut cases);
    cases
}

/// What packets cost that really leave, and what is saved by a drop.
fn sent(cases: &mut Vec<Case>) {
    for mode in ["dsr", "tunnel"] {
        let setting = Setting {
            sends: true,
            ..Setting::new(mode, "maglev")
        };
        cases.push(Case::new("established, 1 flow", setting, Kind::Data, 1));
        cases.push(Case::protected(
            "all rungs, established, 1 flow",
            Shield::All,
            setting,
            Kind::Data,
            1,
        ));
        for (what, shield, kind, flows) in LISTED {
            cases.push(Case::protected(what, shield, setting, kind, flows));
        }
    }
}

/// What lists cost: how many flows, of what.
const LISTED: [(&str, Shield, Kind, u32); 2] = [
    ("dropped by a short list", Shield::Short, Kind::Denied, 1),
    (
        "a million prefixes, sources everywhere",
        Shield::Million,
        Kind::Data,
        NEW,
    ),
];

/// What protection costs, beside the same packet without it.
fn protection(cases: &mut Vec<Case>) {
    for mode in ["dsr", "tunnel", "nat"] {
        let setting = Setting::new(mode, "maglev");
        let v6 = Setting { v6: true, ..setting };
        for (what, kind, flows) in [
            ("established, 1 flow", Kind::Data, 1),
            ("established, 64 k flows", Kind::Data, MANY),
        ] {
            let what = format!("all rungs, {what}");
            cases.push(Case::protected(&what, Shield::All, setting, kind, flows));
            cases.push(Case::protected(&what, Shield::All, v6, kind, flows));
        }
        if mode == "nat" {
            continue;
        }
        cases.push(Case::protected("all rungs, SYN", Shield::All, setting, Kind::Syn, 1));
        cases.push(Case::protected(
            "all rungs, new flow each packet",
            Shield::All,
            setting,
            Kind::Syn,
            NEW,
        ));
        for (what, shield, kind, flows) in LISTED {
            cases.push(Case::protected(what, shield, setting, kind, flows));
        }
    }
    // Such a packet has no other way: it is compared with one that is forwarded.
    let setting = Setting::new("proxy", "maglev");
    for (what, shield) in [
        ("answered with a cookie", Shield::Cookies),
        ("all rungs, answered with a cookie", Shield::All),
    ] {
        cases.push(Case {
            reference: REFERENCE,
            ..Case::protected(what, shield, setting, Kind::Answered, MANY)
        });
    }
}

fn whole(cases: &mut Vec<Case>, setting: Setting) {
    let v6 = Setting { v6: true, ..setting };
    let udp = Setting { udp: true, ..setting };
    if setting == Setting::new("dsr", "maglev") {
        cases.push(Case::new("for nobody", setting, Kind::Nobody, 1));
        cases.push(Case::new("for nobody", v6, Kind::Nobody, 1));
    }
    established(cases, setting);
    opening(cases, setting);
    cases.push(Case::new("UDP, 1 flow", udp, Kind::Datagram, 1));
    cases.push(Case::new("UDP, 64 k flows", udp, Kind::Datagram, MANY));
    established(cases, v6);
    opening(cases, v6);
    for (services, backends) in [(1, 100), (100, 16), (100, 100)] {
        let setting = Setting {
            services,
            backends,
            ..setting
        };
        cases.push(Case::new("established, 1 flow", setting, Kind::Data, 1));
        cases.push(Case::new("established, 64 k flows", setting, Kind::Data, MANY));
    }
}

fn established(cases: &mut Vec<Case>, setting: Setting) {
    cases.push(Case::new("established, 1 flow", setting, Kind::Data, 1));
    cases.push(Case::new("established, 64 k flows", setting, Kind::Data, MANY));
    cases.push(Case::new("established, 1 M flows", roomy(setting), Kind::Data, MILLION));
}

fn opening(cases: &mut Vec<Case>, setting: Setting) {
    cases.push(Case::new("SYN", setting, Kind::Syn, 1));
    cases.push(Case::new("new flow each packet", roomy(setting), Kind::Syn, NEW));
}

/// With room for a million flows, where they are written down. In `nat` each backend has 64,512 ports for them.
fn roomy(setting: Setting) -> Setting {
    match setting.mode {
        _ if !setting.remembers() => setting,
        "nat" => Setting {
            table: LARGE_TABLE,
            backends: 32,
            ..setting
        },
        _ => Setting {
            table: LARGE_TABLE,
            ..setting
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_told_apart() {
        let cases = all();
        let names: BTreeSet<&str> = cases.iter().map(|case| &*case.name).collect();
        assert_eq!(names.len(), cases.len());
    }
}
