//! Heads of requests, for backends.

use super::{copy, forwarded, line};
use crate::model::proxy::Route;
use crate::proxy::client::Client;
use crate::proxy::http1::{Known, RequestHead, fields};
use crate::proxy::site::Site;
use crate::proxy::upstream::Backend;

/// A request on its way to a backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'o> {
    /// Its bytes, and where things stand in them.
    pub head: &'o [u8],
    /// As above.
    pub request: &'o RequestHead,
    /// Whose it is.
    pub site: &'o Site,
    /// Whom it comes from.
    pub client: &'o Client,
    /// What led it there.
    pub route: Option<&'o Route>,
    /// Who gets it.
    pub backend: &'o Backend,
    /// Its name, where it has to be given one.
    pub id: Option<&'o str>,
    /// It asks for another protocol.
    pub upgrade: bool,
    /// Its body is put into chunks that it did not come in.
    pub chunked: bool,
    /// For HTTP/2, where the client's wish for trailers goes on.
    pub http2: bool,
}

/// Writes the head, in HTTP/1.1.
pub(crate) fn write(outgoing: &Outgoing<'_>, out: &mut Vec<u8>) {
    let Outgoing {
        head, request, site, ..
    } = *outgoing;
    let http = &site.proxy.http;
    out.extend_from_slice(request.method.of(head));
    out.push(b' ');
    path(outgoing, out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let host = request.host.of(head);
    let named = http.preserve_host && !host.is_empty();
    if !site.request_rules.drops(b"host") {
        line(
            out,
            "host",
            if named {
                host
            } else {
                outgoing.backend.authority.as_bytes()
            },
        );
    }
    let id = http.request_id.as_ref().filter(|_| outgoing.id.is_some());
    copy(head, request.fields.all(), out, |field| {
        let hop = match field.known {
            Known::Upgrade => !outgoing.upgrade,
            // The chunks go on as they are.
            Known::TransferEncoding => outgoing.chunked,
            Known::Host => true,
            known => known.is_hop_by_hop(),
        };
        let name = || field.name.of(head);
        !hop && !field.nominated
            && forwarded::goes_on(site, outgoing.client, field)
            && !site.request_rules.drops(name())
            && id.is_none_or(|id| !id.as_str().as_bytes().eq_ignore_ascii_case(name()))
    });
    forwarded::add(site, outgoing.client, head, request, out);
    if let (Some(name), Some(id)) = (id, outgoing.id)
        && !site.request_rules.drops(name.as_str().as_bytes())
    {
        line(out, name.as_str(), id.as_bytes());
    }
    if outgoing.chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if outgoing.upgrade {
        out.extend_from_slice(b"connection: upgrade\r\n");
    }
    if outgoing.http2 && wants_trailers(head, request) {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    out.extend_from_slice(&site.request_rules.add);
    out.extend_from_slice(b"\r\n");
}

/// The path, whose beginning a route may replace.
fn path(outgoing: &Outgoing<'_>, out: &mut Vec<u8>) {
    let path = outgoing.request.path.of(outgoing.head);
    let prefixes = outgoing
        .route
        .and_then(|route| Some((route.path_prefix.as_ref()?, route.replace_prefix.as_ref()?)));
    match prefixes {
        // `OPTIONS http://host` is about the server as a whole (RFC 9112 §3.2.4).
        None if path.is_empty() && outgoing.request.method.of(outgoing.head) == b"OPTIONS" => out.push(b'*'),
        None if path.is_empty() => out.push(b'/'),
        None => out.extend_from_slice(path),
        Some((prefix, other)) => {
            let rest = &path[prefix.len().min(path.len())..];
            let other = match rest.first() {
                Some(b'/') => other.trim_end_matches('/'),
                _ => other,
            };
            out.extend_from_slice(other.as_bytes());
            if !other.ends_with('/') && !matches!(rest.first(), None | Some(b'/' | b'?')) {
                out.push(b'/');
            }
            out.extend_from_slice(rest);
        }
    }
}

fn wants_trailers(head: &[u8], request: &RequestHead) -> bool {
    let te = request.fields.find(Known::Te);
    te.is_some_and(|field| fields::list(field.value.of(head)).any(|coding| coding.eq_ignore_ascii_case(b"trailers")))
}
