//! HAProxy: as it forwards connections, and as it speaks HTTP.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::{SERVERS, Setup};
use crate::lab::compare::bed::{Bed, PATIENCE, Started, VIP};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Tcp,
    Http,
}

/// 5 ms between two looks at a reload.
const PAUSE: Duration = Duration::from_millis(5);

/// Where its makers leave a choice between giving up early and another server, it is the other server: `redispatch`.
fn config(mode: Mode, setup: Setup) -> String {
    let common = "global\n    maxconn 8000\n    stats socket {folder}/haproxy.sock level admin expose-fd listeners\n\
                  defaults\n    timeout connect 2s\n    timeout client 60s\n    timeout server 60s\n    \
                  option redispatch 1\n";
    let backend = |name: &str, port: u16, check: &str| {
        let mut text = format!("backend {name}\n    balance roundrobin\n{check}");
        for ((server, ip), weight) in SERVERS.iter().zip(setup.weights) {
            text += &format!("    server {server} {ip}:{port} weight {weight} check inter 500ms fall 2 rise 1\n");
        }
        text
    };
    let check = "    option httpchk GET /healthz\n";
    let ways = match mode {
        Mode::Tcp => format!(
            "    mode tcp\nfrontend web\n    bind {VIP}:80\n    default_backend web\nfrontend secure\n    \
             bind {VIP}:443\n    default_backend secure\n{}{}",
            backend("web", 80, check),
            backend("secure", 443, "")
        ),
        Mode::Http => format!(
            "    mode http\n    option forwardfor\nfrontend web\n    bind {VIP}:80\n    \
             bind {VIP}:443 ssl crt {{lab}}/balancer.pem alpn h2,http/1.1\n    \
             http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}\n    \
             http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}\n    default_backend web\n{}",
            backend("web", 80, check)
        ),
    };
    format!("{common}{ways}")
}

fn balancer(mode: Mode, setup: Setup) -> Started {
    Started {
        kind: "haproxy",
        config: Some(config(mode, setup)),
        ready: Some(format!("{VIP}:443")),
        ..Started::default()
    }
}

pub(super) async fn start(bed: &Bed, mode: Mode, setup: Setup) -> anyhow::Result<()> {
    bed.start_balancer(&balancer(mode, setup)).await
}

/// A new process takes over, and answers on the socket from then on.
pub(super) async fn reload(bed: &Bed, mode: Mode, setup: Setup) -> anyhow::Result<()> {
    let before = pid(bed).await?;
    bed.write_balancer(&balancer(mode, setup))?;
    bed.balancer()?.signal(Signal::SIGUSR2);
    let deadline = Instant::now() + PATIENCE;
    // While one process takes over from the other, a question may remain without an answer.
    while pid(bed).await.ok().is_none_or(|now| now == before) {
        if Instant::now() >= deadline {
            bail!("HAProxy has not taken the changed file within {PATIENCE:?}");
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

pub(super) async fn drain(bed: &Bed, mode: Mode) -> anyhow::Result<()> {
    let backends: &[&str] = match mode {
        Mode::Tcp => &["web", "secure"],
        Mode::Http => &["web"],
    };
    for backend in backends {
        let said = ask(bed, &format!("set server {backend}/web2 state drain")).await?;
        if !said.trim().is_empty() {
            bail!("HAProxy: {}", said.trim());
        }
    }
    Ok(())
}

async fn pid(bed: &Bed) -> anyhow::Result<u32> {
    let info = ask(bed, "show info").await?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid: "));
    Ok(line
        .context("HAProxy does not say which process it is")?
        .trim()
        .parse()?)
}

async fn ask(bed: &Bed, what: &str) -> anyhow::Result<String> {
    let place = bed.folder().join("haproxy.sock");
    let mut socket = UnixStream::connect(&place)
        .await
        .with_context(|| format!("asking {}", place.display()))?;
    socket.write_all(format!("{what}\n").as_bytes()).await?;
    let mut said = String::new();
    socket.read_to_string(&mut said).await?;
    Ok(said)
}
