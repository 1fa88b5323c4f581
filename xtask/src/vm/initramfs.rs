//! The archive that a VM's kernel unpacks as its first root: busybox, a script as the first process, and the modules
//! without which it cannot reach the host's files.
//!
//! The format is cpio's "newc", as the kernel documents it in Documentation/driver-api/early-userspace/buffer-format.rst:
//! headers of hexadecimal numbers, and everything padded to four bytes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::kernel::Kernel;

/// The first process.
const INIT: &str = include_str!("init.sh");

/// What has to be loaded to mount the host's files and to write above them. What is built in needs no loading.
const NEEDED: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// Folders of the first root.
const FOLDERS: [&str; 11] = [
    "bin",
    "sbin",
    "proc",
    "sys",
    "dev",
    "lower",
    "upper",
    "root",
    "lib",
    "lib/modules",
    "modules",
];

/// Type and permissions of a folder, a program, a symbolic link.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// The archive for a kernel; `job` is the script that [`INIT`] reads at the end.
pub(super) fn build(kernel: &Kernel, busybox: &Path, job: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.add(folder, FOLDER, &[]);
    }
    let busybox = fs::read(busybox).with_context(|| busybox.display().to_string())?;
    archive.add("bin/busybox", PROGRAM, &busybox);
    // Of this name the kernel asks for modules.
    archive.add("sbin/modprobe", LINK, b"/bin/busybox");
    archive.add("init", PROGRAM, INIT.as_bytes());
    let mut names = Vec::new();
    for file in kernel.with_what_they_need(&NEEDED)? {
        let name = file
            .file_name()
            .context("a module has a name")?
            .to_string_lossy()
            .into_owned();
        let content = fs::read(&file).with_context(|| file.display().to_string())?;
        archive.add(&format!("modules/{name}"), PROGRAM, &content);
        names.push(name);
    }
    let settings = format!(
        "modules='{}'\ntree={}\n",
        names.join(" "),
        super::quoted(&kernel.tree().to_string_lossy())
    );
    archive.add("settings", PROGRAM, settings.as_bytes());
    archive.add("job", PROGRAM, job.as_bytes());
    Ok(archive.finish())
}

/// An archive in the making.
#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds an entry; a link's content is where it leads to.
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let length = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // Inode, mode, owner, group, links, time, size, the device's numbers and the node's, the name's length, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut archive = Archive::default();
        archive.add("init", PROGRAM, b"hello");
        let bytes = archive.finish();
        let header = "070701\
            00000001\
            000081ED\
            00000000\
            00000000\
            00000001\
            00000000\
            00000005\
            00000000\
            00000000\
            00000000\
            00000000\
            00000005\
            00000000";
        assert_eq!(&bytes[..110], header.as_bytes());
        // 110 bytes of header and 5 of name make 115, padded to 116.
        assert_eq!(&bytes[110..124], b"init\0\0hello\0\0\0");
        assert!(bytes[124..].starts_with(b"070701"));
        assert_eq!(&bytes[124 + 110..], b"TRAILER!!!\0\0\0\0");
        assert_eq!(bytes.len() % 4, 0);
    }
}
