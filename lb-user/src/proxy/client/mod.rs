//! Clients: who they are, and the protocols that they speak.

pub(super) mod http1;
pub(super) mod http2;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::http1::{Known, RequestHead, fields};
use super::site::Site;
use super::worker::Served;
use crate::model::proxy::holds;

/// How long a client may go on sending after it has got its answer, and how much: an answer that it has not
/// read would be lost if the connection were closed at once (RFC 9112 §9.6).
pub(super) const LINGER: (Duration, usize) = (Duration::from_secs(2), 1024 * 1024);

/// How long a service that ends waits for another request on a connection that idles: clients cannot know that it ends
/// before they are told so, with an answer.
const LAST: Duration = Duration::from_secs(1);

/// A client's connection.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Where it comes from, by the PROXY protocol where that is spoken.
    pub address: SocketAddr,
    /// Where it came to.
    pub local: SocketAddr,
    /// What TLS says; `None`: it is plain.
    pub tls: Option<Tls>,
    /// What it says of other clients is believed.
    pub trusted: bool,
}

/// What a handshake came to.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// As it is written in logs.
    pub version: &'static str,
    /// The suite's IANA name.
    pub cipher: &'static str,
    /// Whom the client named (RFC 6066 §3).
    pub server_name: Option<Arc<str>>,
}

/// Waits until the service ends, and a little longer: a request that is on its way meanwhile is answered.
pub(super) async fn last(served: &Served) {
    served.closing().await;
    tokio::time::sleep(LAST).await;
}

impl Client {
    /// `http` or `https`.
    #[must_use]
    pub(super) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// For whom a request is: the client, or, where that is a proxy that is believed, the last one in `x-forwarded-for`
    /// that is none.
    #[must_use]
    pub(super) fn ip(&self, site: &Site, head: &[u8], request: &RequestHead) -> IpAddr {
        let own = self.address.ip().to_canonical();
        if !self.trusted {
            return own;
        }
        let trusted = &site.proxy.http.trusted_proxies;
        let mut last = own;
        let lines = request
            .fields
            .all()
            .iter()
            .rev()
            .filter(|field| field.known == Known::XForwardedFor);
        for line in lines {
            let mut named: Vec<_> = fields::list(line.value.of(head)).collect();
            while let Some(name) = named.pop() {
                let Some(ip) = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) else {
                    return last;
                };
                last = ip;
                if !holds(trusted, ip) {
                    return last;
                }
            }
        }
        last
    }
}
