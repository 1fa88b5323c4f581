//! The `fulcrum` binary, and its labs: one at a time on a machine, and gone when the test ends.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::gate::{Gate, gate, root};

/// The binary: `FULCRUM_BIN`, else the workspace's debug build.
pub fn fulcrum() -> Command {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/debug/fulcrum");
    Command::new(std::env::var_os("FULCRUM_BIN").map_or_else(built, PathBuf::from))
}

/// A turn with some labs: nobody else's test has one up meanwhile. They are taken down on drop, and by the next turn
/// if this one's test is killed.
#[derive(Debug)]
pub struct LabTurn {
    names: &'static [&'static str],
    /// Says which labs are up for a test.
    lock: File,
}

impl LabTurn {
    /// Waits for a turn; `None` when the test is to be skipped.
    ///
    /// # Panics
    /// When there is no `fulcrum` to run.
    pub fn take(names: &'static [&'static str]) -> Option<Self> {
        if root() == Gate::Skip {
            return None;
        }
        // On /run, as labs are: it is the machine that is shared, not a folder.
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open("/run/fulcrum-lab-tests.lock")
            .expect("/run can be written to");
        lock.lock().expect("a lock can be waited for");
        let mut left = String::new();
        lock.read_to_string(&mut left).expect("the lock is a file");
        left.split_whitespace().for_each(down);
        // Someone may be looking at one; taking it away is not a test's business.
        let up = names.iter().find(|name| {
            let status = fulcrum().args(["lab", "status", name]).output();
            status.expect("fulcrum is built").status.success()
        });
        let why = up.map(|name| format!("lab {name} is up; `fulcrum lab down {name}` first"));
        let turn = Self {
            names: if why.is_none() { names } else { &[] },
            lock,
        };
        turn.say(turn.names);
        (gate(why.as_deref()) == Gate::Run).then_some(turn)
    }

    fn say(&self, names: &[&str]) {
        let said = self
            .lock
            .set_len(0)
            .and_then(|()| self.lock.write_all_at(names.join("\n").as_bytes(), 0));
        said.expect("/run can be written to");
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
        self.names.iter().copied().for_each(down);
        self.say(&[]);
    }
}

/// Takes a lab down if anything of it is there.
fn down(name: &str) {
    if !Path::new("/run/fulcrum/lab").join(name).exists() {
        return;
    }
    let down = fulcrum()
        .args(["lab", "down", name])
        .output()
        .expect("fulcrum is built");
    if !down.status.success() {
        eprintln!("lab {name} stays behind: {}", String::from_utf8_lossy(&down.stderr));
    }
}
