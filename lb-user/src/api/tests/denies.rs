//! Prefixes that are denied: asked for, denied and no longer denied, well and badly.

use std::num::NonZeroU32;

use super::*;
use crate::api::types::{DenyPut, Problem};
use crate::control::{Denies, DenyRefused, names};
use crate::model::Prefix;
use crate::model::denied::{Denied, DeniedList, Known, Undenied};
use crate::model::protection::Deny;

const END: u64 = 1_795_877_320;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn deny(text: &str, service: Option<&str>, until: Option<u64>) -> Deny {
    Deny {
        prefix: prefix(text),
        service: service.map(Into::into),
        until: until.map(at),
    }
}

/// A network that all services deny, and one that a service denies which the file does not have.
fn known() -> Denies {
    let all = [
        deny("198.51.100.0/24", None, Some(END)),
        deny("2001:db8::/32", Some("old"), None),
    ];
    all.into_iter().collect()
}

fn with_effect(deny: Deny) -> Known {
    Known {
        in_effect: deny.service.as_deref() != Some("old"),
        deny,
    }
}

pub(super) fn list() -> DeniedList {
    DeniedList {
        denies: known().iter().map(with_effect).collect(),
        observed_by: vec!["web".into()],
        overrides_fault: Some("cannot write denies.json".to_owned()),
    }
}

/// The file has `web` alone. Time begins at [`END`].
#[expect(clippy::needless_pass_by_value, reason = "as the handle has it")]
pub(super) fn add(prefix: Prefix, service: Option<String>, lasts: Option<Duration>) -> Result<Denied, DenyRefused> {
    if let Some(name) = &service {
        find(name)?;
    }
    let deny = Deny {
        prefix,
        service: service.as_deref().map(Into::into),
        until: lasts.map(|lasts| at(END) + lasts),
    };
    let before = known().add(deny.clone())?;
    Ok(Denied {
        deny,
        before: before.map(|before| before.until),
        observed_by: vec!["web".into()],
        fault: Some("cannot write the map SERVICES".to_owned()),
        overrides_fault: None,
    })
}

pub(super) fn remove(prefix: Prefix, service: Option<String>) -> Result<Undenied, DenyRefused> {
    let service = service.map(Into::into);
    let removed = known().remove(prefix, service.as_ref())?;
    Ok(Undenied {
        still: service.map(|_| with_effect(deny("2001::/16", None, None))),
        removed: with_effect(removed),
        fault: None,
        overrides_fault: None,
    })
}

fn find(name: &str) -> Result<(), names::Unknown> {
    let toml =
        "[node]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\nmode = \"dsr\"\naddress = \"192.0.2.10:80\"\n";
    let config = crate::config::parse("test.toml", toml).unwrap().config;
    names::clients(&config, name).map(drop)
}

fn put(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

async fn answered(server: &Server, request: &str) -> String {
    let (head, body) = server.raw(request).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{request}: {head}\n{body}");
    body
}

const LIST: &str = r#"{
  "denies": [
    {
      "prefix": "198.51.100.0/24",
      "service": null,
      "until": 1795877320,
      "in_effect": true
    },
    {
      "prefix": "2001:db8::/32",
      "service": "old",
      "until": null,
      "in_effect": false
    }
  ],
  "observed_by": [
    "web"
  ],
  "overrides_fault": "cannot write denies.json"
}
"#;

const REPLACED: &str = r#"{
  "deny": {
    "prefix": "198.51.100.0/24",
    "service": null,
    "until": 1795880920,
    "in_effect": true
  },
  "replaced": true,
  "until_before": 1795877320,
  "observed_by": [
    "web"
  ],
  "fault": "cannot write the map SERVICES",
  "overrides_fault": null
}
"#;

const REMOVED: &str = r#"{
  "deny": {
    "prefix": "2001:db8::/32",
    "service": "old",
    "until": null,
    "in_effect": false
  },
  "still": {
    "prefix": "2001::/16",
    "service": null,
    "until": null,
    "in_effect": true
  },
  "fault": null,
  "overrides_fault": null
}
"#;

#[tokio::test]
async fn the_texts_are_those_that_others_read() {
    let server = Server::start();
    let get = "GET /api/v1/denies HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(answered(&server, get).await, LIST);
    // The slash of a prefix is one that a path may have, and bits behind the length do not count.
    for path in ["198.51.100.0%2F24", "198.51.100.0/24", "198.51.100.77%2f24"] {
        let put = put(&format!("/api/v1/denies/{path}"), r#"{"for_seconds": 3600}"#);
        assert_eq!(answered(&server, &put).await, REPLACED);
    }
    let delete = "DELETE /api/v1/denies/2001:db8::%2F32?service=old HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(answered(&server, delete).await, REMOVED);
}

#[tokio::test]
async fn the_client_asks_as_the_server_answers() {
    let server = Server::start();
    let client = server.client();
    assert_eq!(client.denies().await.unwrap(), list().into());
    let hour = DenyPut {
        for_seconds: NonZeroU32::new(3_600),
    };
    let done = client.deny(prefix("203.0.113.7"), Some("web"), hour).await.unwrap();
    assert_eq!((done.replaced, done.until_before), (false, None));
    assert_eq!(
        (done.deny.prefix.as_str(), done.deny.service.as_deref()),
        ("203.0.113.7/32", Some("web"))
    );
    assert_eq!(done.deny.until, Some(END + 3_600));
    let done = client
        .deny(prefix("2001:db8:7::/48"), None, DenyPut::default())
        .await
        .unwrap();
    assert_eq!((done.deny.until, done.deny.service), (None, None), "for ever");
    let done = client.undeny(prefix("198.51.100.0/24"), None).await.unwrap();
    assert_eq!((done.deny.until, done.still), (Some(END), None));
}

#[tokio::test]
async fn bad_ones_say_what_is_wrong() {
    let bare = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let net = "/api/v1/denies/198.51.100.0%2F24";
    let prefixed = |prefix: &str| put(&format!("/api/v1/denies/{prefix}"), "{}");
    let cases: Vec<(String, u16, Option<&str>, &str)> = vec![
        (
            prefixed("ten"),
            400,
            None,
            "\"ten\" is not a prefix; write a prefix or an address",
        ),
        (prefixed("198.51.100.0%2F33"), 400, None, "32 at most"),
        (
            prefixed("::ffff:10.0.0.1"),
            400,
            None,
            "10.0.0.1 is an IPv4 address in IPv6 clothes; write it as IPv4",
        ),
        (
            prefixed("::ffff:10.0.0.0%2F104"),
            400,
            None,
            "::ffff:10.0.0.0 is an IPv4 address in IPv6 clothes; write it as IPv4",
        ),
        (prefixed("%ff"), 400, None, "the path is badly encoded"),
        (put(net, ""), 422, None, "EOF"),
        (put(net, r#"{"for_seconds": 0}"#), 422, None, "nonzero"),
        (put(net, r#"{"for_seconds": 4294967296}"#), 422, None, "4294967296"),
        (put(net, r#"{"for": 1}"#), 422, None, "unknown field `for`"),
        (
            put(&format!("{net}?service=wbe"), "{}"),
            404,
            None,
            "no service \"wbe\"; did you mean `web`?",
        ),
        (
            put(&format!("{net}?sevrice=web"), "{}"),
            400,
            Some("sevrice"),
            "unknown parameter \"sevrice\"",
        ),
        (
            put(&format!("{net}?service=%ff"), "{}"),
            400,
            Some("service"),
            "service is badly encoded",
        ),
        (
            put(&format!("{net}?service=web&service=api"), "{}"),
            400,
            Some("service"),
            "service is given twice",
        ),
        (
            put(net, "{}").replace("application/json", "text/plain"),
            415,
            None,
            "application/json",
        ),
        (put(net, &" ".repeat(5_000)), 413, None, "larger than 4096 bytes"),
        (
            bare("DELETE", "/api/v1/denies/198.51.100.7"),
            404,
            None,
            "198.51.100.0/24 holds it, denied by all services",
        ),
        (
            bare("DELETE", &format!("{net}?service=old")),
            404,
            None,
            "it is by all services: name no service",
        ),
        (bare("GET", net), 405, None, "answers PUT, DELETE only"),
        (bare("POST", "/api/v1/denies"), 405, None, "answers GET, HEAD only"),
        (
            bare("GET", "/api/v1/denies?service=web"),
            400,
            Some("service"),
            "unknown parameter",
        ),
    ];
    let server = Server::start();
    for (request, status, parameter, detail) in cases {
        let (head, body) = server.raw(&request).await;
        let problem: Problem = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{request}: {e}: {head}{body}"));
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {head}\n{body}"
        );
        assert_eq!(problem.parameter.as_deref(), parameter, "{request}");
        assert!(problem.detail.contains(detail), "{request}: {}", problem.detail);
    }
}
