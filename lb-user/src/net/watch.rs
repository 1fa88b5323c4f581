//! Interfaces that come and go, and change.
//!
//! [`run`] tells which of the wanted names there are, with index, MAC and addresses, whenever that differs from what was
//! told last. It listens for changes; every [`SWEEP`] it looks again, in case it missed one. Failures end nothing: what
//! was told stays true until a look says otherwise.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use rtnetlink::MulticastGroup;
use tokio::sync::watch;
use tokio::time::{self, MissedTickBehavior};

use super::address::{Address, host_prefix};
use super::{Error, Events, Link, Net};
use crate::model::{Interface, chain};

/// 10 s; bounds how long a change can go unseen whose message was lost.
const SWEEP: Duration = Duration::from_secs(10);

/// What can change an [`Interface`].
const GROUPS: [MulticastGroup; 3] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
];

/// Keeps `out` the interfaces called `names` that are in the namespace of `net`. Whoever is slow sees the newest only.
/// Ends when nobody listens.
pub async fn run(net: Net, names: Vec<String>, out: watch::Sender<Vec<Interface>>) {
    drive(net, Means::default(), names, out).await;
}

/// What there is to work with. Messages get lost; the sweep makes up for it.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// Between two looks.
    pub sweep: Duration,
    /// The kernel tells of changes.
    pub events: bool,
}

impl Default for Means {
    fn default() -> Self {
        Self {
            sweep: SWEEP,
            events: true,
        }
    }
}

/// [`run`] with these means.
pub async fn drive(net: Net, means: Means, names: Vec<String>, out: watch::Sender<Vec<Interface>>) {
    let mut sweep = time::interval(means.sweep);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut events: Option<Events> = None;
    loop {
        tokio::select! {
            () = out.closed() => return,
            _ = sweep.tick() => events = events.or_else(|| means.events.then(|| listen(&net))?),
            event = async { events.as_mut()?.next().await }, if events.is_some() => match event {
                // Whatever else is there already; one look answers all of it.
                Some(_) => while let Some(Some(_)) = events.as_mut().and_then(|events| events.next().now_or_never()) {},
                None => events = None, // the next sweep opens another
            },
        }
        match look(&net, &names).await {
            Ok(found) => {
                out.send_if_modified(|told| {
                    let news = *told != found;
                    *told = found;
                    news
                });
            }
            Err(error) => {
                tracing::warn!(
                    error = %chain(&error),
                    "cannot look at the interfaces"
                );
            }
        }
    }
}

fn listen(net: &Net) -> Option<Events> {
    net.listen(&GROUPS)
        .inspect_err(|error| tracing::warn!(%error, "cannot listen for changes of interfaces; looking now and then"))
        .ok()
}

/// The interfaces called `names` that there are, in that order.
///
/// # Errors
/// When the kernel does not answer, or a name cannot be one of an interface.
pub async fn look(net: &Net, names: &[String]) -> Result<Vec<Interface>, Error> {
    let mut links = Vec::with_capacity(names.len());
    for name in names {
        links.extend(net.link(name).await?.map(|link| (name, link)));
    }
    let addresses = net.addresses().await?;
    let found = links.into_iter().map(|(name, link)| interface(name, &link, &addresses));
    Ok(found.collect())
}

fn interface(name: &str, link: &Link, addresses: &[Address]) -> Interface {
    let own = addresses.iter().filter(|address| address.interface == link.index);
    Interface {
        name: name.to_owned(),
        index: link.index,
        mac: link.mac.unwrap_or_default(),
        running: link.running,
        // VIPs have none: what is put on an interface does not change what belongs there.
        addresses: own
            .filter(|address| address.prefix < host_prefix(address.ip))
            .map(|address| (address.ip, address.prefix))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use lb_common::addr::Mac;

    use super::*;

    #[test]
    fn an_interface_has_its_own_subnets_and_no_vips() {
        let link = Link {
            index: 7,
            name: "alias".to_owned(),
            mac: None,
            mtu: 1500,
            up: true,
            running: true,
            master: None,
            xdp: None,
        };
        let address = |interface, ip: &str, prefix| Address {
            interface,
            ip: ip.parse().unwrap(),
            prefix,
        };
        let addresses = [
            address(7, "10.0.0.1", 24),
            address(7, "fd00::1", 64),
            address(7, "10.0.0.100", 32),
            address(7, "fd00::100", 128),
            address(8, "10.1.0.1", 24),
        ];
        let expected = Interface {
            name: "eth0".to_owned(),
            index: 7,
            mac: Mac::default(),
            running: true,
            addresses: [("10.0.0.1".parse().unwrap(), 24), ("fd00::1".parse().unwrap(), 64)].into(),
        };
        assert_eq!(interface("eth0", &link, &addresses), expected);
    }
}
