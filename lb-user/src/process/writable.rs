//! Programs that others than root may replace: whoever may write to one can do what the daemon can.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::PATH;
use crate::config::{Parsed, Subject, Warning};
use crate::model::vrrp::Tracked;
use crate::model::{Config, HealthKind, rights};

/// Warns of every such program of a configuration, where they run as the daemon does.
#[must_use]
pub fn warnings(parsed: &Parsed) -> Vec<Warning> {
    let Config {
        node,
        services,
        routers,
        ..
    } = &parsed.config;
    if node.script_user.is_some() {
        return Vec::new();
    }
    let of_services = services.iter().filter_map(|service| match &service.health.kind {
        HealthKind::Script(script) => Some(&script.program),
        _ => None,
    });
    let of_routers = routers.iter().flat_map(|router| {
        let tracked = router.tracks.iter().filter_map(|track| match &track.subject {
            Tracked::Script(script) => Some(&script.program.path),
            _ => None,
        });
        tracked.chain(router.notify.values().map(|program| &program.path))
    });
    let mut programs: Vec<&PathBuf> = of_services.chain(of_routers).collect();
    programs.sort();
    programs.dedup();
    let warning = |program: &PathBuf| {
        let open = open_to_others(&found(program)?)?;
        let message = format!(
            "others than root may write to {}, and so do what the daemon may",
            open.display()
        );
        let hint = format!(
            "chown root {0} && chmod go-w {0}; or let programs run as another user: script-user in [node]",
            open.display()
        );
        Some(parsed.warning_at(&Subject::Program(program.clone()), message, hint))
    };
    programs.into_iter().filter_map(warning).collect()
}

/// Where a program is that is named without a path.
fn found(program: &Path) -> Option<PathBuf> {
    if program.is_absolute() {
        return Some(program.to_owned());
    }
    PATH.split(':')
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
}

/// What others than root may write to: the program, or a folder on the way to it, in which they could put another in its
/// place. What is not there is nobody's.
fn open_to_others(program: &Path) -> Option<PathBuf> {
    // Links are followed: what counts is where they lead to.
    let program = program.canonicalize().ok()?;
    let open = |path: &&Path| {
        fs::metadata(path).is_ok_and(|metadata| {
            let (mode, group) = (metadata.mode(), metadata.gid());
            let kept = metadata.is_dir() && rights::is_sticky(mode);
            metadata.uid() != 0 || (!kept && rights::others_write(mode, group))
        })
    };
    program.ancestors().find(open).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_the_system_are_roots_and_others_are_warned_of() {
        assert_eq!(open_to_others(Path::new("/bin/sh")), None);
        assert_eq!(open_to_others(Path::new("/nowhere/sh")), None);
        assert!(found(Path::new("sh")).unwrap().is_absolute());
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().canonicalize().unwrap().join("check");
        fs::write(&script, "").unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o757)).unwrap();
        assert_eq!(open_to_others(&script), Some(script.clone()));
        let text = |user: &str| {
            format!(
                "[node]\ninterfaces = [\"eth0\"]\n{user}\n[[service]]\nname = \"web\"\naddress = \"192.0.2.1:80\"\n\
                 mode = \"dsr\"\nhealth = {{ kind = \"script\", command = [\"{}\"] }}\n\
                 [[service.backend]]\naddress = \"10.0.0.1:80\"\n",
                script.display()
            )
        };
        let warned = |user: &str| warnings(&crate::config::parse("fulcrum.toml", &text(user)).unwrap());
        let said = warned("").iter().map(ToString::to_string).collect::<String>();
        assert!(
            said.contains("fulcrum.toml:8:") && said.contains("others than root may write to") && said.contains("go-w"),
            "{said}"
        );
        assert!(warned("script-user = \"nobody\"").is_empty());
    }
}
