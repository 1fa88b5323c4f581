//! What a step does to processes and files.

use std::fs;
use std::time::Instant;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use toml::Spanned;

use super::Tour;
use crate::lab::file::action::Edit;
use crate::lab::file::raw::{Machine, Run};
use crate::lab::process::{self, Process};
use crate::lab::{down, start, state};

impl Tour<'_> {
    pub(super) async fn kill(&mut self, targets: &[Spanned<String>]) -> anyhow::Result<()> {
        for target in targets {
            let processes = self.processes(target.get_ref())?;
            // Before it is done: what fails from here on is counted.
            self.mark(format!("{} killed", target.get_ref()));
            let left = down::kill(&processes).await;
            self.say(&format!("   {} is killed.", target.get_ref()));
            self.expect(left.is_empty(), || format!("{} does not end", target.get_ref()));
        }
        Ok(())
    }

    pub(super) async fn stop(&mut self, targets: &[Spanned<String>]) -> anyhow::Result<()> {
        for target in targets {
            self.mark(format!("{} told to stop", target.get_ref()));
            let begun = Instant::now();
            let left = down::end(&self.processes(target.get_ref())?).await;
            self.say(&format!(
                "   {} has stopped, {:.1} s after it was asked to.",
                target.get_ref(),
                begun.elapsed().as_secs_f64()
            ));
            self.expect(left.is_empty(), || format!("{} does not end", target.get_ref()));
        }
        Ok(())
    }

    pub(super) async fn start(&mut self, targets: &[Spanned<String>]) -> anyhow::Result<()> {
        for target in targets {
            self.mark(format!("{} started", target.get_ref()));
            let begun = Instant::now();
            let (machine, runs) = self.meant(target.get_ref())?;
            for run in runs {
                start::start(self.lab, machine, run, &self.own).await?;
            }
            self.say(&format!(
                "   {} serves {:.1} s after its start.",
                target.get_ref(),
                begun.elapsed().as_secs_f64()
            ));
        }
        Ok(())
    }

    pub(super) fn reload(&mut self, targets: &[Spanned<String>]) -> anyhow::Result<()> {
        for target in targets {
            let (machine, runs) = self.meant(target.get_ref())?;
            for run in runs {
                let name = start::full_name(machine, run);
                let living = self.lab.process(&name)?.living();
                living
                    .with_context(|| format!("{name} does not run"))?
                    .signal(Signal::SIGHUP);
            }
            self.mark(format!("{} told to reload", target.get_ref()));
            self.say(&format!(
                "   {} is told to read its configuration again.",
                target.get_ref()
            ));
        }
        Ok(())
    }

    pub(super) fn edit(&mut self, edit: &Edit) -> anyhow::Result<()> {
        let place = edit.file.get_ref();
        let path = self.lab.host(&place.host).join(&place.rest);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        if !text.contains(&edit.replace) {
            bail!("{}: nothing to replace, there is no {:?}", path.display(), edit.replace);
        }
        state::replace(&path, text.replacen(&edit.replace, &edit.with, 1).as_bytes())?;
        self.mark(format!("{place} changed"));
        self.say(&format!("   {place} changes:"));
        for (sign, lines) in [('-', &edit.replace), ('+', &edit.with)] {
            for line in lines.trim().lines() {
                self.say(&format!("      {sign} {line}"));
            }
        }
        Ok(())
    }

    /// What lives of a target: of a process what it has started, too; of a host all that is in it.
    fn processes(&self, target: &str) -> anyhow::Result<Vec<Process>> {
        let (machine, runs) = self.meant(target)?;
        let host = self.host(machine.name.get_ref())?;
        if !target.contains('/') {
            return Ok(process::inside(&host.namespace)?);
        }
        let mut processes = Vec::new();
        for run in runs {
            let record = self.lab.process(&start::full_name(machine, run))?;
            processes.extend(process::of(&record, process::inside(&host.namespace)?));
        }
        Ok(processes)
    }

    /// A host, and what is meant of what it runs, but for what is run once.
    fn meant(&self, target: &str) -> anyhow::Result<(&Machine, Vec<&Run>)> {
        let (host, name) = match target.split_once('/') {
            Some((host, name)) => (host, Some(name)),
            None => (target, None),
        };
        let machine = self.file.machine(host)?;
        let is_meant = |run: &&Run| name.map_or(!run.once, |name| run.name() == name);
        Ok((machine, machine.run.iter().filter(is_meant).collect()))
    }
}
