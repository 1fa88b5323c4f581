//! What the lab's daemon says of itself over its socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::time::{sleep, timeout};

use crate::api::Client;
use crate::api::types::{Health, Status};

/// 50 ms between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// The part of the daemon's status that labs look at.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// Mode of each service.
    pub(super) modes: BTreeMap<String, String>,
    /// By service and name.
    pub(super) backends: BTreeMap<(String, String), Backend>,
    /// Why the last reload was refused.
    pub(super) refused_reload: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) up: bool,
    pub(super) weight: u16,
    /// Gets what is new.
    pub(super) serves: bool,
}

impl View {
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
    Ok(view(Client::new(socket).status().await?))
}

fn view(status: Status) -> View {
    let mut view = View {
        refused_reload: status.refused_reload,
        ..View::default()
    };
    for service in status.services {
        view.modes.insert(service.name.clone(), service.mode);
        for backend in service.backends {
            let seen = Backend {
                up: backend.health == Health::Up,
                weight: backend.weight,
                serves: backend.serves(),
            };
            view.backends.insert((service.name.clone(), backend.name), seen);
        }
    }
    view
}
