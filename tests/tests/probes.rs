//! Health checks of a daemon in a namespace: what they are told, and what they tell.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;

use lb_tests::executable;
use lb_tests::gate::{self, Gate};
use lb_tests::node::Node;
use lb_user::api::types::Health;

/// A service whose backend is judged by a script of the machine's.
fn configuration(node: &Node, backend: &str) -> String {
    format!(
        "{}[[service]]\nname = \"web\"\naddress = \"10.9.0.100:80\"\nmode = \"dsr\"\n\
        [service.health]\nkind = \"script\"\ncommand = [\"{}\", \"one word\"]\ninterval = \"1s\"\nrise = 1\nfall = 1\n\
        [[service.backend]]\nname = \"{backend}\"\naddress = \"10.9.0.11:80\"\n",
        node.head("eth0"),
        node.path("check").display(),
    )
}

#[tokio::test]
async fn a_script_is_told_whom_to_judge_and_says_why() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let script = "#!/bin/sh\n\
        echo \"$FULCRUM_SERVICE $FULCRUM_BACKEND $FULCRUM_ADDRESS $FULCRUM_PORT $#\" >&2\n\
        test $FULCRUM_BACKEND != bad\n";
    executable::write(&node.path("check"), script.as_bytes());
    node.configure(&configuration(&node, "good"));
    let _daemon = node.start().await;
    node.until("the script is content", |status| {
        status.services[0].backends[0]
            .health_reason
            .starts_with("exit code 0 in ")
    })
    .await;

    // The same backend by another name, of which the script hears.
    node.configure(&configuration(&node, "bad"));
    let down = |status: &lb_user::api::types::Status| {
        let backend = &status.services[0].backends[0];
        backend.health == Health::Down && backend.health_reason == "web bad 10.9.0.11 80 1 (exit code 1)"
    };
    node.until("the script is not content, and says why", down).await;

    // One that is gone says nothing of the backend.
    fs::remove_file(node.path("check")).unwrap();
    node.until("the script cannot be run", |status| {
        let backend = &status.services[0].backends[0];
        backend.health == Health::Down && backend.health_reason.starts_with("this node could not probe: ")
    })
    .await;
}
