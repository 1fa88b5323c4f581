//! Programs that a test brings along: scripts, and the binary where somebody else than root can reach it.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::fulcrum;

/// Writes a program that everybody may run.
///
/// Another process writes it. Had this one the file open for writing, so would for a moment whatever a neighbouring
/// test forks just then, and while it does the program cannot be run: ETXTBSY (execve(2)).
///
/// # Panics
/// When it cannot be written.
pub fn write(program: &Path, mut content: impl Read) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(program)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sh");
    let copied = io::copy(&mut content, &mut writer.stdin.take().expect("a pipe"));
    assert!(
        writer.wait().expect("a child").success(),
        "{}: {copied:?}",
        program.display()
    );
}

/// The binary as nobody runs it, who may not be able to reach that of the workspace: a copy in a folder, which is opened
/// to all.
///
/// # Panics
/// When it cannot be copied.
pub fn fulcrum_as_nobody(folder: &Path) -> Command {
    let copy = folder.join("fulcrum");
    write(&copy, File::open(fulcrum().get_program()).expect("fulcrum is built"));
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("a folder of ours");
    let mut command = Command::new(copy);
    command.uid(65534).gid(65534);
    command
}
