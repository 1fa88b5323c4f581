//! Datagrams to a VIP at a backend, and what comes back: answers, or ICMP errors.

use std::net::{IpAddr, SocketAddr};

use super::{Failure, Heard, Paths, Way, frame};
use crate::model::{Protocol, ServicePath};

/// See the module.
#[derive(Debug)]
pub(in crate::health) struct Datagrams {
    way: Way,
}

impl Datagrams {
    /// To `vip` at the backend.
    pub(in crate::health) async fn open(
        paths: &Paths,
        path: &ServicePath,
        backend: IpAddr,
        vip: SocketAddr,
    ) -> Result<Self, Failure> {
        let way = paths.way(Protocol::Udp, path, backend, vip).await?;
        Ok(Self { way })
    }

    /// Sends one.
    pub(in crate::health) fn send(&self, payload: &[u8]) -> Result<(), Failure> {
        let out = &self.way.out;
        let packet = frame::datagram(out.local, out.vip, payload);
        out.send(&packet).map_err(|error| Failure::Local(error.to_string()))
    }

    /// The next one that comes back; of a longer one than `buffer`, what fits.
    pub(in crate::health) async fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            let packet = match self.way.heard.recv().await {
                Some(Heard::Packet(packet)) => packet,
                Some(Heard::Error(error)) => return Err(error.into()),
                // It lives as long as this does.
                None => return Err(Failure::Local("nobody listens any more".to_owned())),
            };
            if let Some(payload) = frame::payload(&packet) {
                let length = payload.len().min(buffer.len());
                buffer[..length].copy_from_slice(&payload[..length]);
                return Ok(length);
            }
        }
    }
}
