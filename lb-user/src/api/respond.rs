//! Responses: what their bodies are, and their headers.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::stream::Stream;
use super::types::Problem;

/// What is sent back: all of it, or one thing after the other.
pub(super) type Answer = Either<Full<Bytes>, Stream>;

/// A refusal (RFC 9457).
pub(super) fn refuse(problem: &Problem) -> Response<Answer> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, "application/problem+json", problem);
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"fulcrum\""));
    }
    response
}

/// JSON.
pub(super) fn ok(value: &impl Serialize) -> Response<Answer> {
    json(StatusCode::OK, "application/json", value)
}

fn json(status: StatusCode, kind: &'static str, value: &impl Serialize) -> Response<Answer> {
    respond(status, kind, serialized(value))
}

fn serialized(value: &impl Serialize) -> Vec<u8> {
    // The types have string keys only and hold no floats, which is all that serialising can trip over.
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
    body.push(b'\n');
    body
}

/// All of a body, of this media type.
pub(super) fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Answer> {
    headed(status, kind, Either::Left(Full::new(body.into())))
}

/// A body of this media type, which nobody keeps.
pub(super) fn headed(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Bytes of an answer, and the leave to keep them.
struct Large(
    Vec<u8>,
    #[expect(dead_code, reason = "held until the bytes are gone")] OwnedSemaphorePermit,
);

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// JSON that is large; the permit comes back when it has been sent or given up.
pub(super) fn large(value: &impl Serialize, permit: OwnedSemaphorePermit) -> Response<Answer> {
    let body = Bytes::from_owner(Large(serialized(value), permit));
    respond(StatusCode::OK, "application/json", body)
}
