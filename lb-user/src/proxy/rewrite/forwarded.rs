//! What backends are told of the client: `x-forwarded-*`, and `forwarded` (RFC 7239).

use std::io::Write as _;
use std::net::IpAddr;

use super::line;
use crate::model::proxy::Forwarded;
use crate::proxy::client::Client;
use crate::proxy::http1::{Field, Known, RequestHead};
use crate::proxy::site::Site;

/// Does a line about the client go on? What a client says of itself is worth nothing; what a proxy says that is believed goes
/// on, unless more is added to it.
#[inline]
pub(super) fn goes_on(site: &Site, client: &Client, field: &Field) -> bool {
    match field.known {
        Known::XForwardedFor => client.trusted && !site.forwarded.contains(&Forwarded::For),
        Known::Forwarded => client.trusted && !site.forwarded.contains(&Forwarded::Standard),
        Known::XForwardedHost | Known::XForwardedPort | Known::XForwardedProto | Known::XRealIp => client.trusted,
        _ => true,
    }
}

/// Adds the lines about the client.
pub(super) fn add(site: &Site, client: &Client, head: &[u8], request: &RequestHead, out: &mut Vec<u8>) {
    let ip = client.address.ip().to_canonical();
    let host = request.host.of(head);
    // What a proxy has said already, which was believed and has gone on.
    let said = |known| client.trusted && request.fields.find(known).is_some();
    for forwarded in &site.forwarded {
        let name = forwarded.label();
        match forwarded {
            Forwarded::For => {
                begin(client, head, request, Known::XForwardedFor, name, out);
                // It is memory, which takes everything.
                let _ = write!(out, "{ip}\r\n");
            }
            Forwarded::Proto if !said(Known::XForwardedProto) => line(out, name, client.scheme().as_bytes()),
            Forwarded::Host if !said(Known::XForwardedHost) && !host.is_empty() => line(out, name, host),
            Forwarded::Port if !said(Known::XForwardedPort) => {
                let _ = write!(out, "{name}: {}\r\n", client.local.port());
            }
            Forwarded::RealIp if !said(Known::XRealIp) => {
                let _ = write!(out, "{name}: {ip}\r\n");
            }
            Forwarded::Proto | Forwarded::Host | Forwarded::Port | Forwarded::RealIp => {}
            Forwarded::Standard => {
                begin(client, head, request, Known::Forwarded, name, out);
                let _ = match ip {
                    IpAddr::V4(ip) => write!(out, "for={ip}"),
                    IpAddr::V6(ip) => write!(out, "for=\"[{ip}]\""),
                };
                if !host.is_empty() {
                    // A host has no quotes and no backslashes.
                    out.extend_from_slice(b";host=\"");
                    out.extend_from_slice(host);
                    out.push(b'"');
                }
                let _ = write!(out, ";proto={}\r\n", client.scheme());
            }
        }
    }
}

/// Begins a line that goes on where a proxy's end that is believed.
fn begin(client: &Client, head: &[u8], request: &RequestHead, known: Known, name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    if client.trusted {
        for field in request.fields.all().iter().filter(|field| field.known == known) {
            out.extend_from_slice(field.value.of(head));
            out.extend_from_slice(b", ");
        }
    }
}
