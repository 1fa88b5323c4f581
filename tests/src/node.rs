//! A machine for one daemon: a namespace with `eth0` (a veth whose other end is in a namespace of its own), a folder,
//! and a configuration.

use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lb_user::api::Client;
use lb_user::api::types::Status;
use lb_user::net::Net;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::fulcrum;
use crate::leftovers;
use crate::netns::TestNamespace;

/// Longest wait for something that a daemon does by itself.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The machine.
pub struct Node {
    /// Where the daemon runs.
    pub namespace: TestNamespace,
    /// Where the other end of its wire is.
    pub outside: TestNamespace,
    folder: tempfile::TempDir,
}

impl Node {
    /// A machine whose `eth0` has 10.9.0.1/24 and fd09::1/64; outside there are 10.9.0.11 to 10.9.0.13.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn new() -> Self {
        let (namespace, outside) = (TestNamespace::new("node"), TestNamespace::new("outside"));
        let net = Net::inside(&namespace).expect("netlink");
        net.add_veth("eth0", "eth0", &outside).await.expect("a wire");
        let eth0 = net.index("eth0").await.expect("its index");
        net.add_address(eth0, "10.9.0.1".parse().expect("IPv4"), 24)
            .await
            .expect("an address");
        net.add_address(eth0, "fd09::1".parse().expect("IPv6"), 64)
            .await
            .expect("an address");
        net.set_up(net.index("lo").await.expect("lo")).await.expect("lo up");
        net.set_up(eth0).await.expect("eth0 up");
        let net = Net::inside(&outside).expect("netlink");
        let eth0 = net.index("eth0").await.expect("its index");
        for last in 11..=13 {
            net.add_address(eth0, [10, 9, 0, last].into(), 24)
                .await
                .expect("an address");
        }
        net.set_up(eth0).await.expect("eth0 up");
        Self {
            namespace,
            outside,
            folder: leftovers::folder(),
        }
    }

    /// A machine of a namespace that is there, whose wires are somebody else's.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn of(namespace: TestNamespace) -> Self {
        Self {
            namespace,
            outside: TestNamespace::new("outside"),
            folder: leftovers::folder(),
        }
    }

    /// A file of this machine.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `[node]` and `[admin]` with paths of this machine.
    pub fn head(&self, interface: &str) -> String {
        let path = |name| self.path(name).display().to_string();
        format!(
            "[node]\nname = \"lb1\"\ninterfaces = [\"{interface}\"]\nstate-dir = \"{}\"\npin-dir = \"{}\"\n[admin]\nsocket = \"{}\"\n",
            path("state"),
            path("bpf"),
            path("socket"),
        )
    }

    /// The same with a seed, as nodes have it that stand in for each other: one and the same on all machines.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn head_with_seed(&self, interface: &str) -> String {
        let seed = self.path("seed");
        fs::write(&seed, [7; 16]).expect("a seed");
        let key = format!("hash-seed-file = \"{}\"\n[admin]", seed.display());
        self.head(interface).replacen("[admin]", &key, 1)
    }

    /// The same with `[peers]`, of a node `name` among `lb1` and `lb2` at these addresses.
    ///
    /// # Panics
    /// When the key cannot be written.
    #[must_use]
    pub fn head_with_peers(&self, interface: &str, name: &str, nodes: [IpAddr; 2]) -> String {
        let head = self.head_with_seed(interface);
        let head = head.replacen("name = \"lb1\"", &format!("name = \"{name}\""), 1);
        let key = self.path("key");
        fs::write(&key, [9; 32]).expect("a key");
        let [first, second] = nodes.map(|ip| SocketAddr::new(ip, 8473));
        format!(
            "{head}[peers]\nnodes = {{ lb1 = \"{first}\", lb2 = \"{second}\" }}\nkey-file = \"{}\"\n",
            key.display()
        )
    }

    /// Writes the configuration, as an editor does: a new file in place of the old.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, text: &str) {
        fs::write(self.path("draft"), text).expect("a draft");
        fs::rename(self.path("draft"), self.path("fulcrum.toml")).expect("a configuration");
    }

    /// `fulcrum` in the machine's namespace. It is killed when the thread ends that starts it, and so with the test,
    /// also where nobody is left to do it.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = fulcrum();
        self.namespace.confine(&mut command);
        // SAFETY: between fork and exec the closure makes one system call, and neither allocates nor locks.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Runs `fulcrum VERB -c` with the configuration to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, verb: &str) -> Output {
        let config = self.path("fulcrum.toml");
        self.command(&[verb, "-c", &config.to_string_lossy()])
            .output()
            .expect("fulcrum")
    }

    /// Starts the daemon, and waits until it answers.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn start(&self) -> Daemon {
        self.try_start().await.unwrap_or_else(|log| panic!("no daemon:\n{log}"))
    }

    /// As [`Self::start`].
    ///
    /// # Errors
    /// The log, when it ends instead.
    ///
    /// # Panics
    /// When it neither answers nor ends.
    pub async fn try_start(&self) -> Result<Daemon, String> {
        let config = self.path("fulcrum.toml");
        self.try_start_as(self.command(&["run", "-c", &config.to_string_lossy()]))
            .await
    }

    /// Starts a daemon by a [command](Self::command), and does not wait for anything.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Daemon {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log");
        let child = command.stderr(log).spawn().expect("fulcrum");
        Daemon { child }
    }

    /// As [`Self::try_start`], with a [command](Self::command) that the test has made.
    ///
    /// # Errors
    /// The log, when it ends instead.
    ///
    /// # Panics
    /// When it neither answers nor ends.
    pub async fn try_start_as(&self, mut command: Command) -> Result<Daemon, String> {
        let mut daemon = self.spawn(&mut command);
        let deadline = Instant::now() + DEADLINE;
        loop {
            if self
                .client()
                .status()
                .await
                .is_ok_and(|status| !status.interfaces.is_empty())
            {
                return Ok(daemon);
            }
            if daemon.child.try_wait().expect("a child").is_some() {
                return Err(self.log());
            }
            assert!(Instant::now() < deadline, "it does not answer:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the daemons have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A client of the daemon.
    pub fn client(&self) -> Client {
        Client::new(self.path("socket"))
    }

    /// Waits until the daemon's status is as wanted.
    ///
    /// # Panics
    /// When it is not in time.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        self.until_within(DEADLINE, what, wanted).await
    }

    /// As [`Self::until`], for what the status does not say.
    ///
    /// # Panics
    /// When it is not in time.
    pub async fn until_so(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds().await {
            assert!(
                Instant::now() < deadline,
                "not within {DEADLINE:?}: {what}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// As [`Self::until`], where it takes longer by design.
    ///
    /// # Panics
    /// When it takes longer than `patience`.
    pub async fn until_within(&self, patience: Duration, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.client().status().await;
            if let Ok(status) = &status
                && wanted(status)
            {
                return status.clone();
            }
            assert!(
                Instant::now() < deadline,
                "not within {patience:?}: {what}\n{status:#?}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let bpf = self.path("bpf");
        if bpf.exists() {
            let mut detach = self.command(&["detach", "--pin-dir", &bpf.to_string_lossy()]);
            let detached = detach.stdout(Stdio::null()).status();
            if !detached.is_ok_and(|status| status.success()) {
                eprintln!("pins below {} stay behind", bpf.display());
            }
        }
    }
}

/// A running daemon, killed on drop.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When that fails.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("a signal");
    }

    /// Sends it a signal, and waits for its end.
    ///
    /// # Panics
    /// When that fails.
    pub fn end(self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When that fails.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon that another one has started, which nobody else would end.
pub struct Successor(Pid);

impl Successor {
    /// By what the other one has logged.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn of(log: &str) -> Self {
        let pid = log
            .lines()
            .find_map(|line| line.split_once("another daemon takes over pid=")?.1.trim().parse().ok());
        Self(Pid::from_raw(pid.unwrap_or_else(|| panic!("no successor: {log}"))))
    }

    /// Its process.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.0
    }

    /// Does it run?
    #[must_use]
    pub fn is_there(&self) -> bool {
        // One that nobody has reaped yet has ended.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // One that has ended already is fine.
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

/// Runs a command that should fail with exit code 1, and returns its standard error.
///
/// # Panics
/// When it cannot be started, or ends otherwise.
pub fn refused(command: &mut Command) -> String {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("fulcrum");
    let mut text = String::new();
    child
        .stderr
        .take()
        .expect("standard error")
        .read_to_string(&mut text)
        .expect("text");
    let status = child.wait().expect("a child");
    assert_eq!(status.code(), Some(1), "{text}");
    text
}
