//! From a request to its response. Knows nothing of connections.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Either;
use hyper::body::Body;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::{self, Caller, Rights};
use super::connection::Connection;
use super::page::Asset;
use super::respond::{Answer, headed, large, ok, refuse, respond};
use super::server::Desk;
use super::types::{
    Backend, Certificates, Denied, Denies, Explanation, LogLevels, Node, OrderedCertificate, Overridden, Plan, Problem,
    Reloaded, Status, TraceEnded, TraceStarted, TracedPackets, Undenied,
};
use super::{body, discovery, monitor, page, percent, query};
use crate::config;
use crate::control::{
    CertificateRefused, DenyRefused, Gone, OverrideRefused, PreviewRefused, ReloadRefused, TraceRefused,
};
use crate::model::acme::CertificateStatus;
use crate::model::{Hidden, Prefix};

/// A daemon that has not answered after this is reported as busy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// So long an authority may take to answer a command.
const AUTHORITY_TIMEOUT: Duration = Duration::from_secs(20);

/// This API, for programs.
const OPENAPI: &str = include_str!("../../../docs/openapi.json");

/// What requests are answered from. One per listener.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) desk: Desk,
    /// A permit for each large answer.
    pub(super) large: Arc<Semaphore>,
}

pub(super) async fn answer<B>(
    request: Request<B>,
    caller: Caller,
    site: &Site,
    connection: &Connection,
) -> Response<Answer>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let rights = access::check(caller, &request, site.desk.token.borrow().as_ref());
    let allowed = rights.and_then(|rights| Ok((rights, Endpoint::of(request.uri().path())?)));
    let (rights, endpoint) = match allowed {
        Ok(allowed) => allowed,
        Err(problem) => return refuse(&problem),
    };
    let methods = endpoint.methods();
    if !methods.split(", ").any(|method| method == request.method().as_str()) {
        let detail = format!("{} answers {methods} only", request.uri().path());
        let mut response = refuse(&Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail));
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        return response;
    }
    let answer = dispatch(endpoint, request, site, Asker { rights, connection }).await;
    answer.unwrap_or_else(|problem| refuse(&problem))
}

/// Whoever asks.
struct Asker<'a> {
    rights: Rights,
    connection: &'a Connection,
}

async fn dispatch<B>(
    endpoint: Endpoint,
    request: Request<B>,
    site: &Site,
    asker: Asker<'_>,
) -> Result<Response<Answer>, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let has_body = [Method::PATCH, Method::PUT].contains(request.method())
        || matches!(endpoint, Endpoint::Plan | Endpoint::Traces)
        || (matches!(endpoint, Endpoint::LogLevel) && request.method() == Method::POST);
    // Looked at, never read: the server closes a connection whose request has more to come.
    if !has_body && !request.body().is_end_stream() {
        let detail = format!("{} takes no request body", request.uri().path());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let query = request.uri().query().unwrap_or("");
    if !query.is_empty() && !endpoint.takes_parameters() {
        return Err(query::unknown(query.split(['=', '&']).next().unwrap_or(query)));
    }
    match endpoint {
        Endpoint::Page(asset) => Ok(asset.answer(request.headers()).map(Either::Left)),
        Endpoint::Events => {
            let token = site.desk.token.borrow().is_some();
            let stream = site.desk.live.stream(asker.rights, token, asker.connection)?;
            Ok(headed(StatusCode::OK, "text/event-stream", Either::Right(stream)))
        }
        Endpoint::Discovery => {
            let wanted = query::discovery(query)?;
            let permit = site.large().await?;
            let groups = discovery::groups(&bounded(site.desk.node.status()).await?, &wanted)?;
            Ok(large(&groups, permit))
        }
        Endpoint::Metrics => monitor::metrics(request.headers(), site).await,
        Endpoint::Healthz => Ok(monitor::alive()),
        Endpoint::Readyz => Ok(monitor::ready(site).await),
        Endpoint::Status => {
            let permit = site.large().await?;
            let status = Status::from(bounded(site.desk.node.status()).await?);
            Ok(large(&status, permit))
        }
        Endpoint::Explain => {
            let flow = query::parse(query)?;
            let explanation = bounded(site.desk.node.explain(flow)).await?;
            Ok(ok(&Explanation::new(flow, explanation)))
        }
        Endpoint::Reload => match bounded(site.desk.node.reload()).await? {
            Ok(reloaded) => Ok(ok(&Reloaded::from(reloaded))),
            Err(refused) => Err(reload_refused(&refused)),
        },
        Endpoint::Plan => {
            let file = query::file(query)?;
            // What a large text takes in memory is bounded as what large answers take is.
            let permit = site.large().await?;
            let text = body::read(request, body::TOML, config::MAX_BYTES).await?;
            let text = body::text(text)?;
            match bounded(site.desk.node.preview(file, text)).await? {
                Ok(preview) => Ok(large(&Plan::from(preview), permit)),
                Err(refused) => Err(preview_refused(&refused)),
            }
        }
        Endpoint::Backend { service, backend } if request.method() != Method::PATCH => {
            match bounded(site.desk.node.backend(service, backend)).await? {
                Ok(one) => Ok(ok(&Backend::from(one))),
                Err(refused) => Err(override_refused(&refused)),
            }
        }
        Endpoint::Traces => {
            let wanted = body::trace(&body::read(request, body::JSON, body::MAX_BODY).await?)?;
            match bounded(site.desk.node.trace(wanted)).await? {
                Ok(id) => Ok(ok(&TraceStarted {
                    trace: format!("{id:016x}"),
                })),
                Err(refused) => Err(trace_refused(&refused)),
            }
        }
        Endpoint::Trace(id) if request.method() == Method::DELETE => {
            let ended = bounded(site.desk.node.end_trace(id)).await?;
            if ended { Ok(ok(&TraceEnded {})) } else { Err(over()) }
        }
        Endpoint::Trace(id) => {
            let permit = site.large().await?;
            let packets = bounded(site.desk.node.traced(id)).await?.ok_or_else(over)?;
            let packets = packets.into_iter().map(Into::into).collect();
            Ok(large(&TracedPackets { packets }, permit))
        }
        Endpoint::Denies => {
            let permit = site.large().await?;
            let denies = Denies::from(bounded(site.desk.node.denied()).await?);
            Ok(large(&denies, permit))
        }
        Endpoint::Deny(prefix) if request.method() == Method::DELETE => {
            let service = query::service(query)?;
            match bounded(site.desk.node.undeny(prefix, service)).await? {
                Ok(done) => Ok(ok(&Undenied::from(done))),
                Err(refused) => Err(deny_refused(&refused)),
            }
        }
        Endpoint::Deny(prefix) => {
            let service = query::service(query)?;
            let wanted = body::deny(&body::read(request, body::JSON, body::MAX_BODY).await?)?;
            let lasts = wanted
                .for_seconds
                .map(|seconds| Duration::from_secs(seconds.get().into()));
            match bounded(site.desk.node.deny(prefix, service, lasts)).await? {
                Ok(done) => Ok(ok(&Denied::from(done))),
                Err(refused) => Err(deny_refused(&refused)),
            }
        }
        Endpoint::Certificates => {
            let status = bounded(site.desk.node.status()).await?;
            Ok(ok(&Certificates::from(status.certificates)))
        }
        Endpoint::Certificate(service) => {
            let pem = body::read(request, body::PEM, body::MAX_PEM).await?;
            let pem = Hidden(pem.to_vec());
            certificate(patient(site.desk.node.import_certificate(service, pem)).await?)
        }
        Endpoint::Renewal(service) => certificate(patient(site.desk.node.renew_certificate(service, false)).await?),
        Endpoint::AccountKey(service) => certificate(patient(site.desk.node.renew_certificate(service, true)).await?),
        Endpoint::Revocation(service) => {
            let reason = query::reason(query)?;
            certificate(patient(site.desk.node.revoke_certificate(service, reason)).await?)
        }
        Endpoint::LogLevel => {
            let switch = site.desk.node.levels();
            if request.method() == Method::POST {
                let LogLevels { levels } = body::log_levels(&body::read(request, body::JSON, body::MAX_BODY).await?)?;
                let levels = levels.trim();
                switch.set(levels).map_err(|detail| Problem::field("levels", detail))?;
                tracing::info!(levels, "what is logged has been set by a command");
            }
            Ok(ok(&LogLevels { levels: switch.get() }))
        }
        Endpoint::Node if request.method() != Method::PATCH => {
            Ok(ok(&Node::from(bounded(site.desk.node.node()).await?)))
        }
        Endpoint::Node => {
            let wanted = body::node(&body::read(request, body::JSON, body::MAX_BODY).await?)?;
            Ok(ok(&Node::from(bounded(site.desk.node.drain(wanted.draining)).await?)))
        }
        Endpoint::OpenApi => Ok(respond(StatusCode::OK, body::JSON, OPENAPI)),
        Endpoint::Backend { service, backend } => {
            let patch = body::patch(&body::read(request, body::JSON, body::MAX_BODY).await?)?;
            match bounded(site.desk.node.command(service, backend, patch.into())).await? {
                Ok(done) => Ok(ok(&Overridden::from(done))),
                Err(refused) => Err(override_refused(&refused)),
            }
        }
    }
}

/// What there is. The tests' table of operations, which `docs/openapi.json` is made of, is checked against it.
#[derive(Debug)]
pub(super) enum Endpoint {
    Page(&'static Asset),
    Events,
    Discovery,
    Metrics,
    Healthz,
    Readyz,
    Status,
    Explain,
    Reload,
    Plan,
    Traces,
    Trace(u64),
    LogLevel,
    OpenApi,
    Node,
    Denies,
    Deny(Prefix),
    Certificates,
    Certificate(String),
    Renewal(String),
    AccountKey(String),
    Revocation(String),
    Backend { service: String, backend: String },
}

impl Endpoint {
    pub(super) fn of(path: &str) -> Result<Self, Problem> {
        let nothing = || Problem::new(StatusCode::NOT_FOUND, format!("there is no {path}"));
        if let Some(asset) = page::of(path) {
            return Ok(Self::Page(asset));
        }
        match path {
            "/api/v1/events" => return Ok(Self::Events),
            "/api/v1/sd" => return Ok(Self::Discovery),
            access::METRICS => return Ok(Self::Metrics),
            access::HEALTHZ => return Ok(Self::Healthz),
            access::READYZ => return Ok(Self::Readyz),
            "/api/v1/status" => return Ok(Self::Status),
            "/api/v1/explain" => return Ok(Self::Explain),
            "/api/v1/reload" => return Ok(Self::Reload),
            "/api/v1/plan" => return Ok(Self::Plan),
            "/api/v1/trace" => return Ok(Self::Traces),
            "/api/v1/log-level" => return Ok(Self::LogLevel),
            "/api/v1/openapi.json" => return Ok(Self::OpenApi),
            "/api/v1/node" => return Ok(Self::Node),
            "/api/v1/denies" => return Ok(Self::Denies),
            "/api/v1/certificates" => return Ok(Self::Certificates),
            _ => {}
        }
        if let Some(id) = path.strip_prefix("/api/v1/trace/") {
            return u64::from_str_radix(id, 16).map(Self::Trace).map_err(|_| nothing());
        }
        let badly_encoded = || Problem::new(StatusCode::BAD_REQUEST, "the path is badly encoded");
        if let Some(prefix) = path.strip_prefix("/api/v1/denies/") {
            let prefix = percent::decode(prefix).ok_or_else(badly_encoded)?;
            let refused = |detail| Problem::new(StatusCode::BAD_REQUEST, detail);
            return config::prefix(&prefix).map(Self::Deny).map_err(refused);
        }
        if let Some(path) = path.strip_prefix("/api/v1/certificates/") {
            let (service, what) = path
                .split_once('/')
                .map_or((path, None), |(service, what)| (service, Some(what)));
            let service = percent::decode(service).ok_or_else(badly_encoded)?;
            return match what {
                None => Ok(Self::Certificate(service)),
                Some("renewal") => Ok(Self::Renewal(service)),
                Some("account-key") => Ok(Self::AccountKey(service)),
                Some("revocation") => Ok(Self::Revocation(service)),
                Some(_) => Err(nothing()),
            };
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
            _ => Err(badly_encoded()),
        }
    }

    /// As in `Allow`. A HEAD is a GET whose answer's body the server leaves out.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Events => "GET",
            Self::Page(_)
            | Self::Metrics
            | Self::Healthz
            | Self::Readyz
            | Self::Status
            | Self::Explain
            | Self::Discovery
            | Self::Denies
            | Self::Certificates
            | Self::OpenApi => "GET, HEAD",
            Self::LogLevel => "GET, HEAD, POST",
            Self::Reload | Self::Plan | Self::Traces => "POST",
            Self::Renewal(_) | Self::AccountKey(_) | Self::Revocation(_) => "POST",
            Self::Certificate(_) => "PUT",
            Self::Trace(_) => "GET, HEAD, DELETE",
            Self::Deny(_) => "PUT, DELETE",
            Self::Node | Self::Backend { .. } => "GET, HEAD, PATCH",
        }
    }

    /// Scrapers and orchestrators may add parameters of their own.
    fn takes_parameters(&self) -> bool {
        match self {
            Self::Page(_)
            | Self::Metrics
            | Self::Healthz
            | Self::Readyz
            | Self::Explain
            | Self::Plan
            | Self::Deny(_)
            | Self::Revocation(_)
            | Self::Discovery => true,
            Self::Events | Self::Status | Self::Reload | Self::Traces | Self::Trace(_) | Self::Backend { .. } => false,
            Self::LogLevel | Self::OpenApi | Self::Node | Self::Denies => false,
            Self::Certificates | Self::Certificate(_) | Self::Renewal(_) | Self::AccountKey(_) => false,
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

fn preview_refused(refused: &PreviewRefused) -> Problem {
    match refused {
        PreviewRefused::Reload(refused) => reload_refused(refused),
        PreviewRefused::Unreadable(why) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}

fn override_refused(refused: &OverrideRefused) -> Problem {
    let status = match refused {
        OverrideRefused::Unknown(_) => StatusCode::NOT_FOUND,
        OverrideRefused::Crowded(_) | OverrideRefused::Leaving(_) => StatusCode::CONFLICT,
        OverrideRefused::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Problem::new(status, refused.to_string())
}

fn deny_refused(refused: &DenyRefused) -> Problem {
    let status = match refused {
        DenyRefused::Unknown(_) | DenyRefused::NotDenied(_) => StatusCode::NOT_FOUND,
        DenyRefused::Full(_) => StatusCode::CONFLICT,
    };
    Problem::new(status, refused.to_string())
}

/// What has become of a command about a certificate.
fn certificate(done: Result<CertificateStatus, CertificateRefused>) -> Result<Response<Answer>, Problem> {
    let refused = match done {
        Ok(status) => return Ok(ok(&OrderedCertificate::from(status))),
        Err(refused) => refused,
    };
    let status = match &refused {
        CertificateRefused::Unknown { .. } | CertificateRefused::None(_) => StatusCode::NOT_FOUND,
        CertificateRefused::Elsewhere(_) | CertificateRefused::Busy(_) => StatusCode::CONFLICT,
        CertificateRefused::Early(_) => StatusCode::TOO_MANY_REQUESTS,
        CertificateRefused::Failed(_) => StatusCode::BAD_GATEWAY,
        CertificateRefused::Unfit(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Err(Problem::new(status, refused.to_string()))
}

fn trace_refused(refused: &TraceRefused) -> Problem {
    let detail = refused.to_string();
    match refused {
        TraceRefused::Busy => Problem::new(StatusCode::CONFLICT, detail),
        TraceRefused::Unknown(_) => Problem::field("service", detail),
        TraceRefused::Kernel(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail),
    }
}

/// There is no such trace.
fn over() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "the trace is over")
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

pub(super) async fn bounded<T>(question: impl Future<Output = Result<T, Gone>>) -> Result<T, Problem> {
    answered(
        question,
        ANSWER_TIMEOUT,
        "the daemon is busy and did not answer within 10 s",
    )
    .await
}

/// The same, where an authority is asked, too.
async fn patient<T>(question: impl Future<Output = Result<T, Gone>>) -> Result<T, Problem> {
    let late = "the authority has not answered within 20 s; what becomes of it is in the log";
    answered(question, AUTHORITY_TIMEOUT, late).await
}

async fn answered<T>(
    question: impl Future<Output = Result<T, Gone>>,
    within: Duration,
    late: &str,
) -> Result<T, Problem> {
    let unavailable = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    match tokio::time::timeout(within, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(gone)) => Err(unavailable(&gone.to_string())),
        Err(_) => Err(unavailable(late)),
    }
}
