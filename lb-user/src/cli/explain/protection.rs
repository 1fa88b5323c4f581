//! What protection has to say of a flow, for people.

use std::fmt::Write as _;

use crate::api::types::{Judgement, Quota, Rule};

/// Lines that follow what becomes of the flow.
pub(super) fn text(judgement: &Judgement) -> String {
    let mut text = String::new();
    if judgement.only_observes()
        && let Some(reason) = &judgement.refused
    {
        let _ = writeln!(
            text,
            "  WOULD BE REFUSED: {reason}; that is only observed, so it goes on"
        );
    }
    if judgement.refused.as_deref() == Some("land") {
        text.push_str("  its packets come from the address that they are sent to\n");
    }
    if let Some(by) = &judgement.rule {
        let _ = writeln!(text, "  {}", rule(by));
    }
    if judgement.refused.is_some() {
        return text;
    }
    if let Some(by) = &judgement.exempt {
        let _ = writeln!(text, "  {}", rule(by));
    }
    let limits = [
        ("connections", &judgement.connections_per_second),
        ("packets", &judgement.packets_per_second),
    ];
    let limits = limits
        .into_iter()
        .filter_map(|(what, limit)| Some(quota(what, limit.as_ref()?)));
    let limits: Vec<String> = limits.collect();
    if !limits.is_empty() {
        let _ = writeln!(text, "  limits: {}", limits.join("; "));
    }
    match judgement.syn_cookies_above {
        None => {}
        Some(0) => text.push_str("  SYNs are answered with cookies\n"),
        Some(above) => {
            let _ = writeln!(
                text,
                "  SYNs are answered with cookies when more than {above} come in a second"
            );
        }
    }
    text
}

fn rule(Rule { list, service, prefix }: &Rule) -> String {
    let whose = service.as_ref().map_or_else(
        || "[protection]".to_owned(),
        |name| format!("[service.protection] of {name}"),
    );
    match list.as_str() {
        "bogons" => format!("no client can have the source: it lies in {prefix}, one of `bogons`"),
        "run_time" => {
            let to = service.as_ref().map_or_else(String::new, |name| format!(" to {name}"));
            format!("{prefix} is denied at run time{to}: `fulcrum deny list`")
        }
        "allow" => format!("the source may come by {prefix} in `allow` of {whose}"),
        "exempt" => format!("no limit counts the source: {prefix} is in `exempt` of {whose}"),
        list => format!("the source lies in {prefix}, in `{list}` of {whose}"),
    }
}

fn quota(what: &str, quota: &Quota) -> String {
    let Quota {
        limit,
        burst,
        prefix_length,
        service,
    } = quota;
    let whose = if service.is_some() {
        ""
    } else {
        ", of all services together"
    };
    format!("{limit} {what}/s per /{prefix_length}, burst {burst}{whose}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement() -> Judgement {
        Judgement {
            enforcement: "enforce".to_owned(),
            refused: None,
            rule: None,
            exempt: None,
            connections_per_second: None,
            packets_per_second: None,
            syn_cookies_above: None,
        }
    }

    fn by(list: &str, service: Option<&str>) -> Option<Rule> {
        Some(Rule {
            list: list.to_owned(),
            service: service.map(str::to_owned),
            prefix: "198.51.100.0/24".to_owned(),
        })
    }

    #[test]
    fn the_list_that_refuses_is_named() {
        let refused = |reason: &str, rule| Judgement {
            refused: Some(reason.to_owned()),
            rule,
            // Of no importance to what is refused.
            exempt: by("exempt", None),
            ..judgement()
        };
        for (judgement, expected) in [
            (
                refused("denied", by("deny", None)),
                "  the source lies in 198.51.100.0/24, in `deny` of [protection]\n",
            ),
            (
                refused("denied", by("deny", Some("web"))),
                "  the source lies in 198.51.100.0/24, in `deny` of [service.protection] of web\n",
            ),
            (
                refused("denied", by("run_time", None)),
                "  198.51.100.0/24 is denied at run time: `fulcrum deny list`\n",
            ),
            (
                refused("denied", by("run_time", Some("web"))),
                "  198.51.100.0/24 is denied at run time to web: `fulcrum deny list`\n",
            ),
            (
                refused("bogon", by("bogons", None)),
                "  no client can have the source: it lies in 198.51.100.0/24, one of `bogons`\n",
            ),
            (
                refused("land", None),
                "  its packets come from the address that they are sent to\n",
            ),
            (
                Judgement {
                    enforcement: "observe".to_owned(),
                    ..refused("denied", by("deny", None))
                },
                "  WOULD BE REFUSED: denied; that is only observed, so it goes on\n  \
                 the source lies in 198.51.100.0/24, in `deny` of [protection]\n",
            ),
        ] {
            assert_eq!(text(&judgement), expected);
        }
    }

    #[test]
    fn limits_are_told_of_whom_they_count() {
        let quota = |limit, service: Option<&str>| {
            Some(Quota {
                limit,
                burst: 2 * limit,
                prefix_length: 24,
                service: service.map(str::to_owned),
            })
        };
        assert_eq!(text(&judgement()), "");
        let counted = Judgement {
            rule: by("allow", None),
            connections_per_second: quota(1000, Some("web")),
            packets_per_second: quota(50_000, None),
            syn_cookies_above: Some(100),
            ..judgement()
        };
        assert_eq!(
            text(&counted),
            "  the source may come by 198.51.100.0/24 in `allow` of [protection]\n  \
             limits: 1000 connections/s per /24, burst 2000; \
             50000 packets/s per /24, burst 100000, of all services together\n  \
             SYNs are answered with cookies when more than 100 come in a second\n"
        );
        let exempt = Judgement {
            exempt: by("exempt", Some("web")),
            syn_cookies_above: Some(0),
            ..judgement()
        };
        assert_eq!(
            text(&exempt),
            "  no limit counts the source: 198.51.100.0/24 is in `exempt` of [service.protection] of web\n  \
             SYNs are answered with cookies\n"
        );
    }
}
