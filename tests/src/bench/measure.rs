//! Case by case, sample by sample: the balancer and the minimal one in turns, over several loads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;

use super::case::{Case, Kind, NEW, all};
use super::facts;
use super::link::Link;
use super::object::{Bench, DROP, PASS, TX, Traffic};
use super::report::{Figure, Report};
use super::setting::{Setting, Shield};
use super::shared::{ADJUST, EMPTY, SUBJECT};
use crate::packet::{self, ACK, SYN};
use crate::rig::{CLIENT, NODE, stay_on_one_cpu};

/// How long to measure, and what.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only cases whose name contains one of these; all, where there are none.
    pub filters: Vec<String>,
    /// Loads of the object: where its code lies matters.
    pub loads: u32,
    /// Samples of each case and load.
    pub samples: u32,
    /// Packets of a sample.
    pub packets: u32,
}

impl Options {
    /// Says whether it works, and nothing of time.
    #[must_use]
    pub const fn quick(filters: Vec<String>) -> Self {
        Self {
            filters,
            loads: 1,
            samples: 2,
            packets: 1000,
        }
    }

    fn wants(&self, case: &Case) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| case.name.contains(filter))
    }
}

/// Measures, and says what was seen.
///
/// # Errors
/// When the kernel refuses a program, or when a packet came to another end than it should: then no figure counts.
pub async fn run(options: &Options) -> Result<Report> {
    stay_on_one_cpu();
    let mut report = Report::default();
    let mut groups: Vec<Vec<Case>> = Vec::new();
    for case in all().into_iter().filter(|case| options.wants(case)) {
        let is_last = |group: &&mut Vec<Case>| group[0].setting == case.setting && !case.is_alone();
        match groups.last_mut().filter(is_last) {
            Some(group) if !group[0].is_alone() => group.push(case),
            _ => groups.push(vec![case]),
        }
    }
    ensure!(!groups.is_empty(), "no case has such a name");
    // Kept until the end, so that the next load comes to lie elsewhere.
    let mut padding = Vec::new();
    for load in 0..options.loads {
        for group in &groups {
            eprintln!("load {} of {}: {}", load + 1, options.loads, group[0].name);
            one_load(group, options, load, &mut report).await?;
        }
        padding.push(pad()?);
    }
    drop(padding);
    Ok(report)
}

/// Measures cases on one load of the programs.
async fn one_load(group: &[Case], options: &Options, load: u32, report: &mut Report) -> Result<()> {
    let setting = &group[0].setting;
    let link = if setting.sends { Some(Link::make().await?) } else { None };
    let (mut rig, loading) = setting.load(link.as_ref()).await?;
    let mut bench = Bench::load(link)?;
    bench.serve(setting)?;
    let programs = rig.dataplane_mut().loaded()?;
    let program = |name: &str| {
        let found = programs.iter().find(|program| program.name == name);
        Ok::<_, anyhow::Error>(&found.with_context(|| format!("the object has no program {name}"))?.fd)
    };
    let subject = if setting.shield == Shield::None {
        "fulcrum"
    } else {
        "fulcrum_protect"
    };
    bench.set_subject(program(subject)?, program("fulcrum")?)?;
    for case in group {
        let (subject, reference) = case_on(&mut bench, case, options).with_context(|| case.name.clone())?;
        report.add(case, load, subject, reference);
    }
    facts::note(report, setting, &programs, &bench, &loading)
}

/// The samples of one case: nanoseconds of the program that it measures, and of the reference.
fn case_on(bench: &mut Bench, case: &Case, options: &Options) -> Result<(Figure, Figure)> {
    let setting = &case.setting;
    let vips = if setting.services > 1 { setting.services } else { 0 };
    // A multiple, so that each flow always is for the same VIP.
    let flows = match case.flows {
        NEW => NEW,
        many => many - many % vips.max(1).min(many),
    };
    let traffic = |kind| Traffic::new(frame(setting, kind), setting, flows, vips);
    let mut mine = traffic(case.kind);
    let mut theirs = traffic(case.kind);
    let (action, reference_action) = match (case.target, case.kind) {
        (EMPTY, _) => (PASS, TX),
        (ADJUST, _) => (TX, TX),
        (_, Kind::Nobody) => (PASS, PASS),
        (_, Kind::Denied) => (DROP, TX),
        (_, Kind::Syn | Kind::Data | Kind::Datagram | Kind::Answered) => (TX, TX),
    };
    // The kernel gets a SYN now and then.
    let others = u64::from(case.kind == Kind::Answered);
    if case.target == SUBJECT && setting.remembers() && case.flows != NEW && case.kind != Kind::Nobody {
        let mut opening = traffic(if setting.udp { Kind::Datagram } else { Kind::Syn });
        let flows = flows.max(vips);
        let seen = bench.run(SUBJECT, &mut opening, flows)?;
        ensure!(
            seen.actions[action] == u64::from(flows),
            "opening flows: {:?}",
            seen.actions
        );
        mine.follow(&opening);
    }
    let (mut subject, mut reference) = (Figure::default(), Figure::default());
    // The first round is not counted: caches and branches are cold.
    for round in 0..=options.samples {
        for (target, traffic, figure, action) in [
            (case.target, &mut mine, &mut subject, action),
            (case.reference, &mut theirs, &mut reference, reference_action),
        ] {
            let sample = bench.run(target, traffic, options.packets)?;
            ensure!(
                sample.actions[action] >= u64::from(options.packets) - others,
                "target {target}: packets ended in {:?}, by action, and not all in {action}: the figure is void",
                sample.actions
            );
            if round > 0 {
                figure.add(sample.ns);
            }
        }
    }
    Ok((subject, reference))
}

/// The options of a SYN, as Linux sends them: segment size, selective acknowledgements, timestamps, window scaling.
const OFFER: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 1, 2, 0, 0, 0, 0, 1, 3, 3, 7];

/// A packet of the first flow, as a client sends it.
fn frame(setting: &Setting, kind: Kind) -> Vec<u8> {
    let source: IpAddr = if setting.v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7).into()
    } else {
        Ipv4Addr::new(198, 18, 0, 0).into()
    };
    let client = SocketAddr::new(source, 1024);
    let data = [0x5a; 48];
    let packet = match kind {
        Kind::Syn => packet::tcp(client, setting.vip(0), SYN, &data),
        Kind::Data => packet::tcp(client, setting.vip(0), ACK, &data),
        Kind::Datagram => packet::udp(client, setting.vip(0), &data),
        Kind::Nobody => packet::tcp(client, setting.nobody(), ACK, &data),
        Kind::Denied => packet::tcp(client, setting.vip(0), ACK, &data),
        Kind::Answered => packet::syn(client, setting.vip(0), &OFFER, &[]),
    };
    packet::frame(NODE, CLIENT, &packet)
}

/// A copy of the bench's programs, which takes room where the next load would have come to lie.
fn pad() -> Result<Ebpf> {
    Ok(Bench::load(None)?.object)
}
