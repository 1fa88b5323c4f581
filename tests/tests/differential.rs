//! The program against a model of it: random packets, of which both say the same.
//!
//! `FULCRUM_SEED` repeats one round, `FULCRUM_PACKETS` says how many packets there are (a million).

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::env;
use std::ops::Range;
use std::time::Duration;

use lb_common::decap::Sources;
use lb_common::id::MemberIndex;
use lb_common::nat::{NatKey, Translation};
use lb_common::protect::{PLACES, REASONS, Refusals};
use lb_common::ring::Slot;
use lb_common::slot::Entry;
use lb_common::stats::DropReason;
use lb_common::trace::Wanted;
use lb_tests::gate::{self, Gate};
use lb_tests::model::craft::{Known, Random, Targets};
use lb_tests::model::{After, Fate, Model};
use lb_tests::modes::{by_proxy, services, ways};
use lb_tests::nat::{DROP, PASS, TX};
use lb_tests::rig::{Rig, SEED, config, converge, rig_of, stay_on_one_cpu};
use lb_tests::toml::{self, Service, service};
use lb_user::dataplane::Dataplane as _;
use lb_user::dataplane::kernel::Kernel;
use lb_user::model::{Config, Protocol, ServiceProtection};
use lb_user::plan::{ServiceKey, Table};
use nix::time::{ClockId, clock_gettime};

/// Where an authority may come in half of the rounds.
const STEERS: &str = "steer-challenges = true";

/// Besides those of [`services`]: several backends, chosen in every way; no backend; the proxy, and what it takes
/// at times; a VIP that was there before.
fn more() -> Vec<Service> {
    vec![
        service("many", "tunnel", &["192.0.2.40:80", "[2001:db8::40]:80"])
            .backend("10.0.1.1:80")
            .backend("[fd00::102]:80")
            .backend("10.0.1.3:80"),
        service("moving", "dsr", &["192.0.2.40:81"])
            .backend("10.0.1.4:81")
            .backend("10.0.1.5:81")
            .backend("10.0.1.6:81"),
        service("moving-udp", "dsr", &["192.0.2.40:81"])
            .udp()
            .backend("10.0.1.4:81")
            .backend("10.0.1.5:81"),
        service("source", "dsr", &["192.0.2.40:82"])
            .with("balance = \"source-hash\"")
            .backend("10.0.1.7:82")
            .backend("10.0.1.8:82"),
        service("turns", "dsr", &["192.0.2.40:83"])
            .with("balance = \"round-robin\"")
            .backend("10.0.1.9:83")
            .backend("10.0.1.10:83"),
        service("turns-udp", "dsr", &["192.0.2.40:83"])
            .udp()
            .with("balance = \"round-robin\"")
            .backend("10.0.1.9:83")
            .backend("10.0.1.10:83"),
        service("nat-many", "nat", &["192.0.2.40:84"])
            .table("nat", "source = [\"10.0.0.254\"]")
            .backend("10.0.1.11:80")
            .backend("10.0.1.12:80"),
        service("empty", "dsr", &["192.0.2.40:85", "[2001:db8::40]:85"]),
        service(
            "proxied",
            "dsr",
            &["192.0.2.40:86", "[2001:db8::40]:86", "192.0.2.20:86"],
        )
        .backend("10.0.1.14:86"),
        service(
            "proxied-many",
            "dsr",
            &["192.0.2.40:9000-9099", "[2001:db8::40]:9000-9099"],
        )
        .backend("10.0.1.15:9000"),
        service("steered", "dsr", &["192.0.2.50:80", "[2001:db8::50]:80"])
            .with(STEERS)
            .backend("10.0.1.16:80")
            .backend("10.0.1.17:80"),
        service("steered-tunnel", "tunnel", &["192.0.2.51:80"])
            .with(STEERS)
            .with("balance = \"round-robin\"")
            .backend("10.0.1.18:80"),
        service("steered-nat", "nat", &["192.0.2.52:80"])
            .with(STEERS)
            .table("nat", "source = [\"10.0.0.254\"]")
            .backend("10.0.1.19:80"),
        service("shared", "tunnel", &["192.0.2.20:80", "[2001:db8::20]:80"]).backend("10.0.1.13:80"),
    ]
}

/// More than is ever shown.
const EVERYTHING: Wanted = Wanted {
    sources: Sources::ALL,
    reasons: 0,
    member_base: 0,
    members: 0,
    budget: u32::MAX,
    foreign: 1,
};

/// `[protection]`, and `[service.protection]` of services by name.
type Protection = (&'static str, &'static [(&'static str, &'static str)]);

/// What protects services, by turns: nothing; everything; everything, of which most is only observed; some services alone. The
/// slowest rates, so that a round is over before much comes again. Who is exempt goes on all the time.
const PROTECTIONS: [Protection; 4] = [
    ("", &[]),
    (
        r#"
[protection]
bogons = true
deny = ["198.51.100.3", "198.51.100.128/25", "169.254.0.0/16", "2001:db8:1::3", "2001:db8:bad::/48"]
allow = ["198.51.100.200", "169.254.7.0/24", "2001:db8:bad:1::/64"]
exempt = ["198.51.100.1", "2001:db8:1::1"]
connections-per-second = { limit = 1, burst = 60, per-ipv6 = "/128" }
packets-per-second = { limit = 1, burst = 500, per = "/31", per-ipv6 = "/128" }
icmp-per-second = { limit = 1, burst = 40 }
syn-cookies = { above = 0 }
"#,
        &[
            (
                "many",
                r#"deny = ["all"]
                allow = ["198.51.100.0/30", "2001:db8:1::/48"]"#,
            ),
            ("moving", "connections-per-second = { limit = 1, burst = 5 }"),
            ("nat", "enforcement = \"observe\""),
            (
                "dsr6",
                r#"packets-per-second = { limit = 1, burst = 50 }
                exempt = ["2001:db8:1::2"]"#,
            ),
            ("proxied-many", "syn-cookies = { above = 1 }"),
        ],
    ),
    (
        r#"
[protection]
enforcement = "observe"
bogons = true
deny = ["198.51.100.2", "2001:db8:1::2"]
connections-per-second = { limit = 1, burst = 30, per = "/0", per-ipv6 = "/0" }
packets-per-second = { limit = 1, burst = 300, per-ipv6 = "/48" }
icmp-per-second = { limit = 1, burst = 30, per-ipv6 = "/0" }
syn-cookies = { above = 4 }
"#,
        &[
            ("dsr", "enforcement = \"enforce\""),
            (
                "proxied",
                r#"enforcement = "enforce"
                syn-cookies = { above = 0 }"#,
            ),
        ],
    ),
    (
        "",
        &[
            (
                "dsr",
                r#"deny = ["198.51.100.0/31"]
                packets-per-second = { limit = 1, burst = 100 }"#,
            ),
            ("tunnel6", ""),
            (
                "proxied",
                r#"deny = ["2001:db8:1::4"]
                syn-cookies = { above = 1 }"#,
            ),
        ],
    ),
];

/// A program that has run, when that was, and what it has left.
struct Ran<'a> {
    kernel: &'a Kernel,
    time: Range<u64>,
    output: &'a [u8],
}

impl After for Ran<'_> {
    fn flow(&self, key: &NatKey) -> Option<Translation> {
        self.kernel.entry(key).unwrap()
    }

    fn refusals(&self, place: u32) -> Refusals {
        self.kernel.refusals(place, 1).unwrap()[0]
    }

    fn time(&self) -> Range<u64> {
        self.time.clone()
    }

    fn output(&self) -> &[u8] {
        self.output
    }
}

/// The program's clock, in nanoseconds.
fn clock() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap();
    Duration::from(now).as_nanos() as u64
}

/// What is counted of a place, but for what the model does not know.
fn counts(refusals: &Refusals) -> ([u64; REASONS], [u64; REASONS], u64, u64) {
    (
        refusals.refused,
        refusals.observed,
        refusals.answered,
        refusals.accepted,
    )
}

/// The table of a service.
fn own(text: &str) -> ServiceProtection {
    let any = service("any", "proxy", &["192.0.2.1:80"]).table("protection", text);
    let file = config(&toml::file([any.backend("10.0.0.1:80")]));
    file.services[0].protection.clone().unwrap()
}

/// Everything, protected in one of the ways.
fn world_of(protection: usize) -> Config {
    let (all, services_own) = PROTECTIONS[protection];
    let file = toml::file(services().into_iter().chain(more()));
    let file = file.replacen("[[service]]", &format!("{all}\n[[service]]"), 1);
    let mut config = by_proxy(config(&file), &["proxied", "proxied-many"]);
    for (name, text) in services_own {
        let mut named = config.services.iter_mut().filter(|service| &*service.name == *name);
        named.next().unwrap().protection = Some(own(text));
    }
    config
}

fn targets() -> Targets {
    let mut vips: Vec<_> = ways()
        .iter()
        .map(|way| (way.flow.destination, way.flow.protocol))
        .collect();
    let more = [
        "192.0.2.40:80",
        "[2001:db8::40]:80",
        "192.0.2.40:81",
        "192.0.2.40:82",
        "192.0.2.40:83",
        "192.0.2.40:84",
        "192.0.2.40:85",
        "[2001:db8::40]:85",
        "192.0.2.40:86",
        "[2001:db8::40]:86",
        "192.0.2.20:86",
        "192.0.2.40:9050",
        "[2001:db8::40]:9099",
        "192.0.2.50:80",
        "[2001:db8::50]:80",
        "192.0.2.51:80",
        "192.0.2.52:80",
        "192.0.2.20:80",
        "[2001:db8::20]:80",
        "192.0.2.20:22",
        "[2001:db8::20]:22",
        "192.0.2.10:22",
        "[2001:db8::10]:22",
        "192.0.2.99:80",
        "[2001:db8::99]:80",
        "10.0.0.254:22",
    ];
    vips.extend(more.map(|vip| (vip.parse().unwrap(), Protocol::Tcp)));
    vips.extend(["192.0.2.40:81", "192.0.2.40:83"].map(|vip| (vip.parse().unwrap(), Protocol::Udp)));
    let sources = [
        "127.0.0.1",
        "169.254.1.1",
        "169.254.7.7",
        "198.51.100.130",
        "198.51.100.200",
        "240.0.0.1",
        "10.0.0.1",
        "fe80::1",
        "::1",
        "::",
        "ff02::1",
        "2001:db8:bad::1",
        "2001:db8:bad:1::1",
        "::ffff:198.51.100.3",
    ];
    let sources = sources.map(|ip| ip.parse().unwrap()).to_vec();
    Targets { vips, sources }
}

/// The node and its model, with the same slots in motion.
async fn world(random: &mut Random, protection: usize) -> (Rig, Model) {
    let kernel = Kernel::private(SEED).unwrap();
    let config = world_of(protection);
    let mut rig = rig_of(kernel, config.clone(), &["192.0.2.20", "2001:db8::20"]).await;
    if random.below(2) == 0 {
        assert!(rig.facts_mut().steer(true));
        converge(&mut rig).await;
    }
    let kernel = rig.dataplane_mut();
    let key = |vip: &str, protocol| ServiceKey::service(vip.parse().unwrap(), protocol);
    let installed = kernel.installed().unwrap();
    let mut model = Model::new(&installed);
    model.protect(&config);
    for (protocol, backends) in [(Protocol::Tcp, 3), (Protocol::Udp, 2)] {
        let decision = installed.entries[&key("192.0.2.40:81", protocol)];
        for place in 0..1u32 << decision.ring_log2() {
            let (a, b) = (random.below(backends) as u16 + 1, random.below(backends) as u16 + 1);
            let (a, b) = (MemberIndex(a), MemberIndex(b));
            let slot = match random.below(4) {
                0 => Slot::stable(a),
                1 => Slot::settled(a),
                _ if random.once_in(20) => Slot::moving(MemberIndex::NONE, a),
                _ if a == b => Slot::settled(a),
                _ => Slot::moving(a, b),
            };
            kernel.put_slot(decision.ring_block(), place, slot);
            model.put_slot(decision.ring_block(), place as usize, slot);
        }
    }
    (rig, model)
}

/// Entries without the time, in order.
fn timeless(entries: impl IntoIterator<Item = (NatKey, Entry)>) -> Vec<String> {
    let each = entries.into_iter().map(|(key, entry)| {
        let sequence = if entry.is_syn_only() { entry.sequence } else { 0 };
        format!("{key:?} {:#x} {sequence}", entry.word & 0xffff_ffff)
    });
    let mut entries: Vec<String> = each.collect();
    entries.sort();
    entries
}

/// What became of the packets of a round.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// Passed, dropped, sent, too big.
    fates: [u64; 4],
    refusals: Refusals,
}

async fn round(seed: u64, packets: usize) -> Tally {
    let mut random = Random::new(seed);
    let (mut rig, mut model) = world(&mut random, seed as usize % PROTECTIONS.len()).await;
    // Whether cookies are given out, each CPU knows for itself.
    stay_on_one_cpu();
    let kernel = rig.dataplane_mut();
    let targets = targets();
    let mut fates = [0; 4];
    let mut known = Known::default();
    let mut drops = kernel.drops().unwrap();
    for number in 0..packets {
        if number == packets / 2 {
            // What takes the program's place while somebody traces does the same.
            kernel.trace(Some(&EVERYTHING)).unwrap();
        }
        if number % 256 == 0 {
            known = model.overheard();
        }
        let frame = targets.frame(&mut random, &known);
        let before = clock();
        let (action, output) = kernel.test_run(&frame).unwrap();
        let ran = Ran {
            kernel,
            time: before..clock(),
            output: &output,
        };
        let fate = model.judge(&frame, &ran);
        let what = || {
            format!(
                "FULCRUM_SEED={seed}, packet {number}: {frame:02x?}\nis to be {fate:02x?}\nand is {action} {output:02x?}"
            )
        };
        let reason = match &fate {
            Fate::Drop(reason) => Some(*reason),
            Fate::TooBig(_) => Some(DropReason::TooBig),
            Fate::Pass | Fate::Send(_) => None,
        };
        let right = match &fate {
            Fate::Pass => action == PASS && output == frame,
            Fate::Drop(_) => action == DROP && output == frame,
            Fate::Send(sent) | Fate::TooBig(sent) => {
                let mut got = sent.clone();
                got.frame.clone_from(&output);
                action == TX && got == *sent
            }
        };
        if let Some(reason) = reason {
            drops.iter_mut().find(|(r, _)| *r == reason).unwrap().1 += 1;
        }
        if !right || (reason.is_some() || action == DROP) && drops != kernel.drops().unwrap() {
            panic!("{}\ndropped {:?}\n    and {:?}", what(), drops, kernel.drops().unwrap());
        }
        fates[match fate {
            Fate::Pass => 0,
            Fate::Drop(_) => 1,
            Fate::Send(_) => 2,
            Fate::TooBig(_) => 3,
        }] += 1;
    }
    assert_eq!(kernel.drops().unwrap(), drops, "FULCRUM_SEED={seed}");
    let tables = [(Table::Flows, &model.moving), (Table::Tracked, &model.tracked)];
    for (table, known) in tables {
        let known = known.iter().map(|(key, entry)| (*key, *entry));
        assert_eq!(
            timeless(kernel.all_known(table).unwrap()),
            timeless(known),
            "FULCRUM_SEED={seed}: {table:?}"
        );
    }
    for (&member, &[packets, bytes, opened, _]) in &model.counted {
        let counted = kernel.counters(lb_common::id::MemberId(member), 1).unwrap()[0];
        let counted = [counted.packets, counted.bytes, counted.new_flows];
        assert_eq!(
            counted,
            [packets, bytes, opened],
            "FULCRUM_SEED={seed}: member {member}"
        );
    }
    let counted = kernel.refusals(0, PLACES).unwrap();
    let mut expected = vec![Refusals::default(); PLACES as usize];
    let mut refusals = Refusals::default();
    for (place, known) in model.refusals() {
        expected[place as usize] = known;
        refusals += known;
    }
    for (place, (counted, expected)) in counted.iter().zip(&expected).enumerate() {
        assert_eq!(counts(counted), counts(expected), "FULCRUM_SEED={seed}: place {place}");
    }
    Tally { fates, refusals }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_does_what_its_model_does() {
    // The model has no clock: also where packets are slow, in a VM, a round is over before the program forgets a flow.
    const ROUND: usize = 20_000;
    if gate::root() == Gate::Skip {
        return;
    }
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let packets = number("FULCRUM_PACKETS").map_or(1_000_000, |n| n as usize);
    let seeds = match number("FULCRUM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..packets.div_ceil(ROUND) as u64,
    };
    let whole = seeds.end - seeds.start >= PROTECTIONS.len() as u64;
    let mut all = Tally::default();
    for seed in seeds {
        println!("FULCRUM_SEED={seed}");
        let Tally { fates, refusals } = round(seed, ROUND.min(packets)).await;
        all.fates = std::array::from_fn(|i| all.fates[i] + fates[i]);
        all.refusals += refusals;
    }
    let Tally { fates, refusals } = all;
    println!("passed, dropped, sent, too big: {fates:?}");
    println!("{refusals:?}");
    let count: u64 = fates.iter().sum();
    assert!(
        fates[..3].iter().all(|&n| n > count / 20) && fates[3] > count / 1000,
        "{fates:?}"
    );
    if whole {
        // Who is only observed gets no cookie, so nobody is missed to send one back.
        let observed = &refusals.observed[..REASONS - 1];
        assert!(refusals.refused.iter().chain(observed).all(|&n| n > 0), "{refusals:?}");
        assert!(refusals.answered > 0 && refusals.accepted > 0, "{refusals:?}");
    }
}
