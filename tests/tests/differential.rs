//! The program against a model of it: random packets, of which both say the same.
//!
//! `FULCRUM_SEED` repeats one round, `FULCRUM_PACKETS` says how many packets there are (a million).

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::env;

use lb_common::decap::Sources;
use lb_common::id::MemberIndex;
use lb_common::nat::{NatKey, Translation};
use lb_common::ring::Slot;
use lb_common::slot::Entry;
use lb_common::stats::DropReason;
use lb_common::trace::Wanted;
use lb_tests::gate::{self, Gate};
use lb_tests::model::craft::{Random, Targets};
use lb_tests::model::{After, Fate, Model};
use lb_tests::modes::{by_proxy, services, ways};
use lb_tests::nat::{DROP, PASS, TX};
use lb_tests::rig::{Rig, SEED, config, rig_of};
use lb_tests::toml::{self, Service, service};
use lb_user::dataplane::Dataplane as _;
use lb_user::dataplane::kernel::Kernel;
use lb_user::model::Protocol;
use lb_user::plan::{ServiceKey, Table};

/// Besides those of [`services`]: several backends, chosen in every way; no backend; the proxy; a VIP that was there before.
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

struct Tables<'a>(&'a Kernel);

impl After for Tables<'_> {
    fn flow(&self, key: &NatKey) -> Option<Translation> {
        self.0.entry(key).unwrap()
    }
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
    Targets { vips }
}

/// The node and its model, with the same slots in motion.
async fn world(random: &mut Random) -> (Rig, Model) {
    let kernel = Kernel::private(SEED).unwrap();
    let config = config(&toml::file(services().into_iter().chain(more())));
    let config = by_proxy(config, &["proxied", "proxied-many"]);
    let mut rig = rig_of(kernel, config, &["192.0.2.20", "2001:db8::20"]).await;
    let kernel = rig.dataplane_mut();
    let key = |vip: &str, protocol| ServiceKey::service(vip.parse().unwrap(), protocol);
    let installed = kernel.installed().unwrap();
    let mut model = Model::new(&installed);
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

async fn round(seed: u64, packets: usize) -> [u64; 4] {
    let mut random = Random::new(seed);
    let (mut rig, mut model) = world(&mut random).await;
    let kernel = rig.dataplane_mut();
    let targets = targets();
    let mut fates = [0; 4];
    let mut answers = Vec::new();
    let mut drops = kernel.drops().unwrap();
    for number in 0..packets {
        if number == packets / 2 {
            // What takes the program's place while somebody traces does the same.
            kernel.trace(Some(&EVERYTHING)).unwrap();
        }
        if number % 256 == 0 {
            answers = model.answers.values().map(|(answer, _)| *answer).collect();
        }
        let frame = targets.frame(&mut random, &answers);
        let (action, output) = kernel.test_run(&frame).unwrap();
        let fate = model.judge(&frame, &Tables(kernel));
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
    fates
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
    let mut fates = [0; 4];
    for seed in seeds {
        println!("FULCRUM_SEED={seed}");
        let round = round(seed, ROUND.min(packets)).await;
        fates = std::array::from_fn(|i| fates[i] + round[i]);
    }
    println!("passed, dropped, sent, too big: {fates:?}");
    let all: u64 = fates.iter().sum();
    assert!(
        fates[..3].iter().all(|&n| n > all / 20) && fates[3] > all / 1000,
        "{fates:?}"
    );
}
