//! `docs/logs.md` is made of what is here and of the events that the sources have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::model::golden;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

const HEAD: &str = "\
# The log

The daemon logs to standard error, one event at a time: text for people, or with `--log-format json` one JSON object a
line. In JSON an event has `timestamp` (RFC 3339, UTC, microseconds), `level`, `message`, and its fields beside them. In
text the message comes first and then `field=value`; a refused file has several lines in its `reason`, as on a terminal. In
the journal each line has its priority, so `journalctl -u fulcrum -p warning` shows what matters.

| level | what it means |
| --- | --- |
| `ERROR` | something that was asked for is not done, or traffic is lost; somebody has to do something |
| `WARN` | something is not as it should be; the daemon goes on, and tries again where that helps |
| `INFO` | something has changed: states of backends, interfaces, VIPs, the configuration |
| `DEBUG`, `TRACE` | for looking into something |

**What stays.** Names and meanings of fields, and the levels. Texts of messages, `error` and `reason` are for people and may
be reworded; events and fields may be added. Of `debug` and `trace` nothing is promised. Nothing is logged for a packet or
a request: `fulcrum trace` and the access logs of the proxy show these.

**Levels.** `--log-level` or `FULCRUM_LOG` say what is logged at the start, `info` by default, and `fulcrum log-level` while
it runs: `fulcrum log-level info,lb_user::health=debug`, or `POST /api/v1/log-level` ([the API](api.md)). That lasts until
the daemon ends, by a restart or an upgrade.

**Repeats.** The same warning or error, with the same text in its fields, is written five times within ten seconds. The others
are counted, and one line at the end of these ten seconds says how many were held back: `repeated`, with the `event` as it
was. What differs in a field, such as the backend, is another event. `INFO` is not limited, since each change is news, nor are
`DEBUG` and `TRACE`. The daemon keeps 1,024 events in mind; what finds no room there is written.

";

/// How events begin.
const CALLS: [(&str, &str); 3] = [
    ("ERROR", "tracing::error!("),
    ("WARN", "tracing::warn!("),
    ("INFO", "tracing::info!("),
];

/// Fields, and what they hold.
const FIELDS: &[(&str, &str)] = &[
    ("address", "address and port that somebody listens on"),
    ("again_in", "after how long something is tried again"),
    ("backend", "address and port of a backend"),
    ("backends", "backends: how many"),
    ("connections", "connections of clients: how many"),
    ("domain", "names that a certificate is for"),
    ("down", "how many backends are down"),
    ("entries", "entries of maps: how many"),
    ("error", "what has failed, and why, with its causes"),
    ("event", "message and fields of an event that was held back"),
    ("exhausted", "backends towards which every port is in use"),
    ("filter", "which packets are traced"),
    ("flows", "flows: how many"),
    (
        "from",
        "the health that a backend had before: as `health`; of advertisements, who has sent them",
    ),
    ("health", "`up`, `down` or `unknown`"),
    ("host", "a host that the file names"),
    ("interface", "name of an interface"),
    ("levels", "what is logged"),
    ("lost", "flows that end: how many"),
    ("mac", "MAC address"),
    ("members", "backends of services in maps: how many"),
    ("memory", "bytes of memory"),
    ("mode", "how the program is attached: `native` or `generic`"),
    ("path", "a file, a folder or a Unix socket"),
    ("peer", "name of another node, as in `[peers]`"),
    ("pid", "number of a process"),
    ("ports", "ranges of ports"),
    ("prefix", "a prefix of addresses"),
    ("prefixes", "prefixes in lists: how many"),
    ("priority", "priority of this node in a virtual router"),
    ("program", "a program of the file, with its arguments"),
    ("quorum", "so many backends make the service healthy"),
    ("ready", "backends that can take new flows: how many"),
    ("reason", "why it is so"),
    ("repeated", "how many times an event was held back"),
    ("script", "a script that is tracked, with its arguments"),
    ("service", "name of a service or of a pool"),
    ("services", "services: how many"),
    ("serving", "what clients get meanwhile"),
    ("slots", "slots of rings: how many"),
    (
        "state",
        "what a command wants of a backend: `active`, `drain` or `disabled`",
    ),
    ("step", "how far an order of a certificate came"),
    ("to", "whom an advertisement is for"),
    ("took", "how long it took"),
    ("until", "when it ends (RFC 3339, UTC)"),
    ("vip", "a VIP, without port"),
    ("virtual_router", "name of a virtual router"),
    ("weight", "the weight that a command gives a backend"),
];

/// An event of the sources.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    level: &'static str,
    message: String,
    fields: Vec<String>,
}

/// Every event that is not for debugging.
fn events() -> BTreeSet<Event> {
    let mut events = BTreeSet::new();
    for path in sources(Path::new(SOURCES)) {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (level, start) in CALLS {
            let calls = text.split(start).skip(1);
            events.extend(calls.map(|call| event(level, call)));
        }
    }
    events
}

/// The files of a folder and of those in it, but tests; of labs, whose commands log nothing, neither.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let entries = entries.filter(|path| {
        let name = path.file_stem().unwrap();
        name != "tests" && name != "lab" && name != "documented"
    });
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .collect()
}

/// Reads the arguments of a call, up to its closing parenthesis.
fn event(level: &'static str, call: &str) -> Event {
    let (mut arguments, mut argument) = (Vec::new(), String::new());
    let (mut depth, mut quoted, mut before) = (0, false, ' ');
    for character in call.chars() {
        match character {
            '"' if before != '\\' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        before = character;
        if character == ',' && depth == 0 && !quoted {
            arguments.push(std::mem::take(&mut argument));
        } else {
            argument.push(character);
        }
    }
    arguments.push(argument);
    arguments.retain(|argument| !argument.trim().is_empty());
    let message = arguments.pop().unwrap();
    let message = message.trim().trim_matches('"').replace("\\\n", "");
    let field = |argument: &String| {
        let name = argument.split('=').next().unwrap().trim();
        name.trim_start_matches(['%', '?']).to_owned()
    };
    Event {
        level,
        message: message.split_whitespace().collect::<Vec<_>>().join(" "),
        fields: arguments.iter().map(field).collect(),
    }
}

fn made() -> String {
    let mut text = format!("{HEAD}## Fields\n\n| field | |\n| --- | --- |\n");
    for (name, meaning) in FIELDS {
        writeln!(text, "| `{name}` | {meaning} |").unwrap();
    }
    text.push_str("\n## Events\n\n| level | message | fields |\n| --- | --- | --- |\n");
    for Event { level, message, fields } in events() {
        let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
        writeln!(text, "| `{level}` | {message} | {} |", fields.join(", ")).unwrap();
    }
    text
}

#[test]
fn fields_are_those_of_the_list_and_messages_are_fixed() {
    let known: BTreeMap<_, _> = FIELDS.iter().copied().collect();
    assert!(FIELDS.is_sorted_by_key(|(name, _)| name) && known.len() == FIELDS.len());
    let mut used = BTreeSet::new();
    for Event { message, fields, .. } in events() {
        assert!(!message.contains(['{', '\\']), "values belong into fields: {message}");
        for field in fields {
            assert!(
                known.contains_key(&*field),
                "{message}: the field {field:?} is not in the list"
            );
            used.insert(field);
        }
    }
    let idle: Vec<_> = known.keys().filter(|name| !used.contains(**name)).collect();
    assert!(idle.is_empty(), "nobody uses {idle:?}");
}

#[test]
fn the_document_is_current() {
    golden::check("../docs/logs.md", &made());
}

#[test]
fn calls_are_read() {
    let call = "\n  %service,\n count = list.iter().map(|(a, b)| f(a, \"x,)\")).len(),\n ?filter, \"a message, \\\n   of two\"\n); more(";
    let Event { message, fields, .. } = event("INFO", call);
    assert_eq!(message, "a message, of two");
    assert_eq!(fields, ["service", "count", "filter"]);
}
