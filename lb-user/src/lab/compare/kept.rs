//! Clients that keep their connections while something happens: each asks ten times a second, and notes when its
//! connection is cut.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::bed::{Bed, clients};
use super::client::{Connection, at};
use super::model::Kept;
use super::subject::Subject;
use crate::lab::inside::inside;
use crate::lab::load::Plan;

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
        let all_clients: Vec<Plan> = (0..NUMBER)
            .map(|number| at(subject, subject.tls, from[number % from.len()]))
            .collect();
        let namespace = bed.client.namespace.clone();
        let work =
            tokio::spawn(async move { inside(&namespace, async move || all(all_clients, stopped, say).await).await? });
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

async fn all(clients: Vec<Plan>, stopped: watch::Receiver<bool>, ready: oneshot::Sender<()>) -> anyhow::Result<Kept> {
    let mut opened = Vec::new();
    for client in &clients {
        let mut connection = Connection::open(client).await.context("opening a connection")?;
        connection.get("/").await.context("asking on a new connection")?;
        opened.push(connection);
    }
    let mut kept = Kept {
        open: opened.len() as u64,
        cut: 0,
    };
    // Whoever waits for it may have gone.
    let _ = ready.send(());
    let mut talks = JoinSet::new();
    for connection in opened {
        talks.spawn(converse(connection, stopped.clone()));
    }
    while let Some(cut) = talks.join_next().await {
        kept.cut += u64::from(cut?);
    }
    Ok(kept)
}

/// Says whether the connection was cut. One that the other end has announced to close was not.
async fn converse(mut connection: Connection, mut stopped: watch::Receiver<bool>) -> bool {
    loop {
        let is_last = *stopped.borrow();
        match connection.get("/").await {
            Err(_) => return true,
            Ok(answer) if answer.is_last || is_last => return false,
            Ok(_) => {}
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = stopped.changed() => {}
        }
    }
}
