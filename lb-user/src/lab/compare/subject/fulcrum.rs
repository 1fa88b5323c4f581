//! Fulcrum: each of its modes.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::Context;

use super::{SERVERS, Setup};
use crate::api::Client;
use crate::api::types::{AdminState, BackendPatch};
use crate::lab::compare::bed::{Bed, Started, VIP};
use crate::lab::daemon;
use crate::lab::program::FULCRUM;

/// 15 s for probes to have found both servers up.
const PATIENCE: Duration = Duration::from_secs(15);

/// Both services; in `proxy` the second takes TLS off.
const SERVICES: [(&str, u16); 2] = [("web", 80), ("secure", 443)];

fn config(mode: &str, setup: Setup) -> String {
    let proxy = mode == "proxy";
    let mut text = String::new();
    for (service, port) in SERVICES {
        let _ = writeln!(
            text,
            "[[service]]\nname = \"{service}\"\naddress = \"{VIP}:{port}\"\nmode = \"{mode}\""
        );
        if proxy && port == 443 {
            text += "[service.tls]\ncertificates = [\"{lab}/balancer.pem\"]\n";
        }
        let backend = if proxy { 80 } else { port };
        text += match backend {
            80 => "[service.health]\nkind = \"http\"\npath = \"/healthz\"\n",
            _ => "[service.health]\nkind = \"tcp\"\n",
        };
        text += "interval = \"500ms\"\ntimeout = \"400ms\"\nrise = 1\nfall = 2\n";
        for ((name, ip), weight) in SERVERS.iter().zip(setup.weights) {
            let _ = writeln!(
                text,
                "[[service.backend]]\nname = \"{name}\"\naddress = \"{ip}:{backend}\"\nweight = {weight}"
            );
            if setup.drained && *name == "web2" {
                text += "state = \"drain\"\n";
            }
        }
    }
    text
}

pub(super) async fn start(bed: &Bed, mode: &str, setup: Setup) -> anyhow::Result<()> {
    if mode == "tunnel" {
        bed.open_tunnels().await?;
    }
    bed.start_balancer(&balancer(mode, setup)).await?;
    let socket = bed.socket();
    let serves = |view: &daemon::View| {
        let mut each = SERVICES
            .iter()
            .flat_map(|(service, _)| SERVERS.map(|(name, _)| (*service, name)));
        // In proxy, those that nobody has probed serve as well; their first probe may yet fail.
        let is_whole = |backend: &daemon::Backend| backend.up && backend.serves;
        each.all(|(service, name)| view.backend(service, name).is_some_and(is_whole))
    };
    daemon::until(&socket, PATIENCE, "both servers serve", serves).await?;
    Ok(())
}

fn balancer(mode: &str, setup: Setup) -> Started {
    Started {
        kind: FULCRUM,
        config: Some(config(mode, setup)),
        ..Started::default()
    }
}

pub(super) async fn reload(bed: &Bed, mode: &str, setup: Setup) -> anyhow::Result<()> {
    bed.write_balancer(&balancer(mode, setup))?;
    Client::new(bed.socket()).reload().await?;
    Ok(())
}

pub(super) async fn drain(bed: &Bed) -> anyhow::Result<()> {
    let client = Client::new(bed.socket());
    let patch = BackendPatch {
        state: Some(AdminState::Drain),
        weight: None,
    };
    for (service, _) in SERVICES {
        client.patch(service, "web2", patch).await?;
    }
    Ok(())
}

/// Takes program, maps and VIPs off, and forgets what commands have said.
pub(super) async fn remove(bed: &Bed, mode: &str) -> anyhow::Result<()> {
    if mode == "tunnel" {
        bed.close_tunnels().await?;
    }
    let config = bed.folder().join("fulcrum.toml");
    bed.command(&["fulcrum", "detach", "-c", &config.display().to_string()])
        .await?;
    let state = bed.folder().join("state");
    if state.exists() {
        fs::remove_dir_all(&state).with_context(|| format!("removing {}", state.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{DRAINED, EVEN, UNEVEN};
    use super::*;

    #[test]
    fn every_configuration_is_right() {
        const NODE: &str = "[node]\nname = \"lb\"\ninterfaces = [\"eth0\"]\n\n";
        for mode in ["dsr", "tunnel", "nat"] {
            for setup in [EVEN, UNEVEN, DRAINED] {
                let text = NODE.to_owned() + &config(mode, setup);
                crate::config::parse("test", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            }
        }
        assert!(config("proxy", EVEN).contains("certificates"));
        assert!(config("dsr", UNEVEN).contains("weight = 5"));
    }
}
