//! `fulcrum top`: services and backends as they are this second, over the API.
//!
//! [`state`] and [`view`] are pure; here are the terminal, the clock, the keys and the daemon. Whatever ends the program,
//! the terminal is as it was before: on a panic by ratatui's hook, on signals since they end the loop.

mod rates;
mod state;
mod view;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::args::Top as Args;
use super::interrupt::Interrupt;
use super::status::client;
use crate::api::Client;
use crate::api::types::{AdminState, BackendPatch, Status};
use state::{Target, Top, Wish};

/// Keys and answers that wait to be looked at. Whoever has more waits, too.
const QUEUE: usize = 16;

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    if !std::io::stdout().is_terminal() {
        bail!("`fulcrum top` needs a terminal; `fulcrum status --json` is for programs");
    }
    let client = client(&args.daemon)?;
    let mut interrupt = Interrupt::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminal = ratatui::try_init().context("cannot take over the terminal")?;
    let (keys, mut pressed) = mpsc::channel(QUEUE);
    std::thread::spawn(move || read(&keys));
    let (answers, mut answered) = mpsc::channel(1);
    tokio::spawn(ask(client.clone(), args.interval, answers));
    let (results, mut done) = mpsc::channel(QUEUE);

    let start = Instant::now();
    let socket = client.place().to_string();
    let mut top = Top::default();
    let outcome = loop {
        if let Err(error) = terminal.draw(|frame| view::draw(&top, &socket, frame)) {
            break Err(error).context("cannot draw");
        }
        tokio::select! {
            Some(answer) = answered.recv() => top.answered(answer, start.elapsed()),
            Some(result) = done.recv() => top.message = Some(result),
            event = pressed.recv() => match event {
                Some(Event::Key(key)) if key.kind == KeyEventKind::Press => match top.key(key) {
                    Some(Wish::Quit) => break Ok(()),
                    Some(Wish::Set(target, state)) => {
                        tokio::spawn(set(client.clone(), target, state, results.clone()));
                    }
                    None => {}
                },
                // It has another size, perhaps.
                Some(_) => {}
                None => break Ok(()),
            },
            () = interrupt.comes() => break Ok(()),
            _ = hangup.recv() => break Ok(()),
        }
    };
    ratatui::try_restore().context("cannot give the terminal back")?;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Reads keys until nobody listens, or the terminal is gone.
fn read(keys: &mpsc::Sender<Event>) {
    while let Ok(event) = event::read() {
        if keys.blocking_send(event).is_err() {
            return;
        }
    }
}

/// Asks every `interval`, and goes on when there is no answer: the daemon may come back.
async fn ask(client: Client, interval: Duration, answers: mpsc::Sender<Result<Status, String>>) {
    loop {
        let answer = client.status().await;
        let answer = answer.map_err(|error| format!("{:#}", anyhow::Error::from(error)));
        if answers.send(answer).await.is_err() {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}

/// Says what is wanted of a backend, and then what came of it.
async fn set(client: Client, target: Target, state: AdminState, results: mpsc::Sender<String>) {
    let Target { service, address, name } = target;
    let patch = BackendPatch {
        state: Some(state),
        ..BackendPatch::default()
    };
    let said = match client.patch(&service, &address.to_string(), patch).await {
        Ok(done) => match done.fault.or(done.overrides_fault) {
            Some(fault) => format!("{service}/{name} is set to {state}, but {fault}"),
            None => format!("{service}/{name} is set to {state}"),
        },
        Err(error) => format!("{service}/{name}: {:#}", anyhow::Error::from(error)),
    };
    let _ = results.send(said).await;
}

#[cfg(test)]
mod tests;
