//! Heads of responses, for clients.

use std::io::Write as _;

use super::location::Front;
use super::{copy, line};
use crate::proxy::http1::{Known, ResponseHead};
use crate::proxy::site::Site;

/// A response on its way to a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'i> {
    /// Its bytes, and where things stand in them.
    pub head: &'i [u8],
    /// As above.
    pub response: &'i ResponseHead,
    /// Whose it is.
    pub site: &'i Site,
    /// What it is seen against.
    pub front: Front<'i>,
    /// A cookie that leads back to the backend.
    pub cookie: Option<&'i str>,
    /// What `connection` says to the client.
    pub connection: Connection,
    /// How its body is written.
    pub body: BodyForm,
}

/// What `connection` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Nothing: it stays, or there is no such thing.
    Unsaid,
    /// It ends.
    Close,
    /// It stays, for HTTP/1.0.
    KeepAlive,
    /// It becomes another one.
    Upgrade,
}

/// How a body is written, by its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyForm {
    /// As it came.
    Same,
    /// In chunks that it did not come in.
    Chunked,
    /// Without the chunks that it came in.
    Plain,
}

/// Writes the head, in HTTP/1.1.
pub(crate) fn write(incoming: &Incoming<'_>, out: &mut Vec<u8>) {
    let Incoming {
        head,
        response,
        site,
        front,
        ..
    } = *incoming;
    // It is memory, which takes everything.
    let _ = write!(out, "HTTP/1.1 {} ", response.status);
    out.extend_from_slice(response.reason.of(head));
    out.extend_from_slice(b"\r\n");
    let rewrites = site.proxy.http.rewrite_location;
    let mut others: Vec<(&[u8], Vec<u8>)> = Vec::new();
    copy(head, response.fields.all(), out, |field| {
        let value = field.value.of(head);
        let other = match field.known {
            Known::Location | Known::ContentLocation if rewrites => front.location(value),
            Known::SetCookie if rewrites => front.cookie(value),
            _ => None,
        };
        let dropped = site.response_rules.drops(field.name.of(head));
        if let Some(other) = other.filter(|_| !dropped) {
            others.push((field.name.of(head), other));
            return false;
        }
        let hop = match field.known {
            Known::Upgrade => incoming.connection != Connection::Upgrade,
            // Without a body there is no length of one (RFC 9110 §8.6, RFC 9112 §6.1).
            Known::ContentLength => matches!(response.status, 101 | 204),
            Known::TransferEncoding => incoming.body != BodyForm::Same || matches!(response.status, 101 | 204 | 304),
            known => known.is_hop_by_hop(),
        };
        !hop && !field.nominated && !dropped
    });
    for (name, value) in others {
        out.extend_from_slice(name);
        line(out, "", &value);
    }
    if let Some(cookie) = incoming.cookie {
        line(out, "set-cookie", cookie.as_bytes());
    }
    out.extend_from_slice(&site.response_rules.own);
    out.extend_from_slice(&site.response_rules.add);
    if incoming.body == BodyForm::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    let said = match incoming.connection {
        Connection::Unsaid => "",
        Connection::Close => "connection: close\r\n",
        Connection::KeepAlive => "connection: keep-alive\r\n",
        Connection::Upgrade => "connection: upgrade\r\n",
    };
    out.extend_from_slice(said.as_bytes());
    out.extend_from_slice(b"\r\n");
}
