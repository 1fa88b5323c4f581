//! `tls` of `[service.upstream]`: TLS towards backends.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;

use super::server::protocol;
use super::{Part, Unusable};
use crate::model::proxy::{HttpVersion, UpstreamTls};
use crate::net::tls;

/// Backends whose sessions are remembered, to be resumed: more than a service usually has.
const SESSIONS: usize = 1_024;

/// What speaks TLS to backends, with `http2` or HTTP/1.1 over it.
///
/// # Errors
/// The authorities cannot be used.
pub fn client(upstream: &UpstreamTls, http2: bool) -> Result<Arc<ClientConfig>, Unusable> {
    let refused = |distrust: tls::Distrust| {
        let file = upstream.ca.as_deref().unwrap_or(Path::new("the system's authorities"));
        Unusable::new(Part::BackendCa, file, distrust)
    };
    let mut config = tls::client(upstream.verify, upstream.ca.as_deref()).map_err(refused)?;
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    let version = if http2 { HttpVersion::H2 } else { HttpVersion::H1 };
    config.alpn_protocols = vec![protocol(version)];
    Ok(Arc::new(config))
}
