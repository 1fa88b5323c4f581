//! A client that sends its request a byte at a time, and how long a server was busy with it, by the server's own log.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::time::sleep;

use super::bed::{Bed, PATIENCE, clients};
use super::client::{Connection, at};
use super::model::{Event, EventOf, Waited};
use super::subject::Subject;
use crate::lab::inside::inside;

const SERVERS: [&str; 2] = ["web1", "web2"];

/// Of slow requests, as labs/compare.toml has it.
const LOG: &str = "slow.log";

/// 10 ms between two looks at a log.
const PAUSE: Duration = Duration::from_millis(10);

/// The request, one byte after the other, spread over `span`.
pub(super) async fn client(bed: &Bed, subject: &Subject, span: Duration) -> anyhow::Result<Event> {
    let client = at(subject, subject.tls, clients()[0]);
    forget(bed)?;
    let sent = inside(&bed.client.namespace, async move || {
        let request = format!(
            "GET /slow HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            client.target.host
        );
        let mut connection = Connection::open(&client).await?;
        let began = tokio::time::Instant::now();
        for (number, byte) in (0..).zip(request.bytes()) {
            tokio::time::sleep_until(began + span * number / (request.len() as u32 - 1)).await;
            connection.send(&[byte]).await?;
        }
        let took = began.elapsed();
        let answer = connection.answer().await?;
        anyhow::Ok((took, answer))
    });
    let (took, answer) = sent.await?.context("asking slowly")?;
    ensure!(
        answer.status == 200,
        "a slow request was answered with {}",
        answer.status
    );
    let deadline = Instant::now() + PATIENCE;
    let server = loop {
        if let Some(time) = logged(bed)? {
            break time;
        }
        if Instant::now() >= deadline {
            bail!("no server has logged a slow request");
        }
        sleep(PAUSE).await;
    };
    Ok(Event {
        of: EventOf::Slow,
        waited: Some(Waited {
            client: took.as_secs_f64(),
            server,
        }),
        ..Event::default()
    })
}

/// Empties the logs: servers write at their end, wherever that is.
fn forget(bed: &Bed) -> anyhow::Result<()> {
    for name in SERVERS {
        let place = bed.lab.host(name).join(LOG);
        fs::write(&place, "").with_context(|| format!("emptying {}", place.display()))?;
    }
    Ok(())
}

/// What a server has logged of such a request: from the first byte that was read to the last that was written, in
/// seconds.
fn logged(bed: &Bed) -> anyhow::Result<Option<f64>> {
    for name in SERVERS {
        let place = bed.lab.host(name).join(LOG);
        let text = fs::read_to_string(&place).with_context(|| format!("reading {}", place.display()))?;
        if let Some((line, _)) = text.split_once('\n') {
            let time = line
                .parse()
                .with_context(|| format!("{} has {line:?}", place.display()))?;
            return Ok(Some(time));
        }
    }
    Ok(None)
}
