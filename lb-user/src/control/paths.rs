//! The ways of the services' packets to their backends, for probes that take them too.

use std::collections::HashMap;
use std::sync::Arc;

use super::merge::{self, Facts};
use crate::model::{Backend, MemberKey, Mode, NextHopState, Service, ServicePath};

/// By backend: those that are probed through their service, and no others.
pub type Paths = HashMap<MemberKey, ServicePath>;

impl Facts {
    /// The ways as they are now. While nothing is known of a next hop, it is pending.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let wanted = |(service, _): &(&Service, &Backend)| service.probes_its_path();
        let mut probed = merge::probed(&self.config).filter(wanted).peekable();
        if probed.peek().is_none() {
            return Paths::new();
        }
        let not_sources = Arc::new(self.vips().into_keys().collect());
        let path = |(service, backend): (&Service, &Backend)| {
            let next_hop = self.next_hop(service, backend);
            let path = ServicePath {
                vips: service.vip_addresses(),
                tunnel: (service.mode == Mode::Tunnel).then_some(service.tunnel),
                next_hop: next_hop.unwrap_or_else(|| NextHopState::Pending("its next hop is not known yet".to_owned())),
                not_sources: Arc::clone(&not_sources),
            };
            (MemberKey::of(service, backend), path)
        };
        probed.map(path).collect()
    }
}
