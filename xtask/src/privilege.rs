//! Root for the commands that need it, and for nothing else: building runs as the user.
//!
//! Who has to type a password does so before anything is built, and can leave while it is.

use std::env;
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::process::Command;

use crate::exec;

/// How this user runs something as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// It is root.
    Already,
    /// By sudo.
    Sudo,
}

/// How to become root; the error says why it cannot be done. Where sudo wants a password and there is a terminal, it
/// asks now, and remembers the answer for as long as it is configured to.
pub(crate) fn root() -> Result<Root, &'static str> {
    if nix::unistd::geteuid().is_root() {
        return Ok(Root::Already);
    }
    if exec::find("sudo").is_none() {
        return Err("you are not root, and there is no sudo");
    }
    by_sudo(
        || exec::ask(Command::new("sudo").args(["-n", "true"])).is_some(),
        std::io::stdin().is_terminal(),
        || exec::run(Command::new("sudo").arg("-v")).is_ok(),
    )
}

/// Whether sudo will do, `unasked` or after it has `asked` at a terminal.
fn by_sudo(unasked: impl FnOnce() -> bool, terminal: bool, asked: impl FnOnce() -> bool) -> Result<Root, &'static str> {
    if unasked() {
        return Ok(Root::Sudo);
    }
    if !terminal {
        return Err("you are not root, and sudo wants a password but has no terminal to ask for it");
    }
    if asked() {
        Ok(Root::Sudo)
    } else {
        Err("you are not root, and sudo refuses")
    }
}

impl Root {
    /// A command that runs `program` as root. Of this environment it sees what the project's own programs read
    /// (`FULCRUM_*`, `RUST_*`), whatever sudo's configuration keeps.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Already => Command::new(program),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.arg("env");
                for (name, value) in env::vars_os().filter(|(name, _)| passes(&name.to_string_lossy())) {
                    command.arg(assignment(&name, &value));
                }
                command.arg(program);
                command
            }
        }
    }

    /// The same with more variables.
    pub(crate) fn command_with(self, variables: &[(&str, &OsStr)], program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Already => {
                let mut command = Command::new(program);
                command.envs(variables.iter().copied());
                command
            }
            Self::Sudo => {
                let mut command = self.command("env");
                command.args(
                    variables
                        .iter()
                        .map(|(name, value)| assignment(OsStr::new(name), value)),
                );
                command.arg(program);
                command
            }
        }
    }
}

fn passes(name: &str) -> bool {
    name.starts_with("FULCRUM_") || name.starts_with("RUST_")
}

fn assignment(name: &OsStr, value: &OsStr) -> std::ffi::OsString {
    let mut text = name.to_owned();
    text.push("=");
    text.push(value);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_runs_the_program_with_the_variables_it_needs() {
        let command = Root::Sudo.command_with(&[("FULCRUM_BIN", OsStr::new("/a b/fulcrum"))], "/t/verifier");
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        assert_eq!(command.get_program(), "sudo");
        assert_eq!(words[0], "env");
        assert!(words.ends_with(&["env".into(), "FULCRUM_BIN=/a b/fulcrum".into(), "/t/verifier".into()]));
    }

    #[test]
    fn a_password_is_asked_for_once_and_only_where_somebody_can_type_it() {
        let never = || -> bool { panic!("sudo needs no password, or has no terminal") };
        assert_eq!(by_sudo(|| true, true, never), Ok(Root::Sudo));
        assert_eq!(by_sudo(|| true, false, never), Ok(Root::Sudo));
        assert!(by_sudo(|| false, false, never).unwrap_err().contains("no terminal"));
        assert_eq!(by_sudo(|| false, true, || true), Ok(Root::Sudo));
        assert!(by_sudo(|| false, true, || false).unwrap_err().contains("refuses"));
    }

    #[test]
    fn root_runs_it_as_it_is() {
        let command = Root::Already.command_with(&[("FULCRUM_BIN", OsStr::new("/f"))], "/t/verifier");
        assert_eq!(exec::shown(&command), "/t/verifier");
        assert_eq!(command.get_envs().count(), 1);
    }
}
