//! `fulcrum deny add`, `remove` and `list`.

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use super::args::{Asked, Denial, Deny as Args, DenyAdd};
use super::status::client;
use super::table::columns;
use crate::api::types::{Denied, Denies, Deny, DenyPut, Undenied};
use crate::config::duration;
use crate::model::{count, date};

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    match args {
        Args::Add(args) => add(args).await,
        Args::Remove(args) => remove(args).await,
        Args::List(args) => list(args).await,
    }
}

async fn add(args: &DenyAdd) -> Result<ExitCode> {
    let Denial { prefix, service, asked } = &args.denial;
    let wanted = DenyPut {
        for_seconds: args.lasts,
    };
    let done = client(&asked.daemon)?.deny(*prefix, service.as_deref(), wanted).await?;
    super::show(asked.json, &done, added)?;
    if !done.observed_by.is_empty() {
        eprintln!("warning: {}", observed(&done.observed_by));
    }
    end(done.fault.as_deref(), done.overrides_fault.as_deref())
}

async fn remove(args: &Denial) -> Result<ExitCode> {
    let done = client(&args.asked.daemon)?
        .undeny(args.prefix, args.service.as_deref())
        .await?;
    super::show(args.asked.json, &done, removed)?;
    end(done.fault.as_deref(), done.overrides_fault.as_deref())
}

async fn list(args: &Asked) -> Result<ExitCode> {
    let denies = client(&args.daemon)?.denies().await?;
    super::show(args.json, &denies, |denies| {
        #[expect(clippy::disallowed_methods, reason = "what is left is only shown")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        listed(denies, now.as_secs())
    })?;
    if !denies.observed_by.is_empty() && !denies.denies.is_empty() {
        eprintln!("warning: {}", observed(&denies.observed_by));
    }
    end(None, denies.overrides_fault.as_deref())
}

/// A time for which something is denied, in whole seconds, the last one begun.
pub(super) fn lasts(text: &str) -> Result<NonZeroU32, String> {
    let span = duration::span(text)?;
    let seconds = span.as_millis().div_ceil(1000);
    let seconds = u32::try_from(seconds).ok().and_then(NonZeroU32::new);
    seconds.ok_or_else(|| "write 49710d or less, or leave it out: for ever".to_owned())
}

/// Says why a restart may forget it, or that the kernel does not have it yet.
fn end(fault: Option<&str>, overrides_fault: Option<&str>) -> Result<ExitCode> {
    if let Some(fault) = overrides_fault {
        eprintln!("warning: {fault}");
    }
    if let Some(fault) = fault {
        bail!(
            "it is noted, but may not be in force yet, since the kernel is not as wanted; the daemon tries again: {fault}"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn added(done: &Denied) -> String {
    let Deny { prefix, until, .. } = &done.deny;
    let mut text = format!("{prefix}: {} {}", denied(&done.deny), end_of(*until));
    if done.replaced {
        text += &format!("; it was denied already, {}", end_of(done.until_before));
    }
    text + "\n"
}

fn removed(done: &Undenied) -> String {
    let Deny { prefix, service, .. } = &done.deny;
    let by = service.as_deref().unwrap_or("all services");
    let mut text = format!("{prefix}: no longer denied by {by}");
    if let Some(still) = &done.still {
        let same = if still.prefix == *prefix { "it" } else { &still.prefix };
        text += &format!("; {same} is still {} {}", denied(still), end_of(still.until));
    }
    text + "\n"
}

fn listed(denies: &Denies, now: u64) -> String {
    if denies.denies.is_empty() {
        return "nothing is denied at run time\n".to_owned();
    }
    let row = |deny: &Deny| {
        let left = |until: u64| match until.saturating_sub(now) {
            0 => "now".to_owned(),
            left => format!("in {}", duration::format(Duration::from_secs(left))),
        };
        let mut ends = end_of(deny.until);
        if let Some(until) = deny.until {
            ends += &format!(", {}", left(until));
        }
        if !deny.in_effect {
            ends += "; NO EFFECT: the file has no such service";
        }
        let by = deny.service.as_deref().unwrap_or("all services");
        vec![deny.prefix.clone(), by.to_owned(), ends]
    };
    let mut rows = vec![["PREFIX", "DENIED BY", "ENDS"].map(str::to_owned).to_vec()];
    rows.extend(denies.denies.iter().map(row));
    columns(&rows, &[])
}

fn denied(deny: &Deny) -> String {
    format!("denied by {}", deny.service.as_deref().unwrap_or("all services"))
}

fn end_of(until: Option<u64>) -> String {
    match until {
        Some(second) => {
            let time = UNIX_EPOCH.checked_add(Duration::from_secs(second));
            time.map_or_else(
                || format!("until {second}"),
                |time| format!("until {}", date::rfc3339(time)),
            )
        }
        None => "for ever".to_owned(),
    }
}

/// Whom `observe` keeps from dropping anything.
fn observed(services: &[String]) -> String {
    const NAMED: usize = 8;
    let mut names = services[..services.len().min(NAMED)].join(", ");
    if services.len() > NAMED {
        names += &format!(" and {}", count(services.len() - NAMED, "other service"));
    }
    let (count, drop) = if services.len() == 1 {
        ("counts", "drops")
    } else {
        ("count", "drop")
    };
    format!("{names} only {count} what is denied, and {drop} nothing, since enforcement is \"observe\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deny(prefix: &str, service: Option<&str>, until: Option<u64>) -> Deny {
        Deny {
            prefix: prefix.to_owned(),
            service: service.map(str::to_owned),
            until,
            in_effect: service != Some("old"),
        }
    }

    const END: u64 = 1_795_877_320;

    #[test]
    fn what_is_done_is_said() {
        let done = |deny, replaced, until_before| {
            added(&Denied {
                deny,
                replaced,
                until_before,
                observed_by: Vec::new(),
                fault: None,
                overrides_fault: None,
            })
        };
        let net = "198.51.100.0/24";
        assert_eq!(
            done(deny(net, None, None), false, None),
            "198.51.100.0/24: denied by all services for ever\n"
        );
        assert_eq!(
            done(deny(net, Some("web"), Some(END)), true, None),
            "198.51.100.0/24: denied by web until 2026-11-28T14:48:40Z; it was denied already, for ever\n"
        );
        assert_eq!(
            done(deny(net, None, None), true, Some(END)),
            "198.51.100.0/24: denied by all services for ever; it was denied already, until 2026-11-28T14:48:40Z\n"
        );
        let gone = |deny, still| {
            removed(&Undenied {
                deny,
                still,
                fault: None,
                overrides_fault: None,
            })
        };
        assert_eq!(
            gone(deny(net, None, None), None),
            "198.51.100.0/24: no longer denied by all services\n"
        );
        assert_eq!(
            gone(deny(net, Some("web"), None), Some(deny(net, None, Some(END)))),
            "198.51.100.0/24: no longer denied by web; it is still denied by all services until 2026-11-28T14:48:40Z\n"
        );
        assert_eq!(
            gone(deny("198.51.100.7/32", None, None), Some(deny(net, None, None))),
            "198.51.100.7/32: no longer denied by all services; 198.51.100.0/24 is still denied by all services for ever\n"
        );
    }

    #[test]
    fn the_list_says_when_each_ends() {
        let list = |denies: Vec<Deny>| {
            let denies = Denies {
                denies,
                observed_by: Vec::new(),
                overrides_fault: None,
            };
            listed(&denies, END - 3_600)
        };
        assert_eq!(list(Vec::new()), "nothing is denied at run time\n");
        let all = [
            deny("198.51.100.0/24", None, None),
            deny("203.0.113.0/24", None, Some(END)),
            deny("2001:db8::/32", Some("old"), Some(END - 7_200)),
        ];
        let expected = "\
PREFIX           DENIED BY     ENDS
198.51.100.0/24  all services  for ever
203.0.113.0/24   all services  until 2026-11-28T14:48:40Z, in 1h
2001:db8::/32    old           until 2026-11-28T12:48:40Z, now; NO EFFECT: the file has no such service
";
        assert_eq!(list(all.to_vec()), expected);
    }

    #[test]
    fn times_are_whole_seconds() {
        let seconds = |text: &str| lasts(text).map(NonZeroU32::get);
        assert_eq!(seconds("1h"), Ok(3_600));
        assert_eq!(seconds("1ms"), Ok(1));
        assert_eq!(seconds("1s1ms"), Ok(2));
        assert!(seconds("0s").unwrap_err().contains("above zero"));
        assert!(seconds("10").unwrap_err().contains("write a time"));
        assert_eq!(seconds("49710d"), Ok(4_294_944_000));
        assert!(seconds("49711d").unwrap_err().contains("49710d"));
    }

    #[test]
    fn who_only_observes_is_named() {
        let names = |n: usize| (1..=n).map(|n| format!("s{n}")).collect::<Vec<_>>();
        assert_eq!(
            observed(&names(1)),
            "s1 only counts what is denied, and drops nothing, since enforcement is \"observe\""
        );
        assert_eq!(
            observed(&names(10)),
            "s1, s2, s3, s4, s5, s6, s7, s8 and 2 other services only count what is denied, and drop nothing, since \
             enforcement is \"observe\""
        );
    }
}
