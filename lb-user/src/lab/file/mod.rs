//! Lab files: TOML text in, a lab out that can be built as far as the text tells, or one error with its place.

pub(super) mod action;
mod check;
mod like;
pub(super) mod raw;
pub(super) mod value;

use std::sync::Arc;

use anyhow::Context;
use toml::de::DeTable;

use crate::config::{self, ConfigError, Fault, Source};

pub(super) use raw::File;

/// Reads and checks a lab; `origin` is what errors call it.
///
/// # Errors
/// The text is refused.
pub(super) fn parse(origin: &str, text: &str) -> Result<File, ConfigError> {
    let refuse = |fault: Box<Fault>| ConfigError::new(Arc::new(Source::new(origin, text)), fault);
    if let Err(error) = DeTable::parse(text) {
        return Err(refuse(config::syntax(text, &error)));
    }
    let file: File = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        refuse(config::fault(span, error.message()))
    })?;
    let file = like::resolve(file).map_err(refuse)?;
    check::whole(&file).map_err(refuse)?;
    Ok(file)
}

impl File {
    /// Names of everything that gets a namespace.
    pub(super) fn machines(&self) -> impl Iterator<Item = &str> {
        let switches = self.switch.iter().map(|switch| &**switch.name.get_ref());
        switches.chain(self.host.iter().map(|host| &**host.name.get_ref()))
    }

    /// The host of this name.
    ///
    /// # Errors
    /// With the names that there are.
    pub(super) fn machine(&self, name: &str) -> anyhow::Result<&raw::Machine> {
        let found = self.host.iter().find(|host| **host.name.get_ref() == *name);
        found.with_context(|| {
            let known: Vec<&str> = self.host.iter().map(|host| &**host.name.get_ref()).collect();
            format!("the lab has no host {name}; it has {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests;
