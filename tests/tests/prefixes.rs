//! A file of prefixes beside the configuration of a daemon that runs: a change of it is noticed, judged and told as one of the
//! configuration is.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;

use lb_tests::gate::{self, Gate};
use lb_tests::node::Node;

/// Another file in place of the one at `path`.
fn replace(node: &Node, path: &str, list: &str) {
    fs::write(node.path("new"), list).unwrap();
    fs::rename(node.path("new"), node.path(path)).unwrap();
}

/// `fulcrum plan` of the running file: exit code and standard output.
fn planned(node: &Node) -> (Option<i32>, String) {
    let output = node.run("plan");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_is_read_again() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    fs::create_dir(node.path("lists")).unwrap();
    replace(&node, "lists/deny.txt", "192.0.2.0/24\n");
    let list = node.path("lists/deny.txt").display().to_string();
    let with = |deny: &str| format!("{}[protection]\ndeny = [\"file:{deny}\"]\n", node.head("eth0"));
    node.configure(&with(&list));
    let _daemon = node.start().await;
    assert_eq!(planned(&node), (Some(0), "nothing would change\n".to_owned()));

    replace(&node, "lists/deny.txt", "192.0.2.0/24\n198.51.100.0/24\n");
    let accepted = |times: u64| node.until("it is read", move |s| s.reloads.accepted == times);
    accepted(1).await;
    assert_eq!(planned(&node), (Some(0), "nothing would change\n".to_owned()));

    replace(&node, "lists/deny.txt", "192.0.2.0/24\n198.51.100.0/240\n");
    let status = node.until("it is refused", |s| s.refused_reload.is_some()).await;
    let reason = status.refused_reload.unwrap();
    assert!(
        reason.contains("deny.txt:2: \"198.51.100.0/240\" is not a prefix"),
        "{reason}"
    );
    // A list in a folder that is new to the daemon is watched from the moment that the file names it.
    fs::create_dir(node.path("others")).unwrap();
    replace(&node, "others/deny.txt", "192.0.2.0/24\n");
    node.configure(&with(&node.path("others/deny.txt").display().to_string()));
    accepted(2).await;
    replace(&node, "others/deny.txt", "192.0.2.0/24\n10.0.0.0/8\n");
    accepted(3).await;

    // What a plan says of lists are numbers.
    let many: String = (0..300).map(|n| format!("10.1.{}.{}\n", n / 256, n % 256)).collect();
    let next = node.path("many.txt");
    fs::write(&next, many + "10.0.0.0/8\n").unwrap();
    fs::write(node.path("next.toml"), with(&next.display().to_string())).unwrap();
    let mut plan = node.command(&["plan", "-c", &node.path("next.toml").to_string_lossy()]);
    let output = plan.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = "~ protection.deny: 2 prefixes -> 301 prefixes (+300 -1)\n";
    assert_eq!((output.status.code(), text.as_str()), (Some(3), expected));
}
