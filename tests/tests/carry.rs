//! Upgrades: maps of another layout are taken over, those that nobody knows are left alone.
//!
//! Past 500 lines: the tests share the entries that they put into old maps, and what they know of them.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Array, MapData};
use lb_common::addr::{Ipv4Be, Ipv6Be, Mac, PortBe};
use lb_common::backend::MacFlags;
use lb_common::flow::Ports;
use lb_common::hash::Seed;
use lb_common::id::{MemberId, MemberIndex};
use lb_common::layout;
use lb_common::limits::FLOW_TABLE;
use lb_common::nat::{Event, NatKey, Side, Stamp, Ticks, Translation, ticks};
use lb_common::service::feature;
use lb_common::slot::Entry;
use lb_tests::gate::{self, Gate};
use lb_tests::lab::{LabTurn, fulcrum};
use lb_tests::node::{DEADLINE, Node, refused};
use lb_tests::release_1::{self, attached, folders, pinned};
use lb_user::api::Client;
use lb_user::api::types::Status;
use lb_user::dataplane::Dataplane as _;
use lb_user::dataplane::kernel::{Kernel, Lock};
use lb_user::model::{Interface, XdpMode};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

const LAB: &str = "quickstart";
const LAB_FOLDER: &str = "/run/fulcrum/lab/quickstart";

/// A daemon in the place of the lab's own, with not more rights than it needs: the kernel does not tell it whose program
/// is attached.
struct Daemon(Child);

impl Daemon {
    fn start(log: &Path) -> Self {
        let fulcrum = fulcrum();
        let child = Command::new(fulcrum.get_program())
            .args(["lab", "exec", "quickstart/lb", "--"])
            .args(["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"])
            .arg(fulcrum.get_program())
            .args(["run", "-c", &format!("{LAB_FOLDER}/hosts/lb/fulcrum.toml")])
            .stdin(Stdio::null())
            .stderr(fs::File::create(log).unwrap())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Waits until the lab's daemon says what is wanted.
async fn until(what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let client = Client::new(PathBuf::from(LAB_FOLDER).join("hosts/lb/fulcrum.sock"));
    let deadline = Instant::now() + DEADLINE;
    loop {
        match client.status().await {
            Ok(status) if wanted(&status) => return status,
            status => assert!(
                Instant::now() < deadline,
                "not within {DEADLINE:?}: {what}\n{status:#?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Ends the load, also where the test fails meanwhile: a scope waits for its threads.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn new_flows(status: &Status) -> u64 {
    status
        .services
        .iter()
        .flat_map(|s| &s.backends)
        .map(|b| b.new_flows)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_release_is_upgraded_under_load() {
    if gate::root_with(&["curl", "setpriv"]) == Gate::Skip {
        return;
    }
    let Some(turn) = LabTurn::take(&[LAB]) else { return };
    let up = turn.lab(&["up", LAB]);
    assert!(up.status.success(), "{up:?}");
    let client = |command: &[&str]| {
        let output = turn.lab(&[&["exec", "quickstart/client", "--"], command].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // As many connections, one request each; all must be answered.
    let requests = |count: u64| {
        let url = format!("http://10.77.0.100/?[1-{count}]");
        let said = client(&[
            "curl",
            "-sS",
            "-m",
            "20",
            "--fail-early",
            "-H",
            "Connection: close",
            &url,
        ]);
        let answers = said.lines().filter(|line| line.contains(" saw client "));
        assert_eq!(answers.count() as u64, count, "{said}");
    };
    let pin_dir = PathBuf::from(LAB_FOLDER).join("bpf/lb");
    let serving = |s: &Status| s.services.iter().all(|s| s.backends.iter().all(|b| b.slots > 0));
    requests(20);
    let counted = new_flows(&until("every backend serves", serving).await);

    // Back to the first release: the daemon goes, program and maps are that release's.
    let record = fs::read(Path::new(LAB_FOLDER).join("processes/lb.fulcrum.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let pid = i32::try_from(record["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let deadline = Instant::now() + DEADLINE;
    let lock = || loop {
        match Lock::take(&pin_dir) {
            Ok(lock) => break lock,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    let (links, vips, unreadable) = {
        let lock = lock();
        let seed = fs::read(Path::new(LAB_FOLDER).join("hosts/lb/state/seed")).unwrap();
        release_1::bring_back(&pin_dir, Seed::from_bytes(seed.try_into().unwrap()));
        let (vips, unreadable) = lock.owned_addresses().unwrap();
        (lock.attachments().unwrap(), vips, unreadable)
    };
    assert_eq!(
        (vips.len(), unreadable.len()),
        (2, 0),
        "whose the VIPs are is read in both layouts"
    );
    requests(20);

    // The upgrade, with requests all the time, and one connection that lives through it.
    let (stop, made) = (AtomicBool::new(false), AtomicU64::new(0));
    let folder = tempfile::tempdir().unwrap();
    let answer = folder.path().join("answer");
    let log = PathBuf::from(LAB_FOLDER).join("log/upgrade.log");
    let daemon = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let ending = Ending(&stop);
            let load = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    requests(20);
                    made.fetch_add(20, Ordering::Relaxed);
                }
            });
            let lasting = scope.spawn(|| {
                let count = "%{stderr}%{num_connects}\n";
                let url = "http://10.77.0.100/?[1-40]";
                let output = turn.lab(&[
                    "exec",
                    "quickstart/client",
                    "--",
                    "curl",
                    "-sS",
                    "-m",
                    "20",
                    "--rate",
                    "10/s",
                    "-w",
                    count,
                    "-o",
                    answer.to_str().unwrap(),
                    url,
                ]);
                assert!(output.status.success(), "{output:?}");
                let connects = String::from_utf8(output.stderr).unwrap();
                connects.lines().map(|n| n.parse::<u64>().unwrap()).sum::<u64>()
            });
            let deadline = Instant::now() + DEADLINE;
            let answered = || fs::metadata(&answer).is_ok_and(|file| file.len() > 0);
            while made.load(Ordering::Relaxed) == 0 || !answered() {
                assert!(Instant::now() < deadline, "nobody answers");
                std::thread::sleep(Duration::from_millis(10));
            }
            let daemon = Daemon::start(&log);
            let upgraded = tokio::runtime::Handle::current().block_on(async {
                tokio::time::timeout(DEADLINE, until("it runs", |s| !s.interfaces.is_empty())).await
            });
            let made_by_one = lasting.join();
            drop(ending);
            load.join().expect("every request is answered");
            upgraded.unwrap_or_else(|_| panic!("{}", fs::read_to_string(&log).unwrap()));
            assert_eq!(made_by_one.expect("all are answered"), 1, "the connection lasts");
            daemon
        })
    });
    let said = fs::read_to_string(&log).unwrap();

    let status = until("all are up", |s| {
        s.services
            .iter()
            .flat_map(|s| &s.backends)
            .all(|b| b.health == lb_user::api::types::Health::Up)
    })
    .await;
    assert_eq!(
        new_flows(&status),
        counted + 20 + made.into_inner() + 1,
        "counters go on"
    );
    assert!(
        status.services.iter().flat_map(|s| &s.vips).all(|v| v.exclusive),
        "the VIPs are still its own"
    );
    assert!(status.drops.values().all(|&count| count == 0), "{:?}", status.drops);
    assert!(said.contains("maps of another layout taken over"), "{said}");
    let names: Vec<_> = folders(&pin_dir)
        .into_iter()
        .map(|f| f.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_ne!(names[0], release_1::FOLDER);
    assert!(!held(&pin_dir));
    drop(daemon);
    assert_eq!(lock().attachments().unwrap(), links, "the program was swapped in place");
    assert!(turn.lab(&["down", LAB]).status.success());
}

/// Does the attached program hold packets of flows that it does not know?
fn held(pin_dir: &Path) -> bool {
    let features: Array<MapData, u64> = attached(pin_dir, "FEATURES").try_into().unwrap();
    features.get(&0, 0).unwrap() >> feature::HOLD_UNTIL != 0
}

const SEED: Seed = Seed([1, 2]);

fn open(node: &Node, flow_table: u32) -> Kernel {
    Kernel::open(&node.path("bpf"), SEED, flow_table).unwrap_or_else(|e| panic!("{e:?}"))
}

fn attach(node: &Node, mut kernel: Kernel) {
    let attach = || {
        let eth0 = Interface {
            name: "eth0".to_owned(),
            index: nix::net::if_::if_nametoindex("eth0").unwrap(),
            mac: Mac::default(),
            running: true,
            addresses: BTreeSet::new(),
        };
        kernel.attach(&[eth0], XdpMode::Native)
    };
    let attached = node.namespace.run_inside(attach).unwrap().unwrap();
    assert!(attached.iter().all(Result::is_ok), "{attached:?}");
}

/// Where the maps are, when tables of flows have this size.
fn folder(node: &Node, flow_table: u32) -> PathBuf {
    let digest = layout::digest(&layout::maps(flow_table));
    node.path("bpf").join(format!("maps-{digest:016x}"))
}

fn now() -> Ticks {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    ticks(Duration::from(now).as_nanos() as u64)
}

/// Of a flow that both sides have sent packets of, `ago` ticks ago.
fn established(ago: Ticks) -> Stamp {
    let seen = now() - ago;
    let opened = Stamp::opened(seen).heard(Side::Client, Event::DATA, seen);
    opened.heard(Side::Backend, Event::DATA, seen)
}

fn v4(first: u8, number: u32) -> Ipv6Be {
    let [_, b, c, d] = number.to_be_bytes();
    Ipv6Be::mapped_v4(Ipv4Be::new([first, b, c, d]))
}

/// Key of flow `number`, as the client sends it, and of its lease.
fn keys(number: u32) -> (NatKey, NatKey) {
    let key = |source, destination, ports: (u16, u16)| NatKey {
        source,
        destination,
        ports: Ports {
            source: PortBe::new(ports.0),
            destination: PortBe::new(ports.1),
        },
        protocol: 6,
    };
    let flow = key(v4(10, number), v4(192, 1), (40_000, 80));
    (flow, key(v4(172, 1), v4(11, number), (8080, 20_000)))
}

/// What packets with the key `from` become, where those with the key `to` come back.
fn translation(from: &NatKey, to: &NatKey, stamp: Stamp) -> Translation {
    let (ip_delta, l4_delta) = from.differences(&to.reversed());
    Translation {
        stamp,
        source: to.destination,
        destination: to.source,
        ports: to.reversed().ports,
        member: MemberId(7),
        client: MacFlags::new(Mac([2, 0, 0, 0, 0, 1]), 0),
        local: MacFlags::new(Mac([2, 0, 0, 0, 0, 2]), 0),
        interface: 1,
        idle: 3600,
        ip_delta,
        l4_delta,
        pad: [0; 4],
    }
}

type Table = aya::maps::HashMap<MapData, NatKey, Translation>;

/// `NAT` and `NAT_REPLY`.
struct Tables {
    flows: Table,
    leases: Table,
}

impl Tables {
    fn of(folder: &Path) -> Self {
        Self {
            flows: pinned(folder, "NAT").try_into().unwrap(),
            leases: pinned(folder, "NAT_REPLY").try_into().unwrap(),
        }
    }

    /// Makes flow `number`, or changes it, as a program does.
    fn put(&mut self, number: u32, stamp: Stamp) {
        let (flow, lease) = keys(number);
        self.leases.insert(lease, translation(&lease, &flow, stamp), 0).unwrap();
        self.flows.insert(flow, translation(&flow, &lease, stamp), 0).unwrap();
    }

    fn stamp(&self, number: u32) -> Option<Stamp> {
        self.leases.get(&keys(number).1, 0).ok().map(|lease| lease.stamp)
    }

    fn contents(&self) -> [HashMap<NatKey, Translation>; 2] {
        [&self.flows, &self.leases].map(|table| table.iter().map(Result::unwrap).collect())
    }
}

/// `FLOWS` or `TRACKED`.
fn entries(folder: &Path, name: &str) -> aya::maps::HashMap<MapData, NatKey, Entry> {
    pinned(folder, name).try_into().unwrap()
}

/// Every lease has its flow, and every flow its lease.
fn whole([flows, leases]: &[HashMap<NatKey, Translation>; 2]) -> bool {
    let turned = |a: &HashMap<NatKey, Translation>, b: &HashMap<NatKey, Translation>| {
        a.iter()
            .all(|(key, t)| b.get(&t.other(6)).is_some_and(|other| other.other(6) == *key))
    };
    turned(flows, leases) && turned(leases, flows)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_flows_change_their_size() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let pin_dir = node.path("bpf");
    let lock = Lock::take(&pin_dir).unwrap();
    attach(&node, open(&node, 4096));
    let links = lock.attachments().unwrap();
    let mut small = Tables::of(&folder(&node, 4096));
    for number in 0..3000 {
        small.put(number, established(10));
    }
    // What is known of other flows.
    let known = ["FLOWS", "TRACKED"].map(|name| (name, pinned(&folder(&node, 4096), name)));
    for (number, (name, _)) in known.iter().enumerate() {
        let mut entries = entries(&folder(&node, 4096), name);
        let entry = Entry::new(MemberIndex(number as u16 + 1), now());
        entries.insert(keys(number as u32).0, entry, 0).unwrap();
    }
    // Flows that are over, or being ended, are not worth the way.
    small.put(5000, Stamp::opened(now() - 100));
    small.put(5001, established(10).claimed());

    // A start that is killed before the links are swapped. The old program goes on.
    std::mem::forget(open(&node, 8192));
    assert_eq!(folders(&pin_dir).len(), 2);
    assert_eq!(lock.owned_addresses().unwrap(), (BTreeSet::new(), Vec::new()));
    assert_eq!(lock.attachments().unwrap(), links);
    small.put(0, established(0).heard(Side::Client, Event::FINISHES, now()));
    // One that fails, or is told to end, leaves nothing.
    drop(open(&node, 8192));
    assert_eq!(folders(&pin_dir), [folder(&node, 4096)]);
    // One that is killed when the maps are complete: so they look as if they were in use.
    let killed = open(&node, 8192);
    let new = folders(&pin_dir)
        .into_iter()
        .find(|folder| folder.to_string_lossy().contains("maps-new-"));
    fs::rename(new.unwrap(), folder(&node, 8192)).unwrap();
    drop(killed);
    small.put(3000, established(0));

    // The next one begins again, and comes to its end. Until then the old program does its work.
    let kernel = open(&node, 8192);
    small.put(3001, established(0));
    small.put(1, established(0).heard(Side::Backend, Event::FINISHES, now()));
    attach(&node, kernel);
    let mut expected = small.contents();
    for number in [5000, 5001] {
        let (flow, lease) = keys(number);
        expected[0].remove(&flow);
        expected[1].remove(&lease);
    }
    let mut large = Tables::of(&folder(&node, 8192));
    let [_, leases] = large.contents();
    assert!(
        leases == expected[1],
        "{} leases of {}",
        leases.len(),
        expected[1].len()
    );
    assert!(whole(&large.contents()));
    for (number, (name, _)) in known.iter().enumerate() {
        let there: Vec<_> = entries(&folder(&node, 8192), name).iter().map(Result::unwrap).collect();
        let [(key, entry)] = there[..] else {
            panic!("{name}: {there:?}");
        };
        assert_eq!((key, entry.member().0), (keys(number as u32).0, number as u16 + 1));
    }
    assert_eq!(folders(&pin_dir), [folder(&node, 8192)]);
    assert_eq!(lock.attachments().unwrap(), links, "the program was swapped in place");
    assert!(!held(&pin_dir));

    // A start that is killed after the links were swapped: both folders are there, the new program works, and a flow
    // of the old one's last moment is still to be carried.
    small.put(3002, established(0));
    large.put(2, established(0).heard(Side::Client, Event::FINISHES, now()));
    let (flow, lease) = keys(4);
    large.flows.remove(&flow).unwrap();
    let (other, _) = keys(9004);
    large
        .flows
        .insert(other, translation(&other, &lease, established(0)), 0)
        .unwrap();
    large
        .leases
        .insert(lease, translation(&lease, &other, established(0)), 0)
        .unwrap();
    let before = large.contents();
    let again = folder(&node, 4096);
    fs::create_dir(&again).unwrap();
    for map in layout::maps(8192) {
        match map.name {
            "NAT" | "NAT_REPLY" | "FLOWS" | "TRACKED" => {}
            shared => pinned(&folder(&node, 8192), shared).pin(again.join(shared)).unwrap(),
        }
    }
    for (name, map) in &known {
        map.pin(again.join(name)).unwrap();
    }
    small.flows.pin(again.join("NAT")).unwrap();
    small.leases.pin(again.join("NAT_REPLY")).unwrap();
    attach(&node, open(&node, 8192));
    let mut after = large.contents();
    assert!(whole(&after));
    let (flow, lease) = keys(3002);
    assert!(after[0].remove(&flow).is_some() && after[1].remove(&lease).is_some());
    assert!(after == before, "what the new program has written stands");
    assert_eq!(folders(&pin_dir), [folder(&node, 8192)]);

    // What a start leaves that is killed while it makes or removes maps goes, too. In a table that is too small, flows
    // are whole or not there.
    for leftover in ["maps-new-0123456789abcdef", "maps-gone-0123456789abcdef"] {
        fs::create_dir(pin_dir.join(leftover)).unwrap();
        pinned(&folder(&node, 8192), "DROPS")
            .pin(pin_dir.join(leftover).join("DROPS"))
            .unwrap();
    }
    attach(&node, open(&node, 1024));
    let few = Tables::of(&folder(&node, 1024)).contents();
    assert_eq!((few[0].len(), few[1].len()), (1024, 1024));
    assert!(whole(&few));
    assert_eq!(folders(&pin_dir), [folder(&node, 1024)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_maps_that_are_not_related_those_in_use_count() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let _lock = Lock::take(&node.path("bpf")).unwrap();
    let (small, large) = (folder(&node, 4096), folder(&node, 8192));
    // Two that do not know of each other, as an older version leaves them that ran in between.
    attach(&node, open(&node, 4096));
    Tables::of(&small).put(1, established(0));
    let aside = node.path("bpf/aside");
    fs::rename(&small, &aside).unwrap();
    attach(&node, open(&node, 8192));
    Tables::of(&large).put(2, established(0));
    fs::rename(&aside, &small).unwrap();

    // What nobody uses is left alone,
    attach(&node, open(&node, 8192));
    let tables = Tables::of(&large);
    assert!(tables.stamp(1).is_none() && tables.stamp(2).is_some());
    assert!(small.exists());
    // and makes room for what is used.
    attach(&node, open(&node, 4096));
    let tables = Tables::of(&small);
    assert!(tables.stamp(1).is_none() && tables.stamp(2).is_some());
    assert_eq!(folders(&node.path("bpf")), [small]);
}

const SERVICE: &str = "[[service]]\nname = \"web\"\naddress = \"10.9.0.100:80\"\nmode = \"dsr\"\n\
    [service.health]\nkind = \"none\"\n[[service.backend]]\nname = \"web1\"\naddress = \"10.9.0.11:80\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_too_small_is_said() {
    if gate::root() == Gate::Skip {
        return;
    }
    const TOO_MANY: u32 = FLOW_TABLE + 5000;
    let node = Node::new().await;
    node.configure(&format!("{}{SERVICE}", node.head("eth0")));
    let lock = Lock::take(&node.path("bpf")).unwrap();
    attach(&node, open(&node, 2 * FLOW_TABLE));
    let mut tables = Tables::of(&folder(&node, 2 * FLOW_TABLE));
    let stamp = established(0);
    for number in 0..TOO_MANY {
        tables.put(number, stamp);
    }
    drop(lock);
    let daemon = node.start().await;
    assert!(node.log().contains("lost=5000"), "{}", node.log());
    let [flows, leases] = Tables::of(&folder(&node, FLOW_TABLE)).contents();
    assert_eq!((flows.len(), leases.len()), (FLOW_TABLE as usize, FLOW_TABLE as usize));
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_that_nobody_knows_are_left_alone() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    node.configure(&format!("{}{SERVICE}", node.head("eth0")));
    let lock = Lock::take(&node.path("bpf")).unwrap();
    let foreign = || Array::<MapData, u64>::create(64, 0).unwrap();
    // A layout of a version to come; the first release's folder with something else in it; one that holds nothing.
    let unknown = node.path("bpf/maps-0123456789abcdef");
    let wrong = node.path("bpf").join(release_1::FOLDER);
    let empty = node.path("bpf/maps-fedcba9876543210");
    for folder in [&unknown, &wrong, &empty] {
        fs::create_dir(folder).unwrap();
    }
    foreign().pin(unknown.join("NAT")).unwrap();
    foreign().pin(wrong.join("DROPS")).unwrap();
    drop(lock);
    let daemon = node.start().await;
    let log = node.log();
    let said = |folder: &Path, reason: &str| {
        let folder = folder.display().to_string();
        log.lines()
            .any(|line| line.contains(&folder) && line.contains(reason) && line.contains("not used"))
    };
    assert!(said(&unknown, "this version does not know their layout"), "{log}");
    assert!(said(&wrong, "is not the map that this version makes"), "{log}");
    assert!(unknown.join("NAT").exists() && wrong.join("DROPS").exists() && !empty.exists());
    daemon.end(Signal::SIGTERM);

    // Right name, right sizes, another type: made by another program.
    let ours = folder(&node, FLOW_TABLE);
    fs::remove_file(ours.join("DROPS")).unwrap();
    plain_drops().pin(ours.join("DROPS")).unwrap();
    let run = node.path("fulcrum.toml");
    let text = refused(&mut node.command(&["run", "-c", &run.to_string_lossy()]));
    assert!(text.contains("it is of another type"), "{text}");
    assert!(node.run("detach").status.success());
    assert!(!node.path("bpf").exists());
}

/// A map that has the name and the sizes of `DROPS`, and is a plain array.
fn plain_drops() -> MapData {
    /// What `BPF_MAP_CREATE` takes (linux/bpf.h).
    #[repr(C)]
    struct Attributes {
        map_type: u32,
        key: u32,
        value: u32,
        entries: u32,
        rest: [u32; 3],
        name: [u8; 16],
    }
    const BPF_MAP_CREATE: libc::c_int = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let attributes = Attributes {
        map_type: BPF_MAP_TYPE_ARRAY,
        key: 4,
        value: 8,
        entries: 64,
        rest: [0; 3],
        name: *b"DROPS\0\0\0\0\0\0\0\0\0\0\0",
    };
    // SAFETY: the attributes have the size that is said, and the kernel only reads them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just made it, for nobody else.
    MapData::from_fd(unsafe { OwnedFd::from_raw_fd(fd.try_into().unwrap()) }).unwrap()
}
