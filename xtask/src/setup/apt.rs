//! Debian packages: whether they are there, and installing them without starting what they bring.

use std::process::Command;

use anyhow::{Result, anyhow, ensure};

use crate::{exec, privilege};

/// Where Debian's package scripts ask whether they may start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Where systemd keeps which units start at boot.
const UNITS: &str = "/etc/systemd/system";

/// Installs the packages "$@" behind a policy that forbids to start services. One that stands there already is the
/// administrator's, and stays. Packages enable their services all the same, so what they have enabled is disabled again.
/// The trap does so, and takes our policy away, also after a failure or Ctrl-C.
const INSTALL: &str = r#"
set -e
policy=$1 units=$2; shift 2
enabled() { find "$units" -type l -path '*.wants/*' 2>/dev/null || true; }
before=$(enabled)
ours=
restore() {
    [ -z "$ours" ] || rm -f "$policy"
    enabled | while read -r link; do
        printf '%s\n' "$before" | grep -Fqx "$link" || rm -f "$link"
    done
}
trap restore EXIT
trap 'exit 130' INT TERM HUP
if [ ! -e "$policy" ]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends "$@"
"#;

/// Whether dpkg has a package installed.
pub(super) fn is_installed(package: &str) -> bool {
    let status = exec::ask(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]));
    status.is_some_and(|status| status.contains("installed") && !status.contains("not-installed"))
}

/// Installs packages as root.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    ensure!(
        exec::find("apt-get").is_some(),
        "there is no apt-get here: get what these Debian packages hold: {list}"
    );
    let root = privilege::root().map_err(|why| anyhow!("{why}: let root run `apt-get install {list}`"))?;
    exec::run(
        root.command("sh")
            .args(["-c", INSTALL, "sh", POLICY, UNITS])
            .args(packages),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Another process writes it: what a neighbouring test forks just then would have it open for writing too, and
    /// running it fails meanwhile (ETXTBSY, execve(2)).
    fn write_script(path: &Path, text: &str) {
        let mut sh = Command::new("sh");
        exec::run(
            sh.args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""])
                .arg(path)
                .arg(text),
        )
        .unwrap();
    }

    /// Runs the script with an apt-get that notes its arguments and whether the policy forbids; true when it succeeds.
    fn install_with(folder: &Path, apt_ends_with: i32) -> bool {
        let apt = folder.join("apt-get");
        let (log, policy) = (folder.join("log"), folder.join("policy-rc.d"));
        let wants = folder.join("multi-user.target.wants");
        fs::create_dir_all(&wants).unwrap();
        std::os::unix::fs::symlink("x", wants.join("old.service")).unwrap();
        let ask = format!("{} ; echo \"policy $? $*\" >> {}", policy.display(), log.display());
        let text = format!(
            "#!/bin/sh\n{ask}\n[ $1 = update ] && exit\nln -s x {wants}/new.service\nexit {apt_ends_with}\n",
            wants = wants.display()
        );
        write_script(&apt, &text);
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let mut sh = Command::new("sh");
        sh.args(["-c", INSTALL, "sh"])
            .args([policy.as_path(), folder])
            .args(["one", "two"])
            .env("PATH", path);
        exec::run(&mut sh).is_ok()
    }

    #[test]
    fn services_stay_off_while_packages_are_installed_and_only_then() {
        for (ends_with, succeeds) in [(0, true), (100, false)] {
            let folder = tempfile::tempdir().unwrap();
            assert_eq!(install_with(folder.path(), ends_with), succeeds);
            let log = fs::read_to_string(folder.path().join("log")).unwrap();
            assert_eq!(
                log,
                "policy 101 update\npolicy 101 install --yes --no-install-recommends one two\n"
            );
            assert!(
                !folder.path().join("policy-rc.d").exists(),
                "left behind after exit code {ends_with}"
            );
            let enabled = fs::read_dir(folder.path().join("multi-user.target.wants")).unwrap();
            let enabled: Vec<_> = enabled.map(|e| e.unwrap().file_name()).collect();
            assert_eq!(enabled, ["old.service"], "after exit code {ends_with}");
        }
    }

    #[test]
    fn a_policy_of_the_administrator_stays() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy-rc.d");
        write_script(&policy, "#!/bin/sh\nexit 7\n");
        assert!(install_with(folder.path(), 0));
        assert_eq!(fs::read_to_string(policy).unwrap(), "#!/bin/sh\nexit 7\n");
    }
}
