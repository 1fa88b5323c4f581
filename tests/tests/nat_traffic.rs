//! Real clients through `mode = "nat"`, and beside it `dsr`.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use lb_tests::gate::{self, Gate};
use lb_tests::segment::{Segment, v4, v6};

/// A service that probes nobody.
fn service(name: &str, vip: &str, protocol: &str, backends: &[(&str, String)]) -> String {
    let mut text = format!(
        "[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\nprotocol = \"{protocol}\"\nmode = \"nat\"\n\
         [service.health]\nkind = \"none\"\n"
    );
    for (name, address) in backends {
        text += &format!("[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(2).await;
    let own = |index: usize| {
        [
            format!("{}:8080", v4(11 + index as u8)),
            format!("[{}]:8080", v6(11 + index as u16)),
        ]
    };
    let _servers: Vec<_> = (0..2).map(|index| segment.serve(index, &own(index))).collect();
    let backends = |family: usize| [("web1", own(0)[family].clone()), ("web2", own(1)[family].clone())];
    segment.node.configure(&format!(
        "{}{}{}",
        segment.node.head("eth0"),
        service("web", "10.8.0.100:80", "tcp", &backends(0)),
        service("web6", "[fd08::100]:80", "tcp", &backends(1)),
    ));
    let _daemon = segment.node.start().await;
    segment
        .node
        .until("it serves", |s| {
            s.services.iter().all(|s| s.backends.iter().all(|b| b.slots > 0))
        })
        .await;
    for url in ["http://10.8.0.100/", "http://[fd08::100]/"] {
        for _ in 0..8 {
            print!("{}", segment.curl(&["-g", url]));
        }
    }
}
