//! What `nat` needs of the machine: asked at the start and at every reload, and refused with its place; and the ports
//! that the kernel is kept from.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::fs;
use std::os::unix::process::CommandExt as _;

use lb_tests::gate::{self, Gate};
use lb_tests::node::{Node, refused};
use lb_user::api::types::Status;
use lb_user::net::{Net, wire};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

/// A backend that nobody probes, with `[service.nat]` in line 14 and on of the file.
const SERVICE: &str = r#"[[service]]
name = "web"
address = "10.9.0.100:80"
mode = "nat"
health.kind = "none"
[service.nat]
NAT
[[service.backend]]
address = "10.9.0.11:8080"
"#;

fn file(node: &Node, nat: &str) -> String {
    node.head("eth0") + &SERVICE.replace("NAT", nat)
}

fn reserved(node: &Node) -> String {
    let read = || fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports");
    node.namespace.run_inside(read).unwrap().unwrap().trim().to_owned()
}

fn set(node: &Node, key: &str, value: &str) {
    wire::sysctl(&node.namespace, &format!("ipv4/{key}"), value).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_machine_does_not_keep_refuses_a_start() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let run = || node.command(&["run", "-c", &node.path("fulcrum.toml").to_string_lossy()]);
    set(&node, "ip_local_port_range", "25000 50000");
    for (nat, place, wanted) in [
        (
            "",
            ":8:",
            &[
                "the kernel takes ports 25000-50000 for connections of its own, so \"web\" cannot have 20000-29999",
                "ports = \"55536-65535\"",
                "ip_local_port_range=\"30000 50000\"",
            ][..],
        ),
        ("ports = \"50000-50000\"", ":14:", &["cannot have 50000-50000"]),
        (
            "source = [\"10.9.0.250\"]\nports = \"1000-1999\"",
            ":14:",
            &[
                "this machine does not have 10.9.0.250, and it is no VIP",
                "put it on an interface",
            ],
        ),
    ] {
        node.configure(&file(&node, nat));
        let text = refused(&mut run());
        let place = format!("fulcrum.toml{place}");
        assert!(text.contains(&place), "no {place} in\n{text}");
        for part in wanted {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        // The file alone is good.
        assert!(node.run("check").status.success());
    }
    assert!(!node.path("bpf").exists());
    assert_eq!(reserved(&node), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_machine_does_not_keep_refuses_a_reload() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    set(&node, "ip_local_reserved_ports", "80,20005");
    node.configure(&file(&node, "source = \"10.9.0.1\""));
    let daemon = node.start().await;
    node.until("nothing is wrong", |s| s.fault.is_none()).await;
    assert_eq!(reserved(&node), "80,20000-29999");

    let refusal =
        |words: &'static str| move |s: &Status| s.refused_reload.as_ref().is_some_and(|reason| reason.contains(words));
    let good = file(&node, "source = \"10.9.0.1\"\nports = \"15000-15009\"");
    node.configure(&good);
    node.until("other ports run", |_| reserved(&node) == "80,15000-15009,20005")
        .await;
    node.configure(&good.replace("15009", "40000"));
    let taken = "so \"web\" cannot have 15000-40000";
    let status = node.until("the kernel has some of them", refusal(taken)).await;
    let reason = status.refused_reload.unwrap();
    assert!(
        reason.contains("fulcrum.toml:15:") && reason.contains("choose others"),
        "{reason}"
    );
    let floating = good.replace("10.9.0.1\"", "10.9.0.250\"");
    node.configure(&floating);
    node.until("nobody has the source", refusal("does not have 10.9.0.250"))
        .await;
    assert_eq!(reserved(&node), "80,15000-15009,20005", "what runs stays");

    // Somebody has it now: the file is taken as it stands, and has been refused once only.
    let net = Net::inside(&node.namespace).unwrap();
    let eth0 = net.index("eth0").await.unwrap();
    net.add_address(eth0, [10, 9, 0, 250].into(), 24).await.unwrap();
    node.until("it is taken", |s| s.refused_reload.is_none()).await;
    assert_eq!(
        node.log().matches("does not have 10.9.0.250").count(),
        1,
        "{}",
        node.log()
    );
    // A VIP will do.
    node.configure(&good.replace("10.9.0.1\"", "10.9.0.100\""));
    node.until("a VIP as source is taken", |_| {
        node.log().matches("configuration reloaded").count() == 3
    })
    .await;

    node.configure(&good.replace("[admin]", "flow-table-size = 2048\n[admin]"));
    node.until("the tables keep their size", refusal("[node] flow-table-size"))
        .await;
    // One word switches to another mode, and its ports are the kernel's again.
    let dsr = good.replace("nat\"", "dsr\"").replace(":8080", ":80");
    node.configure(&dsr);
    node.until("dsr needs no ports", |_| reserved(&node) == "80,20005")
        .await;
    node.configure(&good);
    node.until("nat does", |_| reserved(&node) == "80,15000-15009,20005")
        .await;
    daemon.end(Signal::SIGTERM);
    assert_eq!(reserved(&node), "80,15000-15009,20005");

    // The next daemon takes the same ports; where it may not write, it warns and serves.
    let daemon = node.start().await;
    daemon.end(Signal::SIGTERM);
    assert!(!node.log().contains("not kept from the kernel"), "{}", node.log());
    node.configure(&good.replace("15009", "15010"));
    let mut command = node.command(&["run", "-c", &node.path("fulcrum.toml").to_string_lossy()]);
    // SAFETY: between fork and exec the closure makes system calls only, and neither allocates nor locks.
    unsafe { command.pre_exec(|| Ok(protect_sysctls()?)) };
    let daemon = node.try_start_as(command).await.unwrap_or_else(|log| panic!("{log}"));
    let ready = |s: &Status| s.fault.is_none() && s.services.len() == 1;
    node.until("it serves", ready).await;
    let warned = || node.log().contains("not kept from the kernel") && node.log().contains("ports=15000-15010");
    node.until("it warns", |_| warned()).await;
    assert_eq!(reserved(&node), "80,15000-15009,20005");
    drop(daemon);
}

/// Makes /proc/sys read-only for this process, as in many a container.
fn protect_sysctls() -> nix::Result<()> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    mount(Some("/proc/sys"), "/proc/sys", none, MsFlags::MS_BIND, none)?;
    let again = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(none, "/proc/sys", none, again, none)
}

/// As for the interfaces of `[node]`: a slip of the pen is refused with its place, and what goes later is no reason to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_router_needs_its_interface() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let router = |priority: u8| {
        format!(
            "{}[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth7\"\nrouter-id = 1\npriority = {priority}\n\
             advertisement-interval = \"10ms\"\naddresses = [\"10.9.7.100\"]\n",
            node.head_with_seed("eth0")
        )
    };
    node.configure(&router(100));
    let text = refused(&mut node.command(&["run", "-c", &node.path("fulcrum.toml").to_string_lossy()]));
    for part in ["no interface `eth7`", "fulcrum.toml:11:", "this machine has: eth0"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    // The file alone is good.
    let checked = node.run("check");
    let warned = String::from_utf8(checked.stderr).unwrap();
    assert!(
        checked.status.success() && warned.contains("this machine has no interface `eth7`"),
        "{warned}"
    );
    assert!(!node.path("bpf").exists());

    node.configure(&node.head_with_seed("eth0"));
    let daemon = node.start().await;
    node.configure(&router(100));
    let refusal = |s: &Status| {
        s.refused_reload
            .as_ref()
            .is_some_and(|reason| reason.contains("no interface `eth7`"))
    };
    node.until("it is refused", refusal).await;
    let net = Net::inside(&node.namespace).unwrap();
    net.add_veth("eth7", "far", &node.outside).await.unwrap();
    let outside = Net::inside(&node.outside).unwrap();
    outside.set_up(outside.index("far").await.unwrap()).await.unwrap();
    let eth7 = net.index("eth7").await.unwrap();
    net.add_address(eth7, [10, 9, 7, 1].into(), 24).await.unwrap();
    net.set_up(eth7).await.unwrap();
    let is = |role: &'static str, priority: u8| {
        move |s: &Status| {
            let mut routers = s.virtual_routers.iter();
            routers.any(|r| r.role == role && r.priority_in_file == priority) && s.refused_reload.is_none()
        }
    };
    node.until("the interface is there", is("master", 100)).await;
    net.remove_link(eth7).await.unwrap();
    let status = node.until("it has gone", is("fault", 100)).await;
    assert_eq!(status.virtual_routers[0].reason, "there is no interface eth7");
    node.configure(&router(110));
    node.client().reload().await.unwrap();
    node.until("something else changes", is("fault", 110)).await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}
