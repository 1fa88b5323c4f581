//! What changes the digest, and what does not, on a workspace in miniature.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::of;
use crate::bpf::lock::closure;

const ROOT: &str = r#"
[workspace]
resolver = "3"
[workspace.package]
edition = "2024"
[workspace.dependencies]
aya-ebpf = "0.2"
tokio = "1"
[profile.release]
debug = 1
[profile.dist]
lto = "fat"
[profile.bpf]
inherits = "release"
lto = true
"#;

const LOCK: &str = r#"
version = 4
[[package]]
name = "aya-ebpf"
version = "0.2.1"
source = "registry"
checksum = "aa"
dependencies = ["proc 1.0.0"]
[[package]]
name = "lb-common"
version = "0.1.0"
dependencies = ["aya", "proptest"]
[[package]]
name = "lb-ebpf"
version = "0.1.0"
dependencies = ["aya-ebpf", "lb-common"]
[[package]]
name = "aya"
version = "0.14.0"
source = "registry"
checksum = "bb"
[[package]]
name = "proc"
version = "2.0.0"
source = "registry"
checksum = "dd"
[[package]]
name = "proc"
version = "1.0.0"
source = "registry"
checksum = "cc"
[[package]]
name = "proptest"
version = "1.0.0"
source = "registry"
checksum = "ee"
"#;

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A workspace with the two packages.
fn workspace() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "Cargo.toml", ROOT);
    write(root, "Cargo.lock", LOCK);
    write(
        root,
        "lb-ebpf/Cargo.toml",
        "[dependencies]\naya-ebpf.workspace = true\nlb-common.workspace = true\n",
    );
    write(root, "lb-ebpf/src/main.rs", "fn main() {}");
    write(
        root,
        "lb-common/Cargo.toml",
        "[dependencies]\naya = { workspace = true, optional = true }\n[dev-dependencies]\nproptest.workspace = true\n",
    );
    write(root, "lb-common/src/deep/hash.rs", "pub fn hash() {}");
    folder
}

/// Whether a change of one file, by replacing text or by creating it, changes the digest.
#[track_caller]
fn changes(file: &str, from: &str, to: &str) -> bool {
    let folder = workspace();
    let before = of(folder.path()).unwrap();
    let path = folder.path().join(file);
    let old = fs::read_to_string(&path).unwrap_or_default();
    assert!(from.is_empty() || old.contains(from), "{file} lacks {from}");
    write(
        folder.path(),
        file,
        &if from.is_empty() {
            to.to_owned()
        } else {
            old.replacen(from, to, 1)
        },
    );
    of(folder.path()).unwrap() != before
}

#[test]
fn the_folder_does_not_matter() {
    assert_eq!(of(workspace().path()).unwrap(), of(workspace().path()).unwrap());
}

#[test]
fn sources_matter() {
    assert!(changes("lb-ebpf/src/main.rs", "main", "niam"));
    assert!(changes("lb-common/src/deep/hash.rs", "hash", "hasi"));
    assert!(changes("lb-common/src/new.rs", "", ""), "an empty file too");
    assert!(changes("lb-ebpf/build.rs", "", "fn main() {}"));
    assert!(changes(
        "lb-ebpf/Cargo.toml",
        "aya-ebpf.workspace",
        "lb-common.default-features = true\naya-ebpf.workspace"
    ));
}

#[test]
fn what_is_built_does_not_matter() {
    assert!(!changes("lb-ebpf/object/fulcrum.bpf.o", "", "elf"));
    assert!(!changes("lb-ebpf/target/debug/x", "", "elf"));
    assert!(!changes("lb-common/tests/laws.rs", "", "fn test() {}"));
    assert!(!changes("lb-user/src/main.rs", "", "fn main() {}"));
}

#[test]
fn what_editors_leave_does_not_matter() {
    for file in [
        "lb-ebpf/src/.main.rs.swp",
        "lb-ebpf/src/main.rs~",
        "lb-ebpf/src/#main.rs#",
        "lb-common/src/deep/.#hash.rs",
        "lb-ebpf/Cargo.toml.orig",
    ] {
        assert!(!changes(file, "", "half a line"), "{file}");
    }
    let folder = workspace();
    let before = of(folder.path()).unwrap();
    std::os::unix::fs::symlink("somebody@somewhere.4711", folder.path().join("lb-ebpf/src/.#main.rs")).unwrap();
    assert_eq!(of(folder.path()).unwrap(), before, "a lock, which leads nowhere");
}

#[test]
fn settings_of_the_two_packages_matter() {
    assert!(changes("Cargo.toml", "lto = true", "lto = false"));
    assert!(changes("Cargo.toml", "debug = 1", "debug = 0"), "inherited");
    assert!(changes("Cargo.toml", "2024", "2021"));
    assert!(changes(
        "Cargo.toml",
        "aya-ebpf = \"0.2\"",
        "aya-ebpf = { version = \"0.2\", features = [\"x\"] }"
    ));
    assert!(
        !changes("Cargo.toml", "lto = \"fat\"", "lto = \"thin\""),
        "another profile"
    );
    assert!(
        !changes("Cargo.toml", "tokio = \"1\"", "tokio = \"1.2\""),
        "the manager's dependency"
    );
}

#[test]
fn only_locked_versions_that_it_resolves_to_matter() {
    assert!(changes("Cargo.lock", "\"aa\"", "\"a1\""));
    assert!(changes("Cargo.lock", "\"cc\"", "\"c1\""), "through another package");
    assert!(
        !changes("Cargo.lock", "\"dd\"", "\"d1\""),
        "another version of the same name"
    );
    assert!(!changes("Cargo.lock", "\"bb\"", "\"b1\""), "optional");
    assert!(!changes("Cargo.lock", "\"ee\"", "\"e1\""), "for tests");
    let lines = closure(workspace().path(), "lb-ebpf").unwrap();
    assert_eq!(
        lines,
        ["aya-ebpf 0.2.1 aa", "lb-common 0.1.0", "lb-ebpf 0.1.0", "proc 1.0.0 cc"]
    );
}
