//! The labs that there are: those in the binary, files of the user, and those that are up, which keep the file that they
//! were made of.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use super::file::{self, File};
use super::state::Lab;

/// Labs in the binary, in the order in which they are listed.
const EMBEDDED: [(&str, &str); 6] = [
    ("quickstart", include_str!("../../labs/quickstart.toml")),
    ("apache", include_str!("../../labs/apache.toml")),
    ("round-robin", include_str!("../../labs/round-robin.toml")),
    ("ha-pair", include_str!("../../labs/ha-pair.toml")),
    ("bgp", include_str!("../../labs/bgp.toml")),
    ("database", include_str!("../../labs/database.toml")),
];

/// The network that ways to balance are compared in, which is nothing to look at by itself.
const COMPARE: &str = include_str!("../../labs/compare.toml");

/// A lab, and the text that it was read from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) file: File,
    pub(super) text: String,
}

/// Those in the binary.
pub(super) fn embedded() -> impl Iterator<Item = anyhow::Result<Source>> {
    EMBEDDED.iter().map(|(name, text)| read(name, (*text).to_owned()))
}

/// The one for comparisons.
///
/// # Errors
/// Never: a test reads it.
pub(super) fn compare() -> anyhow::Result<Source> {
    read("compare", COMPARE.to_owned())
}

/// A lab by its name, or by the path of its file: whatever has a `/` or a `.` in it is one.
///
/// # Errors
/// There is none, or it is refused.
pub(super) fn find(what: &str) -> anyhow::Result<Source> {
    if what.contains(['/', '.']) {
        let text = fs::read_to_string(what).with_context(|| format!("reading lab file {what}"))?;
        return read(what, text);
    }
    match EMBEDDED.iter().find(|(name, _)| *name == what) {
        Some((name, text)) => read(name, (*text).to_owned()),
        None => {
            let known: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
            bail!(
                "there is no lab {what}; there are: {}; a lab file is given by its path, as in ./{what}.toml",
                known.join(", ")
            )
        }
    }
}

/// The lab that is up, by the file that it was made of.
///
/// # Errors
/// When it is not there or not readable.
pub(super) fn of(lab: &Lab) -> anyhow::Result<File> {
    let place = lab.file();
    let text = fs::read_to_string(&place).with_context(|| format!("reading {}", place.display()))?;
    Ok(file::parse(&place.display().to_string(), &text)?)
}

/// The name of the lab that is meant by a name or a path. For those that want one that is up, and may be of a file that is
/// gone.
pub(super) fn name(what: &str) -> anyhow::Result<String> {
    let path = Path::new(what);
    match what.contains(['/', '.']) {
        true if path.exists() => Ok(find(what)?.file.name.get_ref().to_string()),
        true => bail!("there is no lab file {what}; a lab that is up is called by its name"),
        false => Ok(what.to_owned()),
    }
}

fn read(origin: &str, text: String) -> anyhow::Result<Source> {
    let file = file::parse(origin, &text)?;
    Ok(Source { file, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::start;

    #[test]
    fn labs_in_the_binary_are_right() {
        for (lab, (name, _)) in embedded().zip(EMBEDDED) {
            let lab = lab.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(&**lab.file.name.get_ref(), name);
            assert!(lab.file.summary.chars().count() <= 80, "{name}: one line of `lab list`");
            for host in &lab.file.host {
                let runs = host.run.iter().filter(|run| run.kind.get_ref().is_fulcrum());
                for config in runs.filter_map(|run| run.config.as_ref()) {
                    let text = start::configuration(&Lab::at(name).unwrap(), host, config.get_ref());
                    // Its files of prefixes are not there yet.
                    let parsed = crate::config::parse_with(name, &text, || host.name.get_ref().to_string());
                    let parsed = parsed.unwrap_or_else(|error| panic!("{error}"));
                    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
                }
            }
        }
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let error = format!("{:#}", find("nothing").unwrap_err());
        assert!(
            error.contains("quickstart") && error.contains("./nothing.toml"),
            "{error}"
        );
        assert!(find("./no-such-file.toml").is_err());
    }
}
