//! Whose rights programs have: `script-user` of `[node]`.

use std::ffi::CString;
use std::io;

use nix::unistd::{self, Gid, Uid, setgid, setgroups, setuid};

use crate::config::{ConfigError, Parsed, Subject};

/// A user of this machine, as it was when it was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    uid: Uid,
    gid: Gid,
    /// All of them, so that nothing has to be asked between fork and exec.
    groups: Vec<Gid>,
}

impl User {
    /// The user that a configuration names; `None` where it names none.
    ///
    /// # Errors
    /// When this machine has no such user, at the place of the name.
    pub fn of(parsed: &Parsed) -> Result<Option<Self>, ConfigError> {
        let Some(name) = &parsed.config.node.script_user else {
            return Ok(None);
        };
        let wrong = |message: String, hint: &str| Err(parsed.error_at(&Subject::ScriptUser, message, hint));
        match Self::named(name) {
            Ok(Some(user)) => Ok(Some(user)),
            Ok(None) => wrong(
                format!("this machine has no user `{name}`"),
                "name one of `getent passwd`, such as \"nobody\"; or make one: useradd --system NAME",
            ),
            Err(error) => wrong(
                format!("this machine does not say who `{name}` is: {error}"),
                "see that `getent passwd` works, or leave `script-user` out",
            ),
        }
    }

    fn named(name: &str) -> io::Result<Option<Self>> {
        let Some(user) = unistd::User::from_name(name)? else {
            return Ok(None);
        };
        let groups = unistd::getgrouplist(&CString::new(name)?, user.gid)?;
        Ok(Some(Self {
            uid: user.uid,
            gid: user.gid,
            groups,
        }))
    }

    /// Becomes this user, for good. Only asks the kernel, so that it may come between fork and exec.
    pub(super) fn assume(&self) -> io::Result<()> {
        // The user last: it may not change the others.
        setgroups(&self.groups)?;
        setgid(self.gid)?;
        Ok(setuid(self.uid)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(user: &str) -> Parsed {
        let text = format!(
            "[node]\ninterfaces = [\"eth0\"]\nscript-user = \"{user}\"\n[[service]]\nname = \"web\"\n\
             address = \"192.0.2.1:80\"\nmode = \"dsr\"\n[[service.backend]]\naddress = \"10.0.0.1:80\"\n"
        );
        crate::config::parse("fulcrum.toml", &text).unwrap()
    }

    #[test]
    fn a_user_is_looked_up_and_an_unknown_one_is_refused_at_its_place() {
        let root = User::of(&parsed("root")).unwrap().unwrap();
        assert!(root.uid.is_root() && root.groups.contains(&root.gid));
        let error = User::of(&parsed("nobody-of-this-name")).unwrap_err();
        let said = (error.line(), error.message());
        assert_eq!(
            said,
            (Some(3), "this machine has no user `nobody-of-this-name`"),
            "{error}"
        );
        assert!(
            error.hint().is_some_and(|hint| hint.contains("getent passwd")),
            "{error}"
        );
    }
}
