//! `fulcrum top` in a pseudo-terminal: it waits for its daemon, and gives the terminal back whatever ends it.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use lb_tests::gate::{self, Gate};
use lb_tests::lab::fulcrum;
use lb_tests::node::{DEADLINE, Node};
use lb_tests::toml::service;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a terminal is sent before and after a program that has it to itself (xterm's alternate screen).
const TAKEN: &str = "\u{1b}[?1049h";
const GIVEN_BACK: &str = "\u{1b}[?1049l";

/// `fulcrum top` below script(1), which has the other end of its terminal.
struct Terminal {
    script: Child,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(node: &Node) -> Self {
        let program = fulcrum().get_program().to_string_lossy().into_owned();
        let top = format!(
            "stty rows 24 cols 80; exec '{program}' top --socket '{}'",
            node.path("socket").display()
        );
        let mut script = Command::new("script")
            .args(["--quiet", "--return", "--command", &top, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = script.stdout.take().unwrap();
        let (bytes, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                let _ = bytes.send(buffer[..length].to_vec());
            }
        });
        let seen = String::new();
        Self { script, output, seen }
    }

    /// Waits until this has been drawn.
    fn until(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(error) => panic!("{error}: no {text:?} in {:?}", self.seen),
            }
        }
    }

    /// The process of `fulcrum top`.
    fn top(&self) -> Pid {
        let script = self.script.id();
        let children = fs::read_to_string(format!("/proc/{script}/task/{script}/children")).unwrap();
        Pid::from_raw(children.trim().parse().unwrap())
    }

    fn end(mut self) {
        self.until(GIVEN_BACK);
        assert_eq!(self.script.wait().unwrap().code(), Some(0), "{:?}", self.seen);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_its_daemon_and_gives_the_terminal_back() {
    if gate::root_with(&["script"]) == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let web = service("shop", "dsr", &["10.9.0.100:80"]).unprobed();
    node.configure(&format!("{}{}", node.head("eth0"), web.backend("10.9.0.11:80")));
    for how in ["q", "SIGTERM", "SIGINT", "SIGHUP"] {
        let mut terminal = Terminal::start(&node);
        terminal.until(TAKEN);
        terminal.until("no daemon answers");
        let daemon = node.start().await;
        terminal.until("shop");
        terminal.until("10.9.0.11:80");
        daemon.end(Signal::SIGTERM);
        terminal.until("what is below is old");
        match how {
            "q" => terminal.script.stdin.as_mut().unwrap().write_all(b"q").unwrap(),
            signal => kill(terminal.top(), signal.parse::<Signal>().unwrap()).unwrap(),
        }
        terminal.end();
    }
    // Without a terminal it says what is for programs.
    let output = fulcrum().arg("top").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("needs a terminal") && said.contains("status --json"),
        "{said}"
    );
}
