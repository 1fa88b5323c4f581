//! A link that packets are sent over: what a drop saves, and a program alone does not show.

use anyhow::{Context as _, Result};
use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use lb_user::net::{Net, wire};

use crate::netns::TestNamespace;

/// The names of its ends.
const NEAR: &str = "eth0";
const FAR: &str = "eth1";

/// A veth pair in a namespace of its own.
pub(super) struct Link {
    namespace: TestNamespace,
    index: u32,
}

impl Link {
    /// Makes one.
    pub(super) async fn make() -> Result<Self> {
        let namespace = TestNamespace::new("bench");
        // Nobody else sends there: what arrives is counted.
        wire::sysctl(&namespace, "ipv6/conf/default/disable_ipv6", "1")?;
        let net = Net::inside(&namespace)?;
        net.add_veth(NEAR, FAR, &namespace).await?;
        let index = net.index(NEAR).await?;
        for end in [index, net.index(FAR).await?] {
            net.set_up(end).await?;
        }
        Ok(Self { namespace, index })
    }

    /// The index of the end that packets leave from.
    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// Attaches a program at both ends: where packets arrive, and where a veth is to have queues that XDP knows.
    pub(super) fn attach(&self, program: &mut Xdp) -> Result<()> {
        self.run_inside(|| {
            [FAR, NEAR]
                .into_iter()
                .try_for_each(|end| program.attach(end, XdpMode::Driver).map(drop))
        })?
        .context("attaching a program to the link")
    }

    /// As a program's context: a frame that has come in here.
    pub(super) fn context(&self, frame: &[u8]) -> Vec<u8> {
        let words = [0, frame.len() as u32, 0, self.index, 0, 0];
        words.into_iter().flat_map(u32::to_ne_bytes).collect()
    }

    /// Runs `work` in the link's namespace.
    pub(super) fn run_inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace.run_inside(work).context("the link's namespace")
    }
}
