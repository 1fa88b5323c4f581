//! What runs in a VM, as a script for its first process, and what that reports.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use super::quoted;

/// One program that runs in the VM to its end.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// What it is called in output and results; a filter looks at it.
    pub(super) name: String,
    /// Where it runs.
    pub(super) folder: PathBuf,
    /// Variables besides those of every part.
    pub(super) variables: Vec<(String, OsString)>,
    /// The program.
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

/// The script: variables of every part, modules to load first, and the parts.
pub(super) fn script(variables: &[(String, OsString)], modules: &[&str], parts: &[Part]) -> String {
    let mut script = String::new();
    for (name, value) in variables {
        script.push_str(&format!("export {name}={}\n", quoted(&value.to_string_lossy())));
    }
    for module in modules {
        script.push_str(&format!("must modprobe {module}\n"));
    }
    for part in parts {
        let mut words = vec![quoted(&part.name), "/usr/bin/env".to_owned(), "-C".to_owned()];
        words.push(quoted(&part.folder.to_string_lossy()));
        let own = part.variables.iter();
        words.extend(own.map(|(name, value)| quoted(&format!("{name}={}", value.to_string_lossy()))));
        words.push(quoted(&part.program.to_string_lossy()));
        words.extend(part.arguments.iter().map(|word| quoted(&word.to_string_lossy())));
        script.push_str(&format!("part {}\n", words.join(" ")));
    }
    script
}

/// Reads what the first process has reported; an error unless every part of the job has ended well, and the VM with
/// them.
pub(super) fn judge(report: &str, parts: &[Part]) -> Result<()> {
    let lines: Vec<&str> = report.lines().map(str::trim_end).collect();
    if let Some(why) = lines.iter().find_map(|line| line.strip_prefix("fail ")) {
        bail!("the VM could not be made ready: {why}");
    }
    let mut failed = Vec::new();
    for part in parts {
        let code = lines.iter().find_map(|line| {
            let (code, name) = line.strip_prefix("part ")?.split_once(' ')?;
            (name == part.name).then_some(code)
        });
        match code {
            Some("0") => {}
            Some(code) => failed.push(format!("{} (exit code {code})", part.name)),
            None => failed.push(format!("{} (did not end)", part.name)),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join(", "));
    ensure!(
        lines.contains(&"end"),
        "the VM has stopped behind its last part, unasked"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str) -> Part {
        Part {
            name: name.to_owned(),
            folder: "/a b/tests".into(),
            variables: vec![("FULCRUM_BIN".to_owned(), "/a b/fulcrum".into())],
            program: "/a b/packets".into(),
            arguments: vec!["it's".into()],
        }
    }

    #[test]
    fn the_script_survives_what_stands_in_names() {
        let variables = [("PATH".to_owned(), "/bin:/my bin".into())];
        let script = script(&variables, &["ip_vs"], &[part("packets")]);
        assert_eq!(
            script,
            "export PATH='/bin:/my bin'\n\
            must modprobe ip_vs\n\
            part 'packets' /usr/bin/env -C '/a b/tests' 'FULCRUM_BIN=/a b/fulcrum' '/a b/packets' 'it'\\''s'\n"
        );
    }

    #[test]
    fn only_a_whole_report_is_good() {
        let parts = [part("packets"), part("quickstart lab")];
        let judge = |report| judge(report, &parts).map_err(|error| error.to_string());
        let good = "part 0 packets\r\npart 0 quickstart lab\r\nend\r\n";
        assert_eq!(judge(good), Ok(()));
        let cases = [
            (
                "part 101 packets\r\npart 0 quickstart lab\r\nend\r\n",
                "packets (exit code 101)",
            ),
            ("part 0 packets\r\n", "quickstart lab (did not end)"),
            ("", "packets (did not end), quickstart lab (did not end)"),
            (
                "part 0 packets\npart 0 quickstart lab\n",
                "the VM has stopped behind its last part, unasked",
            ),
            (
                "fail insmod /modules/9p.ko\r\n",
                "the VM could not be made ready: insmod /modules/9p.ko",
            ),
        ];
        for (report, why) in cases {
            assert_eq!(judge(report), Err(why.to_owned()), "{report:?}");
        }
    }
}
