//! Programs that labs know how to run in a folder of their own: what stands in their configuration beside what a lab file
//! says, how they stay in the foreground, and which Debian package brings them.
//!
//! What stands for folders and addresses in all that, [`super::start`] says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::file::raw::{Machine, Run};
use super::start::addressed;
use crate::config::{Checked, fault};

/// The kind that is Fulcrum itself.
pub(super) const FULCRUM: &str = "fulcrum";

/// The kind that is the embedded server.
pub(super) const SERVE: &str = "serve";

/// The kind that is any other program.
const COMMAND: &str = "command";

/// Where programs are that not everybody has in PATH.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// A program, and how a lab runs it.
#[derive(Debug)]
pub(super) struct Program {
    /// What lab files call it.
    kind: &'static str,
    /// The Debian package that brings it; empty for Fulcrum itself.
    package: &'static str,
    /// What is run; empty for Fulcrum itself and for commands.
    executable: &'static str,
    /// Its configuration file, and what stands in it before and after what the lab file says.
    config: Option<(&'static str, &'static str, &'static str)>,
    /// Folders in the process's folder that it wants.
    folders: &'static [&'static str],
    /// Arguments before those of the lab file.
    args: &'static [&'static str],
    /// What is run to its end before, where this file in the process's folder is not there yet.
    prepare: Option<(&'static str, &'static [&'static str])>,
    /// Files in the host's folder that have to be there, if only empty.
    blank: &'static [&'static str],
    /// It serves when this socket is there.
    socket: Option<&'static str>,
}

const PLAIN: Program = Program {
    kind: "",
    package: "",
    executable: "",
    config: None,
    folders: &[],
    args: &[],
    prepare: None,
    blank: &[],
    socket: None,
};

/// All of them.
const PROGRAMS: [Program; 13] = [
    Program {
        kind: FULCRUM,
        // `[node]` and `[admin]` are put before it where it has none: see `super::start`.
        config: Some(("fulcrum.toml", "", "")),
        folders: &["state"],
        args: &["run", "-c", "{folder}/fulcrum.toml"],
        socket: Some("{folder}/fulcrum.sock"),
        ..PLAIN
    },
    Program {
        kind: SERVE,
        args: &["lab", "serve"],
        ..PLAIN
    },
    Program { kind: COMMAND, ..PLAIN },
    Program {
        kind: "nginx",
        package: "nginx",
        executable: "nginx",
        config: Some((
            "nginx.conf",
            "daemon off;\nuser root;\nworker_processes 1;\npid {run}/pid;\nerror_log stderr warn;\n\
             events { worker_connections 4096; }\n\
             http {\nclient_body_temp_path {run}/client_body;\nproxy_temp_path {run}/proxy;\n\
             fastcgi_temp_path {run}/fastcgi;\nuwsgi_temp_path {run}/uwsgi;\nscgi_temp_path {run}/scgi;\n\
             access_log {folder}/access.log combined;\nkeepalive_requests 1000000;\n",
            "\n}\n",
        )),
        folders: &["client_body", "proxy", "fastcgi", "uwsgi", "scgi"],
        args: &["-p", "{run}", "-c", "{folder}/nginx.conf", "-e", "stderr"],
        ..PLAIN
    },
    Program {
        kind: "apache",
        package: "apache2-bin",
        executable: "apache2",
        config: Some((
            "apache.conf",
            "ServerRoot {run}\nServerName lab\nUser www-data\nGroup www-data\nDefaultRuntimeDir {run}\n\
             PidFile {run}/pid\nErrorLog {run}/error.log\nMutex posixsem\n\
             LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
             LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n",
            "",
        )),
        args: &["-f", "{folder}/apache.conf", "-DFOREGROUND"],
        ..PLAIN
    },
    Program {
        kind: "haproxy",
        package: "haproxy",
        executable: "haproxy",
        config: Some(("haproxy.cfg", "", "")),
        args: &["-W", "-db", "-f", "{folder}/haproxy.cfg"],
        ..PLAIN
    },
    Program {
        kind: "keepalived",
        package: "keepalived",
        executable: "keepalived",
        config: Some(("keepalived.conf", "", "")),
        args: &[
            "--dont-fork",
            "--log-console",
            "--pid={run}/pid",
            "--vrrp_pid={run}/vrrp.pid",
            "--checkers_pid={run}/checkers.pid",
            "-f",
            "{folder}/keepalived.conf",
        ],
        ..PLAIN
    },
    Program {
        kind: "bird",
        package: "bird2",
        executable: "bird",
        config: Some(("bird.conf", "log stderr all;\n", "")),
        args: &[
            "-f",
            "-c",
            "{folder}/bird.conf",
            "-s",
            "{folder}/bird.ctl",
            "-P",
            "{run}/pid",
        ],
        socket: Some("{folder}/bird.ctl"),
        ..PLAIN
    },
    Program {
        kind: "mariadb",
        package: "mariadb-server-core",
        executable: "mariadbd",
        // Small, and read-only until somebody says otherwise: a primary that was killed must not come back as one.
        config: Some((
            "my.cnf",
            "[mariadb]\nuser = root\nsocket = {folder}/mariadb.sock\n[mariadbd]\nuser = root\n\
             datadir = {run}/data\nsocket = {folder}/mariadb.sock\npid-file = {run}/pid\ntmpdir = {run}\n\
             log-bin = binlog\nrelay-log = relay\ngtid-strict-mode = ON\nlog-slave-updates = ON\n\
             read-only = ON\nskip-name-resolve\ninnodb-buffer-pool-size = 8M\ninnodb-log-file-size = 4M\n\
             performance-schema = OFF\nslave-net-timeout = 4\n",
            "",
        )),
        prepare: Some((
            "data",
            &[
                "mariadb-install-db",
                "--defaults-file={folder}/my.cnf",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
                "--extra-file={folder}/setup.sql",
            ],
        )),
        blank: &["setup.sql"],
        args: &["--defaults-file={folder}/my.cnf"],
        socket: Some("{folder}/mariadb.sock"),
        ..PLAIN
    },
    Program {
        kind: "php-fpm",
        package: "php8.2-fpm",
        executable: "php-fpm8.2",
        config: Some((
            "php-fpm.conf",
            "[global]\npid = {run}/pid\nerror_log = /proc/self/fd/2\ndaemonize = no\n\
             [www]\nuser = root\ngroup = root\nlisten = {folder}/php.sock\npm = static\npm.max_children = 4\n\
             catch_workers_output = yes\n",
            "",
        )),
        args: &[
            "--nodaemonize",
            "--allow-to-run-as-root",
            "--fpm-config",
            "{folder}/php-fpm.conf",
        ],
        socket: Some("{folder}/php.sock"),
        ..PLAIN
    },
    Program {
        kind: "prometheus",
        package: "prometheus",
        executable: "prometheus",
        config: Some(("prometheus.yml", "", "")),
        args: &[
            "--config.file={folder}/prometheus.yml",
            "--storage.tsdb.path={run}/data",
            "--web.enable-lifecycle",
        ],
        ..PLAIN
    },
    Program {
        kind: "node-exporter",
        package: "prometheus-node-exporter",
        executable: "prometheus-node-exporter",
        // A host's network and name, and the load that it shares with the machine; not the machine's disks and services.
        args: &[
            "--collector.disable-defaults",
            "--collector.cpu",
            "--collector.loadavg",
            "--collector.meminfo",
            "--collector.netdev",
            "--collector.netstat",
            "--collector.sockstat",
            "--collector.uname",
        ],
        ..PLAIN
    },
    Program {
        kind: "mysqld-exporter",
        package: "prometheus-mysqld-exporter",
        executable: "prometheus-mysqld-exporter",
        // Not my.cnf, which is the server's, beside which it runs.
        config: Some(("mysqld-exporter.cnf", "", "")),
        args: &["--config.my-cnf={folder}/mysqld-exporter.cnf"],
        ..PLAIN
    },
];

/// A program that a lab file names.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Kind(&'static Program);

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(kind: String) -> Result<Self, String> {
        let found = PROGRAMS.iter().find(|program| program.kind == kind);
        found.map(Self).ok_or_else(|| {
            let kinds: Vec<&str> = PROGRAMS.iter().map(|program| program.kind).collect();
            format!(
                "unknown kind of program `{kind}`; there are: {}; `{COMMAND}` runs any other",
                kinds.join(", ")
            )
        })
    }
}

impl std::ops::Deref for Kind {
    type Target = Program;

    fn deref(&self) -> &Program {
        self.0
    }
}

/// What is needed to start a process, placeholders and all.
#[derive(Debug, Default)]
pub(super) struct Recipe {
    pub(super) executable: PathBuf,
    pub(super) args: Vec<String>,
    /// Name and text of its configuration file, in the host's folder.
    pub(super) config: Option<(&'static str, String)>,
    /// In the process's folder.
    pub(super) folders: &'static [&'static str],
    /// In the host's folder, if only empty.
    pub(super) blank: &'static [&'static str],
    /// What is run before, where this is not in the process's folder.
    pub(super) prepare: Option<(&'static str, Vec<String>)>,
    /// `ADDRESS:PORT`, or a socket.
    pub(super) ready: Option<String>,
    /// It is the embedded server that stands in for something that is not installed.
    pub(super) stands_in: bool,
}

impl Program {
    /// What lab files call it.
    pub(super) fn name(&self) -> &'static str {
        self.kind
    }

    pub(super) fn is_fulcrum(&self) -> bool {
        self.kind == FULCRUM
    }

    /// Does a lab file say of it what it needs, and nothing that it has no use for?
    pub(super) fn check(&self, host: &Machine, run: &Run) -> Checked<()> {
        let span = run.kind.span();
        let (kind, serves) = (self.kind, self.kind == SERVE || run.or_serve);
        if let (Some(config), None) = (&run.config, self.config) {
            return Err(fault(config.span(), format!("`{kind}` has no configuration file"))
                .hint("give it `args`, or write a `[[host.file]]`"));
        }
        if serves && run.listen.is_empty() {
            return Err(fault(span, "the embedded server needs to know where to listen")
                .hint("add: listen = [\"{address}:80\"]"));
        }
        if !serves && !run.listen.is_empty() {
            return Err(fault(span, format!("`listen` is for `{SERVE}`")).hint("say it in the program's own way"));
        }
        if kind == COMMAND && run.args.is_empty() {
            return Err(fault(span, "a command without a program").hint("add: args = [\"sleep\", \"1h\"]"));
        }
        if kind != COMMAND && (run.package.is_some() || run.once) {
            return Err(fault(span, "`package` and `once` are for `command`").hint("leave them out"));
        }
        let is_address = |text: &str| addressed(host, text).parse::<SocketAddr>().is_ok();
        if let Some(ready) = &run.ready
            && !is_address(ready.get_ref())
            && !ready.get_ref().starts_with("{folder}/")
        {
            return Err(fault(ready.span(), "neither an address nor a socket")
                .hint("write \"{address}:80\" or \"{folder}/NAME.sock\""));
        }
        if let Some(listen) = run.listen.iter().find(|listen| !is_address(listen.get_ref())) {
            return Err(
                fault(listen.span(), "not an address and a port").hint("write \"{address}:80\" or \"10.0.0.11:80\"")
            );
        }
        Ok(())
    }

    /// The package that brings it; of a command of which nobody says, its own name.
    pub(super) fn package(&self, run: &Run) -> String {
        let named = [run.package.as_deref().unwrap_or(""), self.package];
        let named = named.into_iter().find(|package| !package.is_empty());
        named.map_or_else(|| run.args.first().cloned().unwrap_or_default(), str::to_owned)
    }

    /// How to start it; or, when it is not installed, its package. `own` is the running program.
    pub(super) fn recipe(&self, run: &Run, host: &str, own: &Path) -> Result<Recipe, String> {
        let executable = match self.kind {
            SERVE => return Ok(serve(run, host, own)),
            FULCRUM => Some(own.to_owned()),
            COMMAND => run.args.first().and_then(|program| installed(program)),
            _ => installed(self.executable),
        };
        let preparer = self.prepare.and_then(|(_, command)| command.first());
        let complete = preparer.is_none_or(|program| installed(program).is_some());
        let Some(executable) = executable.filter(|_| complete) else {
            if run.or_serve {
                return Ok(Recipe {
                    stands_in: true,
                    ..serve(run, host, own)
                });
            }
            return Err(self.package(run));
        };
        let more = run.args.iter().skip(usize::from(self.kind == COMMAND)).cloned();
        let text = run.config.as_ref().map_or("", |text| text.get_ref());
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let said = run.ready.as_ref().map(|ready| ready.get_ref().clone());
        Ok(Recipe {
            executable,
            args: self.args.iter().map(ToString::to_string).chain(more).collect(),
            config: self
                .config
                .map(|(name, before, after)| (name, format!("{before}{text}{after}"))),
            folders: self.folders,
            blank: self.blank,
            prepare: self.prepare.map(|(made, command)| (made, owned(command))),
            ready: said.or_else(|| self.socket.map(str::to_owned)),
            stands_in: false,
        })
    }
}

/// The embedded server.
fn serve(run: &Run, host: &str, own: &Path) -> Recipe {
    let mut args = ["lab", "serve", "--name", host].map(str::to_owned).to_vec();
    for address in &run.listen {
        args.extend(["--listen".to_owned(), address.get_ref().clone()]);
    }
    if run.kind.get_ref().kind == SERVE {
        args.extend(run.args.iter().cloned());
    }
    Recipe {
        executable: own.to_owned(),
        args,
        ready: run.listen.first().map(|listen| listen.get_ref().clone()),
        ..Recipe::default()
    }
}

/// Where a program is, if it is anywhere.
pub(super) fn installed(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|place| place.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|place| place.is_file())
}
