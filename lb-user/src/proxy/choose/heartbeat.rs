//! What a backend says of its idle slots, and the choice by it: Apache's mod_lbmethod_heartbeat.
//!
//! Apache's backends say it to a multicast group, ours in a header of their responses, in the same words:
//! `x-heartbeat: v=1&ready=75&busy=0`. As in Apache:
//! - The choice is by chance, in proportion to the slots that are ready.
//! - What was said ten seconds ago or longer does not count.
//! - One that is not busy at all has probably just begun, and counts with a quarter of its slots.
//!
//! Apache knows no weights here, and neither do we, but that one of 0 gets nothing new. Where nobody has a ready slot,
//! Apache answers with 503; here those that may serve take turns as in by-requests, since a header only comes with
//! a response, so somebody has to be asked first. And a backend that has gone quiet would never be asked again: as long as
//! somebody has not been heard, every [`ASK`]th request goes by turn too.

use std::sync::atomic::Ordering::Relaxed;

use super::shared::Common;

/// The header, in lower case.
pub const HEADER: &str = "x-heartbeat";
/// Seconds for which one counts.
const LIFE: u64 = 10;
/// Of so many requests, one goes by turn while somebody has not been heard.
pub(super) const ASK: u32 = 50;

/// The slots that a value says are ready; `None` when it does not.
fn parse(value: &[u8]) -> Option<u32> {
    let value = str::from_utf8(value).ok()?;
    let (mut ready, mut busy, mut version) = (None, None, None);
    for pair in value.trim().split('&') {
        let (name, number) = pair.split_once('=')?;
        let place = match name {
            "ready" => &mut ready,
            "busy" => &mut busy,
            "v" => &mut version,
            _ => continue,
        };
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *place = Some(number.parse::<u32>().ok()?);
    }
    if version? != 1 {
        return None;
    }
    let ready = ready?;
    Some(if busy? == 0 { ready / 4 } else { ready })
}

impl Common {
    /// It has said this. What makes no sense, it has not said.
    pub(super) fn hear(&self, value: &[u8], micros: u64) {
        if let Some(ready) = parse(value) {
            let heard = u64::from(ready) << 32 | (second(micros) + 1);
            if self.heartbeat.load(Relaxed) != heard {
                self.heartbeat.store(heard, Relaxed);
            }
        }
    }

    /// Slots that are ready; `None` when nothing has been heard lately.
    pub(super) fn ready(&self, micros: u64) -> Option<u32> {
        let heard = self.heartbeat.load(Relaxed);
        let at = (heard & u64::from(u32::MAX)).checked_sub(1)?;
        (second(micros).saturating_sub(at) < LIFE).then_some((heard >> 32) as u32)
    }
}

/// Below 2³² for 136 years.
fn second(micros: u64) -> u64 {
    (micros / 1_000_000).min(u64::from(u32::MAX) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (value, ready) in [
            ("v=1&ready=75&busy=5", Some(75)),
            ("v=1&ready=75&busy=0", Some(18)),
            ("busy=3&ready=0&v=1", Some(0)),
            (" v=1&ready=4&busy=1&lastseen=9 ", Some(4)),
            ("v=2&ready=75&busy=5", None),
            ("ready=75&busy=5", None),
            ("v=1&ready=75", None),
            ("v=1&busy=75", None),
            ("v=1&ready=-1&busy=1", None),
            ("v=1&ready=+1&busy=1", None),
            ("v=1&ready=4294967296&busy=1", None),
            ("v=1&ready&busy=1", None),
            ("v=1&ready=&busy=1", None),
            ("", None),
            ("\u{fc}", None),
        ] {
            assert_eq!(parse(value.as_bytes()), ready, "{value}");
        }
        assert_eq!(parse(b"v=1&ready=1&busy=\xff"), None);
    }

    #[test]
    fn it_is_forgotten_after_ten_seconds() {
        let common = Common::default();
        assert_eq!(common.ready(0), None);
        common.hear(b"v=1&ready=7&busy=1", 5_900_000);
        assert_eq!(common.ready(5_900_000), Some(7));
        assert_eq!(common.ready(14_999_999), Some(7));
        assert_eq!(common.ready(15_000_000), None);
        common.hear(b"v=1&ready=nine&busy=1", 15_000_000);
        assert_eq!(common.ready(15_000_000), None, "nonsense is not heard");
    }
}
