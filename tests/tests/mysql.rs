//! Health of MariaDB servers: a primary and its replica, behind one service for writes and one for reads.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::process::Command;

use lb_tests::gate::{self, Gate};
use lb_tests::mariadb::{MariaDb, PROGRAMS};
use lb_tests::node::Node;
use lb_user::api::types::{Health, Status};
use lb_user::net::Net;

/// Accounts of probes, and of the replica; the probes' may see how replication is.
const ACCOUNTS: &str = "
    CREATE USER probe@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('secret');
    CREATE USER open@'%';
    CREATE USER sealed@'%' IDENTIFIED BY 'secret' REQUIRE SSL;
    GRANT REPLICA MONITOR ON *.* TO probe@'%';
    GRANT REPLICATION SLAVE ON *.* TO copy@'%' IDENTIFIED BY 'copy';
    RESET MASTER;";

/// Both servers behind a VIP, probed so.
fn service(name: &str, last: u8, health: &str) -> String {
    let backend = |last: u8| format!("[[service.backend]]\nname = \"db{last}\"\naddress = \"10.9.0.{last}:3306\"\n");
    format!(
        "[[service]]\nname = \"{name}\"\naddress = \"10.9.0.{last}:3306\"\nmode = \"dsr\"\n\
        [service.health]\nkind = \"mysql\"\ninterval = \"1s\"\ntimeout = \"1s\"\nrise = 1\nfall = 1\n{health}\n{}{}",
        backend(11),
        backend(12)
    )
}

/// Why a backend of a service has this health, if it has.
fn reason<'a>(status: &'a Status, service: &str, backend: &str, health: Health) -> Option<&'a str> {
    let service = status.services.iter().find(|s| s.name == service)?;
    let backend = service.backends.iter().find(|b| b.name == backend)?;
    (backend.health == health).then_some(backend.health_reason.as_str())
}

/// Waits until a backend has this health for this reason.
async fn until(node: &Node, service: &str, backend: &str, health: Health, why: &str) {
    let what = format!("{backend} of {service} is {health:?}: {why}");
    node.until(&what, |status| {
        reason(status, service, backend, health).is_some_and(|reason| reason.starts_with(why))
    })
    .await;
}

/// A certificate of nobody's for 10.9.0.11, as files.
fn certificate(node: &Node) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["10.9.0.11".to_owned()]).unwrap();
    let files = ["certificate.pem", "key.pem"].map(|name| node.path(name));
    fs::write(&files[0], made.cert.pem()).unwrap();
    fs::write(&files[1], made.signing_key.serialize_pem()).unwrap();
    files.map(|file| file.display().to_string())
}

#[tokio::test]
async fn roles_and_lag_of_a_primary_and_its_replica() {
    use Health::{Down, Up};

    if gate::root_with(&[PROGRAMS.as_slice(), &["curl"]].concat()) == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    // The replica reaches the primary within their namespace.
    let outside = Net::inside(&node.outside).unwrap();
    outside.set_up(outside.index("lo").await.unwrap()).await.unwrap();
    let [certificate, key] = certificate(&node);
    let start =
        |name: &str, address: &str, options: &[&str]| MariaDb::start(&node.outside, &node.path(name), address, options);
    let tls = [format!("--ssl-cert={certificate}"), format!("--ssl-key={key}")];
    let primary = start(
        "one",
        "10.9.0.11",
        &["--server-id=1", "--log-bin=binlog", &tls[0], &tls[1]],
    );
    let replica = start(
        "two",
        "10.9.0.12",
        &["--server-id=2", "--log-bin=binlog", "--read-only=1"],
    );
    primary.sql(ACCOUNTS);
    replica.sql(ACCOUNTS);
    let follow = "CHANGE MASTER TO MASTER_HOST = '10.9.0.11', MASTER_USER = 'copy', MASTER_PASSWORD = 'copy', \
        MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, MASTER_DELAY";
    replica.sql(&format!("{follow} = 0; START SLAVE;"));

    let password = node.path("password");
    fs::write(&password, "secret\n").unwrap();
    let login = format!("user = \"probe\"\npassword-file = \"{}\"", password.display());
    let sealed = format!(
        "user = \"sealed\"\npassword-file = \"{}\"\ntls = true\nverify = true\nca = \"{certificate}\"",
        password.display()
    );
    node.configure(
        &[
            node.head("eth0"),
            service("greets", 101, ""),
            service("writes", 102, &format!("{login}\nrole = \"primary\"")),
            service("reads", 103, &format!("{login}\nrole = \"replica\"\nmax-lag = \"1s\"")),
            service("open", 104, "user = \"open\"\nrole = \"any\""),
            service("blind", 105, "user = \"open\"\nmax-lag = \"1s\""),
            service("sealed", 106, &sealed),
        ]
        .concat(),
    );
    let daemon = node.start().await;
    for backend in ["db11", "db12"] {
        until(&node, "greets", backend, Up, "MySQL greeting in ").await;
        until(&node, "open", backend, Up, "MySQL login in ").await;
        until(&node, "blind", backend, Down, "error 1227: Access denied; you need ").await;
    }
    until(&node, "writes", "db11", Up, "MySQL primary in ").await;
    until(
        &node,
        "writes",
        "db12",
        Down,
        "a replica (read_only is on), wanted a primary",
    )
    .await;
    until(
        &node,
        "reads",
        "db11",
        Down,
        "a primary (read_only is off), wanted a replica",
    )
    .await;
    until(&node, "reads", "db12", Up, "MySQL replica in ").await;
    until(&node, "sealed", "db11", Up, "MySQL login in ").await;
    until(&node, "sealed", "db12", Down, "the server does not offer TLS").await;
    let status = node.client().status().await.unwrap();
    let sealed = status.services.iter().find(|s| s.name == "sealed").unwrap();
    let not_after = sealed.backends[0].certificate_not_after.unwrap();
    let mut curl = Command::new("curl");
    node.namespace.confine(&mut curl);
    let metrics = curl
        .args(["-sS", "http://127.0.0.1:9465/metrics"])
        .output()
        .unwrap()
        .stdout;
    let labels = "{service=\"sealed\",backend=\"db11\"}";
    let sample = format!("fulcrum_backend_certificate_not_after_timestamp_seconds{labels} {not_after}");
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.lines().any(|line| line == sample), "no {sample} in\n{metrics}");

    // What the primary does from now on, the replica does an hour later.
    replica.sql(&format!("STOP SLAVE; {follow} = 3600; START SLAVE;"));
    primary.sql("CREATE DATABASE shop");
    until(&node, "reads", "db12", Down, "replication is ").await;
    let behind = |status: &Status| {
        let reason = reason(status, "reads", "db12", Down)?;
        reason
            .strip_prefix("replication is ")?
            .strip_suffix("s behind, 1s are allowed")?
            .parse()
            .ok()
    };
    node.until("it says how far behind it is", |status| {
        behind(status).is_some_and(|seconds: u64| seconds > 1)
    })
    .await;
    replica.sql(&format!("STOP SLAVE; {follow} = 0; START SLAVE;"));
    until(&node, "reads", "db12", Up, "MySQL replica in ").await;

    replica.sql("STOP SLAVE");
    until(&node, "reads", "db12", Down, "replication is stopped").await;
    replica.sql("RESET SLAVE ALL");
    until(&node, "reads", "db12", Down, "not set up as a replica").await;

    // A failover.
    primary.sql("SET GLOBAL read_only = 1");
    replica.sql("SET GLOBAL read_only = 0");
    until(&node, "writes", "db12", Up, "MySQL primary in ").await;
    until(
        &node,
        "writes",
        "db11",
        Down,
        "a replica (read_only is on), wanted a primary",
    )
    .await;

    fs::write(&password, "wrong").unwrap();
    let denied = "error 1045: Access denied for user 'probe'@'10.9.0.1' (using password: YES)";
    until(&node, "writes", "db12", Down, denied).await;
    fs::write(&password, "secret").unwrap();
    until(&node, "writes", "db12", Up, "MySQL primary in ").await;
    drop(replica);
    until(&node, "writes", "db12", Down, "connection refused").await;
    drop(daemon);
    assert!(!node.log().contains("secret"));
}
