//! VIPs on the node's interfaces.

use std::io;
use std::net::IpAddr;

use crate::net::{Address, Net};

/// The node's addresses, as far as VIPs are concerned.
pub trait Addresses: Send {
    /// Every address that the node has.
    fn present(&self) -> impl Future<Output = io::Result<Vec<Address>>> + Send;

    /// Puts a VIP on an interface; one that is there is fine.
    fn add(&self, vip: IpAddr, interface: u32) -> impl Future<Output = io::Result<()>> + Send;

    /// Takes a VIP off an interface; one that is not there is fine.
    fn remove(&self, vip: IpAddr, interface: u32) -> impl Future<Output = io::Result<()>> + Send;
}

/// The real ones.
#[derive(Clone, Debug)]
pub struct NodeAddresses(pub Net);

impl Addresses for NodeAddresses {
    async fn present(&self) -> io::Result<Vec<Address>> {
        self.0.addresses().await.map_err(io::Error::other)
    }

    async fn add(&self, vip: IpAddr, interface: u32) -> io::Result<()> {
        self.0.add_vip(interface, vip).await.map_err(io::Error::other)
    }

    async fn remove(&self, vip: IpAddr, interface: u32) -> io::Result<()> {
        self.0.remove_vip(interface, vip).await.map_err(io::Error::other)
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
