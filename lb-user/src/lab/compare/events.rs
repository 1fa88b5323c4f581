//! What clients see when something happens: a steady stream of requests, each over a connection of its own, and clients
//! that keep theirs.

use std::time::Instant;

use anyhow::Context;
use tokio::time::sleep;

use super::bed::Bed;
use super::kept::Keepers;
use super::model::{Event, EventOf};
use super::sample::{EVER, plan};
use super::settings::Settings;
use super::subject::{Setup, Subject};
use super::timeline::Marks;
use crate::lab::load::{End, Pace, Plan, Running};

/// Requests/s.
const RATE: f64 = 200.0;

/// Connections at a time, at most: as many requests wait when none is answered for more than a second.
const CONNECTIONS: usize = 256;

/// Does `of` while requests are made, and says what became of them.
pub(super) async fn happen(
    bed: &Bed,
    settings: &Settings,
    subject: &Subject,
    of: EventOf,
    setup: Setup,
) -> anyhow::Result<Event> {
    let plan = Plan {
        connections: CONNECTIONS,
        reuse: false,
        pace: Pace::Open { rate: RATE },
        end: End::After(EVER),
        record: true,
        ..plan(subject)
    };
    let keepers = Keepers::start(bed, subject)
        .await
        .context("connections that are kept")?;
    let began = Instant::now();
    let mut running = Running::start(&bed.client.namespace, &plan)?;
    let mut marks = Marks::new(began);
    sleep(settings.before()).await;
    let done = act(bed, subject, of, setup, &mut marks).await;
    if done.is_ok() {
        sleep(settings.after(of == EventOf::Killed)).await;
    }
    running.end();
    let kept = keepers.end().await?;
    running.done().await;
    let outcome = running.wait()?;
    done?;
    let mut event = Event {
        of,
        kept: Some(kept),
        ..Event::default()
    };
    marks.fill(&mut event, &outcome.events);
    Ok(event)
}

async fn act(bed: &Bed, subject: &Subject, of: EventOf, setup: Setup, marks: &mut Marks) -> anyhow::Result<()> {
    match of {
        EventOf::Killed => {
            let victim = subject.victim();
            marks.add(format!("{victim} killed"));
            bed.kill_server(victim).await?;
        }
        EventOf::Drained => {
            marks.add("web2 is to be drained");
            subject.drain(bed).await?;
            marks.add("in force");
        }
        EventOf::Reloaded => {
            marks.add("weights become 1 and 5");
            subject.reload(bed, setup).await?;
            marks.add("in force");
        }
        EventOf::Restarted => {
            marks.add("told to end");
            subject.end(bed).await?;
            marks.add("has ended, starts again");
            subject.start(bed, setup).await?;
            marks.add("serves");
        }
        EventOf::Slow => {}
    }
    Ok(())
}
