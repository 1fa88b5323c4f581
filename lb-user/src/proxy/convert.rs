//! Heads between HTTP/2, as its library has them, and the text of HTTP/1.1, in which they are handled.

use http::header::{COOKIE, HOST};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request, response};

use super::http1::{Bounds, HeadError, Known, RequestHead, ResponseHead, fields};

/// What is written here has been bounded before.
const ANY: Bounds = Bounds {
    bytes: usize::MAX,
    fields: usize::MAX,
    target: usize::MAX - 64,
};

/// A request of a client, as text.
pub(super) fn request_text(parts: &request::Parts, out: &mut Vec<u8>) {
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    if parts.method == Method::CONNECT {
        out.extend_from_slice(authority.unwrap_or(path).as_bytes());
    } else {
        out.extend_from_slice(path.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    // Both may be given, and must say the same (RFC 9113 §8.3.1): two are refused as they are in HTTP/1.1.
    let host = parts.headers.get(HOST).map(HeaderValue::as_bytes);
    match (authority, host) {
        (Some(authority), Some(host)) if authority.as_bytes().eq_ignore_ascii_case(host) => {}
        (Some(authority), _) => line(out, b"host", authority.as_bytes()),
        (None, _) => {}
    }
    let mut cookies = false;
    for (name, value) in &parts.headers {
        if name == COOKIE {
            cookies = true;
        } else {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if cookies {
        // They come in crumbs (RFC 9113 §8.2.3).
        out.extend_from_slice(b"cookie: ");
        for (place, crumb) in parts.headers.get_all(COOKIE).iter().enumerate() {
            if place > 0 {
                out.extend_from_slice(b"; ");
            }
            out.extend_from_slice(crumb.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// A response of a backend, as text.
pub(super) fn response_text(parts: &response::Parts, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(parts.status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &parts.headers {
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A request to a backend, from text.
///
/// # Errors
/// When it cannot be said in HTTP/2.
pub(super) fn request(text: &[u8], scheme: &str) -> Result<Request<()>, HeadError> {
    let mut head = RequestHead::default();
    head.read(text, &ANY)?;
    let scheme = if scheme == "https" { Scheme::HTTPS } else { Scheme::HTTP };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(head.host.of(text))
        .path_and_query(head.path.of(text))
        .build()
        .map_err(|_| HeadError::Target)?;
    let method = Method::from_bytes(head.method.of(text)).map_err(|_| HeadError::RequestLine)?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = map(text, &head.fields, |known| known != Known::Host)?;
    Ok(request)
}

/// A response to a client, from text.
///
/// # Errors
/// When it cannot be said in HTTP/2.
pub(super) fn response(text: &[u8]) -> Result<Response<()>, HeadError> {
    let mut head = ResponseHead::default();
    head.read(text, &ANY, true)?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| HeadError::StatusLine)?;
    *response.headers_mut() = map(text, &head.fields, |_| true)?;
    Ok(response)
}

fn map(text: &[u8], fields: &fields::Fields, goes_on: impl Fn(Known) -> bool) -> Result<HeaderMap, HeadError> {
    let all = fields.all();
    let mut map = HeaderMap::with_capacity(all.len());
    // One piece of memory for all values.
    let bytes = bytes::Bytes::copy_from_slice(text);
    for field in all {
        let hop = field.known.is_hop_by_hop() && field.known != Known::Te;
        if hop || !goes_on(field.known) {
            continue;
        }
        let name = HeaderName::from_bytes(field.name.of(text)).map_err(|_| HeadError::FieldName)?;
        let value = bytes.slice(field.value.start as usize..field.value.end as usize);
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| HeadError::FieldValue)?;
        map.append(name, value);
    }
    Ok(map)
}
