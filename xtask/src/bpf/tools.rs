//! What building the XDP program takes, and where it is found: a rustc of the linker's LLVM, rust-src, bpf-linker,
//! llvm-objcopy.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::exec;

/// The linker's version; the object's bytes depend on it.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

/// Where Debian puts LLVM, in the major version that the linker is built against and that Rust 1.95 carries.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// The major version of LLVM: the linker reads the bitcode that rustc writes, and is built against this one.
const LLVM_MAJOR: u32 = 22;

/// A toolchain that will do, for people.
pub(crate) const TOOLCHAIN: &str = "a Rust toolchain with LLVM 22, such as 1.95";

/// Everything that [`super::build::object`] runs.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// cargo of the active toolchain.
    pub(crate) cargo: PathBuf,
    /// rustc of the active toolchain.
    pub(crate) rustc: PathBuf,
    /// `rustc -V`.
    pub(crate) rustc_version: String,
    /// The toolchain's folder.
    pub(crate) sysroot: PathBuf,
    /// bpf-linker, in the version above.
    pub(crate) linker: PathBuf,
    /// Takes the DWARF out.
    pub(crate) objcopy: PathBuf,
}

impl Tools {
    /// Finds all of them; the error lists all that are missing.
    pub(crate) fn find(root: &Path) -> Result<Self> {
        let sysroot = sysroot()?;
        let (source, linker, objcopy) = (rust_src(&sysroot), linker(root), objcopy());
        let mut missing = Vec::new();
        if !rustc_fits() {
            missing.push(TOOLCHAIN.to_owned());
        }
        if source.is_none() {
            missing.push("rust-src".to_owned());
        }
        if linker.is_none() {
            missing.push(format!("bpf-linker {LINKER_VERSION}"));
        }
        if objcopy.is_none() {
            missing.push("llvm-objcopy 22".to_owned());
        }
        ensure!(missing.is_empty(), "{}", missing.join(", "));
        let rustc = rustc();
        Ok(Self {
            cargo: cargo(),
            rustc_version: exec::output(Command::new(&rustc).arg("-V"))?.trim().to_owned(),
            rustc,
            sysroot,
            linker: linker.unwrap_or_default(),
            objcopy: objcopy.unwrap_or_default(),
        })
    }
}

/// cargo as it was called: it says itself where it is.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// rustc: cargo tells a build script; elsewhere PATH says, and rustup's proxy there follows `cargo +toolchain`.
pub(crate) fn rustc() -> PathBuf {
    env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from)
}

/// Whether rustc writes what the linker reads.
pub(crate) fn rustc_fits() -> bool {
    exec::ask(Command::new(rustc()).arg("-vV")).and_then(|text| llvm_major(&text)) == Some(LLVM_MAJOR)
}

/// The major version of LLVM in what `rustc -vV` says.
fn llvm_major(text: &str) -> Option<u32> {
    let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.trim().parse().ok()
}

/// The active toolchain's folder.
pub(crate) fn sysroot() -> Result<PathBuf> {
    Ok(PathBuf::from(
        exec::output(Command::new(rustc()).args(["--print", "sysroot"]))?.trim(),
    ))
}

/// The standard library's sources in a toolchain, from which `core` is built for the BPF target.
pub(crate) fn rust_src(sysroot: &Path) -> Option<PathBuf> {
    let library = sysroot.join("lib/rustlib/src/rust/library");
    library.join("core/src/lib.rs").is_file().then_some(library)
}

/// bpf-linker in its version: the project's own first, then those of PATH.
pub(crate) fn linker(root: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(root.join(".tools/bin")).chain(env::split_paths(&path));
    folders.map(|folder| folder.join("bpf-linker")).find(|file| {
        let version = file
            .is_file()
            .then(|| exec::ask(Command::new(file).arg("--version")))
            .flatten();
        version.is_some_and(|text| text.trim() == format!("bpf-linker {LINKER_VERSION}"))
    })
}

/// llvm-objcopy of the same LLVM.
pub(crate) fn objcopy() -> Option<PathBuf> {
    let debian = Path::new(LLVM_PREFIX).join("bin/llvm-objcopy");
    if debian.is_file() {
        Some(debian)
    } else {
        exec::find("llvm-objcopy-22")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_rustc_is_read() {
        let text = "rustc 1.95.0 (59807616e 2026-04-14)\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.2\n";
        assert_eq!(llvm_major(text), Some(LLVM_MAJOR));
        assert_eq!(llvm_major("LLVM version: 21.1.8\n"), Some(21));
        assert_eq!(llvm_major("LLVM version: 22\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.95.0 (built with cranelift)\n"), None);
        assert!(TOOLCHAIN.contains(&format!("LLVM {LLVM_MAJOR},")));
    }
}
