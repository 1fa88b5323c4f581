//! A minimal stateless balancer: parse, one hash lookup (service), one array lookup (backend), one counter, encapsulate.
//!
//! IPv4 in IPv4 and IPv6 in IPv6, TCP and UDP; no options, no extension headers, no fragments. What is not for a service
//! passes after the failed lookup. It is written to be as fast as such a program is, not to be slow beside ours: one
//! bounds check for all headers, inlined throughout, one cache line per backend, and nothing is checked that a balancer
//! without state could leave out.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::helpers::bpf_xdp_adjust_head;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;

use crate::shared::{BACKENDS, Backend, Counter, SERVICES, Service, ServiceV4, ServiceV6};

#[btf_map]
static REF_SERVICES_V4: HashMap<ServiceV4, Service, SERVICES> = HashMap::new();

#[btf_map]
static REF_SERVICES_V6: HashMap<ServiceV6, Service, SERVICES> = HashMap::new();

#[btf_map]
static REF_BACKENDS: Array<Backend, BACKENDS> = Array::new();

#[btf_map]
static REF_COUNTERS: PerCpuArray<Counter, BACKENDS> = PerCpuArray::new();

const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV4_IN: u8 = 4;
const IPV6_IN: u8 = 41;
const ETHERTYPE_IPV4: u16 = 0x0800_u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86dd_u16.to_be();
const ETHERNET: usize = 14;
const HOPS: u8 = 64;
/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fff_u16.to_be();

#[repr(C, packed)]
struct Ethernet {
    macs: [u32; 3],
    kind: u16,
}

#[repr(C, packed)]
struct Ipv4 {
    version_and_length: u8,
    service: u8,
    total: u16,
    id: u16,
    fragment: u16,
    hops: u8,
    protocol: u8,
    sum: u16,
    addresses: [u32; 2],
}

#[repr(C, packed)]
struct Ipv6 {
    start: u32,
    payload: u16,
    next: u8,
    hops: u8,
    addresses: [u64; 4],
}

#[repr(C, packed)]
struct Ports {
    source: u16,
    destination: u16,
}

#[repr(C, packed)]
struct FrameV4 {
    eth: Ethernet,
    ip: Ipv4,
    ports: Ports,
}

#[repr(C, packed)]
struct FrameV6 {
    eth: Ethernet,
    ip: Ipv6,
    ports: Ports,
}

/// The frame as headers, if it is long enough. The pointer is good until the head moves.
#[inline(always)]
fn headers<T>(ctx: &XdpContext) -> Option<*mut T> {
    let start = ctx.data();
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    Some(start as *mut T)
}

/// What becomes of a packet; `None` passes.
#[inline(always)]
pub(crate) fn balance(ctx: &XdpContext) -> Option<u32> {
    // SAFETY: `headers` checked it; the types are valid for any bytes and have alignment 1.
    match unsafe { &*headers::<Ethernet>(ctx)? }.kind {
        ETHERTYPE_IPV4 => v4(ctx),
        ETHERTYPE_IPV6 => v6(ctx),
        _ => None,
    }
}

#[inline(always)]
fn v4(ctx: &XdpContext) -> Option<u32> {
    // SAFETY: as above.
    let frame = unsafe { &*headers::<FrameV4>(ctx)? };
    let ip = &frame.ip;
    if ip.version_and_length != 0x45 || ip.fragment & FRAGMENT != 0 || !matches!(ip.protocol, TCP | UDP) {
        return None;
    }
    let [source, destination] = ip.addresses;
    let key = ServiceV4 {
        address: destination,
        port: frame.ports.destination,
        protocol: ip.protocol.into(),
    };
    // SAFETY: services do not change while the bench runs.
    let service = *unsafe { REF_SERVICES_V4.get(&key) }?;
    let hash = jhash3([source, destination, ports(&frame.ports)]);
    let total = u16::from_be(ip.total) + size_of::<Ipv4>() as u16;
    let backend = choose(ctx, &service, hash)?;

    let outer = encapsulate::<Ipv4>(ctx, backend, ETHERTYPE_IPV4)?;
    let [from, to] = backend.v4;
    // RFC 1071, over the fields that are not 0. In the order of bytes of this machine, as everything in the header is.
    let mut sum = u32::from(0x4500_u16.to_be()) + u32::from(total.to_be());
    sum += u32::from(u16::from_ne_bytes([HOPS, IPV4_IN]));
    sum += (from & 0xffff) + (from >> 16) + (to & 0xffff) + (to >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum += sum >> 16;
    let header = Ipv4 {
        version_and_length: 0x45,
        service: 0,
        total: total.to_be(),
        id: 0,
        fragment: 0,
        hops: HOPS,
        protocol: IPV4_IN,
        sum: !sum as u16,
        addresses: [from, to],
    };
    // SAFETY: there is room for it.
    unsafe { outer.write(header) };
    Some(xdp_action::XDP_TX)
}

#[inline(always)]
fn v6(ctx: &XdpContext) -> Option<u32> {
    // SAFETY: as above.
    let frame = unsafe { &*headers::<FrameV6>(ctx)? };
    let ip = &frame.ip;
    if !matches!(ip.next, TCP | UDP) {
        return None;
    }
    let [s0, s1, d0, d1] = ip.addresses;
    let key = ServiceV6 {
        address: [d0, d1],
        port: frame.ports.destination,
        protocol: ip.next.into(),
        padding: 0,
    };
    // SAFETY: as above.
    let service = *unsafe { REF_SERVICES_V6.get(&key) }?;
    let hash = jhash5([
        s0 as u32,
        (s0 >> 32) as u32,
        s1 as u32,
        (s1 >> 32) as u32,
        ports(&frame.ports),
    ]);
    let payload = u16::from_be(ip.payload) + size_of::<Ipv6>() as u16;
    let backend = choose(ctx, &service, hash)?;

    let outer = encapsulate::<Ipv6>(ctx, backend, ETHERTYPE_IPV6)?;
    let header = Ipv6 {
        start: 0x6000_0000_u32.to_be(),
        payload: payload.to_be(),
        next: IPV6_IN,
        hops: HOPS,
        addresses: backend.v6,
    };
    // SAFETY: there is room for it.
    unsafe { outer.write(header) };
    Some(xdp_action::XDP_TX)
}

/// The backend of a flow with this hash; the packet is counted for it.
#[inline(always)]
fn choose(ctx: &XdpContext, service: &Service, hash: u32) -> Option<&'static Backend> {
    let index = service.first + ((u64::from(hash) * u64::from(service.count)) >> 32) as u32;
    let backend = REF_BACKENDS.get(index)?;
    if let Some(counter) = REF_COUNTERS.get_ptr_mut(index) {
        // SAFETY: the element is this CPU's, and nobody else writes it.
        let counter = unsafe { &mut *counter };
        counter.packets += 1;
        counter.bytes += (ctx.data_end() - ctx.data()) as u64;
    }
    Some(backend)
}

/// Makes room for an outer header, writes the Ethernet header in front of it, and returns it to be filled.
#[inline(always)]
fn encapsulate<T>(ctx: &XdpContext, backend: &Backend, kind: u16) -> Option<*mut T> {
    // SAFETY: the helper checks its arguments.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(size_of::<T>() as i32)) } != 0 {
        return None;
    }
    #[repr(C, packed)]
    struct Outer<T> {
        eth: Ethernet,
        ip: T,
    }
    const { assert!(size_of::<Outer<T>>() == ETHERNET + size_of::<T>()) };
    let outer = headers::<Outer<T>>(ctx)?;
    // SAFETY: `headers` checked it.
    unsafe {
        (*outer).eth = Ethernet {
            macs: backend.macs,
            kind,
        };
        Some(&raw mut (*outer).ip)
    }
}

#[inline(always)]
fn ports(ports: &Ports) -> u32 {
    u32::from(ports.source) | u32::from(ports.destination) << 16
}

const JHASH: u32 = 0xdead_beef;

/// Jenkins' hash of three words, as the kernel has it (`jhash_3words`).
#[inline(always)]
fn jhash3([x, y, z]: [u32; 3]) -> u32 {
    let seed = JHASH + (3 << 2);
    last(x.wrapping_add(seed), y.wrapping_add(seed), z.wrapping_add(seed))
}

/// Of five words (`jhash2`).
#[inline(always)]
fn jhash5([v, w, x, y, z]: [u32; 5]) -> u32 {
    let seed = JHASH + (5 << 2);
    let (mut a, mut b, mut c) = (v.wrapping_add(seed), w.wrapping_add(seed), x.wrapping_add(seed));
    macro_rules! mix {
        ($a:ident, $b:ident, $c:ident, $turn:literal) => {
            $a = $a.wrapping_sub($c) ^ $c.rotate_left($turn);
            $c = $c.wrapping_add($b);
        };
    }
    mix!(a, b, c, 4);
    mix!(b, c, a, 6);
    mix!(c, a, b, 8);
    mix!(a, b, c, 16);
    mix!(b, c, a, 19);
    mix!(c, a, b, 4);
    last(a.wrapping_add(y), b.wrapping_add(z), c)
}

#[inline(always)]
fn last(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    macro_rules! step {
        ($a:ident, $b:ident, $turn:literal) => {
            $a = ($a ^ $b).wrapping_sub($b.rotate_left($turn));
        };
    }
    step!(c, b, 14);
    step!(a, c, 11);
    step!(b, a, 25);
    step!(c, b, 16);
    step!(a, c, 4);
    step!(b, a, 14);
    step!(c, b, 24);
    c
}
