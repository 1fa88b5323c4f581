//! Runs a daemon in a machine of its own until it is killed: `tests/leftovers.rs` looks at what stays behind.

use lb_tests::node::Node;

const CONFIG: &str = "
[[service]]
name = \"web\"
address = \"10.9.0.100:80\"
mode = \"dsr\"
[[service.backend]]
name = \"web1\"
address = \"10.9.0.11:80\"
";

#[tokio::main]
async fn main() {
    let node = Node::new().await;
    node.configure(&format!("{}{CONFIG}", node.head("eth0")));
    let daemon = node.start().await;
    println!("{} {}", daemon.pid(), node.path("").display());
    std::future::pending::<()>().await;
}
