//! The interfaces of `[node]`: which are there, whether the program is on them, and which VIPs belong on them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::repairs::Repaired;
use crate::dataplane::{AttachError, Dataplane};
use crate::model::status::{AttachMode, InterfaceStatus};
use crate::model::{Interface, XdpMode, chain};
use crate::net::{Address, LOOPBACK, address};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    /// Those that are there, in the order of the file; `None` before anybody has said.
    here: Option<Vec<Interface>>,
    /// By index: how the program is attached, or why it is not. One that has just come is missing.
    attached: BTreeMap<u32, Result<AttachMode, String>>,
    /// Something is to be attached, or looked after.
    due: bool,
}

/// What brings a VIP to where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// The interface that it is to be put on.
    pub(super) to: u32,
    /// Those that it is to leave afterwards.
    pub(super) from: Vec<u32>,
}

impl Interfaces {
    /// These are there now.
    pub(super) fn follow(&mut self, here: Vec<Interface>) {
        // At first nothing has changed.
        let before = self.here.take().unwrap_or_else(|| here.clone());
        for change in changes(&before, &here) {
            match change {
                Change::Gone(name) => tracing::warn!(interface = name, "the interface is gone"),
                Change::Come(name) => tracing::info!(interface = name, "the interface has come back"),
                Change::Mac(Interface { name, mac, .. }) => {
                    tracing::info!(interface = name, %mac, "the interface has another MAC");
                }
            }
        }
        let stays = |index: u32| {
            before
                .iter()
                .any(|b| b.index == index && here.iter().any(|h| same(b, h)))
        };
        self.attached.retain(|&index, _| stays(index));
        self.here = Some(here);
        self.due = true;
    }

    /// Somebody may have taken the program off.
    pub(super) fn look_again(&mut self) {
        self.due = self.here.is_some();
    }

    /// Names by index.
    pub(super) fn names(&self) -> BTreeMap<u32, Arc<str>> {
        let here = self.here.iter().flatten();
        here.map(|interface| (interface.index, interface.name.as_str().into()))
            .collect()
    }

    /// The interface of this name; with `None`, the first one.
    pub(super) fn named(&self, name: Option<&str>) -> Option<&Interface> {
        let mut here = self.here.iter().flatten();
        here.find(|interface| name.is_none_or(|name| interface.name == name))
    }

    /// Puts the program on the interfaces that are there, if that is due. It stays due until none refuses.
    pub(super) fn attach(
        &mut self,
        dataplane: &mut impl Dataplane,
        mode: XdpMode,
        repaired: &mut Repaired,
    ) -> Result<(), AttachError> {
        let Some(here) = self.here.as_deref().filter(|_| self.due) else {
            return Ok(());
        };
        let outcomes = dataplane.attach(here, mode)?;
        let mut refused = None;
        for (Interface { name, index, .. }, outcome) in here.iter().zip(outcomes) {
            let state = match outcome {
                Ok(attachment) => {
                    let label = attachment.mode.label();
                    match &attachment.fallback {
                        _ if self.attached.get(index) == Some(&Ok(attachment.mode)) => {
                            if attachment.is_new {
                                repaired.attached(name);
                            }
                        }
                        Some(error) => {
                            tracing::warn!(interface = name, %error, "attached in generic mode: native mode was refused");
                        }
                        None => tracing::info!(interface = name, mode = label, "attached"),
                    }
                    Ok(attachment.mode)
                }
                Err(error) => {
                    let reason = chain(&error);
                    refused = refused.or(Some(error));
                    Err(reason)
                }
            };
            self.attached.insert(*index, state);
        }
        self.due = refused.is_some();
        refused.map_or(Ok(()), Err)
    }

    /// Does the program see what is sent to an address on this interface? What is on lo may come in on any other.
    fn serves(&self, index: u32) -> bool {
        match index {
            LOOPBACK => self.attached.values().any(Result::is_ok),
            index => self.attached.get(&index).is_some_and(Result::is_ok),
        }
    }

    /// What is to be done about a VIP, on a node with these addresses: it goes on the interface whose subnet holds it.
    /// Nothing, where the program is not: nobody shall be sent to a node that does not balance. And nothing when the
    /// interface loses its subnet: that may be back at once, and meanwhile the VIP does no harm.
    pub(super) fn place(&self, vip: IpAddr, addresses: &[Address]) -> Option<Move> {
        let here: Vec<u32> = self.here.iter().flatten().map(|interface| interface.index).collect();
        let to = address::placement(vip, &here, addresses);
        let from: Vec<u32> = addresses.iter().filter(|a| a.ip == vip).map(|a| a.interface).collect();
        let settled = from.contains(&to) || to == LOOPBACK && !from.is_empty();
        (!settled && self.serves(to)).then_some(Move { to, from })
    }

    /// The state of the interfaces that the file `names`; nothing before anything was attached.
    pub(super) fn status(&self, names: &[String]) -> Vec<InterfaceStatus> {
        let Some(here) = &self.here else { return Vec::new() };
        let status = |name: &String| {
            let interface = here.iter().find(|interface| interface.name == *name);
            let attached = interface.map(|interface| self.attached.get(&interface.index).cloned());
            let unsaid = || Err("it has just come".to_owned());
            InterfaceStatus {
                name: name.clone(),
                attached: attached.map_or_else(
                    || Err("there is no interface of this name".to_owned()),
                    |attached| attached.unwrap_or_else(unsaid),
                ),
            }
        };
        names.iter().map(status).collect()
    }
}

/// What became of an interface.
#[derive(Debug, PartialEq, Eq)]
enum Change<'a> {
    Gone(&'a str),
    Come(&'a str),
    Mac(&'a Interface),
}

/// Is it the one that it was, whatever has changed about it?
fn same(before: &Interface, now: &Interface) -> bool {
    (before.index, &before.name) == (now.index, &now.name)
}

/// What people want to know of two looks at the interfaces. One that was replaced has gone and come.
fn changes<'a>(before: &'a [Interface], now: &'a [Interface]) -> Vec<Change<'a>> {
    let gone = before.iter().filter(|b| !now.iter().any(|n| same(b, n)));
    let here = now.iter().filter_map(|n| match before.iter().find(|b| same(b, n)) {
        None => Some(Change::Come(&n.name)),
        Some(b) if b.mac != n.mac => Some(Change::Mac(n)),
        Some(_) => None,
    });
    gone.map(|b| Change::Gone(&b.name)).chain(here).collect()
}

#[cfg(test)]
mod tests {
    use lb_common::addr::Mac;

    use super::*;
    use crate::dataplane::fake::Fake;

    fn interface(name: &str, index: u32, mac: u8) -> Interface {
        Interface {
            name: name.to_owned(),
            index,
            mac: Mac([2, 0, 0, 0, 0, mac]),
            running: true,
            addresses: [].into(),
        }
    }

    fn address(interface: u32, ip: &str, prefix: u8) -> Address {
        Address {
            interface,
            ip: ip.parse().unwrap(),
            prefix,
        }
    }

    fn on(here: &[Interface]) -> (Interfaces, Fake) {
        let (mut interfaces, mut dataplane) = (Interfaces::default(), Fake::default());
        interfaces.follow(here.to_vec());
        interfaces
            .attach(&mut dataplane, XdpMode::Auto, &mut Repaired::default())
            .unwrap();
        (interfaces, dataplane)
    }

    #[test]
    fn a_change_is_told_as_people_see_it() {
        let before = [interface("a", 2, 1), interface("b", 3, 2), interface("c", 4, 3)];
        let (replaced, moved) = (interface("b", 9, 2), interface("c", 4, 7));
        let now = [before[0].clone(), replaced, moved.clone()];
        let told = [Change::Gone("b"), Change::Come("b"), Change::Mac(&moved)];
        assert_eq!(changes(&before, &now), told);
        // A name is what counts: index 2 under another one is another interface.
        let renamed = [interface("b", 2, 1)];
        assert_eq!(changes(&before[..1], &renamed), [Change::Gone("a"), Change::Come("b")]);
        assert_eq!(changes(&before, &before), []);
    }

    #[test]
    fn status_knows_each_name_of_the_file() {
        let names = ["eth0".to_owned(), "eth1".to_owned()];
        assert!(Interfaces::default().status(&names).is_empty(), "not attached yet");
        let (mut interfaces, mut dataplane) = on(&[interface("eth0", 2, 1), interface("eth1", 3, 2)]);
        let states = |interfaces: &Interfaces| -> Vec<_> {
            let status = interfaces.status(&names).into_iter();
            status.map(|i| i.attached.map_err(|reason| reason.len() > 10)).collect()
        };
        let native = Ok(AttachMode::Native);
        assert_eq!(states(&interfaces), [native, native]);
        interfaces.follow(vec![interface("eth0", 2, 1)]);
        assert_eq!(states(&interfaces), [native, Err(true)]);
        // Another eth1: nothing is claimed of it before the program is there.
        dataplane.refuse = Box::new(|name| name == "eth1");
        interfaces.follow(vec![interface("eth0", 2, 1), interface("eth1", 4, 2)]);
        assert_eq!(states(&interfaces), [native, Err(true)]);
        let refused = interfaces
            .attach(&mut dataplane, XdpMode::Auto, &mut Repaired::default())
            .unwrap_err();
        assert!(chain(&refused).contains("cannot attach to eth1 in native mode: it is busy"));
        assert_eq!(states(&interfaces), [native, Err(true)]);
        // It stays due.
        dataplane.refuse = Box::new(|_| false);
        interfaces
            .attach(&mut dataplane, XdpMode::Auto, &mut Repaired::default())
            .unwrap();
        assert_eq!(states(&interfaces), [native, native]);
    }

    #[test]
    fn what_is_attached_is_left_alone_until_somebody_asks() {
        let (mut interfaces, mut dataplane) = on(&[interface("eth0", 2, 1)]);
        dataplane.attached.clear();
        interfaces
            .attach(&mut dataplane, XdpMode::Auto, &mut Repaired::default())
            .unwrap();
        assert!(dataplane.attached.is_empty());
        interfaces.look_again();
        interfaces
            .attach(&mut dataplane, XdpMode::Auto, &mut Repaired::default())
            .unwrap();
        assert_eq!(dataplane.attached.len(), 1);
    }

    #[test]
    fn a_vip_follows_its_subnet() {
        let (mut interfaces, mut dataplane) = on(&[interface("eth0", 2, 1), interface("eth1", 3, 2)]);
        let vip: IpAddr = "10.0.0.100".parse().unwrap();
        let subnet = address(2, "10.0.0.1", 24);
        let to = |to, from: &[u32]| {
            Some(Move {
                to,
                from: from.to_vec(),
            })
        };
        let held = |interface| address(interface, "10.0.0.100", 32);
        assert_eq!(interfaces.place(vip, &[subnet]), to(2, &[]), "it comes");
        assert_eq!(interfaces.place(vip, &[subnet, held(2)]), None);
        assert_eq!(
            interfaces.place(vip, &[subnet, held(1)]),
            to(2, &[1]),
            "its subnet has come"
        );
        assert_eq!(
            interfaces.place(vip, &[held(2)]),
            None,
            "its subnet is gone, perhaps for a moment"
        );
        assert_eq!(interfaces.place(vip, &[]), to(LOOPBACK, &[]));
        assert_eq!(interfaces.place(vip, &[held(LOOPBACK)]), None);
        // The interface comes back with its addresses, and refuses: the VIP waits, others do not.
        dataplane.refuse = Box::new(|name| name == "eth0");
        interfaces.follow(vec![interface("eth0", 4, 1), interface("eth1", 3, 2)]);
        interfaces
            .attach(&mut dataplane, XdpMode::Auto, &mut Repaired::default())
            .unwrap_err();
        let subnet = address(4, "10.0.0.1", 24);
        assert_eq!(interfaces.place(vip, &[subnet]), None);
        assert_eq!(
            interfaces.place("10.1.0.100".parse().unwrap(), &[subnet]),
            to(LOOPBACK, &[])
        );
        // No interface is left: what has no subnet would bring nobody anything.
        interfaces.follow(Vec::new());
        interfaces
            .attach(&mut dataplane, XdpMode::Auto, &mut Repaired::default())
            .unwrap();
        assert_eq!(interfaces.place(vip, &[]), None);
    }
}
