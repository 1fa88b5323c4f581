//! Programs of others that a test runs in its namespaces: servers, and clients in Python.

use std::fmt::Display;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use lb_user::net::Namespace;

use crate::node::DEADLINE;
use crate::segment::Process;

/// Debian's Python, which has the modules of Debian's packages.
pub const PYTHON: &str = "/usr/bin/python3";

/// Waits until somebody listens.
///
/// # Panics
/// When that takes too long, or the server ends instead.
pub fn until_open(host: &Namespace, address: SocketAddr, server: &mut Process) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match host.run_inside(|| TcpStream::connect(address)).expect("a namespace") {
            Ok(_) => return,
            Err(error) => {
                let ended = server.child.try_wait().expect("a child");
                assert!(
                    ended.is_none() && Instant::now() < deadline,
                    "{address}: {error}, {ended:?}"
                );
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

/// Starts nginx, as one process, with this in its `http` block, and waits until it serves.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn nginx(host: &Namespace, folder: &Path, http: impl Display, address: SocketAddr) -> Process {
    fs::create_dir_all(folder).expect("a folder");
    let at = folder.display();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {at}/{name};\n"))
        .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\nuser root;\npid {at}/pid;\nerror_log {at}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000;\n{paths}{http}\n}}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text).expect("a file");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&file);
    command.args(["-e", &format!("{at}/error.log")]).stdin(Stdio::null());
    let mut server = Process::start(host, &mut command);
    until_open(host, address, &mut server);
    server
}

/// A script in tests/scripts.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// A script of tests/scripts, to be run in a namespace.
#[must_use]
pub fn python(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg("-u").arg(script(name)).args(arguments).stdin(Stdio::null());
    command
}

/// Starts a server that is a script, and waits until it says that it is ready.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn python_server(host: &Namespace, name: &str, arguments: &[&str]) -> Process {
    let mut server = Process::start(host, &mut python(name, arguments));
    assert_eq!(server.line(), "ready\n");
    server
}

/// Runs a command in a namespace to its end, which has to be a good one; what it prints.
///
/// # Panics
/// When it fails.
pub fn output(host: &Namespace, command: &mut Command) -> String {
    let ended = ended(host, command);
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success(),
        "{command:?}: {}\n{said}\n{errors}",
        ended.status
    );
    said
}

/// Runs a command in a namespace to its end.
///
/// # Panics
/// When it cannot be run.
pub fn ended(host: &Namespace, command: &mut Command) -> std::process::Output {
    host.confine(command).stdin(Stdio::null()).output().expect("a command")
}
