//! `cargo xtask vm`: the packet tables and the quickstart lab on other kernels, each in a VM of its own.
//!
//! `--ipvs` instead compares Fulcrum with the kernel's own balancer there, which hosts and containers seldom have.
//!
//! The kernels are Debian's packages, fetched below target/vm. A VM sees the host's files read-only, so it runs what was
//! built here; what it writes is gone with it. Nothing here needs root, since in the VM everything is root's.

mod guest;
mod initramfs;
mod job;
mod kernel;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::guest::Clock;
use self::job::Part;
use self::kernel::Kernel;
use crate::parts::Parts;
use crate::workspace::{self, Built, cargo};
use crate::{bpf, exec};

/// The series that are looked at unless others are named: Debian 12's own, and that of its backports and Debian 13.
const KERNELS: [&str; 2] = ["6.1", "6.12"];

/// What runs on this machine.
const PROGRAMS: [&str; 3] = ["qemu-system-x86_64", "busybox", "setpriv"];

/// How test programs are told that feed packets to the program by themselves: their sources use this module.
const TABLES: &str = "lb_tests::rig";

/// The lab's part.
const LAB: &str = "lab";

/// The comparison's part, and its program in lb-tests.
const IPVS: &str = "ipvs";

/// The part that is the comparison of labs, where there is IPVS to compare with.
const COMPARE: &str = "compare";

/// Run the packet tables and the quickstart lab in VMs with Debian's kernels 6.1 and 6.12
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A series of Debian's kernels, such as 6.1; may be given several times
    #[arg(long = "kernel", value_name = "SERIES", default_values = KERNELS)]
    kernels: Vec<String>,
    /// Every test program of tests/, not only the packet tables
    #[arg(long)]
    all: bool,
    /// Instead, compare Fulcrum with the kernel's IPVS: what a packet costs, and in a lab
    #[arg(long, conflicts_with_all = ["all", "test_arguments"])]
    ipvs: bool,
    /// Name the parts, and the kernels that apt offers, and run nothing
    #[arg(long)]
    list: bool,
    /// Minutes that a VM may take
    #[arg(long, value_name = "MINUTES", default_value = "30")]
    deadline: u64,
    /// Only parts whose name contains one of these
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// For the test programs, such as a test's name or --nocapture
    #[arg(last = true, value_name = "ARGUMENT")]
    test_arguments: Vec<OsString>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    let job = Job::of(&root, args)?;
    if args.list {
        println!("Parts: {}", job.names.join(", "));
        for series in &args.kernels {
            println!("Linux {series}: {}", kernel::find(series)?);
        }
        return Ok(());
    }
    for program in PROGRAMS {
        ensure!(
            exec::find(program).is_some(),
            "{program} is missing: see `cargo xtask setup --for vm`"
        );
    }
    let vm = root.join("target/vm");
    // First, so that nobody waits for a build to learn that there is none.
    let kernels = args
        .kernels
        .iter()
        .map(|series| Kernel::fetch(series, &vm.join("kernels")));
    let kernels = kernels.collect::<Result<Vec<_>>>()?;
    let parts = build(&root, &job.names, &args.test_arguments)?;
    let script = job::script(&variables(), job.modules, &parts);
    let busybox = exec::find("busybox").context("busybox was there")?;
    let mut verdicts = Parts::new("vm");
    for kernel in &kernels {
        verdicts.run(&format!("Linux {} ({})", kernel.series, kernel.package), || {
            let initramfs = initramfs::build(kernel, &busybox, &script)?;
            guest::Guest {
                kernel,
                clock: job.clock,
                folder: vm.join(&kernel.series),
                deadline: Duration::from_secs(args.deadline.saturating_mul(60)),
            }
            .run(&initramfs, &parts)
        });
    }
    verdicts.finish()
}

/// What VMs are started for.
struct Job {
    /// Names of the parts.
    names: Vec<String>,
    /// Modules that no program asks the kernel for.
    modules: &'static [&'static str],
    clock: Clock,
}

impl Job {
    fn of(root: &Path, args: &Args) -> Result<Self> {
        if args.ipvs {
            return Ok(Self {
                names: chosen(vec![IPVS.to_owned(), COMPARE.to_owned()], &args.filters),
                modules: &["ip_vs", "ip_vs_rr", "ip_vs_wrr"],
                clock: Clock::Instructions,
            });
        }
        Ok(Self {
            names: part_names(root, args)?,
            modules: &[],
            clock: Clock::Wall,
        })
    }
}

/// Names of the parts that the arguments choose.
fn part_names(root: &Path, args: &Args) -> Result<Vec<String>> {
    let folder = root.join("tests/tests");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let file = entry?.path();
        let Some(name) = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".rs")) else {
            continue;
        };
        let source = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        if args.all || source.contains(TABLES) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    names.push(LAB.to_owned());
    let chosen = chosen(names, &args.filters);
    ensure!(
        !chosen.is_empty(),
        "no part is called so; `cargo xtask vm --list` names them"
    );
    Ok(chosen)
}

/// Those that a filter is part of; all, where there is none.
fn chosen(mut names: Vec<String>, filters: &[String]) -> Vec<String> {
    names.retain(|name| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())));
    names
}

/// Builds what the parts run.
fn build(root: &Path, names: &[String], test_arguments: &[OsString]) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let has = |part: &str| names.iter().any(|name| name == part);
    let tests: Vec<&String> = names
        .iter()
        .filter(|name| ![LAB, IPVS, COMPARE].contains(&name.as_str()))
        .collect();
    if !tests.is_empty() {
        let fulcrum = workspace::build_fulcrum(false)?;
        let mut command = cargo(["test", "--package=lb-tests", "--no-run"]);
        command.args(tests.iter().map(|name| format!("--test={name}")));
        let mut built = workspace::build(&mut command)?;
        built.retain(|built| built.is_test);
        built.sort_by(|a, b| a.name.cmp(&b.name));
        parts.extend(
            built
                .into_iter()
                .map(|test| test_part(root, &fulcrum, test, test_arguments)),
        );
    }
    if has(IPVS) {
        let fulcrum = workspace::build_fulcrum(false)?;
        let mut built = workspace::build(&mut cargo(["build", "--package=lb-tests", "--bin", IPVS]))?;
        built.retain(|built| built.name == IPVS);
        parts.extend(built.into_iter().map(|program| test_part(root, &fulcrum, program, &[])));
    }
    let labs: [(&str, &[&str]); 2] = [
        (LAB, &["lab", "tour", "quickstart"]),
        (
            COMPARE,
            &["lab", "compare", "--quick", "--subject", "direct,dsr,nat,nftables,ipvs"],
        ),
    ];
    for (name, arguments) in labs.into_iter().filter(|(name, _)| has(name)) {
        parts.push(Part {
            name: name.to_owned(),
            folder: root.to_owned(),
            variables: Vec::new(),
            program: workspace::build_fulcrum(true)?,
            arguments: arguments.iter().map(OsString::from).collect(),
        });
    }
    for part in &parts {
        // The VM has folders of its own there.
        ensure!(
            !["/tmp", "/run"].iter().any(|hidden| part.program.starts_with(hidden)),
            "{} cannot be seen in a VM: build outside /tmp and /run",
            part.program.display()
        );
    }
    Ok(parts)
}

/// A test program as `cargo xtask test` runs it.
fn test_part(root: &Path, fulcrum: &Path, test: Built, arguments: &[OsString]) -> Part {
    let package = root.join("tests");
    Part {
        name: test.name,
        variables: vec![
            ("FULCRUM_BIN".to_owned(), fulcrum.into()),
            ("CARGO_MANIFEST_DIR".to_owned(), package.clone().into()),
            ("CARGO".to_owned(), bpf::tools::cargo().into()),
        ],
        folder: package,
        program: test.path,
        arguments: arguments.to_owned(),
    }
}

/// Of this environment, what programs and the project's own read; and where root's programs are.
fn variables() -> Vec<(String, OsString)> {
    let passes = |name: &str| name == "PATH" || name.starts_with("FULCRUM_") || name.starts_with("RUST_");
    let all = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut variables: Vec<_> = all.filter(|(name, _)| passes(name)).collect();
    for (name, path) in &mut variables {
        if name == "PATH" {
            path.push(":/usr/local/sbin:/usr/sbin:/sbin");
        }
    }
    variables.push(("HOME".to_owned(), "/root".into()));
    variables
}

/// A word as a shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_choose_parts_by_name() {
        let names = || ["nat", "nat_ports", "packets", "lab"].map(String::from).into();
        let with = |filters: &[&str]| chosen(names(), &filters.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(with(&[]), names());
        assert_eq!(with(&["nat", "lab"]), ["nat", "nat_ports", "lab"]);
        assert_eq!(with(&["nothing"]), [""; 0]);
    }

    #[test]
    fn the_packet_tables_are_found_by_their_sources() {
        let args = Args {
            kernels: Vec::new(),
            all: false,
            ipvs: false,
            list: true,
            deadline: 1,
            filters: Vec::new(),
            test_arguments: Vec::new(),
        };
        let names = part_names(&workspace::root(), &args).unwrap();
        assert!(names.iter().any(|name| name == "packets") && names.last().is_some_and(|name| name == LAB));
        assert!(!names.iter().any(|name| name == "daemon"), "{names:?}");
        let all = part_names(&workspace::root(), &Args { all: true, ..args }).unwrap();
        assert!(all.iter().any(|name| name == "daemon"));
    }
}
