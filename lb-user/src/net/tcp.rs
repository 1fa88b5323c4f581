//! How the kernel speaks TCP, as far as answers with SYN cookies depend on it, and what it has to do for it.
//!
//! The program makes cookies as the kernel makes them, but the kernel takes one only if a listener gives out cookies itself
//! (`net.ipv4.tcp_syncookies` = 2), and finds what it keeps in timestamps only where those have no offset that nobody else
//! knows (`net.ipv4.tcp_timestamps` = 2). Both hold for IPv6 too. What was there before is put back when no service has
//! cookies any more, and when the daemon ends; one that takes over from another has that from it. A daemon that is killed
//! leaves what it has set, which harms nobody.

use std::fs;
use std::io;

use super::error::Context;
use super::{Error, Namespace};

/// What has to be set, and to what.
const SETTINGS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/tcp_syncookies", "2"),
    ("/proc/sys/net/ipv4/tcp_timestamps", "2"),
];

/// What cookies cannot do without, if they are to keep what clients offer.
const OFFERED: [&str; 2] = ["/proc/sys/net/ipv4/tcp_window_scaling", "/proc/sys/net/ipv4/tcp_sack"];

/// Least, default and most bytes of what a connection has received, and the most that a program may ask for.
const RECEIVES: &str = "/proc/sys/net/ipv4/tcp_rmem";
const MAY_RECEIVE: &str = "/proc/sys/net/core/rmem_max";

/// The most that windows are scaled by (RFC 7323 §2.3).
const MOST_SCALE: u32 = 14;

/// What windows are scaled by of connections that the kernel takes; `None` where it does not scale them, or does not take
/// selective acknowledgements, so that cookies keep nothing of either.
///
/// # Errors
/// When the namespace cannot be entered, or the kernel does not say.
pub fn window_scale(namespace: &Namespace) -> Result<Option<u8>, Error> {
    let read = || {
        for path in OFFERED {
            if fs::read_to_string(path)?.trim() == "0" {
                return Ok(None);
            }
        }
        let receives = fs::read_to_string(RECEIVES)?;
        // Not in every namespace.
        let may = fs::read_to_string(MAY_RECEIVE).unwrap_or_default();
        scale(&receives, &may)
            .map(Some)
            .ok_or_else(|| io::Error::other(format!("not understood: {:?}", receives.trim())))
    };
    namespace
        .run_inside(read)
        .and_then(|read| read)
        .doing(|| "reading how windows are scaled".into())
}

/// As Linux does it (`tcp_select_initial_window`): a window of 16 bits is to reach over the largest buffer.
fn scale(receives: &str, may: &str) -> Option<u8> {
    let most: u64 = receives.split_whitespace().nth(2)?.parse().ok()?;
    let space = most.max(may.trim().parse().unwrap_or(0)).max(1);
    let scale = space.ilog2().saturating_sub(15).min(MOST_SCALE);
    u8::try_from(scale).ok()
}

/// The kernel's settings for cookies, in one namespace. What was there is put back when this is dropped.
#[derive(Debug)]
pub struct Cookies {
    namespace: Namespace,
    /// What was there before, of what has been changed, without line ends.
    before: Vec<(&'static str, String)>,
}

impl Cookies {
    /// Changes nothing so far.
    #[must_use]
    pub fn new(namespace: Namespace) -> Self {
        Self {
            namespace,
            before: Vec::new(),
        }
    }

    /// Takes over what another process has changed, as it says by [`Self::changed`]. Of what is not understood, nothing is.
    pub fn take_over(&mut self, changed: &str) {
        let known = changed.split(',').filter_map(|change| {
            let (path, value) = change.split_once('=')?;
            let (path, _) = SETTINGS.iter().find(|(known, _)| *known == path)?;
            Some((*path, value.to_owned()))
        });
        self.before = known.collect();
    }

    /// What was there before, of what has been changed, for another process.
    #[must_use]
    pub fn changed(&self) -> String {
        let changes: Vec<String> = self
            .before
            .iter()
            .map(|(path, value)| format!("{path}={value}"))
            .collect();
        changes.join(",")
    }

    /// Another process has taken over: nothing is put back here.
    pub fn hand_over(&mut self) {
        self.before.clear();
    }

    /// Has the kernel take cookies, or do as it did before.
    ///
    /// # Errors
    /// When a setting cannot be read or written. Then the kernel takes no cookies of the program.
    pub fn set(&mut self, wanted: bool) -> Result<(), Error> {
        if !wanted {
            return self.put_back();
        }
        let before = &mut self.before;
        let change = || {
            for (path, value) in SETTINGS {
                let there = fs::read_to_string(path)?;
                if there.trim() != value {
                    fs::write(path, value)?;
                    before.retain(|(known, _)| *known != path);
                    before.push((path, there.trim().to_owned()));
                }
            }
            Ok(())
        };
        let changed = self.namespace.run_inside(change).and_then(|changed| changed);
        changed.doing(|| "setting net.ipv4.tcp_syncookies and tcp_timestamps to 2".to_owned())
    }

    fn put_back(&mut self) -> Result<(), Error> {
        let before = std::mem::take(&mut self.before);
        if before.is_empty() {
            return Ok(());
        }
        let change = || before.iter().try_for_each(|(path, value)| fs::write(path, value));
        let changed = self.namespace.run_inside(change).and_then(|changed| changed);
        changed.doing(|| "putting net.ipv4.tcp_syncookies and tcp_timestamps back".to_owned())
    }
}

impl Drop for Cookies {
    fn drop(&mut self) {
        if let Err(error) = self.put_back() {
            tracing::warn!(error = %crate::model::chain(&error), "settings of the kernel stay as they are");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_goes_from_one_process_to_the_next() {
        let of_this = || Cookies::new(Namespace::current().unwrap());
        let (mut first, mut second) = (of_this(), of_this());
        assert_eq!(first.changed(), "");
        second.take_over("");
        assert_eq!(second.before, []);
        first.before = SETTINGS.map(|(path, _)| (path, "1".to_owned())).to_vec();
        second.take_over(&first.changed());
        assert_eq!(second.before, first.before);
        second.take_over("/proc/sys/kernel/panic=1,/proc/sys/net/ipv4/tcp_syncookies");
        assert_eq!(second.before, []);
        first.hand_over();
        assert_eq!(first.changed(), "");
    }

    #[test]
    fn windows_are_scaled_as_linux_does() {
        assert_eq!(scale("4096\t131072\t6291456\n", "212992\n"), Some(7));
        assert_eq!(scale("4096 131072 65535", "65535"), Some(0));
        assert_eq!(scale("4096 131072 6291456", "16777216"), Some(9));
        assert_eq!(scale("4096 131072 99999999999999", ""), Some(14));
        assert_eq!(scale("4096 131072", "1"), None);
    }
}
