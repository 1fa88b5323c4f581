//! Peers: what their keys come to, and any of them, for the property tests.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::arbitrary::outside_pools;
use super::{NODE, SERVICE, read};
use crate::model::Config;
use crate::model::peers::{Peer, Peers};

/// A good file's, whose node is `lb1`: three lines.
pub(super) const PEERS: &str =
    "[peers]\nnodes = { lb1 = \"10.0.0.2:8473\", lb2 = \"10.0.0.3:8473\" }\nkey-file = \"/etc/fulcrum/peers.key\"\n";

fn peer(name: &str, address: &str) -> Peer {
    Peer {
        name: name.into(),
        address: address.parse().unwrap(),
    }
}

#[test]
fn each_node_finds_itself() {
    let text = format!("{NODE}name = \"NAME\"\n{SERVICE}{PEERS}");
    let of = |name| read(&text.replace("NAME", name)).unwrap().config.peers.unwrap();
    let (first, second) = (peer("lb1", "10.0.0.2:8473"), peer("lb2", "10.0.0.3:8473"));
    for (own, other) in [(&first, &second), (&second, &first)] {
        let expected = Peers {
            own: own.address,
            others: vec![other.clone()],
            key_file: "/etc/fulcrum/peers.key".into(),
        };
        assert_eq!(of(&own.name), expected);
    }
    assert_eq!(read(&format!("{NODE}{SERVICE}")).unwrap().config.peers, None);
}

#[test]
fn the_order_is_that_of_the_file() {
    let nodes = "{ zz = \"[2001:db8::3]:1\", lb1 = \"[2001:db8::1]:2\", \"a.example\" = \"[2001:db8::2]:3\" }";
    let text = format!("{NODE}name = \"lb1\"\n{SERVICE}[peers]\nkey-file = \"/k\"\nnodes = {nodes}\n");
    let peers = read(&text).unwrap().config.peers.unwrap();
    assert_eq!(
        peers.others,
        [peer("zz", "[2001:db8::3]:1"), peer("a.example", "[2001:db8::2]:3")]
    );
}

/// Addresses of up to five nodes, of which one may be this one.
pub(super) type Any = Option<(bool, BTreeSet<u8>, u16, String)>;

pub(super) fn any_peers() -> impl Strategy<Value = Any> {
    let hosts = prop::collection::btree_set(1u8..=250, 2..5);
    let port = (1..=u16::MAX).prop_map(outside_pools);
    prop::option::of((any::<bool>(), hosts, port, "(/[a-z]{1,10}){1,9}"))
}

/// The configuration with these.
pub(super) fn with(mut config: Config, peers: Any) -> Config {
    let Some((v6, hosts, port, key_file)) = peers else {
        return config;
    };
    let address = |host: u8| {
        let ip = match v6 {
            true => IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(host)]),
            false => IpAddr::from([10, 77, 77, host]),
        };
        (ip, port).into()
    };
    let mut hosts = hosts.into_iter();
    let own = hosts.next().map(address).unwrap();
    let others = hosts.map(|host| Peer {
        name: format!("peer {host}").into(),
        address: address(host),
    });
    config.peers = Some(Peers {
        own,
        others: others.collect(),
        key_file: key_file.into(),
    });
    config
}
