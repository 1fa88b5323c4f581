//! `fulcrum generate`: man pages and completions, made of the argument types, for packages.
//!
//! A command of the program itself, since nothing else knows its arguments, and only packaging runs it.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Args;

/// Writes `man/NAME.1` for the program and each of its commands, and `completions/`, to `folder`.
pub(super) fn run(folder: &Path) -> Result<ExitCode> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut command = Args::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "fulcrum", &completions)?;
    }
    // Without the pages of `help`, which nobody looks for.
    clap_mangen::generate_to(Args::command().disable_help_subcommand(true), &man)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Command;

    use super::*;

    /// The names of `command` and of all below it that people see, as in `fulcrum lab up`.
    fn names(command: &Command, into: &mut BTreeSet<String>) {
        into.insert(command.get_bin_name().unwrap_or("fulcrum").to_owned());
        let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
        for command in shown.filter(|c| c.get_name() != "help") {
            names(command, into);
        }
    }

    #[test]
    fn pages_and_completions_know_every_command() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path()).unwrap();
        let mut command = Args::command();
        command.build();
        let mut all = BTreeSet::new();
        names(&command, &mut all);
        assert!(all.contains("fulcrum lab up") && all.contains("fulcrum run"), "{all:?}");
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        let (bash, zsh, fish) = (
            read("completions/fulcrum.bash"),
            read("completions/_fulcrum"),
            read("completions/fulcrum.fish"),
        );
        let main = read("man/fulcrum.1");
        for name in &all {
            let page = name.replace(' ', "-");
            let text = read(&format!("man/{page}.1"));
            assert!(text.contains(&format!(".TH {page} 1")), "{text}");
            let words: Vec<_> = name.split(' ').collect();
            let word = words.last().unwrap();
            // Each shell in its own way; bash writes a case for each command, and parts it at hyphens, too.
            let case = |between| words.join(between).replace('-', between);
            assert!(
                bash.contains(&case("__")) || bash.contains(&case("__subcmd__")),
                "{name}"
            );
            assert!(zsh.contains(word) && fish.contains(word), "{name}");
            if words.len() == 2 {
                let roff = format!("fulcrum-{word}(1)").replace('-', "\\-");
                assert!(main.contains(&roff), "{roff}\n{main}");
            }
        }
        let pages = fs::read_dir(folder.path().join("man")).unwrap().count();
        assert_eq!(pages, all.len(), "none for what is hidden");
    }
}
