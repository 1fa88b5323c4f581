//! Debian's kernels: which package is the newest of a series, and its files below target/vm.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::exec;

/// A kernel package, unpacked.
#[derive(Debug)]
pub(super) struct Kernel {
    /// What the user calls it, such as 6.1.
    pub(super) series: String,
    /// Debian's package.
    pub(super) package: String,
    /// Where it is unpacked.
    folder: PathBuf,
    /// What `uname -r` says in it, which is how its files are named.
    release: String,
}

impl Kernel {
    /// The newest of a series that apt offers, fetched and unpacked below `folder` if it is not there yet.
    pub(super) fn fetch(series: &str, folder: &Path) -> Result<Self> {
        let package = find(series)?;
        let release = package.trim_start_matches(PREFIX).to_owned();
        let kernel = Self {
            series: series.to_owned(),
            folder: folder.join(&package),
            package,
            release,
        };
        if !kernel.folder.exists() {
            kernel.unpack(folder)?;
        }
        ensure!(
            kernel.image().exists() && kernel.tree().exists(),
            "{} lacks the kernel or its modules: remove it, and it is fetched again",
            kernel.folder.display()
        );
        Ok(kernel)
    }

    /// Fetches and unpacks beside the place and moves it there at the end, so that what is there is whole.
    fn unpack(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let work = tempfile::tempdir_in(folder).with_context(|| folder.display().to_string())?;
        println!("Fetching {}", self.package);
        exec::run(
            Command::new("apt-get")
                .args(["download", "-qq", &self.package])
                .current_dir(work.path()),
        )
        .context("apt's lists may be old: let root run `apt-get update`")?;
        let files = fs::read_dir(work.path())?.collect::<Result<Vec<_>, _>>()?;
        let [archive] = files.as_slice() else {
            bail!(
                "apt-get download {} made {} files instead of one",
                self.package,
                files.len()
            );
        };
        let unpacked = work.path().join("unpacked");
        exec::run(Command::new("dpkg").arg("-x").arg(archive.path()).arg(&unpacked))?;
        // The package's own script would do this after an installation: which module needs which.
        exec::run(
            Command::new("busybox")
                .args(["depmod", "-b"])
                .arg(&unpacked)
                .arg(&self.release),
        )?;
        fs::rename(&unpacked, &self.folder).with_context(|| self.folder.display().to_string())
    }

    /// The compressed kernel.
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// Its modules.
    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release)
    }

    /// The files of these modules and of all that they need, in the order of loading. What is built in has none.
    pub(super) fn with_what_they_need(&self, modules: &[&str]) -> Result<Vec<PathBuf>> {
        let read = |name| {
            let file = self.tree().join(name);
            fs::read_to_string(&file).with_context(|| file.display().to_string())
        };
        let order = load_order(&read("modules.dep")?, &read("modules.builtin")?, modules)?;
        Ok(order.iter().map(|file| self.tree().join(file)).collect())
    }
}

/// How the packages' names begin.
const PREFIX: &str = "linux-image-";

/// Asks apt for the newest package of a series.
pub(super) fn find(series: &str) -> Result<String> {
    ensure!(
        exec::find("apt-cache").is_some(),
        "the kernels are Debian's, and there is no apt-cache here"
    );
    let pattern = format!("^{PREFIX}{}\\.", series.replace('.', "\\."));
    let found = exec::output(Command::new("apt-cache").args(["search", "--names-only", &pattern]))?;
    let names = found.lines().filter_map(|line| line.split(' ').next());
    newest(names, series).with_context(|| {
        format!("apt offers no kernel {series} for amd64: another series, or let root run `apt-get update`")
    })
}

/// The newest package of a series among these: for amd64, of the plain flavour, signed, without debug symbols.
fn newest<'a>(names: impl Iterator<Item = &'a str>, series: &str) -> Option<String> {
    names
        .filter_map(|name| Some((version(name, series)?, name)))
        .max()
        .map(|(_, name)| name.to_owned())
}

/// The numbers behind the series in a package's name; `None` for other series and flavours.
fn version(name: &str, series: &str) -> Option<Vec<u32>> {
    let rest = name.strip_prefix(PREFIX)?.strip_prefix(series)?.strip_prefix('.')?;
    let version = rest.strip_suffix("-amd64")?;
    // Of a backport: 6.12.117+deb12.
    let (version, debian) = version.split_once("+deb").unwrap_or((version, "0"));
    debian.parse::<u32>().ok()?;
    version.split(['.', '-']).map(|number| number.parse().ok()).collect()
}

/// Files of modules and of what they need, each behind all that it needs; by modules.dep and modules.builtin.
fn load_order(dependencies: &str, builtin: &str, modules: &[&str]) -> Result<Vec<String>> {
    let needs: BTreeMap<&str, Vec<&str>> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (file, needs.split_whitespace().collect()))
        .collect();
    let mut order = Vec::new();
    for &module in modules {
        if let Some(file) = needs.keys().find(|file| stem(file) == module) {
            add(file, &needs, &mut order);
        } else if !builtin.lines().any(|file| stem(file) == module) {
            bail!("this kernel has no module {module}");
        }
    }
    Ok(order)
}

fn add(file: &str, needs: &BTreeMap<&str, Vec<&str>>, order: &mut Vec<String>) {
    for needed in needs.get(file).into_iter().flatten() {
        add(needed, needs, order);
    }
    if !order.iter().any(|there| there == file) {
        order.push(file.to_owned());
    }
}

/// The module's name: its file's without folder and endings, where `-` and `_` are the same.
fn stem(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_series_is_chosen_among_the_plain_ones() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-47-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-57-amd64-dbg",
            "linux-image-6.1.0-57-amd64-unsigned",
            "linux-image-6.1.0-57-cloud-amd64",
            "linux-image-6.1.0-57-rt-amd64",
            "linux-image-6.1.0-57-arm64",
            "linux-image-6.12.9+deb12-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.118+deb12-cloud-amd64",
            "linux-image-6.12.118+bpo-amd64",
            "linux-image-amd64",
        ];
        let newest = |series| newest(names.into_iter(), series);
        assert_eq!(newest("6.1").as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(newest("6.12").as_deref(), Some("linux-image-6.12.117+deb12-amd64"));
        assert_eq!(newest("6.12.9").as_deref(), None, "a series, not a version");
        assert_eq!(newest("6.13"), None);
    }

    #[test]
    fn modules_come_behind_what_they_need() {
        let dependencies = "kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz\n\
            kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz\n\
            kernel/fs/netfs/netfs.ko.xz:\n\
            kernel/fs/overlayfs/overlay.ko.xz:\n\
            kernel/drivers/net/other-name.ko.xz:\n";
        let builtin = "kernel/drivers/virtio/virtio_pci.ko\n";
        let order = load_order(dependencies, builtin, &["virtio_pci", "9p", "overlay", "other_name"]).unwrap();
        let stems: Vec<_> = order.iter().map(|file| stem(file)).collect();
        assert_eq!(stems, ["netfs", "9pnet", "9p", "overlay", "other_name"]);
        let error = load_order(dependencies, builtin, &["9pnet_virtio"]).unwrap_err();
        assert_eq!(error.to_string(), "this kernel has no module 9pnet_virtio");
    }
}
