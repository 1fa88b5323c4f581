//! The lab's daemon: its start, and what it says of itself over its socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// 50 ms between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// The part of the daemon's status that labs look at.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// Attached in the driver?
    pub(super) native: bool,
    /// By service and name.
    pub(super) backends: BTreeMap<(String, String), Backend>,
    /// Why the last reload was refused.
    pub(super) refused_reload: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) up: bool,
    pub(super) weight: u64,
    pub(super) slots: u64,
}

impl View {
    /// A backend's share of its service's ring, from 0 to 1.
    pub(super) fn share(&self, service: &str, backend: &str) -> f64 {
        let of_service = self.backends.iter().filter(|((name, _), _)| name == service);
        let total: u64 = of_service.map(|(_, backend)| backend.slots).sum();
        let own = self.backend(service, backend).map_or(0, |backend| backend.slots);
        own as f64 / total.max(1) as f64
    }

    pub(super) fn backend(&self, service: &str, backend: &str) -> Option<&Backend> {
        self.backends.get(&(service.to_owned(), backend.to_owned()))
    }
}

/// Asks again and again until the answer is as `wanted`, and returns it. What keeps the daemon from answering is in
/// the error when `patience` runs out.
pub(super) async fn until(
    socket: &Path,
    patience: Duration,
    what: &str,
    mut wanted: impl FnMut(&View) -> bool,
) -> anyhow::Result<View> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = timeout(Duration::from_secs(2), status(socket))
            .await
            .unwrap_or_else(|late| Err(late.into()));
        match answer {
            Ok(view) if wanted(&view) => return Ok(view),
            Ok(view) if Instant::now() >= deadline => {
                bail!("the daemon did not get there within {patience:?}: {what}; its state is {view:?}")
            }
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("the daemon did not answer within {patience:?}")));
            }
            Ok(_) | Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn status(socket: &Path) -> anyhow::Result<View> {
    Ok(view(&get_json(socket, "/api/v1/status").await?))
}

async fn get_json(socket: &Path, path: &str) -> anyhow::Result<Value> {
    let stream = UnixStream::connect(socket)
        .await
        .with_context(|| format!("connecting to {}", socket.display()))?;
    let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header("host", "fulcrum")
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = requests.send_request(request).await?;
        if !response.status().is_success() {
            bail!("{path}: {}", response.status());
        }
        Ok(serde_json::from_slice(
            &response.into_body().collect().await?.to_bytes(),
        )?)
    };
    // The connection's own future does the work, and has nothing to say afterwards.
    let connection = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = exchange => answer,
        never = connection => never,
    }
}

fn view(status: &Value) -> View {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut view = View {
        native: list(&status["interfaces"])
            .iter()
            .any(|interface| interface["native"] == true || interface["mode"] == "native"),
        refused_reload: status["refused_reload"].as_str().map(str::to_owned),
        ..View::default()
    };
    for service in list(&status["services"]) {
        for backend in list(&service["backends"]) {
            view.backends.insert(
                (text(&service["name"]), text(&backend["name"])),
                Backend {
                    up: backend["health"] == "up",
                    weight: backend["weight"].as_u64().unwrap_or_default(),
                    slots: backend["slots"].as_u64().unwrap_or_default(),
                },
            );
        }
    }
    view
}
