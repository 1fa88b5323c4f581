//! `plan`: a text goes to whoever has the file, and what comes back to whoever has asked.

use std::sync::Arc;

use super::*;
use crate::config;
use crate::control::ReloadRefused;
use crate::model::Config;
use crate::model::preview::{AddressPreview, BackendPreview, Change, Flows, KeyChange, Preview, ServicePreview, Share};

/// Takes what is right, but for the name of a node.
pub(super) fn judge(origin: &str, text: &str) -> Result<Arc<Config>, ReloadRefused> {
    let parsed = config::parse(origin, text).map_err(|error| ReloadRefused::File(error.to_string()))?;
    if parsed.config.node.name != "lb1" {
        return Err(ReloadRefused::Fixed(format!("{origin}: [node] name cannot change")));
    }
    Ok(Arc::new(parsed.config))
}

/// As if every service of the file were changed.
pub(super) fn preview(file: &Config) -> Result<Preview, String> {
    let backend = BackendPreview {
        name: "web1".into(),
        address: "10.0.0.6:80".parse().unwrap(),
        change: Change::Removed,
        keys: Vec::new(),
        weight_in_force: None,
        state_in_force: Some(AdminState::Drain),
        share: Share {
            before: 64,
            after: 0,
            gains: 0,
            loses: 64,
        },
        supposed: false,
        flows: Flows::Draining,
        known_flows: 12,
    };
    let service = |service: &crate::model::Service| ServicePreview {
        name: service.name.clone(),
        change: Change::Changed,
        keys: vec![KeyChange {
            key: "balance",
            from: "maglev".to_owned(),
            to: service.balance.label().to_owned(),
        }],
        slots: 256,
        moved: 64,
        closed: vec!["192.0.2.20:*".parse().unwrap()],
        heir: None,
        backends: vec![backend.clone()],
    };
    Ok(Preview {
        keys: vec![KeyChange {
            key: "protection.deny",
            from: "not set".to_owned(),
            to: "2 prefixes".to_owned(),
        }],
        services: file.services.iter().map(service).collect(),
        addresses: vec![AddressPreview {
            address: "192.0.2.20".parse().unwrap(),
            added: false,
            interface: "lo".to_owned(),
        }],
        overrides: vec![("web".into(), "10.0.0.7:80".parse().unwrap())],
        fault: None,
    })
}

const FILE: &str = "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\nmode = \"dsr\"\n\
    balance = \"source-hash\"\naddress = \"192.0.2.10:80\"\n";

const GOLDEN: &str = r#"{
  "changed": true,
  "keys": [
    {
      "key": "protection.deny",
      "from": "not set",
      "to": "2 prefixes"
    }
  ],
  "services": [
    {
      "name": "web",
      "change": "changed",
      "keys": [
        {
          "key": "balance",
          "from": "maglev",
          "to": "source-hash"
        }
      ],
      "slots": 256,
      "moved_slots": 64,
      "closed_vips": [
        "192.0.2.20:*"
      ],
      "vips_go_to": null,
      "backends": [
        {
          "name": "web1",
          "address": "10.0.0.6:80",
          "change": "removed",
          "keys": [],
          "weight_in_force": null,
          "state_in_force": "drain",
          "slots_before": 64,
          "slots_after": 0,
          "gains": 0,
          "loses": 64,
          "supposed_up": false,
          "flows": "draining",
          "known_flows": 12
        }
      ]
    }
  ],
  "addresses": [
    {
      "address": "192.0.2.20",
      "change": "removed",
      "interface": "lo"
    }
  ],
  "overrides": [
    {
      "service": "web",
      "address": "10.0.0.7:80"
    }
  ],
  "flows": {
    "draining": 12,
    "reassigned": 0,
    "cut": 0
  },
  "fault": null
}
"#;

/// A request with a body.
fn post(query: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("POST /api/v1/plan{query} HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {length}\r\n\r\n{body}")
}

const TOML: &str = "Content-Type: application/toml\r\n";

#[tokio::test]
async fn a_plan_is_json_that_stays() {
    let server = Server::start();
    let (head, body) = server.raw(&post("", TOML, FILE)).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, GOLDEN);
    let plan = server.client().plan("any", FILE.to_owned()).await.unwrap();
    assert_eq!(plan, serde_json::from_str(GOLDEN).unwrap());
}

#[tokio::test]
async fn what_a_reload_would_refuse_is_refused_alike() {
    let server = Server::start();
    let plan = async |name: &str, text: &str| {
        let Err(ClientError::Refused(problem)) = server.client().plan(name, text.to_owned()).await else {
            panic!("a refusal");
        };
        (problem.status, problem.detail)
    };
    let (status, detail) = plan("/etc/a file.toml", &FILE.replace("lb1", "lb2")).await;
    assert_eq!(
        (status, detail.as_str()),
        (409, "/etc/a file.toml: [node] name cannot change")
    );
    let (status, detail) = plan("new.toml", &FILE.replace("mode", "mdoe")).await;
    assert!(status == 422 && detail.contains("new.toml:6:1"), "{detail}");
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let server = Server::start();
    let large = format!(
        "POST /api/v1/plan HTTP/1.1\r\nHost: x\r\n{TOML}Content-Length: {}\r\n\r\n",
        config::MAX_BYTES + 1
    );
    let cases = [
        (post("", "", FILE), 415, "application/toml"),
        (post("?name=x", TOML, FILE), 400, "unknown parameter"),
        (post("?file=x&file=y", TOML, FILE), 400, "given twice"),
        (large, 413, "larger than 8388608 bytes"),
        (
            "GET /api/v1/plan HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            405,
            "answers POST only",
        ),
    ];
    for (request, status, detail) in cases {
        let (head, body) = server.raw(&request).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(body.contains(detail), "{body}");
    }
}
