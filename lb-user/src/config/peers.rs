//! `[peers]`: the nodes that tell each other of flows.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::address::{self, Role};
use super::fault::{Checked, Span, fault};
use super::raw::Table;
use super::whole::Door;
use super::{Reader, Subject};
use crate::model::Node;
use crate::model::peers::{Peer, Peers};

/// How the nodes are written.
const NODES: &str = "{ lb1 = \"10.0.0.2:8473\", lb2 = \"10.0.0.3:8473\" }";

/// Peers, and where their addresses stand.
#[derive(Debug)]
pub(super) struct PeersDraft {
    pub(super) peers: Peers,
    /// Of every node's address.
    pub(super) places: Vec<(SocketAddr, Span)>,
}

impl PeersDraft {
    /// Where nodes are told. Other nodes read the same file, so that holds for every one.
    pub(super) fn doors(&self) -> impl Iterator<Item = Door> {
        self.places.iter().map(|(address, span)| Door {
            table: "peers",
            key: "nodes",
            address: *address,
            span: Some(span.clone()),
        })
    }
}

impl Reader {
    pub(super) fn peers(&mut self, table: &Table<'_>, node: &Node) -> Checked<PeersDraft> {
        let nodes = table.require("nodes", NODES)?;
        let key = table.require("key-file", "\"/etc/fulcrum/peers.key\"")?;
        self.places.insert(Subject::PeersKey, key.span());
        let (mut own, mut others) = (None, Vec::new());
        let mut places: Vec<(SocketAddr, Span)> = Vec::new();
        let mut known = HashMap::new();
        for (span, name, value) in nodes.entries(&format!("nodes = {NODES}"))? {
            let address = address::parse(&value.span(), value.string()?, Role::Peer)?;
            if let Some(first) = known.insert(address.ip(), span.clone()) {
                let message = format!("two nodes have the address {}", address.ip());
                return Err(fault(span, message).other(first, "first here"));
            }
            places.push((address, value.span()));
            if name == node.name {
                self.places.insert(Subject::OwnPeer, value.span());
                own = Some(address);
            } else {
                others.push(Peer {
                    name: name.into(),
                    address,
                });
            }
        }
        let Some(own) = own else {
            let fault = nodes.fault(format!("this node, \"{}\", is not among its peers", node.name));
            return Err(fault.hint("name every node with its own address, or give this one another name in [node]"));
        };
        if let Some((other, span)) = places.iter().find(|(other, _)| other.is_ipv4() != own.is_ipv4()) {
            let message = format!("{other} and this node's {own} are of two families");
            return Err(fault(span.clone(), message).hint("give all nodes addresses of one family"));
        }
        if others.is_empty() {
            let fault = nodes.fault("there is no node but this one");
            return Err(fault.hint("name the others too, or remove [peers]"));
        }
        Ok(PeersDraft {
            peers: Peers {
                own,
                others,
                key_file: key.path()?,
            },
            places,
        })
    }
}
