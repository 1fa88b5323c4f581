//! Tests that are killed leave nothing that the next run would not remove.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use lb_tests::gate::{Gate, root};
use lb_tests::leftovers::{mounts_below, sweep};
use lb_tests::node::DEADLINE;
use lb_user::net::Namespace;

#[test]
fn a_killed_test_takes_its_daemon_along_and_the_next_run_the_rest() {
    if root() == Gate::Skip {
        return;
    }
    let mut victim = Command::new(env!("CARGO_BIN_EXE_victim"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(victim.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let mut words = line.split_whitespace();
    let daemon = Path::new("/proc").join(words.next().unwrap()).join("exe");
    let folder = PathBuf::from(words.next().unwrap());
    let prefix = format!("ft-{}-", victim.id());
    let namespaces = || {
        let names = Namespace::names().unwrap();
        names.iter().filter(|name| name.starts_with(&prefix)).count()
    };
    assert!(daemon.read_link().is_ok());
    assert_eq!((namespaces(), mounts_below(&folder).len()), (2, 1));
    sweep();
    assert_eq!((namespaces(), mounts_below(&folder).len()), (2, 1), "its owner lives");

    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + DEADLINE;
    // A zombie has no executable.
    while daemon.read_link().is_ok() {
        assert!(Instant::now() < deadline, "the daemon outlives its test");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(folder.exists());
    sweep();
    assert_eq!((namespaces(), mounts_below(&folder).len()), (0, 0));
    assert!(!folder.exists());
}
