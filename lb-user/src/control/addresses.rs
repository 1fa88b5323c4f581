//! VIPs on the node's interfaces.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use crate::net::{Net, address};

/// The node's addresses, as far as VIPs are concerned.
pub trait Addresses: Send {
    /// Every address that the node has.
    fn present(&self) -> impl Future<Output = io::Result<BTreeSet<IpAddr>>> + Send;

    /// Puts a VIP on the node; one that is there is fine.
    fn add(&self, vip: IpAddr) -> impl Future<Output = io::Result<()>> + Send;

    /// Takes a VIP off; one that is not there is fine.
    fn remove(&self, vip: IpAddr) -> impl Future<Output = io::Result<()>> + Send;
}

/// The real ones: a VIP goes on the interface whose subnet holds it, else on lo.
#[derive(Clone, Debug)]
pub struct NodeAddresses {
    net: Net,
    interfaces: Vec<u32>,
}

impl NodeAddresses {
    /// Over `net`, with the interfaces of `[node]`.
    #[must_use]
    pub fn new(net: Net, interfaces: Vec<u32>) -> Self {
        Self { net, interfaces }
    }
}

impl Addresses for NodeAddresses {
    async fn present(&self) -> io::Result<BTreeSet<IpAddr>> {
        let addresses = self.net.addresses().await.map_err(io::Error::other)?;
        Ok(addresses.iter().map(|address| address.ip).collect())
    }

    async fn add(&self, vip: IpAddr) -> io::Result<()> {
        let addresses = self.net.addresses().await.map_err(io::Error::other)?;
        let interface = address::placement(vip, &self.interfaces, &addresses);
        self.net.add_vip(interface, vip).await.map_err(io::Error::other)
    }

    async fn remove(&self, vip: IpAddr) -> io::Result<()> {
        take_off(&self.net, vip).await.map(drop)
    }
}

/// Takes a VIP off whatever interface has it; false when none has.
///
/// # Errors
/// When the kernel refuses.
pub async fn take_off(net: &Net, vip: IpAddr) -> io::Result<bool> {
    let addresses = net.addresses().await.map_err(io::Error::other)?;
    let mut found = false;
    for address in addresses.iter().filter(|a| a.ip == vip) {
        net.remove_vip(address.interface, vip).await.map_err(io::Error::other)?;
        found = true;
    }
    Ok(found)
}
