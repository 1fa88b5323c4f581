//! From a request to its response. Knows nothing of connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::{self, Caller};
use super::types::{Explanation, Problem, Status};
use super::{monitor, query};
use crate::control::{Gone, Handle};

/// A reconciler that has not answered after this is reported as busy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What requests are answered from. One per listener.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) node: Handle,
    /// A permit for each large answer.
    pub(super) large: Arc<Semaphore>,
}

pub(super) async fn answer<B: Body>(request: Request<B>, caller: Caller, site: &Site) -> Response<Full<Bytes>> {
    match dispatch(&request, caller, site).await {
        Ok(response) => response,
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = json(status, "application/problem+json", &problem);
            if status == StatusCode::METHOD_NOT_ALLOWED {
                let allowed = HeaderValue::from_static("GET, HEAD");
                response.headers_mut().insert(ALLOW, allowed);
            }
            response
        }
    }
}

async fn dispatch<B: Body>(
    request: &Request<B>,
    caller: Caller,
    site: &Site,
) -> Result<Response<Full<Bytes>>, Problem> {
    let path = request.uri().path();
    access::check(caller, request)?;
    let endpoint = match path {
        access::METRICS => Endpoint::Metrics,
        access::HEALTHZ => Endpoint::Healthz,
        access::READYZ => Endpoint::Readyz,
        "/api/v1/status" => Endpoint::Status,
        "/api/v1/explain" => Endpoint::Explain,
        _ => return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no {path}"))),
    };
    // A HEAD is a GET whose answer's body the server leaves out.
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let detail = format!("{path} answers GET only");
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail));
    }
    // Looked at, never read: the server closes a connection whose request has more to come.
    if !request.body().is_end_stream() {
        let detail = format!("{path} takes no request body");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let query = request.uri().query().unwrap_or("");
    match endpoint {
        // Scrapers and orchestrators may add parameters of their own.
        Endpoint::Metrics => monitor::metrics(request.headers(), site).await,
        Endpoint::Healthz => Ok(monitor::alive()),
        Endpoint::Readyz => Ok(monitor::ready(site).await),
        Endpoint::Status => {
            if !query.is_empty() {
                return Err(query::unknown(query.split(['=', '&']).next().unwrap_or(query)));
            }
            let permit = site.large().await?;
            let status = Status::from(bounded(site.node.status()).await?);
            let body = large(serialized(&status), permit);
            Ok(respond(StatusCode::OK, "application/json", body))
        }
        Endpoint::Explain => {
            let flow = query::parse(query)?;
            let explanation = bounded(site.node.explain(flow)).await?;
            Ok(ok(&Explanation::new(flow, explanation)))
        }
    }
}

enum Endpoint {
    Metrics,
    Healthz,
    Readyz,
    Status,
    Explain,
}

impl Site {
    /// Leave to make one large answer.
    pub(super) async fn large(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let busy = || {
            let detail = "too many large answers are being sent; ask again later";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        };
        let permit = self.large.clone().acquire_owned();
        let permit = tokio::time::timeout(ANSWER_TIMEOUT, permit).await;
        permit.ok().and_then(Result::ok).ok_or_else(busy)
    }
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

/// The bytes of a large answer; the permit comes back when they have been sent or given up.
pub(super) fn large(body: Vec<u8>, permit: OwnedSemaphorePermit) -> Bytes {
    Bytes::from_owner(Large(body, permit))
}

pub(super) async fn bounded<T>(question: impl Future<Output = Result<T, Gone>>) -> Result<T, Problem> {
    let unavailable = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    match tokio::time::timeout(ANSWER_TIMEOUT, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(gone)) => Err(unavailable(&gone.to_string())),
        Err(_) => Err(unavailable("the daemon is busy and did not answer within 10 s")),
    }
}

fn ok(value: &impl Serialize) -> Response<Full<Bytes>> {
    json(StatusCode::OK, "application/json", value)
}

fn json(status: StatusCode, kind: &'static str, value: &impl Serialize) -> Response<Full<Bytes>> {
    respond(status, kind, serialized(value))
}

fn serialized(value: &impl Serialize) -> Vec<u8> {
    // The types have string keys only and hold no floats, which is all that serialising can trip over.
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
    body.push(b'\n');
    body
}

pub(super) fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
