//! Every external command goes through here, so that an error always shows the command line that failed.

use std::env;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Error, Result, bail};

/// Runs a command with the terminal's own input and output; an error when it ends with anything but 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| shown(command))?;
    if !status.success() {
        bail!("{}: {status}", shown(command));
    }
    Ok(())
}

/// Starts a command; whoever waits for its end judges it.
pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| shown(command))
}

/// Becomes a command: its signals, its end and its exit code are this process's. Comes back only with an error.
pub(crate) fn replace(command: &mut Command) -> Error {
    Error::from(command.exec()).context(shown(command))
}

/// Runs a command and returns its standard output as text; its standard error goes to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| shown(command))?;
    if !output.status.success() {
        bail!("{}: {}", shown(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{}: output is not text", shown(command)))
}

/// Runs a command in silence and returns its standard output when it ends with 0: for questions whose "no" is no error.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command line, as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = String::new();
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        let word = word.to_string_lossy();
        if !line.is_empty() {
            line.push(' ');
        }
        if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"$`\\|&;<>()*?".contains(c)) {
            line.push_str(&format!("'{}'", word.replace('\'', r"'\''")));
        } else {
            line.push_str(&word);
        }
    }
    line
}

/// Where PATH finds a program.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    find_in(&env::var_os("PATH")?, program)
}

/// Where a PATH-like list finds a program.
pub(crate) fn find_in(path: &OsStr, program: &str) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_the_command_line() {
        let error = run(Command::new("false").args(["plain", "two words", "it's"])).unwrap_err();
        assert_eq!(error.to_string(), r"false plain 'two words' 'it'\''s': exit status: 1");
        let error = output(&mut Command::new("/no/such/program")).unwrap_err();
        assert_eq!(error.to_string(), "/no/such/program");
        let error = spawn(Command::new("/no/such/program").arg("a")).unwrap_err();
        assert_eq!(error.to_string(), "/no/such/program a");
        let error = replace(Command::new("/no/such/program").arg("a b"));
        assert_eq!(error.to_string(), "/no/such/program 'a b'");
    }

    #[test]
    fn a_no_is_no_error() {
        assert_eq!(ask(&mut Command::new("false")), None);
        assert_eq!(ask(Command::new("echo").arg("yes")).as_deref(), Some("yes\n"));
        assert_eq!(ask(&mut Command::new("/no/such/program")), None);
    }

    #[test]
    fn programs_are_found_in_the_order_of_path() {
        assert!(find_in(OsStr::new("/nowhere:/bin:/usr/bin"), "sh").is_some_and(|sh| sh.starts_with("/bin")));
        assert_eq!(find_in(OsStr::new("/etc"), "passwd"), None, "not executable");
    }
}
