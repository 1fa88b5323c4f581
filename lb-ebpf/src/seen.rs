//! What is known of the packet that this CPU is at, in a map: what functions of their own share.

use lb_common::flow::{FlowV4, FlowV6};
use lb_common::id::MemberId;
use lb_common::nat::NatKey;
use lb_common::parse::{Segment, l4};
use lb_common::select::Tuple as _;
use lb_common::service::Decision;
use lb_common::stats::DropReason;
use network_types::eth::EthHdr;

use crate::config::hash_key;
use crate::flows::Heard;
use crate::forward::Inner;
use crate::maps::SEEN;
use crate::packet::Packet;
use crate::verdict::{Step, Stop};

/// What is known of a packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// Its 5-tuple. Of a fragment that is not the first, the ports that the first one had; of other protocols than TCP and
    /// UDP, no ports.
    pub(crate) key: NatKey,
    /// Its service, or [`Decision::NONE`]: once [`crate::find`] has looked.
    pub(crate) service: Decision,
    /// What is known of its destination address, if it has no service.
    pub(crate) address: Decision,
    /// Bytes of the IP packet.
    pub(crate) total: u32,
    /// Bytes of the frame.
    pub(crate) bytes: u32,
    /// Offset of what follows the network header and its extension headers.
    pub(crate) l4: u16,
    /// Bytes of VLAN tags.
    pub(crate) tags: u8,
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
    /// 1 for IPv4, 0 for IPv6.
    pub(crate) v4: u8,
    /// [`lb_common::parse::Part::kind`].
    pub(crate) part: u8,
    /// 1 for an ICMP error about a flow: it is not answered with another one (RFC 1122 §3.2.2).
    pub(crate) mentions: u8,
    /// 1 if [`crate::fast`] has judged who sends it, and only then found it too big. Set for the packet that it hands on, and
    /// taken back by who reads it.
    pub(crate) admitted: u8,
    /// The member that it was sent to, or came from; 0 for none. For [`crate::trace`]: one store, and on the long way only.
    pub(crate) member: MemberId,
    /// Code of the reason that it would have been dropped for, while that is only observed, or 0. For [`crate::trace`], too.
    pub(crate) observed: u32,
    /// `nat`: what it says to its flow.
    pub(crate) heard: Heard,
}

impl Seen {
    /// Of the packet that this CPU is at.
    #[inline(always)]
    pub(crate) fn of_this_cpu() -> Step<&'static mut Self> {
        let seen = SEEN.get_ptr_mut(0).ok_or(Stop::Drop(DropReason::Inconsistent))?;
        // SAFETY: nobody else is at this CPU's element, and what calls what shares this one.
        Ok(unsafe { &mut *seen })
    }

    /// The hash that chooses its slot.
    #[inline(always)]
    pub(crate) fn hash(&self) -> u64 {
        let choice = self.service.choice();
        if self.v4 != 0 {
            self.flow_v4().hash_for(choice, hash_key())
        } else {
            self.flow_v6().hash_for(choice, hash_key())
        }
    }

    #[inline(always)]
    pub(crate) const fn flow_v4(&self) -> FlowV4 {
        FlowV4 {
            source: self.key.source.last_v4(),
            destination: self.key.destination.last_v4(),
            ports: self.key.ports,
            protocol: self.protocol(),
        }
    }

    #[inline(always)]
    pub(crate) const fn flow_v6(&self) -> FlowV6 {
        FlowV6 {
            source: self.key.source,
            destination: self.key.destination,
            ports: self.key.ports,
            protocol: self.protocol(),
        }
    }

    /// A later fragment: there is no header of TCP or UDP.
    #[inline(always)]
    pub(crate) const fn is_later(&self) -> bool {
        self.part == 2
    }

    /// It is only an error about the flow that it has become by now.
    #[inline(always)]
    pub(crate) const fn mention(&mut self) {
        self.mentions = 1;
    }

    /// Offset of the network header, with a bound that the verifier sees.
    #[inline(always)]
    pub(crate) const fn l3(&self) -> usize {
        EthHdr::LEN + (self.tags & 0xc) as usize
    }

    /// Offset of what follows, likewise: less than what extension headers may reach.
    #[inline(always)]
    pub(crate) const fn l4(&self) -> usize {
        (self.l4 & 0x7ff) as usize
    }

    /// Bytes from there on.
    #[inline(always)]
    pub(crate) const fn length(&self) -> usize {
        (self.total as usize + self.l3()).wrapping_sub(self.l4())
    }

    /// TCP or UDP, or what it was before it was fragmented.
    #[inline(always)]
    pub(crate) const fn protocol(&self) -> u8 {
        self.key.protocol as u8
    }

    /// What its header says, if it has one.
    #[inline(always)]
    pub(crate) fn segment(&self, packet: &Packet) -> Step<Segment> {
        if self.is_later() || self.mentions != 0 {
            return Ok(Segment::MENTION);
        }
        // Of a first fragment, TCP and UDP say how long all of the packet is.
        let length = if self.part == 1 {
            if self.length() < l4::shortest(self.protocol()) {
                return Err(Stop::Drop(DropReason::Truncated));
            }
            usize::from(u16::MAX)
        } else {
            self.length()
        };
        Ok(Segment::read(packet, self.protocol(), self.l4(), length)?)
    }

    #[inline(always)]
    pub(crate) const fn inner(&self) -> Inner {
        Inner {
            v4: self.v4 != 0,
            tags: (self.tags & 0xc) as usize,
            total: self.total as usize,
            tos: self.tos,
        }
    }
}
