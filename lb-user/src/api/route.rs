//! From a request to its response. Knows nothing of connections.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::query;
use super::types::{Explanation, Problem, Status};
use crate::control::{Gone, Handle};

/// A reconciler that has not answered after this is reported as busy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn answer<B: Body>(request: Request<B>, node: &Handle) -> Response<Full<Bytes>> {
    match dispatch(&request, node).await {
        Ok(response) => response,
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = json(status, "application/problem+json", &problem);
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            }
            response
        }
    }
}

async fn dispatch<B: Body>(request: &Request<B>, node: &Handle) -> Result<Response<Full<Bytes>>, Problem> {
    let path = request.uri().path();
    let endpoint = match path {
        "/api/v1/status" => Endpoint::Status,
        "/api/v1/explain" => Endpoint::Explain,
        _ => return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no {path}"))),
    };
    if request.method() != Method::GET {
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
        Endpoint::Status => {
            if !query.is_empty() {
                return Err(query::unknown(query.split(['=', '&']).next().unwrap_or(query)));
            }
            Ok(ok(&Status::from(bounded(node.status()).await?)))
        }
        Endpoint::Explain => {
            let flow = query::parse(query)?;
            let explanation = bounded(node.explain(flow)).await?;
            Ok(ok(&Explanation::new(flow, explanation)))
        }
    }
}

enum Endpoint {
    Status,
    Explain,
}

async fn bounded<T>(question: impl Future<Output = Result<T, Gone>>) -> Result<T, Problem> {
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
    // The types have string keys only and hold no floats, which is all that serialising can trip over.
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
    body.push(b'\n');
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
