//! The guardian: a process that takes the lab down when `lab up` dies without doing so, by `kill -9` for instance.
//!
//! It holds the reading end of a pipe, `lab up` the writing end. The kernel closes that whatever way `lab up` ends.

use std::io::Read;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;

use super::{down, process};
use crate::lab::state::Lab;

/// What `lab up` writes when the guardian is not needed: the lab is down, or shall stay.
const DISMISSED: u8 = b'k';

/// The guardian, as `lab up` sees it. Dropping it is what it guards against.
#[derive(Debug)]
pub(super) struct Guardian {
    child: Child,
}

impl Guardian {
    pub(super) fn start(lab: &Lab) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("finding the program itself")?;
        let mut command = Command::new(own);
        command
            .args(["lab", "guard", lab.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .current_dir("/");
        process::detach(&mut command);
        let child = tokio::process::Command::from(command)
            .spawn()
            .context("starting the guardian")?;
        Ok(Self { child })
    }

    /// Tells it that all is well, and waits for its end.
    pub(super) async fn dismiss(mut self) {
        if let Some(mut pipe) = self.child.stdin.take() {
            // When it is gone already, it needs no telling.
            let _ = pipe.write_all(&[DISMISSED]).await;
        }
        let _ = self.child.wait().await;
    }
}

/// The guardian's whole life.
pub(super) async fn run(name: &str) -> anyhow::Result<ExitCode> {
    let lab = Lab::at(name)?;
    let mut said = Vec::new();
    std::io::stdin()
        .read_to_end(&mut said)
        .context("waiting for `lab up`")?;
    if said.contains(&DISMISSED) {
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = down::down(&lab).await;
    if !outcome.removed.is_empty() {
        eprintln!(
            "lab {name}: its `lab up` was killed; removed {}",
            down::list(&outcome.removed)
        );
    }
    for failure in &outcome.failed {
        eprintln!("lab {name}: {failure}");
    }
    Ok(if outcome.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
