//! What the tests have from the npm registry: the versions and digests are those of tests/grafana/package-lock.json.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Where package.json lies, and what is installed.
const FOLDER: &str = "tests/grafana";

/// Is what the lock file names installed? npm notes it beside the packages, line for line.
pub(super) fn is_installed(root: &Path) -> bool {
    let read = |name| fs::read_to_string(root.join(FOLDER).join(name)).unwrap_or_default();
    let (wanted, there) = (read("package-lock.json"), read("node_modules/.package-lock.json"));
    let is_digest = |line: &&str| line.contains("\"integrity\"");
    wanted
        .lines()
        .filter(is_digest)
        .all(|digest| there.contains(digest.trim()))
}

/// Installs exactly that, and runs nothing of it.
pub(super) fn install(root: &Path) -> Command {
    let mut install = Command::new("npm");
    install
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"])
        .arg(root.join(FOLDER));
    install
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_counts_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, digests: &[&str]| {
            let path = folder.path().join(FOLDER).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let line = |digest: &&str| format!("  \"integrity\": \"sha512-{digest}\",\n");
            fs::write(path, digests.iter().map(line).collect::<String>()).unwrap();
        };
        write("package-lock.json", &["one", "two"]);
        assert!(!is_installed(folder.path()));
        write("node_modules/.package-lock.json", &["one", "old"]);
        assert!(!is_installed(folder.path()));
        write("node_modules/.package-lock.json", &["two", "one"]);
        assert!(is_installed(folder.path()));
    }
}
