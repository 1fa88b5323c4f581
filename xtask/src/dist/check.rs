//! Whether a package is whole: what is in it, and that it comes and goes without a trace.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::exec;
use crate::privilege::Root;

/// What it has besides the manual and documents.
const FILES: [&str; 7] = [
    "usr/bin/fulcrum",
    "etc/fulcrum/fulcrum.toml",
    "usr/lib/systemd/system/fulcrum.service",
    "usr/share/bash-completion/completions/fulcrum",
    "usr/share/zsh/vendor-completions/_fulcrum",
    "usr/share/fish/vendor_completions.d/fulcrum.fish",
    "usr/share/doc/fulcrum/example.toml",
];

/// Looks whether everything is in the package `deb`: also a page of the manual for each one in `folder`.
pub(super) fn contents(deb: &Path, folder: &Path) -> Result<()> {
    let listed = exec::output(Command::new("dpkg-deb").arg("--contents").arg(deb))?;
    let has = files(&listed);
    let mut wanted: BTreeSet<String> = FILES.map(str::to_owned).into();
    let man = folder.join("man");
    for page in fs::read_dir(&man).with_context(|| man.display().to_string())? {
        let page = page?.file_name();
        wanted.insert(format!("usr/share/man/man1/{}.gz", page.to_string_lossy()));
    }
    let missing: Vec<_> = wanted.difference(&has).collect();
    ensure!(missing.is_empty(), "{} lacks {missing:?}", deb.display());
    Ok(())
}

/// The paths in a listing of dpkg-deb, which is tar's; folders aside.
fn files(listed: &str) -> BTreeSet<String> {
    let paths = listed.lines().filter_map(|line| line.split_whitespace().nth(5));
    let files = paths.filter(|path| !path.ends_with('/'));
    files.map(|path| path.trim_start_matches("./").to_owned()).collect()
}

/// Installs the package into an empty folder, removes it and purges it. Its scripts run without chroot, and leave the
/// machine alone since `DPKG_ROOT` says so.
pub(super) fn installs(by: Root, deb: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    for part in ["var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        fs::create_dir_all(root.join(part))?;
    }
    fs::write(root.join("var/lib/dpkg/status"), "")?;
    let dpkg = |arguments: &[&str]| {
        let mut dpkg = by.command("dpkg");
        dpkg.arg(format!("--root={}", root.display()))
            // libc is not in the folder.
            .args(["--force-script-chrootless", "--force-depends", "--no-triggers"])
            .args(arguments);
        exec::output(&mut dpkg)
    };
    dpkg(&["--install", &deb.to_string_lossy()])?;
    for file in FILES {
        ensure!(root.join(file).is_file(), "installed, but {file} is not there");
    }
    // What somebody has written stays when the package goes, and leaves with all that it is about.
    let own = "[node]\ninterfaces = [\"eth0\"]\n";
    let configuration = root.join("etc/fulcrum/fulcrum.toml");
    let state = root.join("var/lib/fulcrum");
    fs::create_dir_all(&state)?;
    fs::write(state.join("seed"), [7; 16])?;
    fs::write(&configuration, own)?;
    dpkg(&["--install", "--force-confold", &deb.to_string_lossy()])?;
    dpkg(&["--remove", "fulcrum"])?;
    ensure!(
        fs::read_to_string(&configuration).is_ok_and(|text| text == own) && state.exists(),
        "removed, and what was configured is not as it was"
    );
    dpkg(&["--purge", "fulcrum"])?;
    let left = left(root)?;
    ensure!(left.is_empty(), "purged, and there still are {left:?}");
    Ok(())
}

/// Every file below `root` but dpkg's own.
fn left(root: &Path) -> Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.starts_with(root.join("var/lib/dpkg")) {
                left.push(path);
            }
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn a_listing_is_read() {
        let listed = "drwxr-xr-x 0/0 0 2026-11-28 07:00 ./usr/bin/\n\
            -rwxr-xr-x 0/0 7 2026-11-28 07:00 ./usr/bin/fulcrum\n";
        assert_eq!(files(listed), ["usr/bin/fulcrum".to_owned()].into());
    }

    /// Without building it: what the manifest lists and is kept in the repository is there, and the example of
    /// `packaging` says nothing until somebody takes the signs off.
    #[test]
    fn the_manifest_lists_what_there_is() {
        let root = workspace::root();
        let manifest: toml::Table = fs::read_to_string(root.join("lb-user/Cargo.toml"))
            .unwrap()
            .parse()
            .unwrap();
        let deb = &manifest["package"]["metadata"]["deb"];
        let assets: Vec<_> = deb["assets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a[0].as_str().unwrap())
            .collect();
        let kept = assets
            .iter()
            .filter(|path| !path.contains("target/") && !path.contains('*'));
        for path in kept {
            assert!(root.join("lb-user").join(path).is_file(), "{path}");
        }
        for script in ["postinst", "prerm", "postrm"] {
            assert!(root.join("packaging/debian").join(script).is_file(), "{script}");
        }
        let example = fs::read_to_string(root.join("packaging/fulcrum.toml")).unwrap();
        assert!(example.lines().all(|line| line.is_empty() || line.starts_with('#')));
        let own: String = example
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|l| !l.starts_with(' '))
            .collect::<Vec<_>>()
            .join("\n");
        assert!(own.parse::<toml::Table>().unwrap().contains_key("service"), "{own}");
    }
}
