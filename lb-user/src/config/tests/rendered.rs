//! What people see, as a whole.

use super::super::{ConfigError, Subject};
use super::vrrp::{ROUTER, SEED};
use super::{NODE, SERVICE, read};

#[track_caller]
fn refused(text: &str, expected: &str) {
    shows(&read(text).unwrap_err(), expected);
}

#[track_caller]
fn shows(error: &ConfigError, expected: &str) {
    let shown = error.to_string();
    assert_eq!(shown, expected.trim_matches('\n'), "\n{shown}\n");
}

#[test]
fn an_error_shows_its_place_and_a_hint() {
    refused(
        &format!("{NODE}{SERVICE}tabel-size = 64\n"),
        r#"
error: unknown key `tabel-size` in [[service]]
 --> test.toml:7:1
  |
7 | tabel-size = 64
  | ^^^^^^^^^^
  |
  = help: did you mean `table-size`? [[service]] takes: name, address, protocol, mode, balance, table-size, drain-timeout, idle-timeout, track, undeclared, steer-challenges, nat, tunnel, protection, health, tls, http, upstream, route, backend
"#,
    );
}

#[test]
fn a_contradiction_shows_both_places() {
    refused(
        &format!("{NODE}{SERVICE}{}", SERVICE.replace("web", "other")),
        r#"
error: VIP 192.0.2.10:80/tcp is used twice
 --> test.toml:9:11
  |
5 | address = "192.0.2.10:80"
  |           --------------- first here
...
9 | address = "192.0.2.10:80"
  |           ^^^^^^^^^^^^^^^
  |
  = help: one address, port and protocol belongs to one service
"#,
    );
}

#[test]
fn a_default_contradicts_at_its_service() {
    let nat = SERVICE.replace("dsr", "nat");
    refused(
        &format!(
            "{NODE}{nat}{}[service.nat]\nports = \"25000-34999\"\n",
            nat.replace("web", "other").replace(":80", ":81")
        ),
        r#"
error: the ports 25000-34999 of "other" overlap with the ports 20000-29999 of "web"
  --> test.toml:12:9
   |
 3 | [[service]]
   | ----------- the other ports
...
12 | ports = "25000-34999"
   |         ^^^^^^^^^^^^^
   |
   = help: nat services share their ports, where all name the same, or have ports of their own: set `ports` in [service.nat]
"#,
    );
}

#[test]
fn ranges_that_overlap_show_both_places() {
    let first = SERVICE.replace(":80", ":8000-8999");
    refused(
        &format!(
            "{NODE}{first}{}",
            SERVICE.replace("web", "other").replace(":80", ":8900-9000")
        ),
        r#"
error: VIP 192.0.2.10:8900-9000/tcp overlaps with the ports 8000-8999
 --> test.toml:9:11
  |
5 | address = "192.0.2.10:8000-8999"
  |           ---------------------- the other ports
...
9 | address = "192.0.2.10:8900-9000"
  |           ^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: one address, port and protocol belongs to one service; a single port of another may lie in a range
"#,
    );
}

#[test]
fn a_prefix_that_is_too_short_is_told_which_part_to_take() {
    refused(
        &format!("{NODE}{SERVICE}[service.tunnel]\nsource = [\"2001:db8::/64\"]\n"),
        r#"
error: 2001:db8::/64 leaves 64 bits to the flow, and at most 32 vary
 --> test.toml:8:11
  |
8 | source = ["2001:db8::/64"]
  |           ^^^^^^^^^^^^^^^
  |
  = help: take a part of it: "2001:db8::/96"
"#,
    );
}

#[test]
fn a_virtual_router_is_told_how_nodes_get_one_seed() {
    refused(
        &format!("{NODE}{ROUTER}"),
        r#"
error: `[[vrrp]]` needs `hash-seed-file` in [node]
 --> test.toml:3:1
  |
3 | [[vrrp]]
  | ^^^^^^^^
  |
  = help: nodes that stand in for each other need one seed, or flows change their backend with the node: `head -c 16 /dev/urandom > /etc/fulcrum/seed`, copy it to the others, and set hash-seed-file in [node]
"#,
    );
}

#[test]
fn a_peer_with_a_virtual_address_shows_whose_it_is() {
    refused(
        &format!("{NODE}{SEED}{ROUTER}peers = [\"192.0.2.1\", \"192.0.2.10\"]\n"),
        r#"
error: the peer 192.0.2.10 is an address of a virtual router
  --> test.toml:10:23
   |
 9 | addresses = ["192.0.2.10"]
   |              ------------ held by "VI_1"
10 | peers = ["192.0.2.1", "192.0.2.10"]
   |                       ^^^^^^^^^^^^
   |
   = help: name the address that the node itself has, whoever is master
"#,
    );
}

#[test]
fn both_families_are_two_virtual_routers() {
    let router = ROUTER.replace("\"192.0.2.10\"", "\"192.0.2.10/24\", \"2001:db8::10/64\"");
    refused(
        &format!("{NODE}{SEED}{router}"),
        r#"
error: 192.0.2.10 and 2001:db8::10 cannot be of one virtual router: it has one family
 --> test.toml:9:31
  |
9 | addresses = ["192.0.2.10/24", "2001:db8::10/64"]
  |              ---------------  ^^^^^^^^^^^^^^^^^
  |              |
  |              the first is IPv4
  |
  = help: write two [[vrrp]] with the same sync-group, so that both are where one is
"#,
    );
}

#[test]
fn two_places_in_one_line() {
    refused(
        "[node]\ninterfaces = [\"eth0\", \"eth0\"]\n",
        r#"
error: interface "eth0" stands here twice
 --> test.toml:2:23
  |
2 | interfaces = ["eth0", "eth0"]
  |               ------  ^^^^^^
  |               |
  |               first here
"#,
    );
}

#[test]
fn an_empty_file_is_told_what_to_say() {
    refused(
        "",
        r#"
error: the file says nothing
 --> test.toml:1:1
  |
1 |
  | ^
  |
  = help: the least that a file needs:

          [node]
          interfaces = ["eth0"]

          [[service]]
          name = "web"
          address = "192.0.2.10:80"
          mode = "dsr"

          [[service.backend]]
          address = "10.0.0.6:80"
"#,
    );
}

#[test]
fn a_value_over_several_lines_is_marked_in_its_first() {
    refused(
        "[node]\ninterfaces = \"\"\"eth0\nöth1\"\"\"\n",
        r#"
error: `interfaces` must be a list of strings, not "eth0\nöth1"
 --> test.toml:2:14
  |
2 | interfaces = """eth0
  |              ^^^^^^^
  |
  = help: write interfaces = ["eth0\nöth1"]
"#,
    );
}

#[test]
fn a_long_line_is_cut() {
    let text = format!("[node]\ninterfaces = [{}\"a b\"]\n", "\"eth0\", ".repeat(100_000));
    let shown = read(&text).unwrap_err().to_string();
    assert!(shown.len() < 1_000, "{} bytes", shown.len());
    let text = format!("[node]\nname = \"{}\"\n", "ö".repeat(100_000));
    let error = read(&text).unwrap_err();
    assert!(error.to_string().len() < 1_000, "{error}");
    assert!(error.message().len() < 200);
}

#[test]
fn colour_only_on_demand() {
    let error = read("").unwrap_err();
    assert!(!error.to_string().contains('\u{1b}'));
    assert!(error.render(true).contains('\u{1b}'));
}

#[test]
fn callers_add_what_only_the_machine_knows() {
    let parsed = read(&format!("{NODE}pin-dir = \"/sys/fs/bpf/x\"\n{SERVICE}")).unwrap();
    let interface = Subject::Interface("eth0".to_owned());
    let error = parsed.error_at(&interface, "there is no interface \"eth0\"", "see `ip link`");
    assert_eq!((error.line(), error.column()), (Some(2), Some(15)));
    shows(
        &error,
        r#"
error: there is no interface "eth0"
 --> test.toml:2:15
  |
2 | interfaces = ["eth0"]
  |               ^^^^^^
  |
  = help: see `ip link`
"#,
    );
    let warning = parsed.warning_at(&Subject::PinDir, "x", "y");
    assert_eq!((warning.line(), warning.column()), (Some(3), Some(11)));
    let warning = parsed.warning_at(&Subject::Service("web".to_owned()), "x", "y");
    assert_eq!(warning.line(), Some(4));
    let ports = parsed.error_at(&Subject::NatPorts("web".to_owned()), "x", "y");
    assert_eq!(ports.line(), Some(4), "the service, since its ports are the default");
    let error = parsed.error_at(&Subject::StateDir, "/var/lib/fulcrum cannot be written", "run as root");
    assert_eq!((error.line(), error.column()), (None, None));
    shows(
        &error,
        "
error: /var/lib/fulcrum cannot be written
--> test.toml
 = help: run as root
",
    );
}
