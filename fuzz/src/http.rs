//! Other readers of HTTP/1.1: httparse for heads, and hyper's server for whole messages. What the proxy takes they may refuse,
//! and must not understand in another way.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lb_user::proxy::http1::{Body, Bounds, Fields, Framing, RequestHead};
use tokio::io::AsyncWriteExt as _;

/// Of heads: small enough for inputs to meet them.
pub(crate) const BOUNDS: Bounds = Bounds {
    bytes: 2048,
    fields: 32,
    target: 256,
};

/// What follows a message, to see that everybody finds its end at the same place.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: next\r\n\r\n";

/// A message as hyper sees it.
struct Seen {
    head: hyper::http::request::Parts,
    /// `None`: it was refused.
    body: Option<Vec<u8>>,
}

/// What hyper's server makes of these bytes.
fn hyper(bytes: &[u8]) -> Vec<Seen> {
    let seen = Rc::<RefCell<Vec<Seen>>>::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(bytes).await.expect("it is memory");
        client.shutdown().await.expect("it is memory");
        let service = service_fn(|request: Request<Incoming>| {
            let seen = Rc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
                seen.borrow_mut().push(Seen { head, body });
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        // Whatever it refuses it may refuse.
        let _ = Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(server), service)
            .await;
    });
    Rc::into_inner(seen).expect("the connection is over").into_inner()
}

/// Reads a message that the proxy takes by hyper, too. True when hyper takes it. `bytes` are the head and the whole body, whose
/// data is `data`.
///
/// # Panics
/// When hyper takes it for another one.
pub(crate) fn compare_with_hyper(bytes: &[u8], head: &RequestHead, data: &[u8]) -> bool {
    let mut all = bytes.to_vec();
    all.extend_from_slice(NEXT.as_bytes());
    let seen = hyper(&all);
    let Some(first) = seen.first() else {
        return false;
    };
    let text = bytes.escape_ascii();
    assert_eq!(first.head.method.as_str().as_bytes(), head.method.of(bytes), "{text}");
    if first.head.method != hyper::Method::CONNECT {
        let path = first.head.uri.path_and_query().map_or("/", |path| path.as_str());
        let own = head.path.of(bytes);
        assert_eq!(path.as_bytes(), if own.is_empty() { b"/" } else { own }, "{text}");
        if let Some(authority) = first.head.uri.authority() {
            assert_eq!(authority.as_str().as_bytes(), head.host.of(bytes), "{text}");
        }
    }
    for field in head.fields.all() {
        let name = std::str::from_utf8(field.name.of(bytes)).expect("a token");
        let theirs: Vec<&[u8]> = first
            .head
            .headers
            .get_all(name)
            .iter()
            .map(hyper::header::HeaderValue::as_bytes)
            .collect();
        assert_eq!(theirs, values(&head.fields, bytes, name), "{text}: {name}");
    }
    assert_eq!(first.head.headers.len(), head.fields.all().len(), "{text}");
    let Some(body) = &first.body else {
        return false;
    };
    assert!(body == data, "{text}: {}", body.escape_ascii());
    if let Some(second) = seen.get(1) {
        assert_eq!(second.head.uri.path(), "/next", "{text}");
        assert_eq!(seen.len(), 2, "{text}");
    }
    true
}

/// All values of a name, in order.
fn values<'h>(fields: &Fields, head: &'h [u8], name: &str) -> Vec<&'h [u8]> {
    let named = fields
        .all()
        .iter()
        .filter(|field| field.name.of(head).eq_ignore_ascii_case(name.as_bytes()));
    named.map(|field| field.value.of(head)).collect()
}

/// The end of a body and its data; `None` where it is not whole, or none.
pub(crate) fn body(framing: Framing, bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    let mut body = Body::of(framing);
    let (mut at, mut data) = (0, Vec::new());
    while !body.is_over() {
        let (skip, length) = body.data(&bytes[at..]).ok()?;
        if skip + length == 0 {
            return None;
        }
        data.extend_from_slice(&bytes[at + skip..at + skip + length]);
        at += skip + length;
    }
    Some((at, data))
}

/// Cuts of an input of this length that are different for every input: each third byte of it is a distance.
pub(crate) fn cuts(data: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let steps = data.iter().step_by(3).map(|&byte| usize::from(byte % 64));
    steps
        .map_while(|step| {
            at += step;
            (at <= data.len()).then_some(at)
        })
        .collect()
}
