//! The `fulcrum` binary, and its labs: one at a time on a machine, and gone when the test ends.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::gate::{Gate, gate, root};

/// The binary: `FULCRUM_BIN`, else the workspace's debug build.
pub fn fulcrum() -> Command {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/debug/fulcrum");
    Command::new(std::env::var_os("FULCRUM_BIN").map_or_else(built, PathBuf::from))
}

/// A turn with a lab: nobody else's test has it up meanwhile. It is taken down on drop.
#[derive(Debug)]
pub struct LabTurn {
    name: &'static str,
    _lock: File,
}

impl LabTurn {
    /// Waits for a turn; `None` when the test is to be skipped.
    ///
    /// # Panics
    /// When there is no `fulcrum` to run.
    pub fn take(name: &'static str) -> Option<Self> {
        if root() == Gate::Skip {
            return None;
        }
        // On /run, as labs are: it is the machine that is shared, not a folder.
        let lock = File::create("/run/fulcrum-lab-tests.lock").expect("/run can be written to");
        lock.lock().expect("a lock can be waited for");
        let up = fulcrum()
            .args(["lab", "status", name])
            .output()
            .expect("fulcrum is built");
        // Someone may be looking at it; taking it away is not a test's business.
        let why = format!("lab {name} is up; `fulcrum lab down {name}` first");
        match gate(up.status.success().then_some(&why)) {
            Gate::Run => Some(Self { name, _lock: lock }),
            Gate::Skip => None,
        }
    }

    /// Runs `fulcrum lab ARGS` to its end.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn lab(&self, args: &[&str]) -> Output {
        fulcrum().arg("lab").args(args).output().expect("fulcrum is built")
    }
}

impl Drop for LabTurn {
    fn drop(&mut self) {
        let down = self.lab(&["down", self.name]);
        if !down.status.success() {
            eprintln!(
                "lab {} stays behind: {}",
                self.name,
                String::from_utf8_lossy(&down.stderr)
            );
        }
    }
}

/// A lab that is taken down whatever becomes of the test.
#[derive(Debug)]
pub struct Down(String);

impl Down {
    /// The lab of this name, whether it is up or not.
    #[must_use]
    pub fn new(lab: &str) -> Self {
        Self(lab.to_owned())
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        // What is wrong with it, the test has said.
        let _ = fulcrum().args(["lab", "down", &self.0]).output();
    }
}
