//! The kernel's neighbour table: MAC addresses by IP address and interface.

use std::net::IpAddr;

use futures_util::StreamExt;
use lb_common::addr::Mac;
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};

use super::address::family;
use super::error::{self, Context};
use super::{Error, Net};

/// Names an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Index of the interface.
    pub interface: u32,
    /// The neighbour's address.
    pub ip: IpAddr,
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address, unless the kernel doesn't know it or has stopped believing in it.
    pub mac: Option<Mac>,
    /// It was asked and did not answer.
    pub failed: bool,
    /// Entered by hand: it never expires, and is not ours to touch.
    pub fixed: bool,
    /// Kept resolved by the kernel.
    pub managed: bool,
}

/// How the kernel is asked to resolve an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Now and from now on (`NTF_EXT_MANAGED`, Linux 5.16).
    Managed,
    /// Now, as if a packet were to be sent there (`NTF_USE`).
    Once,
}

impl Net {
    /// An entry of the table; `None` when there is none.
    ///
    /// # Errors
    /// When the kernel does not answer, or there is no such interface.
    pub async fn neighbour(&self, key: Key) -> Result<Option<Neighbour>, Error> {
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(message(key)));
        request.header.flags = NLM_F_REQUEST;
        let action = || {
            format!(
                "looking for {} among the neighbours on interface {}",
                key.ip, key.interface
            )
        };
        let answer = self.handle.clone().request(request).doing(action)?.next().await;
        match answer.map(|message| message.payload) {
            None => Ok(None),
            Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message))) => {
                Ok(Some(Neighbour::from(&message)))
            }
            Some(NetlinkPayload::Error(refused)) => match refused.to_io() {
                cause if error::is(&cause, Errno::ENOENT) => Ok(None),
                cause => Err(Error::new(action(), cause)),
            },
            Some(_) => Err(Error::new(
                action(),
                std::io::Error::other("the kernel's answer is not a neighbour"),
            )),
        }
    }

    /// Asks the kernel to resolve an address. Not for fixed entries: it would unfix them.
    pub(super) async fn resolve(&self, key: Key, ask: Ask) -> Result<(), Error> {
        let mut message = message(key);
        // Without this flag, kernels that don't know the other one would wipe the entry.
        message.header.flags = NeighbourFlags::Use;
        match ask {
            Ask::Managed => message
                .attributes
                .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed)),
            Ask::Once => {}
        }
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        let action = || format!("resolving {} on interface {}", key.ip, key.interface);
        let mut answers = self.handle.clone().request(request).doing(action)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(refused) = answer.payload {
                return Err(Error::new(action(), refused.to_io()));
            }
        }
        Ok(())
    }

    /// Deletes an entry; `Ok` also when there is none. What needs it resolves it anew.
    pub(super) async fn forget(&self, key: Key) -> Result<(), Error> {
        match self
            .handle
            .neighbours()
            .del(message(key))
            .execute()
            .await
            .map_err(error::cause)
        {
            Err(cause) if !error::is(&cause, Errno::ENOENT) && !error::is(&cause, Errno::ENODEV) => Err(Error::new(
                format!("forgetting neighbour {} on interface {}", key.ip, key.interface),
                cause,
            )),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Whose entry a message is about.
pub(super) fn key(message: &NeighbourMessage) -> Option<Key> {
    let interface = message.header.ifindex;
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(Key {
            interface,
            ip: (*ip).into(),
        }),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(Key {
            interface,
            ip: (*ip).into(),
        }),
        _ => None,
    })
}

fn message(key: Key) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(key.ip);
    message.header.ifindex = key.interface;
    message.attributes.push(NeighbourAttribute::Destination(key.ip.into()));
    message
}

impl From<&NeighbourMessage> for Neighbour {
    fn from(message: &NeighbourMessage) -> Self {
        let state = message.header.state;
        let mut neighbour = Self {
            mac: None,
            failed: state == NeighbourState::Failed,
            fixed: matches!(state, NeighbourState::Permanent | NeighbourState::Noarp),
            managed: false,
        };
        let believed = matches!(
            state,
            NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe
        );
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) if believed || neighbour.fixed => {
                    neighbour.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
                }
                NeighbourAttribute::ExtFlags(flags) => neighbour.managed = flags.contains(NeighbourExtFlags::Managed),
                _ => {}
            }
        }
        neighbour
    }
}
