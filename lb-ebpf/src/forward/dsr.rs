//! Direct server return: the packet goes to the backend as it is, with another destination MAC. The backend holds the
//! VIP and answers the client itself, so nothing of the reply is seen here.

use lb_common::select::Chosen;

use crate::packet::Packet;
use crate::transmit;
use crate::verdict::{Sent, Step};

/// Sends the packet towards the member, with another Ethernet header and no other change.
#[inline(always)]
pub(crate) fn send(packet: &Packet, chosen: &Chosen<'_>) -> Step<Sent> {
    transmit::depart(packet, transmit::towards(packet, chosen)?)
}
