//! What the program should do with a packet, said a second time: over plain vectors, with checksums summed anew, and
//! maps that are maps. What both sides share (hash, slot rules, keys) is that of `lb_common`.
//!
//! Not modelled: time, the choice of a port in `nat` and of a backend by load, and cookies, which are read back; and backends
//! on another interface.
//!
//! Past 500 lines: one packet is followed from top to bottom.

mod cookie;
pub mod craft;
mod parse;
mod protect;
mod rewrite;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Range;

use lb_common::addr::{Ipv6Be, PortBe};
use lb_common::backend::{MacFlags, Member};
use lb_common::flow::{FlowV4, FlowV6, Ports};
use lb_common::id::MemberIndex;
use lb_common::nat::{NatKey, Translation};
use lb_common::protect::{Refusals, place};
use lb_common::ring::Slot;
use lb_common::service::{Choice, Decision, Mode};
use lb_common::slot::{self, Entry, Said, Write, decide};
use lb_common::stats::DropReason;
use lb_user::model::Config;
use lb_user::plan::{ServiceKey, Snapshot};

use self::craft::{Cookie, Known};
use self::protect::{Judged, Protected};
use crate::packet::{ACK, FIN, RST, SYN};
use crate::rig::{NODE, SEED};

pub use parse::{Packet, Part, Quote};
pub use rewrite::Sent;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is the kernel's.
    Pass,
    /// It is dropped.
    Drop(DropReason),
    /// It is sent, like this.
    Send(Sent),
    /// Its sender is told that it is too big.
    TooBig(Sent),
}

/// What the tables hold after the program has run: the model does not choose what only the program can.
pub trait After {
    /// The entry of a client's flow.
    fn flow(&self, key: &NatKey) -> Option<Translation>;

    /// What has been refused at a place.
    fn refusals(&self, place: u32) -> Refusals;

    /// When it ran, in nanoseconds of `CLOCK_MONOTONIC_COARSE`: not before, and not after.
    fn time(&self) -> Range<u64>;

    /// The frame as it has left it.
    fn output(&self) -> &[u8];
}

/// A flow that is translated.
#[derive(Clone, Copy, Debug)]
struct Translated {
    there: NatKey,
    client: [u8; 6],
}

/// Address, port, free bits of the port, protocol.
type Key = (IpAddr, u16, u8, u8);

/// The node.
pub struct Model {
    entries: HashMap<Key, Decision>,
    members: BTreeMap<u32, Member>,
    rings: HashMap<u32, Vec<Slot>>,
    fragments: HashMap<(IpAddr, IpAddr, u32, u8), (u16, u16)>,
    /// What `FLOWS` holds, but for the time.
    pub moving: HashMap<NatKey, Entry>,
    /// What `TRACKED` holds, but for the time.
    pub tracked: HashMap<NatKey, Entry>,
    turns: HashMap<u32, u64>,
    translated: HashMap<NatKey, Translated>,
    /// The flow of each backend's answers.
    pub answers: BTreeMap<[u8; 40], (NatKey, NatKey)>,
    /// Packets and bytes, by member.
    pub counted: BTreeMap<u32, [u64; 4]>,
    protected: Option<Protected>,
}

fn bytes(key: &NatKey) -> [u8; 40] {
    let mut bytes = [0; 40];
    bytes[..16].copy_from_slice(&key.source.octets());
    bytes[16..32].copy_from_slice(&key.destination.octets());
    bytes[32..36].copy_from_slice(&(key.ports.word() as u32).to_ne_bytes());
    bytes[36..].copy_from_slice(&key.protocol.to_ne_bytes());
    bytes
}

fn reversed(key: &NatKey) -> NatKey {
    NatKey {
        source: key.destination,
        destination: key.source,
        ports: Ports {
            source: key.ports.destination,
            destination: key.ports.source,
        },
        protocol: key.protocol,
    }
}

impl Model {
    /// Of what is installed.
    #[must_use]
    pub fn new(installed: &Snapshot) -> Self {
        let key = |key: &ServiceKey| {
            let rest = match key {
                ServiceKey::V4(key) => key.0,
                ServiceKey::V6(key) => key.rest,
            };
            let port = u16::from_be((rest >> 32) as u16);
            (key.ip(), port, (rest >> 56) as u8, (rest >> 48) as u8)
        };
        Self {
            entries: installed.entries.iter().map(|(k, d)| (key(k), *d)).collect(),
            members: installed.members.iter().map(|(id, m)| (id.0, *m)).collect(),
            rings: installed
                .rings
                .iter()
                .map(|(block, ring)| (*block, ring.slots.to_vec()))
                .collect(),
            fragments: HashMap::new(),
            moving: HashMap::new(),
            tracked: HashMap::new(),
            turns: HashMap::new(),
            translated: HashMap::new(),
            answers: BTreeMap::new(),
            counted: BTreeMap::new(),
            protected: None,
        }
    }

    /// Has packets judged as a file says, whose services are installed.
    ///
    /// # Panics
    /// When one of them is not.
    pub fn protect(&mut self, config: &Config) {
        let place = |service: &lb_user::model::Service| {
            let vip = service.vips[0];
            let decision = self.service(vip.ip, vip.ports.first(), service.protocol.number());
            place(decision.expect("it is installed"))
        };
        self.protected = Protected::of(config, place);
    }

    /// What has been refused, by place.
    pub fn refusals(&self) -> impl Iterator<Item = (u32, Refusals)> {
        let all = self.protected.iter().flat_map(|protected| &protected.refusals);
        all.map(|(place, refusals)| (*place, *refusals))
    }

    /// What a client may know.
    #[must_use]
    pub fn overheard(&self) -> Known {
        // Some clients look as if they were of IPv4, and are not.
        let sound = |cookie: &&Cookie| cookie.flow.source.is_v4() == cookie.flow.destination.is_v4();
        let cookies = self.protected.iter().flat_map(|protected| &protected.cookies);
        Known {
            answers: self.answers.values().map(|(answer, _)| *answer).collect(),
            cookies: cookies.filter(sound).copied().collect(),
        }
    }

    /// Stores a slot.
    pub fn put_slot(&mut self, block: u32, place: usize, slot: Slot) {
        self.rings.get_mut(&block).expect("a ring")[place] = slot;
    }

    fn address(&self, ip: IpAddr) -> Decision {
        self.entries.get(&(ip, 0, 0, 0)).copied().unwrap_or_default()
    }

    /// The service of a port: its own, or that of the narrowest block.
    fn service(&self, ip: IpAddr, port: u16, protocol: u8) -> Option<Decision> {
        (0..=16u8).find_map(|free| {
            let first = (u32::from(port) >> free << free) as u16;
            let found = self.entries.get(&(ip, first, free, protocol)).copied();
            found.filter(|d| d.is_service())
        })
    }

    /// What becomes of a frame.
    pub fn judge(&mut self, frame: &[u8], after: &dyn After) -> Fate {
        let stray = frame[..6] != NODE.0;
        match self.decide(frame, stray, after) {
            _ if stray => Fate::Pass,
            fate => fate,
        }
    }

    fn decide(&mut self, frame: &[u8], stray: bool, after: &dyn After) -> Fate {
        let packet = match Packet::parse(frame) {
            Ok(Some(packet)) => packet,
            Ok(None) => return Fate::Pass,
            Err(reason) => return Fate::Drop(reason),
        };
        let address = self.address(packet.destination);
        if !address.exists() {
            return Fate::Pass;
        }
        let mut fault = packet.fault;
        let mut ports = packet.ports;
        let about = (packet.source, packet.destination, packet.id, packet.protocol);
        if fault.is_none() && packet.has_ports() && packet.part == Part::Later {
            ports = self.fragments.get(&about).copied();
            fault = ports.is_none().then_some(DropReason::Fragment);
        }
        if let Some(reason) = fault {
            return unwanted(address, reason);
        }
        let Some((source, destination)) = ports else {
            return self.message(frame, &packet, address, after, stray);
        };
        let service = self.service(packet.destination, destination, packet.protocol);
        if let (Some(protected), Some(service)) = (&mut self.protected, service) {
            let segment = match packet.segment(frame) {
                Ok(segment) => segment,
                Err(reason) => return Fate::Drop(reason),
            };
            match protected.service(place(service), &packet, &segment, stray, after) {
                Judged::Refused(reason) => return Fate::Drop(reason),
                Judged::Stray => return Fate::Pass,
                Judged::Admitted | Judged::Answered => {}
            }
        }
        if packet.part == Part::First {
            self.fragments.insert(about, (source, destination));
        }
        if stray {
            return Fate::Pass;
        }
        let key = key(packet.source, packet.destination, source, destination, packet.protocol);
        let said = |service| packet.segment(frame).map(|segment| (service, segment));
        match service.map(said).transpose() {
            Ok(Some((service, segment))) if service.is_proxy() => {
                self.knock(frame, &packet, service, &key, &segment, after)
            }
            // The kernel judges what is its own.
            Err(_) if service.is_some_and(Decision::is_proxy) => Fate::Pass,
            Err(reason) => Fate::Drop(reason),
            Ok(Some((service, segment))) if service.mode() == Some(Mode::Nat) => {
                self.translate(frame, &packet, service, &key, segment, after)
            }
            Ok(Some((service, segment))) => self.forward(frame, &packet, service, &key, segment),
            Ok(None) => self.answer(frame, &packet, address, &key, after),
        }
    }

    /// To a service of the proxy.
    fn knock(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        service: Decision,
        key: &NatKey,
        segment: &Segment,
        after: &dyn After,
    ) -> Fate {
        let Some(protected) = &mut self.protected else {
            return Fate::Pass;
        };
        match protected.cookie(place(service), packet, key, segment, after) {
            Judged::Admitted | Judged::Stray => Fate::Pass,
            Judged::Refused(reason) => Fate::Drop(reason),
            Judged::Answered => {
                let (sent, cookie) = cookie::answer(frame, packet, after);
                let header = segment.header.expect("a SYN");
                protected.give(
                    place(service),
                    Cookie {
                        flow: *key,
                        number: header.number,
                        cookie,
                    },
                );
                Fate::Send(sent)
            }
        }
    }

    fn answer(&mut self, frame: &[u8], packet: &Packet, address: Decision, key: &NatKey, after: &dyn After) -> Fate {
        if address.has(Decision::NAT_SOURCE)
            && let Some((_, flow)) = self.answers.get(&bytes(key)).copied()
        {
            if let Err(reason) = packet.segment(frame) {
                return Fate::Drop(reason);
            }
            let client = self.translated[&flow].client;
            let sent = rewrite::translated(frame, packet, &reversed(&flow), client);
            return Fate::Send(sent);
        }
        if !address.is_vip() {
            return Fate::Pass;
        }
        if address.has(Decision::DROP_UNDECLARED)
            && let Some(refused) = self.refused(packet, after)
        {
            return refused;
        }
        unwanted(address, DropReason::Undeclared)
    }

    /// A packet to a VIP and to no service.
    fn refused(&mut self, packet: &Packet, after: &dyn After) -> Option<Fate> {
        match self.protected.as_mut()?.address(packet, after) {
            Judged::Refused(reason) => Some(Fate::Drop(reason)),
            Judged::Admitted | Judged::Answered | Judged::Stray => None,
        }
    }

    fn translate(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        service: Decision,
        key: &NatKey,
        segment: Segment,
        after: &dyn After,
    ) -> Fate {
        let opens = matches!(segment.packet, slot::Packet::Syn(_)) || segment.opens;
        let known = self.translated.get(key).copied();
        let now = after.flow(key).map(|entry| there(&entry, key.protocol));
        let there = match (known, now) {
            (Some(known), Some(now)) if known.there == now => now,
            (Some(_), Some(now)) if opens => now,
            (Some(known), now) => panic!("{key:?} was {known:?}, and is {now:?}"),
            (None, _) if packet.part == Part::Later => return Fate::Drop(DropReason::Fragment),
            (None, now) if packet.protocol == 6 && !opens => {
                assert!(now.is_none(), "{key:?} is {now:?}");
                return Fate::Pass;
            }
            (None, now) => {
                let slot = self.slot(service, self.hash(service, key)).current();
                if slot == MemberIndex::NONE {
                    return Fate::Drop(DropReason::NoBackend);
                }
                let member = self.members[&service.member(slot).0];
                if member.is_node() {
                    assert!(now.is_none(), "{key:?} is {now:?}");
                    return Fate::Pass;
                }
                let now = now.expect("a new flow");
                let many = member.next_hop.flags() & MacFlags::KEEPS_PORT != 0;
                let port = if many { key.ports.destination } else { member.port };
                assert_eq!((now.destination, now.ports.destination), (member.address, port));
                assert_eq!(now.source, member.source);
                let port = now.ports.source.host().wrapping_sub(member.first_port);
                assert!(port < member.ports);
                now
            }
        };
        if let Some(old) = known {
            self.answers.remove(&bytes(&reversed(&old.there)));
        }
        let client = frame[6..12].try_into().expect("6 bytes");
        self.translated.insert(*key, Translated { there, client });
        let back = reversed(&there);
        let other = self.answers.insert(bytes(&back), (back, *key));
        assert!(other.is_none(), "{back:?} is of two flows");
        let mac = self.backend(&there).next_hop.mac().0;
        Fate::Send(rewrite::translated(frame, packet, &there, mac))
    }

    /// A backend of `nat`.
    fn backend(&self, there: &NatKey) -> Member {
        let is = |m: &&Member| {
            let many = m.next_hop.flags() & MacFlags::KEEPS_PORT != 0;
            m.address == there.destination && (many || m.port == there.ports.destination)
        };
        *self.members.values().find(is).expect("a backend")
    }

    fn hash(&self, service: Decision, key: &NatKey) -> u64 {
        let source = service.choice() == Choice::Source;
        let protocol = key.protocol as u8;
        // A source of IPv6 may look like one of IPv4.
        if key.destination.is_v4() {
            let flow = FlowV4 {
                source: key.source.last_v4(),
                destination: key.destination.last_v4(),
                ports: key.ports,
                protocol,
            };
            if source {
                flow.hash_source(SEED)
            } else {
                flow.hash(SEED)
            }
        } else {
            let flow = FlowV6 {
                source: key.source,
                destination: key.destination,
                ports: key.ports,
                protocol,
            };
            if source {
                flow.hash_source(SEED)
            } else {
                flow.hash(SEED)
            }
        }
    }

    fn slot(&self, service: Decision, hash: u64) -> Slot {
        let ring = &self.rings[&service.ring_block()];
        ring[hash as usize & (ring.len() - 1)]
    }

    fn is_alive(&self, service: Decision, index: MemberIndex) -> bool {
        let member = self.members.get(&service.member(index).0);
        index != MemberIndex::NONE && member.is_some_and(|m| m.next_hop.flags() & MacFlags::ALIVE != 0)
    }

    fn forward(&mut self, frame: &[u8], packet: &Packet, service: Decision, key: &NatKey, segment: Segment) -> Fate {
        let hash = self.hash(service, key);
        let index = if service.choice().is_hash() {
            let slot = self.slot(service, hash);
            if slot.is_stable() {
                slot.current()
            } else {
                self.in_motion(service, slot, key, segment)
            }
        } else {
            self.known(service, hash, key, segment)
        };
        if index == MemberIndex::NONE {
            return Fate::Drop(DropReason::NoBackend);
        }
        let member = self.members[&service.member(index).0];
        if member.is_node() {
            return Fate::Pass;
        }
        if service.mode() == Some(Mode::Dsr) {
            self.count(service.member(index).0, frame, segment);
            return Fate::Send(rewrite::moved(frame, member.next_hop.mac().0));
        }
        let overhead = if member.address.is_v4() { 20 } else { 40 };
        let room = usize::from(member.outer().mtu) - overhead;
        if packet.total > room {
            let silent = packet.part == Part::Later || segment.packet == slot::Packet::Mention;
            return if silent {
                Fate::Drop(DropReason::TooBig)
            } else {
                Fate::TooBig(rewrite::too_big(frame, packet, room as u16))
            };
        }
        self.count(service.member(index).0, frame, segment);
        Fate::Send(rewrite::outer(frame, packet, &member, hash))
    }

    fn count(&mut self, member: u32, frame: &[u8], segment: Segment) {
        let [packets, bytes, opened, _] = self.counted.entry(member).or_default();
        *packets += 1;
        *bytes += frame.len() as u64;
        *opened += u64::from(segment.opens);
    }

    fn in_motion(&mut self, service: Decision, slot: Slot, key: &NatKey, segment: Segment) -> MemberIndex {
        let entry = self.moving.get(key).copied();
        let alive = |index| self.is_alive(service, index);
        let verdict = decide(slot, entry, segment.packet, &alive);
        let heard = |entry: Entry| Entry {
            word: entry.heard(segment.said, 0),
            ..entry
        };
        let new = match (verdict.write, entry) {
            (Write::Opened(number), _) => Some(Entry::opened(verdict.serve, number, 0)),
            (Write::Known, _) => Some(Entry::new(verdict.serve, 0)),
            (Write::Confirm, Some(entry)) => Some(heard(entry.confirmed())),
            (Write::Renumber(sequence), Some(entry)) => Some(Entry {
                sequence,
                ..heard(entry)
            }),
            (Write::Nothing, Some(entry))
                if entry.member() == verdict.serve && segment.packet != slot::Packet::Mention =>
            {
                Some(heard(entry))
            }
            _ => entry,
        };
        if let Some(new) = new {
            self.moving.insert(*key, new);
        }
        verdict.serve
    }

    fn known(&mut self, service: Decision, hash: u64, key: &NatKey, segment: Segment) -> MemberIndex {
        let opens = matches!(segment.packet, slot::Packet::Syn(_));
        if let Some(entry) = self.tracked.get(key).copied()
            && self.is_alive(service, entry.member())
            && !(opens && entry.is_closing())
        {
            if segment.packet != slot::Packet::Mention {
                let word = entry.heard(segment.said, 0);
                self.tracked.insert(*key, Entry { word, ..entry });
            }
            return entry.member();
        }
        if !opens && segment.packet != slot::Packet::Datagram {
            return self.slot(service, hash).current();
        }
        let turn = self.turns.entry(service.member_base()).or_default();
        let now = *turn;
        *turn += 1;
        let index = self.slot(service, now).current();
        if index != MemberIndex::NONE {
            self.tracked.insert(*key, Entry::new(index, 0));
        }
        index
    }

    /// What has no ports.
    fn message(&mut self, frame: &[u8], packet: &Packet, address: Decision, after: &dyn After, stray: bool) -> Fate {
        if stray {
            return Fate::Pass;
        }
        let protocol = if packet.v4 { 1 } else { 58 };
        // Neighbour discovery, which comes from no farther than the link: who hears nobody cannot be reached.
        let kind = frame
            .get(packet.l4)
            .filter(|_| !packet.v4 && packet.protocol == protocol);
        let discovery = kind.is_some_and(|kind| (133..=137).contains(kind)) && frame[packet.l3 + 7] == 255;
        if address.is_vip()
            && address.has(Decision::ECHO)
            && !discovery
            && let Some(refused) = self.refused(packet, after)
        {
            return refused;
        }
        let icmp = packet.part == Part::Whole && packet.protocol == protocol;
        let head = frame.get(packet.l4..packet.l4 + 8).filter(|_| icmp);
        if let Some(head) = head {
            let error = if packet.v4 {
                [3, 11, 12].contains(&head[0])
            } else {
                (1..=4).contains(&head[0])
            };
            if error {
                return self.error(frame, packet, after);
            }
        }
        if !address.is_vip() {
            return Fate::Pass;
        }
        if packet.part != Part::Whole {
            return unwanted(address, DropReason::Fragment);
        }
        if !icmp {
            return unwanted(address, DropReason::Undeclared);
        }
        let Some(head) = head.filter(|_| packet.length() >= 8) else {
            return unwanted(address, DropReason::Truncated);
        };
        let request = if packet.v4 { 8 } else { 128 };
        if !address.has(Decision::ECHO) || head[..2] != [request, 0] {
            return Fate::Pass;
        }
        Fate::Send(rewrite::echo(frame, packet))
    }

    fn error(&mut self, frame: &[u8], packet: &Packet, after: &dyn After) -> Fate {
        let Some(quote) = Quote::parse(frame, packet) else {
            return Fate::Pass;
        };
        let (from, to) = quote.ports;
        let key = key(quote.destination, quote.source, to, from, quote.protocol);
        let service = self.service(quote.source, from, quote.protocol);
        match service {
            Some(service) if service.is_proxy() => Fate::Pass,
            Some(service) if service.mode() == Some(Mode::Nat) => {
                let Some(known) = self.translated.get(&key).copied() else {
                    assert!(after.flow(&key).is_none());
                    return Fate::Pass;
                };
                let mac = self.backend(&known.there).next_hop.mac().0;
                Fate::Send(rewrite::error(
                    frame,
                    packet,
                    &quote,
                    &reversed(&known.there),
                    mac,
                    false,
                ))
            }
            Some(service) => self.forward(frame, packet, service, &key, Segment::MENTION),
            None => {
                let Some((_, flow)) = self.answers.get(&bytes(&key)).copied() else {
                    return Fate::Pass;
                };
                let client = self.translated[&flow].client;
                Fate::Send(rewrite::error(frame, packet, &quote, &flow, client, true))
            }
        }
    }
}

/// What a packet says of its flow.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    packet: slot::Packet,
    said: Said,
    opens: bool,
    header: Option<Header>,
}

/// What a TCP header says.
#[derive(Clone, Copy, Debug)]
struct Header {
    flags: u8,
    number: u32,
    acknowledged: u32,
}

impl Segment {
    const MENTION: Self = Self {
        packet: slot::Packet::Mention,
        said: Said::Nothing,
        opens: false,
        header: None,
    };

    /// What nobody means.
    fn fault(&self, packet: &Packet) -> Option<DropReason> {
        if packet.source == packet.destination {
            return Some(DropReason::Land);
        }
        self.header?.is_impossible().then_some(DropReason::TcpFlags)
    }
}

impl Header {
    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn is_impossible(self) -> bool {
        let ends = self.has(FIN) || self.has(RST);
        self.has(SYN) && ends || !(self.has(SYN) || self.has(RST) || self.has(ACK))
    }

    fn acknowledges(self) -> bool {
        self.has(ACK) && !self.has(SYN) && !self.has(RST)
    }
}

fn unwanted(address: Decision, reason: DropReason) -> Fate {
    if address.is_vip() && address.has(Decision::DROP_UNDECLARED) {
        Fate::Drop(reason)
    } else {
        Fate::Pass
    }
}

fn there(entry: &Translation, protocol: u32) -> NatKey {
    NatKey {
        source: entry.source,
        destination: entry.destination,
        ports: entry.ports,
        protocol,
    }
}

fn key(source: IpAddr, destination: IpAddr, from: u16, to: u16, protocol: u8) -> NatKey {
    NatKey {
        source: Ipv6Be::mapped(source),
        destination: Ipv6Be::mapped(destination),
        ports: Ports {
            source: PortBe::new(from),
            destination: PortBe::new(to),
        },
        protocol: protocol.into(),
    }
}
