//! The JSON as others read it. A change here breaks them: additions only.
//!
//! Past 500 lines: texts, as they are answered.

use super::*;
use crate::model::http_status::{ClientsHttp, ServiceHttp, TlsHttp};

#[tokio::test]
async fn status() {
    let expected = r#"{
  "node": "lb1",
  "version": "VERSION",
  "interfaces": [
    {
      "name": "eth0",
      "mode": "native"
    },
    {
      "name": "eth1",
      "mode": "generic"
    }
  ],
  "unattached_interfaces": [
    {
      "name": "eth2",
      "reason": "there is no interface of this name"
    }
  ],
  "services": [
    {
      "name": "web",
      "vips": [
        {
          "address": "192.0.2.10:80",
          "exclusive": true
        }
      ],
      "protocol": "tcp",
      "mode": "nat",
      "balance": "maglev",
      "table_size": 16384,
      "slot_states": {
        "stable": 16000,
        "moving": 284,
        "settled": 100
      },
      "healthy": false,
      "ready": 1,
      "quorum": 2,
      "backends": [
        {
          "name": "web1",
          "address": "10.0.0.6:80",
          "host": null,
          "weight": 5,
          "weight_in_file": null,
          "slow_start_tenths": null,
          "role": "primary",
          "state": "active",
          "state_in_file": null,
          "health": "up",
          "health_reason": "connected in 0.3 ms",
          "probe_microseconds": null,
          "certificate_not_after": null,
          "next_hop": {
            "mac": "02:00:00:00:00:0a",
            "interface": "eth0"
          },
          "next_hop_reason": null,
          "slots": 8192,
          "moving_slots": 12,
          "drained": false,
          "packets": 12,
          "bytes": 1152921504606846976,
          "new_flows": 4,
          "reply_packets": 11,
          "reply_bytes": 2305843009213693952,
          "leaving": false,
          "known_flows": 9,
          "cut_flows": 2,
          "nat": {
            "source": "10.0.0.1",
            "first_port": 20000,
            "last_port": 29999,
            "opening": 1,
            "established": 20,
            "half_closed": 3,
            "closed": 4
          },
          "proxy": null
        },
        {
          "name": "web2",
          "address": "10.0.0.7:80",
          "host": "web2.example",
          "weight": 5,
          "weight_in_file": null,
          "slow_start_tenths": 3,
          "role": "primary",
          "state": "active",
          "state_in_file": null,
          "health": "unknown",
          "health_reason": "connected in 0.3 ms",
          "probe_microseconds": null,
          "certificate_not_after": null,
          "next_hop": null,
          "next_hop_reason": "no answer to ARP",
          "slots": 8192,
          "moving_slots": 12,
          "drained": false,
          "packets": 0,
          "bytes": 0,
          "new_flows": 0,
          "reply_packets": 0,
          "reply_bytes": 0,
          "leaving": true,
          "known_flows": 9,
          "cut_flows": 2,
          "nat": null,
          "proxy": null
        }
      ],
      "unresolved": [
        {
          "name": "web3",
          "host": "web3.example",
          "port": 80,
          "reason": "web3.example has no address"
        }
      ],
      "certificates": [],
      "protection": {
        "enforcement": "observe",
        "refused": {
          "dropped": {
            "bogon": 20,
            "connection_rate": 40,
            "denied": 30,
            "icmp_rate": 60,
            "land": 10,
            "packet_rate": 50,
            "syn_cookie": 70,
            "tcp_flags": 0
          },
          "observed": {
            "bogon": 5,
            "connection_rate": 3,
            "denied": 4,
            "icmp_rate": 1,
            "land": 6,
            "packet_rate": 2,
            "syn_cookie": 0,
            "tcp_flags": 7
          },
          "cookies_answered": 1000,
          "cookies_accepted": 300,
          "sources_evicted": 12
        }
      },
      "http": null
    }
  ],
  "virtual_routers": [
    {
      "name": "VI_1",
      "interface": "eth0",
      "router_id": 41,
      "version": 3,
      "role": "backup",
      "reason": "10.0.0.2 goes before it, with priority 110",
      "priority": 70,
      "priority_in_file": 100,
      "addresses": [
        "192.0.2.10"
      ],
      "master": "10.0.0.2",
      "master_priority": 110,
      "rival": false,
      "down": [
        "script pidof nginx"
      ],
      "transitions": 2,
      "sent": 12,
      "received": 345,
      "notify_fault": null
    }
  ],
  "announcements": [
    {
      "address": "198.51.100.10",
      "announced": true,
      "reason": "its services have their quorum"
    },
    {
      "address": "2001:db8::10",
      "announced": false,
      "reason": "web has no quorum"
    }
  ],
  "draining": true,
  "peers": [
    {
      "name": "lb2",
      "address": "10.0.0.2:8473",
      "connected": true,
      "reason": null,
      "heard": true,
      "lag_ms": 12,
      "sent": 1234,
      "taken": 567,
      "foreign": 8,
      "no_room": 9,
      "syncs": 2
    },
    {
      "name": "lb3",
      "address": "10.0.0.3:8473",
      "connected": false,
      "reason": "it does not answer",
      "heard": false,
      "lag_ms": 0,
      "sent": 1234,
      "taken": 567,
      "foreign": 8,
      "no_room": 9,
      "syncs": 2
    }
  ],
  "certificates": [
    {
      "service": "web",
      "domains": [
        "shop.example",
        "www.shop.example"
      ],
      "directory": "https://acme.example/directory",
      "challenge": "http-01",
      "origin": "issued",
      "not_before": 1790000000,
      "not_after": 1797776000,
      "renew_at": 1795184000,
      "suggested": true,
      "doing": "waiting",
      "last_attempt": 1795184010,
      "last_error": "shop.example, step challenge: connection refused (connection)",
      "failures": 2,
      "attempts": 5
    }
  ],
  "flows": {
    "flows": {
      "entries": 12,
      "capacity": 262144,
      "written": 90,
      "no_room": 3
    },
    "tracked": {
      "entries": 0,
      "capacity": 0,
      "written": 0,
      "no_room": 0
    }
  },
  "protection": {
    "enforcement": "enforce",
    "prefixes": 1000003,
    "addresses": {
      "dropped": {
        "bogon": 20,
        "connection_rate": 40,
        "denied": 30,
        "icmp_rate": 60,
        "land": 10,
        "packet_rate": 50,
        "syn_cookie": 70,
        "tcp_flags": 0
      },
      "observed": {
        "bogon": 5,
        "connection_rate": 3,
        "denied": 4,
        "icmp_rate": 1,
        "land": 6,
        "packet_rate": 2,
        "syn_cookie": 0,
        "tcp_flags": 7
      },
      "cookies_answered": 1000,
      "cookies_accepted": 300,
      "sources_evicted": 12
    }
  },
  "drops": {
    "no_backend": 7,
    "truncated": 0
  },
  "repairs": {
    "address": 0,
    "entry": 0,
    "member": 0,
    "program": 0,
    "slot": 0
  },
  "started": 0,
  "reloads": {
    "accepted": 0,
    "refused": 0,
    "last": 0
  },
  "refused_reload": null,
  "unread_file": null,
  "fault": "cannot write the map SERVICES",
  "overrides_fault": null
}
"#;
    let server = Server::start();
    let (head, body) = server.raw("GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(body, expected.replace("VERSION", env!("CARGO_PKG_VERSION")));
}

/// What clients of the proxy have done; the rest is as for the others.
#[test]
fn clients() {
    let clients = ClientsHttp {
        connections: 3,
        requests: [10, 5],
        responses: [0, 12, 0, 2, 1],
        received: 700,
        sent: 9000,
        tls: Some(TlsHttp {
            certificates: vec![("shop.example".into(), 1_800_000_000)],
            ..TlsHttp::default()
        }),
        ..ClientsHttp::default()
    };
    let mut status = super::status();
    status.http.push(ServiceHttp {
        name: "web".into(),
        queued: 9,
        waiting: 2,
        clients: Some(clients),
        backends: Vec::new(),
    });
    let status = serde_json::to_value(types::Status::from(status)).unwrap();
    let service = &status["services"][0];
    assert_eq!(
        service["certificates"],
        serde_json::json!([{ "name": "shop.example", "not_after": 1_800_000_000 }])
    );
    assert_eq!(
        service["http"],
        serde_json::json!({
            "connections": 3,
            "requests": 15,
            "responses": { "1xx": 0, "2xx": 12, "3xx": 0, "4xx": 2, "5xx": 1 },
            "received": 700,
            "sent": 9000,
            "waiting": 2,
        })
    );
}

/// What the proxy does with a backend; the rest is as for the others.
#[test]
fn proxied() {
    let mut backend = super::status().services[0].backends[0].clone();
    (backend.next_hop, backend.nat) = (None, None);
    backend.proxied = Some(model::ProxiedStatus {
        serves: true,
        ejected: false,
        active: 3,
        connections: 8,
        requests: 12_345,
        failures: 2,
        received: 1 << 60,
        sent: 4_200,
    });
    let backend = crate::api::types::BackendStatus::from(backend);
    assert!(backend.serves() && !backend.is_unreachable());
    assert_eq!(backend.flows(), 9 + 3);
    let json = serde_json::to_value(&backend).unwrap();
    assert!(json["next_hop"].is_null() && json["next_hop_reason"].is_null() && json["nat"].is_null());
    assert_eq!(
        json["proxy"].to_string(),
        r#"{"active":3,"connections":8,"ejected":false,"failures":2,"received":1152921504606846976,"requests":12345,"sent":4200,"serves":true}"#
    );
}

#[tokio::test]
async fn explain() {
    let fates = [
        (
            80,
            r#"  "verdict": "forwarded",
  "service": "web",
  "backend": "web1",
  "address": "10.0.0.6:80",
  "mode": "nat",
  "hash": "0123456789abcdef",
  "slot": 3567,
  "slots": 16384,
  "slot_state": "moving",
  "tracked": true,
  "known": {
    "source": "10.0.0.1:20017",
    "phase": "half_closed"
  },
  "protection": {
    "enforcement": "observe",
    "refused": null,
    "rule": null,
    "exempt": null,
    "connections_per_second": {
      "limit": 1000,
      "burst": 2000,
      "prefix_length": 32,
      "service": "web"
    },
    "packets_per_second": {
      "limit": 50000,
      "burst": 50000,
      "prefix_length": 24,
      "service": null
    },
    "syn_cookies_above": 0
  }"#,
        ),
        (
            84,
            r#"  "verdict": "undecided",
  "service": "web",
  "by": "load",
  "otherwise": {
    "backend": "web1",
    "address": "10.0.0.6:80"
  },
  "protection": null"#,
        ),
        (
            85,
            r#"  "verdict": "proxied",
  "service": "shop",
  "pools": [
    {
      "name": "shop",
      "balance": "maglev",
      "hash_on": "cookie:user",
      "ready": [
        "web1"
      ],
      "backends": 2
    },
    {
      "name": "api",
      "balance": "peak-ewma",
      "hash_on": null,
      "ready": [],
      "backends": 0
    }
  ],
  "protection": null"#,
        ),
        (
            81,
            r#"  "verdict": "dropped",
  "service": "web",
  "reason": "no_backend",
  "slot": 9,
  "protection": null"#,
        ),
        (
            86,
            r#"  "verdict": "refused",
  "service": "web",
  "reason": "denied",
  "protection": {
    "enforcement": "enforce",
    "refused": "denied",
    "rule": {
      "list": "run_time",
      "service": null,
      "prefix": "198.51.100.0/24"
    },
    "exempt": {
      "list": "exempt",
      "service": "web",
      "prefix": "198.51.0.0/16"
    },
    "connections_per_second": null,
    "packets_per_second": null,
    "syn_cookies_above": null
  }"#,
        ),
        (
            82,
            r#"  "verdict": "undeclared",
  "dropped": true,
  "protection": null"#,
        ),
        (
            83,
            r#"  "verdict": "not_a_vip",
  "address": "192.0.2.10",
  "protection": null"#,
        ),
    ];
    let server = Server::start();
    for (port, fate) in fates {
        let query = format!("protocol=tcp&source=198.51.100.7:40000&destination=192.0.2.10:{port}");
        let request = format!("GET /api/v1/explain?{query} HTTP/1.1\r\nHost: x\r\n\r\n");
        let (_, body) = server.raw(&request).await;
        let expected = format!(
            r#"{{
  "flow": {{
    "protocol": "tcp",
    "source": "198.51.100.7:40000",
    "destination": "192.0.2.10:{port}"
  }},
{fate}
}}
"#
        );
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn problem() {
    let server = Server::start();
    let (_, body) = server.raw("GET /api/v1/explain HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let expected = r#"{
  "type": "about:blank",
  "title": "Bad Request",
  "status": 400,
  "detail": "protocol is missing",
  "parameter": "protocol"
}
"#;
    assert_eq!(body, expected);
}

#[tokio::test]
async fn patch() {
    let server = Server::start();
    let body = r#"{"state": "drain", "weight": 4}"#;
    let path = "/api/v1/services/web/backends/web1";
    let (_, answer) = server
        .raw(&format!(
            "PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let expected = r#"{
  "service": "web",
  "backend": {
    "name": "web1",
    "address": "10.0.0.6:80",
    "host": null,
    "weight": 4,
    "weight_in_file": 5,
    "slow_start_tenths": null,
    "role": "primary",
    "state": "drain",
    "state_in_file": "active",
    "health": "up",
    "health_reason": "connected in 0.3 ms",
    "probe_microseconds": null,
    "certificate_not_after": null,
    "next_hop": {
      "mac": "02:00:00:00:00:0a",
      "interface": "eth0"
    },
    "next_hop_reason": null,
    "slots": 8192,
    "moving_slots": 12,
    "drained": false,
    "packets": 12,
    "bytes": 1152921504606846976,
    "new_flows": 4,
    "reply_packets": 11,
    "reply_bytes": 2305843009213693952,
    "leaving": false,
    "known_flows": 9,
    "cut_flows": 2,
    "nat": {
      "source": "10.0.0.1",
      "first_port": 20000,
      "last_port": 29999,
      "opening": 1,
      "established": 20,
      "half_closed": 3,
      "closed": 4
    },
    "proxy": null
  },
  "fault": null,
  "overrides_fault": null
}
"#;
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn reload() {
    let server = Server::start();
    let (_, body) = server.raw("POST /api/v1/reload HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(body, "{\n  \"changed\": true,\n  \"fault\": null\n}\n");
}

#[test]
fn a_status_of_an_earlier_version_is_understood() {
    let mut status = serde_json::to_value(types::Status::from(super::status())).unwrap();
    status.as_object_mut().unwrap().remove("overrides_fault");
    for name in ["repairs", "started", "reloads"] {
        status.as_object_mut().unwrap().remove(name);
    }
    status.as_object_mut().unwrap().remove("protection");
    for name in ["certificates", "http", "protection"] {
        status["services"][0].as_object_mut().unwrap().remove(name);
    }
    for backend in status["services"][0]["backends"].as_array_mut().unwrap() {
        let fields = backend.as_object_mut().unwrap();
        fields.remove("weight_in_file");
        fields.remove("state_in_file");
        fields.remove("certificate_not_after");
        fields.remove("probe_microseconds");
    }
    let status: types::Status = serde_json::from_value(status).unwrap();
    let mut wanted = types::Status::from(super::status());
    wanted.repairs.clear();
    (wanted.protection, wanted.services[0].protection) = (None, None);
    assert_eq!(status, wanted);
}

#[test]
fn names_of_values_are_those_of_the_file() {
    let json = |value: serde_json::Result<String>| value.unwrap();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let wire = serde_json::to_string(&types::Protocol::from(protocol));
        assert_eq!(json(wire), format!("{:?}", protocol.label()));
    }
    for state in AdminState::ALL {
        let wire = serde_json::to_string(&types::AdminState::from(state));
        assert_eq!(json(wire), format!("{:?}", state.label()));
    }
    for health in [Health::Unknown, Health::Up, Health::Down] {
        let wire = serde_json::to_string(&types::Health::from(health));
        assert_eq!(json(wire), format!("{:?}", health.label()));
    }
}

#[test]
fn vips_have_one_port_or_many() {
    for text in ["192.0.2.10:80", "[2001:db8::10]:8000-8999", "192.0.2.10:*"] {
        let json = format!(r#"{{"address":"{text}","exclusive":true}}"#);
        let vip: types::VipStatus = serde_json::from_str(&json).unwrap();
        assert_eq!(vip.address.to_string(), text);
        assert_eq!(serde_json::to_string(&vip).unwrap(), json);
    }
    let wrong = serde_json::from_str::<types::VipStatus>(r#"{"address":"192.0.2.10:9-8","exclusive":true}"#);
    assert!(wrong.unwrap_err().to_string().contains("not an IP address with a port"));
}

#[test]
fn fields_that_a_later_version_adds_are_ignored() {
    let json = r#"{ "flow": { "protocol": "udp", "source": "[::1]:1", "destination": "[::2]:2", "new": 1 },
        "verdict": "undeclared", "dropped": false, "why": {} }"#;
    let explanation: types::Explanation = serde_json::from_str(json).unwrap();
    assert_eq!(explanation.verdict, types::Verdict::Undeclared { dropped: false });
}
