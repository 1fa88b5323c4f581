//! What the programs of the bench and its harness have in common; compiled into both.

/// Element of `TARGETS`, and value of [`Plan::target`]: the balancer.
pub(crate) const SUBJECT: u32 = 0;
/// The minimal balancer.
pub(crate) const REFERENCE: u32 = 1;
/// Passes every packet: what remains is the wrapper.
pub(crate) const EMPTY: u32 = 2;
/// Moves the head, and nothing else: what encapsulation costs at least.
pub(crate) const ADJUST: u32 = 3;
/// The balancer where nothing protects its services, beside one that does.
pub(crate) const BARE: u32 = 4;
/// How many targets there are.
pub(crate) const TARGETS: usize = 5;

/// What the wrapper counts where a program was not there to be called; no action has this number.
pub(crate) const MISSED: u32 = 7;

/// Bytes of a frame that the wrapper can restore: as far as the end of an IPv6 and a TCP header, or of an IPv4 header and one of TCP
/// with 20 bytes of options.
pub(crate) const HEAD: usize = 74;
/// As words, the last of which is not whole.
pub(crate) const HEAD_WORDS: usize = HEAD.div_ceil(8);

/// Different addresses that flows come from, before the port changes: a power of two.
pub(crate) const SOURCES: u32 = 1 << 17;
/// The first of these addresses; of IPv6, its last four octets (RFC 2544: for benchmarks).
pub(crate) const FIRST_SOURCE: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// The ports that they send from begin here.
pub(crate) const FIRST_PORT: u16 = 1024;

/// The one element of `PLAN`: what the wrapper does with every packet, and what it has counted.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Which program is measured.
    pub(crate) target: u32,
    /// Bytes of the frame.
    pub(crate) length: u32,
    /// Not 0: the whole of `head` is restored after each packet, and not only the Ethernet header.
    pub(crate) restore: u32,
    /// Not 0: IPv6.
    pub(crate) v6: u32,
    /// After how many flows the first one comes again; below 2, all packets are those of the frame itself.
    pub(crate) flows: u32,
    /// The flow of the next packet.
    pub(crate) flow: u32,
    /// How many VIPs, whose addresses follow upon each other, take turns; below 2, the frame's own is the only one.
    pub(crate) vips: u32,
    /// The VIP of the next packet, counted from the first.
    pub(crate) vip: u32,
    /// The first VIP; of IPv6, its last four octets. In host order.
    pub(crate) first_vip: u32,
    /// Not 0: flows come from everywhere, and not from [`SOURCES`] addresses.
    pub(crate) spread: u32,
    /// The frame's first bytes.
    pub(crate) head: [u64; HEAD_WORDS],
    /// Packets, by the action that the program returned.
    pub(crate) actions: [u64; 8],
}

/// Where a flow comes from: address, of IPv6 its last four octets, and port, in host order. Different for all `u32` up to
/// [`SOURCES`] times 64,512, about 2^32.
#[inline(always)]
pub(crate) const fn source(flow: u32) -> (u32, u16) {
    (
        FIRST_SOURCE + flow % SOURCES,
        FIRST_PORT.wrapping_add((flow / SOURCES) as u16),
    )
}

/// Where a flow comes from that may come from everywhere: an even address, each once.
#[inline(always)]
pub(crate) const fn spread(flow: u32) -> u32 {
    // Odd: the golden ratio.
    flow.wrapping_mul(0x9e37_79b1 << 1)
}

/// Key of the minimal balancer's services; IPv6 has [`ServiceV6`].
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceV4 {
    /// The VIP, as it lies in a packet.
    pub(crate) address: u32,
    /// The port, as it lies in a packet.
    pub(crate) port: u16,
    /// IP protocol number.
    pub(crate) protocol: u16,
}

/// As [`ServiceV4`].
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceV6 {
    /// The VIP, as it lies in a packet.
    pub(crate) address: [u64; 2],
    /// The port, as it lies in a packet.
    pub(crate) port: u16,
    /// IP protocol number.
    pub(crate) protocol: u16,
    /// Always 0.
    pub(crate) padding: u32,
}

/// The minimal balancer's service: a range of its backends.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Service {
    /// The first one.
    pub(crate) first: u32,
    /// How many.
    pub(crate) count: u32,
}

/// A backend of the minimal balancer, in one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backend {
    /// Destination and source of the outer Ethernet header.
    pub(crate) macs: [u32; 3],
    /// Always 0.
    pub(crate) padding: u32,
    /// Source and destination of the outer IPv4 header, as they lie in a packet.
    pub(crate) v4: [u32; 2],
    /// The same of IPv6.
    pub(crate) v6: [u64; 4],
    /// Always 0.
    pub(crate) end: u64,
}

/// What the minimal balancer counts for a backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counter {
    /// Packets.
    pub(crate) packets: u64,
    /// Bytes.
    pub(crate) bytes: u64,
}

/// Most services of a family, and most backends, of the minimal balancer.
pub(crate) const SERVICES: usize = 1024;
/// See [`SERVICES`].
pub(crate) const BACKENDS: usize = 1 << 14;

const _: () = assert!(
    size_of::<Plan>() == 192
        && size_of::<ServiceV4>() == 8
        && size_of::<ServiceV6>() == 24
        && size_of::<Service>() == 8
        && size_of::<Backend>() == 64
        && size_of::<Counter>() == 16
);
