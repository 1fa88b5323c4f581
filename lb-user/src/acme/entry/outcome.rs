//! What has become of tries: to get a certificate, to keep it, and to hear when it is to be renewed.

use std::time::Duration;

use super::{ASK, ASK_AGAIN, Attempts, Entry, Fault, Obtained, WRITE_AGAIN, Window, usable};
use crate::acme::now;
use crate::model::acme::{Doing, Failure, Issued, Step};

impl Entry {
    /// An order came to its end.
    pub(in super::super) fn obtained(&mut self, obtained: Result<Obtained, Failure>, now: u64) {
        self.doing = Doing::Waiting;
        let service = self.acme.domains.join(", ");
        let failure = match obtained {
            Ok(Obtained { issued, kept }) => {
                match usable(&issued) {
                    Ok(leaf) => {
                        tracing::info!(domain = service, "a certificate was issued");
                        self.set(issued, leaf);
                    }
                    Err(reason) => tracing::error!(domain = service, reason, "a certificate cannot be used"),
                }
                self.issued += 1;
                self.attempts = Attempts::default();
                self.attempts.last = Some(now);
                // It serves, and is written again until it is there.
                let failure = kept.err();
                self.write_at = failure.is_some().then_some(now + WRITE_AGAIN);
                failure
            }
            Err(failure) => {
                self.attempts.failures = self.attempts.failures.saturating_add(1);
                Some(failure)
            }
        };
        if let Some(failure) = &failure {
            self.has_failed(failure, now);
        }
    }

    /// The folder cannot be written, so nothing is ordered.
    pub(in super::super) fn cannot_store(&mut self, fault: &Fault, now: u64) {
        let failure = Failure {
            step: Step::Storage,
            domain: self.acme.domains.join(", ").into(),
            reason: fault.to_string(),
            wait: None,
        };
        self.obtained(Err(failure), now);
    }

    /// Says a failure, and when it is tried again.
    fn has_failed(&mut self, failure: &Failure, now: u64) {
        self.attempts.last = Some(now);
        self.attempts.until = failure.wait.map_or(0, |wait| now.saturating_add(wait.as_secs()));
        self.attempts.error = Some(failure.to_string());
        *self.failed.entry(failure.step).or_default() += 1;
        let again = self.due().saturating_sub(now);
        let serving = if self.held.is_some() {
            "the last one serves on"
        } else {
            "a stand-in serves"
        };
        tracing::error!(
            domain = %failure.domain,
            step = failure.step.label(),
            reason = failure.reason,
            again_in = %crate::config::duration::format(Duration::from_secs(again)),
            serving,
            "no new certificate"
        );
    }

    /// A task has failed without a word.
    pub(in super::super) fn is_lost(&mut self, now: u64) {
        (self.asking, self.commanded) = (false, false);
        if self.doing == Doing::Ordering {
            let failure = Failure {
                step: Step::Order,
                domain: self.acme.domains.join(", ").into(),
                reason: "it ended in the middle".to_owned(),
                wait: None,
            };
            self.obtained(Err(failure), now);
        }
    }

    /// The authority has said when it wants a renewal, or that it does not say so.
    pub(in super::super) fn suggested(&mut self, suggested: Result<Option<(Window, Duration)>, Failure>, now: u64) {
        self.asking = false;
        self.ask_at = match suggested {
            Ok(Some((window, again))) => {
                self.window = Some(window);
                now + again.as_secs().clamp(*ASK.start(), *ASK.end())
            }
            Ok(None) => {
                self.window = None;
                now + ASK.end()
            }
            Err(failure) => {
                tracing::debug!(reason = %failure, "the authority does not say when to renew");
                now + ASK_AGAIN
            }
        };
    }

    /// What is to be written again; it is then not asked for until that is done.
    pub(in super::super) fn unkept(&mut self, now: u64) -> Option<Issued> {
        self.write_at.take_if(|at| *at <= now)?;
        self.issued().cloned()
    }

    /// What became of that.
    pub(in super::super) fn kept(&mut self, kept: Result<(), String>) {
        match kept {
            Ok(()) => self.attempts.error = None,
            Err(reason) => {
                self.write_at = Some(now() + WRITE_AGAIN);
                self.attempts.error = Some(format!("the certificate would be forgotten by a restart: {reason}"));
            }
        }
    }
}
