//! A MariaDB server of a test, with its data in a folder, reached by SQL over its socket and by others over the network.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::netns::TestNamespace;
use crate::node::DEADLINE;

/// Programs that a test with a server needs.
pub const PROGRAMS: [&str; 3] = ["mariadbd", "mariadb-install-db", "mariadb"];

/// A running server, killed on drop.
pub struct MariaDb {
    child: Child,
    folder: PathBuf,
}

impl MariaDb {
    /// Makes its tables in `folder`, which is new, and starts it in `namespace` on `address`, port 3306. `options` are
    /// those of `mariadbd`.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(namespace: &TestNamespace, folder: &Path, address: &str, options: &[&str]) -> Self {
        fs::create_dir(folder).expect("a folder");
        let data = format!("--datadir={}", folder.join("data").display());
        let install = Command::new("mariadb-install-db")
            .args([
                "--no-defaults",
                "--user=root",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ])
            .arg(&data)
            .output()
            .expect("mariadb-install-db");
        assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
        let mut server = Command::new("mariadbd");
        namespace.confine(&mut server);
        // SAFETY: between fork and exec the closure makes one system call, and neither allocates nor locks.
        unsafe { server.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let log = fs::File::create(folder.join("log")).expect("a log");
        let child = server
            .args(["--no-defaults", "--user=root", "--innodb-buffer-pool-size=8M", &data])
            .arg(format!("--socket={}", folder.join("socket").display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .arg(format!("--bind-address={address}"))
            .args(options)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mariadbd");
        let folder = folder.to_owned();
        let mut started = Self { child, folder };
        let deadline = Instant::now() + 3 * DEADLINE;
        while let Err(error) = started.ask("SELECT 1") {
            let ended = started.child.try_wait().expect("a child").is_some();
            assert!(!ended && Instant::now() < deadline, "{error}\n{}", started.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        started
    }

    /// Performs statements as root.
    ///
    /// # Panics
    /// When one is refused.
    pub fn sql(&self, statements: &str) {
        self.ask(statements)
            .unwrap_or_else(|error| panic!("{statements}: {error}\n{}", self.log()));
    }

    fn ask(&self, statements: &str) -> Result<(), String> {
        let output = Command::new("mariadb")
            .args(["--no-defaults", "--user=root", "--execute", statements])
            .arg(format!("--socket={}", self.folder.join("socket").display()))
            .output()
            .expect("mariadb");
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
