//! Clients that keep their connections while something happens: each asks ten times a second, and notes when its
//! connection is cut.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::bed::{Bed, clients};
use super::client::{Connection, Path, inside};
use super::model::Kept;
use super::subject::Subject;

/// Connections.
const NUMBER: usize = 16;

/// 100 ms from an answer to the next request.
const PAUSE: Duration = Duration::from_millis(100);

/// Clients at work.
pub(super) struct Keepers {
    stop: watch::Sender<bool>,
    work: tokio::task::JoinHandle<anyhow::Result<Kept>>,
}

impl Keepers {
    /// Opens all connections, and waits until each has had an answer.
    pub(super) async fn start(bed: &Bed, subject: &Subject) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (say, said) = oneshot::channel();
        let from = clients();
        let paths: Vec<Path> = (0..NUMBER)
            .map(|number| Path::new(subject, subject.tls, from[number % from.len()]))
            .collect();
        let namespace = bed.client.namespace.clone();
        let work = tokio::spawn(async move { inside(&namespace, async move || all(paths, stopped, say).await).await? });
        if said.await.is_err() {
            // The work has ended, and its own error says why.
            work.await??;
            bail!("connections were closed at once");
        }
        Ok(Self { stop, work })
    }

    /// Has every client ask once more, and says how many are still there.
    pub(super) async fn end(self) -> anyhow::Result<Kept> {
        // When all have ended already, nobody listens.
        let _ = self.stop.send(true);
        self.work.await?
    }
}

async fn all(paths: Vec<Path>, stopped: watch::Receiver<bool>, ready: oneshot::Sender<()>) -> anyhow::Result<Kept> {
    let mut opened = Vec::new();
    for path in paths {
        let mut connection = Connection::open(path).await.context("opening a connection")?;
        connection
            .get("/", path.to)
            .await
            .context("asking on a new connection")?;
        opened.push((connection, path));
    }
    let mut kept = Kept {
        open: opened.len() as u64,
        cut: 0,
    };
    // Whoever waits for it may have gone.
    let _ = ready.send(());
    let mut clients = JoinSet::new();
    for (connection, path) in opened {
        clients.spawn(converse(connection, path, stopped.clone()));
    }
    while let Some(cut) = clients.join_next().await {
        kept.cut += u64::from(cut?);
    }
    Ok(kept)
}

/// Says whether the connection was cut. One that the other end has announced to close was not.
async fn converse(mut connection: Connection, path: Path, mut stopped: watch::Receiver<bool>) -> bool {
    loop {
        let is_last = *stopped.borrow();
        match connection.get("/", path.to).await {
            Err(_) => return true,
            Ok(answer) if answer.is_last() || is_last => return false,
            Ok(_) => {}
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = stopped.changed() => {}
        }
    }
}
