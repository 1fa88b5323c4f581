//! `cargo xtask setup`: names what this machine lacks to build, test and lint Fulcrum, and installs exactly that.
//!
//! Running Fulcrum, and building it while lb-ebpf/object belongs to the sources, needs none of it.

mod apt;
mod npm;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::bpf::tools::{self, LINKER_VERSION, LLVM_PREFIX};
use crate::{deny, dist, exec, fuzz, workspace};

/// What the tests run besides Fulcrum: the program, and the Debian package it comes in.
const TEST_PROGRAMS: [(&str, &str); 17] = [
    ("chromium-headless-shell", "chromium-headless-shell"),
    ("curl", "curl"),
    ("h2load", "nghttp2-client"),
    ("mariadb", "mariadb-client-core"),
    ("mariadb-install-db", "mariadb-server-core"),
    ("mariadbd", "mariadb-server-core"),
    ("npm", "npm"),
    ("openssl", "openssl"),
    ("pebble", "pebble"),
    ("pgrep", "procps"),
    ("prometheus", "prometheus"),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("promtool", "prometheus"),
    ("slowhttptest", "slowhttptest"),
    ("systemd-analyze", "systemd"),
    ("testssl", "testssl.sh"),
    ("tshark", "tshark"),
];

/// More of it: modules of other programs and of Debian's Python and PHP, and programs that are in nobody's PATH but root's.
const TEST_PACKAGES: [&str; 15] = [
    "apache2-bin",
    "bird2",
    "exabgp",
    "keepalived",
    "libnginx-mod-stream",
    "nftables",
    "nginx",
    "php8.2-fpm",
    "php8.2-mysql",
    "prometheus-mysqld-exporter",
    "python3-grpcio",
    "python3-h2",
    "python3-httpx",
    "python3-jsonschema",
    "python3-websockets",
];

/// What `cargo xtask vm` runs here and in VMs.
const VM_PACKAGES: [&str; 4] = ["qemu-system-x86", "busybox-static", "ethtool", "ipvsadm"];

/// What `cargo xtask bench proxy` compares with and asks by, as [`TEST_PROGRAMS`]; a test runs it, too.
const BENCH_PROGRAMS: [(&str, &str); 5] = [
    ("h2load", "nghttp2-client"),
    ("haproxy", "haproxy"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("wrk", "wrk"),
];

/// Where servers are, which are not in everybody's PATH.
const SERVERS: &str = "/usr/sbin";

/// What bpf-linker is built against.
const LINKER_PACKAGES: [&str; 4] = ["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev"];

/// What `cargo xtask lint` runs: the component, and the verb of cargo that it brings.
const LINTERS: [(&str, &str); 2] = [("rustfmt", "fmt"), ("clippy", "clippy")];

/// What libFuzzer is built with.
const COMPILER_PACKAGE: &str = "g++";

/// Where dpkg-shlibdeps comes from.
const SHLIBDEPS_PACKAGE: &str = "dpkg-dev";

/// Where llvm-objcopy comes from.
const OBJCOPY_PACKAGE: &str = "llvm-22";

/// Name what is missing to build, test and lint Fulcrum; with --yes, install it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install what is missing: packages by apt-get, starting no service; the rest for this user or in the checkout
    #[arg(long)]
    yes: bool,
    /// Look at one purpose only
    #[arg(long = "for", value_enum)]
    purpose: Option<Purpose>,
}

/// What the tools are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Purpose {
    /// Running the tests
    Test,
    /// Building the XDP program
    Ebpf,
    /// Checking format and code
    Lint,
    /// Running tests on other kernels, in VMs
    Vm,
    /// Measuring the proxy beside others
    Bench,
    /// Fuzzing; only when it is asked for
    Fuzz,
    /// Building packages; only when it is asked for
    Dist,
}

impl Purpose {
    /// As `--for` takes it.
    fn flag(self) -> &'static str {
        match self {
            Self::Test => "--for test",
            Self::Ebpf => "--for ebpf",
            Self::Lint => "--for lint",
            Self::Vm => "--for vm",
            Self::Bench => "--for bench",
            Self::Fuzz => "--for fuzz",
            Self::Dist => "--for dist",
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    let missing = Missing::find(&root, args.purpose)?;
    if missing.items().is_empty() {
        println!("Nothing is missing.");
        return Ok(());
    }
    println!("Missing on this machine:\n{}", missing.items().join("\n"));
    if !args.yes {
        let purpose = args
            .purpose
            .map(|purpose| format!(" {}", purpose.flag()))
            .unwrap_or_default();
        bail!("to get what is missing, run: cargo xtask setup --yes{purpose}");
    }
    missing.install(&root)?;
    let still = Missing::find(&root, args.purpose)?.items();
    if !still.is_empty() {
        bail!("installed without an error, but still missing:\n{}", still.join("\n"));
    }
    println!("Nothing is missing any more.");
    Ok(())
}

/// An error when something is missing for the bench of the proxy, with all of it and the way out.
pub(crate) fn expect_for_bench() -> Result<()> {
    let missing = Missing::find(&workspace::root(), Some(Purpose::Bench))?.items();
    ensure!(
        missing.is_empty(),
        "missing on this machine:\n{}\nto get what is missing, run: cargo xtask setup --yes {}",
        missing.join("\n"),
        Purpose::Bench.flag()
    );
    Ok(())
}

/// What this machine lacks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing {
    /// rustc has another LLVM. Which toolchain is used is the user's to choose, so this is named, never installed.
    toolchain: bool,
    /// Of rustup.
    components: Vec<&'static str>,
    bpf_linker: bool,
    cargo_deny: bool,
    cargo_fuzz: bool,
    cargo_deb: bool,
    /// Grafana's types of dashboards, and what checks a dashboard against them.
    grafana: bool,
    packages: Vec<&'static str>,
}

impl Missing {
    fn find(root: &Path, purpose: Option<Purpose>) -> Result<Self> {
        let mut missing = Self::default();
        let wanted = |of| purpose.is_none_or(|purpose| purpose == of);
        if wanted(Purpose::Ebpf) {
            missing.toolchain = !tools::rustc_fits();
            if tools::rust_src(&tools::sysroot()?).is_none() {
                missing.components.push("rust-src");
            }
            missing.bpf_linker = tools::linker(root).is_none();
            if tools::objcopy().is_none() {
                missing.packages.push(OBJCOPY_PACKAGE);
            }
            if missing.bpf_linker {
                missing
                    .packages
                    .extend(LINKER_PACKAGES.iter().filter(|package| !apt::is_installed(package)));
            }
        }
        if wanted(Purpose::Lint) {
            // rustup puts a program of that name in PATH whether the component is there or not: it has to run.
            let absent = LINTERS
                .iter()
                .filter(|(_, verb)| exec::ask(&mut workspace::cargo([*verb, "--version"])).is_none());
            missing.components.extend(absent.map(|(component, _)| component));
            missing.cargo_deny = !deny::is_installed(root);
        }
        if wanted(Purpose::Test) {
            let absent = TEST_PROGRAMS
                .iter()
                .filter(|(program, _)| exec::find(program).is_none());
            missing.packages.extend(absent.map(|(_, package)| package));
            missing.grafana = !npm::is_installed(root);
            let absent = TEST_PACKAGES.iter().filter(|package| !apt::is_installed(package));
            missing.packages.extend(absent);
        }
        if wanted(Purpose::Test) || wanted(Purpose::Bench) {
            let is_there = |program| exec::find(program).is_some() || Path::new(SERVERS).join(program).is_file();
            let absent = BENCH_PROGRAMS.iter().filter(|(program, _)| !is_there(program));
            missing.packages.extend(absent.map(|(_, package)| package));
            missing.packages.sort_unstable();
            missing.packages.dedup();
        }
        if wanted(Purpose::Vm) {
            // Not by what PATH finds: a busybox may be there that needs libraries, and ipvsadm is in nobody's PATH but root's.
            missing
                .packages
                .extend(VM_PACKAGES.iter().filter(|package| !apt::is_installed(package)));
        }
        // Nothing that a change has to pass needs it.
        if purpose == Some(Purpose::Fuzz) {
            missing.cargo_fuzz = !fuzz::is_installed(root);
            if !fuzz::has_compiler() {
                missing.packages.push(COMPILER_PACKAGE);
            }
        }
        if purpose == Some(Purpose::Dist) {
            missing.cargo_deb = !dist::is_installed(root);
            if exec::find("dpkg-shlibdeps").is_none() {
                missing.packages.push(SHLIBDEPS_PACKAGE);
            }
        }
        Ok(missing)
    }

    /// One line for each thing: what it is for, and how to get it by hand.
    fn items(&self) -> Vec<String> {
        let mut items = Vec::new();
        for package in &self.packages {
            let purpose = match *package {
                OBJCOPY_PACKAGE => "llvm-objcopy, to strip the XDP program",
                COMPILER_PACKAGE => "to build libFuzzer",
                SHLIBDEPS_PACKAGE => "dpkg-shlibdeps, for cargo xtask dist",
                package if LINKER_PACKAGES.contains(&package) => "to build bpf-linker",
                package if VM_PACKAGES.contains(&package) => "for cargo xtask vm",
                package if BENCH_PROGRAMS.iter().any(|(_, of)| *of == package) => {
                    "for cargo xtask bench proxy and its test"
                }
                _ => "for the tests",
            };
            items.push(format!(
                "  {package:16} Debian package, {purpose}: apt-get install {package}"
            ));
        }
        if self.toolchain {
            items.push(format!(
                "  {:16} {}, to build the XDP program: rustup toolchain install 1.95, then cargo +1.95 xtask",
                "rustc",
                tools::TOOLCHAIN
            ));
        }
        for component in &self.components {
            let purpose = match *component {
                "rust-src" => "sources of the standard library, to build the XDP program",
                _ => "for cargo xtask lint",
            };
            items.push(format!("  {component:16} {purpose}: rustup component add {component}"));
        }
        if self.bpf_linker {
            items.push(format!(
                "  {:16} version {LINKER_VERSION}, to build the XDP program: LLVM_PREFIX={LLVM_PREFIX} {}",
                "bpf-linker",
                exec::shown(&install_linker(Path::new("")))
            ));
        }
        if self.grafana {
            items.push(format!(
                "  {:16} Grafana's types of dashboards, for the tests: {}",
                "@grafana/schema",
                exec::shown(&npm::install(Path::new("")))
            ));
        }
        if self.cargo_deny {
            items.push(format!(
                "  {:16} version {}, for cargo xtask lint: {}",
                "cargo-deny",
                deny::VERSION,
                exec::shown(&install_verb("cargo-deny", deny::VERSION, Path::new("")))
            ));
        }
        if self.cargo_fuzz {
            items.push(format!(
                "  {:16} version {}, for cargo xtask fuzz: {}",
                "cargo-fuzz",
                fuzz::VERSION,
                exec::shown(&install_verb("cargo-fuzz", fuzz::VERSION, Path::new("")))
            ));
        }
        if self.cargo_deb {
            items.push(format!(
                "  {:16} version {}, for cargo xtask dist: {}",
                "cargo-deb",
                dist::VERSION,
                exec::shown(&install_verb("cargo-deb", dist::VERSION, Path::new("")))
            ));
        }
        items
    }

    fn install(&self, root: &Path) -> Result<()> {
        if !self.packages.is_empty() {
            apt::install(&self.packages)?;
        }
        if !self.components.is_empty() {
            let mut add = Command::new("rustup");
            exec::run(add.args(["component", "add"]).args(&self.components)).with_context(|| {
                format!(
                    "{} of a toolchain that is not rustup's come from where it came from",
                    self.components.join(", ")
                )
            })?;
        }
        if self.bpf_linker {
            println!("Building bpf-linker takes a few minutes.");
            exec::run(&mut install_linker(root)).context("bpf-linker")?;
        }
        if self.grafana {
            exec::run(&mut npm::install(root)).context("@grafana/schema")?;
        }
        if self.cargo_deny {
            println!("Building cargo-deny takes a few minutes.");
            exec::run(&mut install_verb("cargo-deny", deny::VERSION, root)).context("cargo-deny")?;
        }
        if self.cargo_fuzz {
            exec::run(&mut install_verb("cargo-fuzz", fuzz::VERSION, root)).context("cargo-fuzz")?;
        }
        if self.cargo_deb {
            exec::run(&mut install_verb("cargo-deb", dist::VERSION, root)).context("cargo-deb")?;
        }
        Ok(())
    }
}

/// Builds bpf-linker into the checkout's .tools. Its default feature wants a newer LLVM than Debian has.
fn install_linker(root: &Path) -> Command {
    let mut install = Command::new("cargo");
    install
        .args([
            "install",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
            "--locked",
            "--force",
        ])
        .args(["--no-default-features", "--features", "llvm-22", "--root"])
        .arg(root.join(".tools"))
        .env("LLVM_PREFIX", LLVM_PREFIX);
    install
}

/// Builds a verb of cargo into the checkout's .tools.
fn install_verb(name: &str, version: &str, root: &Path) -> Command {
    let mut install = Command::new("cargo");
    install
        .args(["install", name, "--version", version, "--locked", "--force"])
        .arg("--root")
        .arg(root.join(".tools"));
    install
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_thing_is_named_with_the_way_to_get_it() {
        let missing = Missing {
            toolchain: true,
            components: vec!["rust-src", "clippy"],
            bpf_linker: true,
            cargo_deny: true,
            cargo_fuzz: true,
            cargo_deb: true,
            grafana: true,
            packages: vec!["llvm-22", "llvm-22-dev", "g++", "dpkg-dev", "curl", "busybox-static"],
        };
        let items = missing.items();
        assert_eq!(items.len(), 14);
        for (item, how) in items.iter().zip([
            "llvm-objcopy, to strip the XDP program: apt-get install llvm-22",
            "to build bpf-linker: apt-get install llvm-22-dev",
            "to build libFuzzer: apt-get install g++",
            "for cargo xtask dist: apt-get install dpkg-dev",
            "for the tests: apt-get install curl",
            "for cargo xtask vm: apt-get install busybox-static",
            "such as 1.95, to build the XDP program: rustup toolchain install 1.95",
            "rustup component add rust-src",
            "for cargo xtask lint: rustup component add clippy",
            "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0",
            "for the tests: npm ci --ignore-scripts --no-audit --no-fund --prefix tests/grafana",
            "for cargo xtask lint: cargo install cargo-deny --version",
            "for cargo xtask fuzz: cargo install cargo-fuzz --version",
            "for cargo xtask dist: cargo install cargo-deb --version",
        ]) {
            assert!(item.contains(how), "{item}\nlacks\n{how}");
        }
    }

    #[test]
    fn a_linter_is_there_when_it_runs() {
        // This very test was built by the toolchain that is asked; a verb that no component brings is missing anywhere.
        assert!(exec::ask(&mut workspace::cargo(["--version"])).is_some());
        assert!(exec::ask(&mut workspace::cargo(["no-such-linter", "--version"])).is_none());
        let folder = tempfile::tempdir().unwrap();
        let missing = Missing::find(folder.path(), Some(Purpose::Lint)).unwrap();
        assert!(!missing.toolchain && !missing.bpf_linker && missing.packages.is_empty());
        assert!(missing.components.iter().all(|c| LINTERS.iter().any(|(l, _)| l == c)));
    }

    #[test]
    fn fuzzer_and_packager_are_missing_only_where_they_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let missing = |purpose| Missing::find(folder.path(), purpose).unwrap();
        assert!(missing(Some(Purpose::Fuzz)).cargo_fuzz && !missing(Some(Purpose::Fuzz)).cargo_deb);
        assert!(missing(Some(Purpose::Dist)).cargo_deb && !missing(Some(Purpose::Dist)).cargo_fuzz);
        for purpose in [Some(Purpose::Test), None] {
            assert!(!missing(purpose).cargo_fuzz && !missing(purpose).cargo_deb);
        }
    }

    #[test]
    fn vms_need_packages_only() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Missing::find(folder.path(), Some(Purpose::Vm)).unwrap();
        assert!(!missing.toolchain && missing.components.is_empty() && !missing.bpf_linker);
        assert!(missing.packages.iter().all(|package| VM_PACKAGES.contains(package)));
    }

    #[test]
    fn tests_need_no_llvm() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Missing::find(folder.path(), Some(Purpose::Test)).unwrap();
        assert!(!missing.toolchain && missing.components.is_empty() && !missing.bpf_linker);
        assert!(missing.packages.iter().all(|package| TEST_PACKAGES.contains(package)
            || TEST_PROGRAMS.iter().chain(&BENCH_PROGRAMS).any(|(_, p)| p == package)));
    }

    #[test]
    fn the_bench_needs_packages_only() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Missing::find(folder.path(), Some(Purpose::Bench)).unwrap();
        assert!(!missing.toolchain && missing.components.is_empty() && !missing.bpf_linker);
        assert!(
            missing
                .packages
                .iter()
                .all(|package| BENCH_PROGRAMS.iter().any(|(_, p)| p == package))
        );
    }
}
