//! The bench's own programs, loaded.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, Pod};

use super::link::Link;
use super::setting::{PORT, Setting, Shield};
use super::shared::{
    ADJUST, BARE, Backend, EMPTY, HEAD, HEAD_WORDS, MISSED, Plan, REFERENCE, SUBJECT, Service, ServiceV4, ServiceV6,
    source, spread,
};
use crate::rig::{NODE, mac_of};

static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../lb-ebpf/object/bench.bpf.o"));

/// Actions of programs.
pub(super) const DROP: usize = 1;
/// See [`DROP`].
pub(super) const PASS: usize = 2;
/// See [`DROP`].
pub(super) const TX: usize = 3;

/// Packets that are sent at once: as many as a driver takes from a NIC's queue in one go.
const BATCH: u32 = 64;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

// SAFETY: all of them are repr(C), Copy, without pointers, and every padding byte is a field.
unsafe impl Pod for Plan {}
// SAFETY: as above.
unsafe impl Pod for ServiceV4 {}
// SAFETY: as above.
unsafe impl Pod for ServiceV6 {}
// SAFETY: as above.
unsafe impl Pod for Service {}
// SAFETY: as above.
unsafe impl Pod for Backend {}

/// Wrapper, minimal balancer, and their maps.
pub(super) struct Bench {
    pub(super) object: Ebpf,
    plan: Array<MapData, Plan>,
    targets: ProgramArray<MapData>,
    arrived: PerCpuArray<MapData, u64>,
    link: Option<Link>,
}

/// What is sent, again and again.
pub(super) struct Traffic {
    frame: Vec<u8>,
    plan: Plan,
}

/// What one run has seen.
pub(super) struct Sample {
    /// Nanoseconds per packet, as the kernel reports them: whole ones.
    pub(super) ns: f64,
    /// How many packets ended in each action.
    pub(super) actions: [u64; 8],
}

impl Bench {
    /// Loads all of them; the balancer's place is empty. With a `link`, packets are sent over it.
    pub(super) fn load(link: Option<Link>) -> Result<Self> {
        let mut object = Ebpf::load(OBJECT).context("the bench's object")?;
        let mut take = |name| object.take_map(name).with_context(|| format!("the bench's map {name}"));
        let plan = take("PLAN")?.try_into()?;
        let mut targets = ProgramArray::try_from(take("TARGETS")?)?;
        let arrived = take("ARRIVED")?.try_into()?;
        // First, since the map takes only programs of the kind that uses it.
        load(&mut object, "bench_wrapper")?;
        load(&mut object, "bench_send")?;
        if let Some(link) = &link {
            link.attach(load(&mut object, "bench_arrive")?)?;
        }
        for (place, name) in [
            (REFERENCE, "bench_reference"),
            (EMPTY, "bench_empty"),
            (ADJUST, "bench_adjust"),
        ] {
            targets.set(place, load(&mut object, name)?.fd()?, 0)?;
        }
        Ok(Self {
            object,
            plan,
            targets,
            arrived,
            link,
        })
    }

    /// Says which program is the balancer, and which one it is where nothing protects services.
    pub(super) fn set_subject(&mut self, program: &ProgramFd, bare: &ProgramFd) -> Result<()> {
        let set = self.targets.set(SUBJECT, program, 0);
        let set = set.and_then(|()| self.targets.set(BARE, bare, 0));
        set.context("the wrapper and the balancer are of different kinds: either both are `xdp(frags)`, or none")
    }

    /// Gives the minimal balancer the services and backends of `setting`.
    pub(super) fn serve(&mut self, setting: &Setting) -> Result<()> {
        let map = |object: &mut Ebpf, name| object.take_map(name).with_context(|| format!("the bench's map {name}"));
        let mut v4 = HashMap::<_, ServiceV4, Service>::try_from(map(&mut self.object, "REF_SERVICES_V4")?)?;
        let mut v6 = HashMap::<_, ServiceV6, Service>::try_from(map(&mut self.object, "REF_SERVICES_V6")?)?;
        let mut backends = Array::<_, Backend>::try_from(map(&mut self.object, "REF_BACKENDS")?)?;
        let protocol = if setting.udp { 17 } else { 6 };
        let port = PORT.to_be();
        for index in 0..setting.services {
            let service = Service {
                first: index * setting.backends,
                count: setting.backends,
            };
            match setting.vip(index).ip() {
                IpAddr::V4(vip) => {
                    let key = ServiceV4 {
                        address: u32::from_ne_bytes(vip.octets()),
                        port,
                        protocol,
                    };
                    v4.insert(key, service, 0)?;
                }
                IpAddr::V6(vip) => {
                    let key = ServiceV6 {
                        address: words(vip.octets()),
                        port,
                        protocol,
                        padding: 0,
                    };
                    v6.insert(key, service, 0)?;
                }
            }
            for backend in 0..setting.backends {
                let backend_is = outer(setting.backend(backend));
                backends.set(service.first + backend, backend_is, 0)?;
            }
        }
        Ok(())
    }

    /// Sends `packets` packets of `traffic` through `target`.
    ///
    /// # Errors
    /// When the kernel refuses, or when the packet does not come out of the wrapper as it should.
    pub(super) fn run(&mut self, target: u32, traffic: &mut Traffic, packets: u32) -> Result<Sample> {
        traffic.plan.target = target;
        traffic.plan.actions = [0; 8];
        self.plan.set(0, traffic.plan, 0)?;
        let ns = match &self.link {
            Some(_) => self.send(traffic, packets)?,
            None => self.call(traffic, packets)?,
        };
        ensure!(
            traffic.plan.actions[MISSED as usize] == 0,
            "there was no program to call"
        );
        Ok(Sample {
            ns,
            actions: traffic.plan.actions,
        })
    }

    /// Calls the wrapper; nanoseconds per packet.
    fn call(&mut self, traffic: &mut Traffic, packets: u32) -> Result<f64> {
        let input = traffic.current();
        let mut output = vec![0; input.len() + 64];
        let options = TestRunOptions {
            data_in: Some(&input),
            data_out: Some(&mut output),
            repeat: packets,
            ..TestRunOptions::default()
        };
        let run = program(&mut self.object, "bench_wrapper")?.test_run(options)?;
        traffic.plan = self.plan.get(&0, 0)?;
        output.truncate(run.data_size_out as usize);
        ensure!(
            run.return_value as usize == PASS,
            "the wrapper could not restore the packet"
        );
        let expected = traffic.current();
        ensure!(
            output == expected,
            "the packet came out as {output:02x?} and not as {expected:02x?}"
        );
        Ok(run.duration.as_nanos() as f64)
    }

    /// Sends them; nanoseconds per packet.
    fn send(&mut self, traffic: &mut Traffic, packets: u32) -> Result<f64> {
        let link = self.link.as_ref().context("there is no link")?;
        let arrived = |counts: &PerCpuArray<MapData, u64>| Ok::<u64, anyhow::Error>(counts.get(&0, 0)?.iter().sum());
        let before = arrived(&self.arrived)?;
        let options = TestRunOptions {
            data_in: Some(&traffic.frame),
            ctx_in: Some(&link.context(&traffic.frame)),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        let sender = program(&mut self.object, "bench_send")?;
        let run = link.run_inside(|| sender.test_run(options))??;
        traffic.plan = self.plan.get(&0, 0)?;
        let (sent, arrived) = (traffic.plan.actions[TX], arrived(&self.arrived)? - before);
        ensure!(arrived == sent, "{sent} packets were sent, and {arrived} have arrived");
        Ok(run.duration.as_nanos() as f64)
    }
}

/// What the minimal balancer makes of a frame: the action, and what comes out.
///
/// # Errors
/// When the kernel refuses.
pub fn reference(setting: &Setting, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
    let mut bench = Bench::load(None)?;
    bench.serve(setting)?;
    let mut output = vec![0; frame.len() + 64];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut output),
        ..TestRunOptions::default()
    };
    let run = program(&mut bench.object, "bench_reference")?.test_run(options)?;
    output.truncate(run.data_size_out as usize);
    Ok((run.return_value, output))
}

impl Traffic {
    /// Packets like `frame`, from so many flows, to the VIPs of so many services.
    pub(super) fn new(frame: Vec<u8>, setting: &Setting, flows: u32, vips: u32) -> Self {
        assert!(frame.len() >= HEAD, "the wrapper restores {HEAD} bytes");
        let mut head = [0; HEAD_WORDS];
        for (word, bytes) in head.iter_mut().zip(frame[..HEAD].chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(eight);
        }
        let first_vip = match setting.vip(0).ip() {
            IpAddr::V4(vip) => u32::from(vip),
            IpAddr::V6(vip) => words(vip.octets())[1].to_be() as u32,
        };
        let plan = Plan {
            length: frame.len() as u32,
            // What nat changes lies behind the Ethernet header, too.
            restore: u32::from(matches!(setting.mode, "nat" | "proxy")),
            spread: u32::from(setting.shield == Shield::Million),
            v6: setting.v6.into(),
            flows,
            vips,
            first_vip,
            head,
            ..Plan::default()
        };
        Self { frame, plan }
    }

    /// Goes on where `other` is.
    pub(super) fn follow(&mut self, other: &Self) {
        self.plan.flow = other.plan.flow;
        self.plan.vip = other.plan.vip;
    }

    /// The next packet.
    fn current(&self) -> Vec<u8> {
        let mut frame = self.frame.clone();
        let (from, to, port) = if self.plan.v6 == 0 {
            (ETHERNET + 12, ETHERNET + 16, ETHERNET + 20)
        } else {
            (ETHERNET + 20, ETHERNET + 36, ETHERNET + 40)
        };
        if self.plan.flows > 1 {
            let (address, from_port) = source(self.plan.flow);
            let address = if self.plan.spread == 0 {
                address
            } else {
                spread(self.plan.flow)
            };
            frame[from..from + 4].copy_from_slice(&address.to_be_bytes());
            frame[port..port + 2].copy_from_slice(&from_port.to_be_bytes());
        }
        if self.plan.vips > 1 {
            let vip = self.plan.first_vip + self.plan.vip;
            frame[to..to + 4].copy_from_slice(&vip.to_be_bytes());
        }
        frame
    }
}

fn load<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let loaded = program(object, name)?;
    loaded.load().with_context(|| name.to_owned())?;
    Ok(loaded)
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let found = object.program_mut(name);
    Ok(found
        .with_context(|| format!("the bench's object has no program {name}"))?
        .try_into()?)
}

/// What the minimal balancer puts around a packet for a backend.
fn outer(backend: IpAddr) -> Backend {
    let (to, from) = (mac_of(backend).0, NODE.0);
    let mut macs = [0; 3];
    for (word, bytes) in macs.iter_mut().zip([to, from].concat().chunks_exact(4)) {
        *word = u32::from_ne_bytes(bytes.try_into().expect("4 bytes"));
    }
    let mut outer = Backend {
        macs,
        ..Backend::default()
    };
    match (backend, crate::rig::own_address(backend)) {
        (IpAddr::V4(to), IpAddr::V4(from)) => outer.v4 = [from, to].map(|ip| u32::from_ne_bytes(ip.octets())),
        (IpAddr::V6(to), IpAddr::V6(from)) => {
            let ([a, b], [c, d]) = (words(from.octets()), words(to.octets()));
            outer.v6 = [a, b, c, d];
        }
        _ => unreachable!("the node has an address of the backend's family"),
    }
    outer
}

fn words(octets: [u8; 16]) -> [u64; 2] {
    let value = u128::from_ne_bytes(octets);
    [value as u64, (value >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::super::shared::SOURCES;
    use super::*;

    #[test]
    fn flows_come_from_different_places() {
        assert_ne!(source(0), source(1));
        assert_eq!(source(SOURCES), (source(0).0, source(0).1 + 1));
    }
}
