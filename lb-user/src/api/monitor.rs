//! What monitoring asks: numbers, whether the process works, whether the node is ready for traffic.

use http_body_util::Either;
use hyper::{HeaderMap, Response, StatusCode};
use tokio::sync::mpsc;

use super::respond::{Answer, headed, respond};
use super::route::{Site, bounded};
use super::stream::{Stream, Writer};
use super::types::Problem;
use super::{negotiate, ready};
use crate::metrics;

const TEXT: &str = "text/plain; charset=utf-8";

/// So many services and backends together have a text that is made and sent at once: some 100 kB.
const FEW: usize = 100;

/// `/metrics`, in the format that is asked for.
pub(super) async fn metrics(headers: &HeaderMap, site: &Site) -> Result<Response<Answer>, Problem> {
    let format = negotiate::format(headers);
    let permit = site.large().await?;
    let status = bounded(site.desk.node.status()).await?;
    let backends: usize = status.services.iter().map(|service| 1 + service.backends.len()).sum();
    if backends <= FEW {
        let mut text = String::new();
        // Strings take what is written.
        let _ = metrics::encode(status, format, &mut text);
        return Ok(respond(StatusCode::OK, format.media_type(), text));
    }
    let (sender, parts) = mpsc::channel(1);
    // The text of 20,000 backends is 20 MB: it is sent as it is written, and nobody else waits for either.
    tokio::task::spawn_blocking(move || {
        let mut text = Writer::new(sender);
        // An error says that nobody reads any more.
        let _ = metrics::encode(status, format, &mut text).and_then(|()| text.flush());
    });
    let body = Either::Right(Stream::new(parts, permit));
    Ok(headed(StatusCode::OK, format.media_type(), body))
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
