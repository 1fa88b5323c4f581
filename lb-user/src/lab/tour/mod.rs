//! The guided tour of a lab: its steps are told, done and looked at; and its checks, which are steps without a story.
//!
//! What does not come true of all that is expected is said at once, goes on, and makes the tour fail at its end. An error
//! ends it: something could not be done at all.

mod balancer;
mod command;
mod logs;
mod processes;
mod requests;
mod traffic;

use std::cell::RefCell;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;

use super::file::File;
use super::file::action::Action;
use super::file::raw::Step;
use super::host::Host;
use super::report::{self, heading};
use super::state::Lab;
use traffic::Stream;

/// A lab that is being shown.
pub(super) struct Tour<'l> {
    lab: &'l Lab,
    file: &'l File,
    own: PathBuf,
    /// Requests under way in the background.
    stream: Option<Stream>,
    /// What was done to something since the requests began, and when.
    marks: Vec<(Instant, String)>,
    /// Where servers' logs ended when the step began.
    log_ends: logs::Ends,
    /// What a check has to say, which is of interest only when it fails.
    held: Option<RefCell<String>>,
    /// Expectations that did not come true.
    unmet: Vec<String>,
}

impl<'l> Tour<'l> {
    pub(super) fn new(lab: &'l Lab, file: &'l File) -> anyhow::Result<Self> {
        Ok(Self {
            lab,
            file,
            own: std::env::current_exe().context("finding the program itself")?,
            stream: None,
            marks: Vec::new(),
            log_ends: logs::Ends::default(),
            held: None,
            unmet: Vec::new(),
        })
    }

    /// All steps, then all checks: a tour ends as it began. Returns the expectations that did not come true.
    pub(super) async fn run(&mut self, yes: bool) -> anyhow::Result<Vec<String>> {
        let file = self.file;
        for (number, step) in (1..).zip(&file.step) {
            heading(number, &step.title);
            if !step.text.is_empty() {
                println!("{}\n", indented(&step.text));
            }
            if !yes {
                wait_for_enter().await?;
            }
            self.step(step)
                .await
                .with_context(|| format!("step {number}, {}", step.title))?;
        }
        self.checks().await
    }

    /// All checks.
    pub(super) async fn checks(&mut self) -> anyhow::Result<Vec<String>> {
        let file = self.file;
        if !file.check.is_empty() {
            println!("\nChecks");
            println!("------");
        }
        for check in &file.check {
            let before = self.unmet.len();
            self.held = Some(RefCell::default());
            let done = self
                .step(check)
                .await
                .with_context(|| format!("check: {}", check.title));
            let held = self.held.take().map(RefCell::into_inner).unwrap_or_default();
            let fine = done.is_ok() && self.unmet.len() == before;
            println!("   {}  {}", if fine { "ok    " } else { "failed" }, check.title);
            if !fine {
                print!("{held}");
            }
            done?;
        }
        Ok(std::mem::take(&mut self.unmet))
    }

    async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        self.log_ends = logs::Ends::now(self.lab, step);
        for action in &step.actions {
            self.act(action).await?;
        }
        // Requests that nobody has looked at do not go on into what has nothing to do with them.
        self.stream = None;
        self.marks.clear();
        Ok(())
    }

    async fn act(&mut self, action: &Action) -> anyhow::Result<()> {
        match action {
            Action::Say(text) => {
                self.say(&indented(text));
                Ok(())
            }
            Action::Requests(requests) => self.requests(requests).await,
            Action::Run(run) => self.command(run).await,
            Action::Kill(targets) => self.kill(targets).await,
            Action::Stop(targets) => self.stop(targets).await,
            Action::Start(targets) => self.start(targets).await,
            Action::Reload(targets) => self.reload(targets),
            Action::Edit(edit) => self.edit(edit),
            Action::Await(wait) => self.await_balancer(wait).await,
            Action::Traffic(traffic) => self.traffic(traffic).await,
            Action::Timeline(timeline) => self.timeline(timeline).await,
            Action::Logs(logs) => self.logs(logs),
        }
    }

    fn host(&self, name: &str) -> anyhow::Result<Host> {
        Host::open(self.lab, name)
    }

    /// Remembers that something is done now.
    fn mark(&mut self, what: String) {
        self.marks.push((Instant::now(), what));
    }

    /// Tells something now; in a check only when it fails.
    fn say(&self, text: &str) {
        match &self.held {
            Some(held) => *held.borrow_mut() += &format!("{text}\n"),
            None => println!("{text}"),
        }
    }

    fn expect(&mut self, met: bool, what: impl FnOnce() -> String) {
        if !met {
            let what = what();
            self.say(&format!("   !! {what}"));
            self.unmet.push(what);
        }
    }
}

/// Paragraphs, three columns in; lines that are indented stay as they are.
fn indented(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut paragraph = String::new();
    // The last one ends as others do, before an empty line.
    for line in text.trim_end().lines().chain([""]) {
        if !line.trim().is_empty() && !line.starts_with(' ') {
            paragraph += line;
            paragraph.push(' ');
            continue;
        }
        if !paragraph.is_empty() {
            lines.push(report::wrapped("   ", 3, &std::mem::take(&mut paragraph)));
        }
        lines.push(format!("   {line}").trim_end().to_owned());
    }
    lines.pop();
    lines.join("\n")
}

/// Lines as they are, three columns in.
fn quoted(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| format!("   {line}").trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// Where somebody reads along, they say when to go on. Where nobody does, nobody is waited for.
async fn wait_for_enter() -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    print!("   [Enter] ");
    std::io::stdout().flush()?;
    // Not through tokio's own: a signal must be able to end the tour while it waits, and leave the terminal alone.
    let (sender, entered) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = sender.send(std::io::stdin().lock().read_line(&mut line));
    });
    entered.await??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_wrapped_and_examples_are_not() {
        let long = "word ".repeat(50);
        let text = format!("{long}\n\n    as it   is\nmore\nwords\n");
        let lines: Vec<String> = indented(&text).lines().map(str::to_owned).collect();
        assert!(lines.iter().all(|line| line.len() <= 100), "{lines:?}");
        assert_eq!(lines[lines.len() - 3..], ["", "       as it   is", "   more words"]);
        assert_eq!(indented("\nx"), "\n   x");
        assert_eq!(quoted("a  b\n c"), "   a  b\n    c");
    }
}
