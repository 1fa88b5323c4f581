//! Requests over HTTP/2, several at a time on each connection.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Error, Reason};
use tokio::sync::Mutex;

use super::connect::{Failure, reason};
use super::outcome::Answer;
use super::work::{Patience, Work};

/// 1 MiB of a body may come before we have said that we want more; of all bodies of a connection, 16.
const WINDOW: u32 = 1 << 20;

/// A connection for all of its streams, opened by the first that needs it, and opened again when it has ended.
#[derive(Default)]
pub(super) struct Shared(Mutex<Slot>);

#[derive(Default)]
struct Slot {
    open: Option<SendRequest<Bytes>>,
    /// How many there have been, so that nobody throws away a newer one than that which has failed.
    number: u64,
}

impl Shared {
    async fn get(&self, work: &Work) -> Result<(SendRequest<Bytes>, u64), Failure> {
        let mut slot = self.0.lock().await;
        let sender = match &slot.open {
            Some(open) => open.clone(),
            None => {
                let fresh = open(work).await?;
                slot.number += 1;
                slot.open.insert(fresh).clone()
            }
        };
        Ok((sender, slot.number))
    }

    async fn forget(&self, number: u64) {
        let mut slot = self.0.lock().await;
        if slot.number == number {
            slot.open = None;
        }
    }
}

/// Makes requests on one stream after the other, until there are no more.
pub(super) async fn converse(work: Arc<Work>, shared: Arc<Shared>) {
    let mut answer = Answer::default();
    let mut patience = Patience::new();
    while let Some(due) = work.next().await {
        let mut used = 0;
        let outcome = if work.plan.reuse {
            let asked = ask_shared(&work, &shared, &mut used, &mut answer);
            patience.within(work.plan.timeout, asked).await
        } else {
            let asked = async {
                let sender = open(&work).await?;
                ask(&work, sender, &mut answer).await.map_err(|error| failure(&error))
            };
            patience.within(work.plan.timeout, asked).await
        };
        if outcome == Err(super::connect::TIMED_OUT) {
            // The others on it wait as well as they like.
            shared.forget(used).await;
        }
        work.count(due, outcome, &answer);
    }
}

/// Asks on the shared connection. Where the server has said that it takes no more requests there, and so has not
/// looked at this one (RFC 9113 §6.8), it is made on a new one, once.
async fn ask_shared(work: &Work, shared: &Shared, used: &mut u64, answer: &mut Answer) -> Result<(), Failure> {
    let mut tries = 2;
    loop {
        let (sender, number) = shared.get(work).await?;
        *used = number;
        let Err(error) = ask(work, sender, answer).await else {
            return Ok(());
        };
        if !error.is_reset() {
            shared.forget(number).await;
        }
        tries -= 1;
        let unseen = error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
        if !unseen || tries == 0 {
            return Err(failure(&error));
        }
    }
}

async fn open(work: &Work) -> Result<SendRequest<Bytes>, Failure> {
    let stream = work.open().await?;
    let shaken = client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(16 * WINDOW)
        .enable_push(false)
        .handshake(stream)
        .await;
    let (sender, connection) = shaken.map_err(|error| failure(&error))?;
    // It ends with the last sender; what is wrong with it, requests say.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

async fn ask(work: &Work, sender: SendRequest<Bytes>, answer: &mut Answer) -> Result<(), Error> {
    let mut sender = sender.ready().await?;
    let (response, _) = sender.send_request(work.head.clone(), true)?;
    let response = response.await?;
    answer.status = response.status().as_u16();
    let field = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    answer.server.clear();
    answer.server.push_str(field("x-served-by").unwrap_or_default());
    answer.saw = field("x-saw-client").and_then(|ip| ip.parse().ok());
    answer.bytes = 0;
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let length = data?.len();
        answer.bytes += length as u64;
        body.flow_control().release_capacity(length)?;
    }
    Ok(())
}

fn failure(error: &Error) -> Failure {
    match (error.get_io(), error.reason()) {
        (Some(error), _) => reason(error),
        (None, Some(reason)) if error.is_reset() => format!("stream reset: {reason:?}").into(),
        (None, Some(reason)) if error.is_go_away() => format!("connection ended: {reason:?}").into(),
        _ => error.to_string().into(),
    }
}
