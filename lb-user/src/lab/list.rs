//! `fulcrum lab list` and `fulcrum lab status`.

use std::process::ExitCode;

use super::catalogue;
use super::state::Lab;
use crate::net::Namespace;

/// One line per lab.
pub(super) fn labs() -> anyhow::Result<ExitCode> {
    for lab in catalogue::embedded() {
        let file = lab?.file;
        let name = &**file.name.get_ref();
        let up = if Lab::find(name)?.is_some() { " (up)" } else { "" };
        println!("{name:<14}{}{up}", file.summary);
    }
    println!(
        "\nA lab of your own is a file: docs/labs.md says what stands in one. `fulcrum lab up ./FILE.toml` builds it."
    );
    Ok(ExitCode::SUCCESS)
}

/// What is up.
pub(super) fn status(only: Option<&str>) -> anyhow::Result<ExitCode> {
    let labs = match only {
        Some(name) => Lab::find(name)?.into_iter().collect(),
        None => Lab::all()?,
    };
    if labs.is_empty() {
        println!(
            "{}",
            only.map_or_else(|| "no lab is up".to_owned(), |name| format!("lab {name} is not up"))
        );
        // Asked about one, "it isn't" is a failure that scripts can test for.
        return Ok(if only.is_some() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        });
    }
    for lab in labs {
        show(&lab);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(lab: &Lab) {
    let name = lab.name();
    let facts = match lab.facts() {
        Ok(facts) => facts,
        Err(error) => {
            println!("{name}: left behind ({error:#}); `fulcrum lab down {name}` removes it");
            return;
        }
    };
    let state = match (facts.kept, facts.owner.living()) {
        (true, _) => "up".to_owned(),
        (false, Some(owner)) => format!("being built or shown by process {}", owner.pid),
        (false, None) => format!("left behind; `fulcrum lab down {name}` removes it"),
    };
    println!("{name}: {state}");
    for (host, namespace) in &facts.namespaces {
        let gone = if Namespace::exists(namespace) { "" } else { " (gone)" };
        println!("  host     {host:<8} namespace {namespace}{gone}");
    }
    for record in lab.recorded() {
        let state = if record.living().is_some() { "runs" } else { "has ended" };
        println!(
            "  process  {:<16} {} {state}, log {}",
            record.name,
            record.pid,
            lab.log(&record.name).display()
        );
    }
    println!("  files    {}", lab.folder().display());
    for (what, address) in facts.outside {
        println!("  outside  {address}  {what}");
    }
}
