//! From a request to its response. Knows nothing of connections.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;

use super::types::{Explanation, Overridden, Problem, Reloaded, Status};
use super::{body, percent, query};
use crate::control::{Gone, Handle, OverrideRefused, ReloadRefused};

/// A daemon that has not answered after this is reported as busy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn answer<B>(request: Request<B>, node: &Handle) -> Response<Full<Bytes>>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let endpoint = match Endpoint::of(request.uri().path()) {
        Ok(endpoint) => endpoint,
        Err(problem) => return refuse(&problem),
    };
    let method = endpoint.method();
    if request.method().as_str() != method {
        let detail = format!("{} answers {method} only", request.uri().path());
        let mut response = refuse(&Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail));
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
        return response;
    }
    let answer = dispatch(endpoint, request, node).await;
    answer.unwrap_or_else(|problem| refuse(&problem))
}

async fn dispatch<B>(endpoint: Endpoint, request: Request<B>, node: &Handle) -> Result<Response<Full<Bytes>>, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let patches = matches!(endpoint, Endpoint::Backend { .. });
    // Looked at, never read: the server closes a connection whose request has more to come.
    if !patches && !request.body().is_end_stream() {
        let detail = format!("{} takes no request body", request.uri().path());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let query = request.uri().query().unwrap_or("");
    if !query.is_empty() && !matches!(endpoint, Endpoint::Explain) {
        return Err(query::unknown(query.split(['=', '&']).next().unwrap_or(query)));
    }
    match endpoint {
        Endpoint::Status => Ok(ok(&Status::from(bounded(node.status()).await?))),
        Endpoint::Explain => {
            let flow = query::parse(query)?;
            let explanation = bounded(node.explain(flow)).await?;
            Ok(ok(&Explanation::new(flow, explanation)))
        }
        Endpoint::Reload => match bounded(node.reload()).await? {
            Ok(reloaded) => Ok(ok(&Reloaded::from(reloaded))),
            Err(refused) => Err(reload_refused(&refused)),
        },
        Endpoint::Backend { service, backend } => {
            let patch = body::patch(&body::read(request).await?)?;
            match bounded(node.command(service, backend, patch.into())).await? {
                Ok(done) => Ok(ok(&Overridden::from(done))),
                Err(refused) => Err(override_refused(&refused)),
            }
        }
    }
}

/// What there is, each with the one method that it answers.
enum Endpoint {
    Status,
    Explain,
    Reload,
    Backend { service: String, backend: String },
}

impl Endpoint {
    fn of(path: &str) -> Result<Self, Problem> {
        let nothing = || Problem::new(StatusCode::NOT_FOUND, format!("there is no {path}"));
        match path {
            "/api/v1/status" => return Ok(Self::Status),
            "/api/v1/explain" => return Ok(Self::Explain),
            "/api/v1/reload" => return Ok(Self::Reload),
            _ => {}
        }
        let path = path.strip_prefix("/api/v1/services/").ok_or_else(nothing)?;
        let mut segments = path.split('/');
        let (Some(service), Some("backends"), Some(backend), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(nothing());
        };
        match (percent::decode(service), percent::decode(backend)) {
            (Some(service), Some(backend)) => Ok(Self::Backend { service, backend }),
            _ => Err(Problem::new(StatusCode::BAD_REQUEST, "the path is badly encoded")),
        }
    }

    fn method(&self) -> &'static str {
        match self {
            Self::Status | Self::Explain => "GET",
            Self::Reload => "POST",
            Self::Backend { .. } => "PATCH",
        }
    }
}

fn reload_refused(refused: &ReloadRefused) -> Problem {
    let status = match refused {
        ReloadRefused::File(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadRefused::Fixed(_) => StatusCode::CONFLICT,
    };
    Problem::new(status, refused.to_string())
}

fn override_refused(refused: &OverrideRefused) -> Problem {
    let status = match refused {
        OverrideRefused::Unknown(_) => StatusCode::NOT_FOUND,
        OverrideRefused::Crowded(_) => StatusCode::CONFLICT,
        OverrideRefused::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Problem::new(status, refused.to_string())
}

async fn bounded<T>(question: impl Future<Output = Result<T, Gone>>) -> Result<T, Problem> {
    let unavailable = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    match tokio::time::timeout(ANSWER_TIMEOUT, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(gone)) => Err(unavailable(&gone.to_string())),
        Err(_) => Err(unavailable("the daemon is busy and did not answer within 10 s")),
    }
}

fn refuse(problem: &Problem) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, "application/problem+json", problem)
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
