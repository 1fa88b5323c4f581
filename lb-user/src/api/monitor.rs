//! What monitoring asks: numbers, whether the process works, whether the node is ready for traffic.

use hyper::{HeaderMap, Response, StatusCode};

use super::route::{Answer, Site, bounded, large, respond};
use super::types::Problem;
use super::{negotiate, ready};
use crate::metrics;

const TEXT: &str = "text/plain; charset=utf-8";

/// `/metrics`, in the format that is asked for.
pub(super) async fn metrics(headers: &HeaderMap, site: &Site) -> Result<Response<Answer>, Problem> {
    let format = negotiate::format(headers);
    let permit = site.large().await?;
    let status = bounded(site.desk.node.status()).await?;
    // The text of 20,000 backends takes tens of milliseconds, for which nobody else shall wait.
    let text = tokio::task::spawn_blocking(move || metrics::encode(status, format)).await;
    let Ok(Ok(text)) = text else {
        let detail = "the metrics could not be written; this is a bug";
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail));
    };
    let body = large(text.into_bytes(), permit);
    Ok(respond(StatusCode::OK, format.media_type(), body))
}

/// `/healthz`: the process works, or this would not be sent.
pub(super) fn alive() -> Response<Answer> {
    respond(StatusCode::OK, TEXT, "ok\n")
}

/// `/readyz`: whether traffic may be sent here, and if not, why, one reason per line.
pub(super) async fn ready(site: &Site) -> Response<Answer> {
    // As much work as a large answer, though it is short.
    let status = async {
        let _permit = site.large().await?;
        bounded(site.desk.node.status()).await
    };
    let reasons = match status.await {
        Ok(status) => ready::reasons(&status),
        Err(problem) => vec![problem.detail],
    };
    if reasons.is_empty() {
        respond(StatusCode::OK, TEXT, "ready\n")
    } else {
        respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons.join("\n") + "\n")
    }
}
