//! `[bgp]`: VIPs that the site's routing daemon announces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::address;
use super::fault::{Checked, Span, fault};
use super::raw::{Table, Value};
use super::service::Draft;
use super::vrrp::{VrrpDraft, need_one_seed};
use super::{Reader, Subject};
use crate::model::Node;

/// What `announce` says when it means all VIPs.
const ALL: &str = "all";

impl Reader {
    /// The VIPs that are announced: all that no virtual router has, or those that are named. In the order of the file.
    pub(super) fn announced(
        &mut self,
        table: &Table<'_>,
        routers: &[VrrpDraft],
        drafts: &[Draft],
        node: &Node,
        listen: Option<SocketAddr>,
    ) -> Checked<Vec<IpAddr>> {
        need_one_seed(&table.span, "[bgp]", node)?;
        let announce = table.require("announce", "\"all\"")?;
        let held = routers.iter().flat_map(|draft| {
            let places = draft.router.addresses.iter().zip(&draft.addresses);
            places.map(move |(ip, span)| (*ip, (span, &*draft.router.name)))
        });
        let held: Held<'_> = held.collect();
        let vips = drafts
            .iter()
            .flat_map(|draft| draft.service.vips.iter().map(|vip| vip.ip));
        let announced = match announce.text() {
            Some(ALL) => {
                let mut seen: BTreeSet<IpAddr> = held.keys().copied().collect();
                vips.filter(|vip| seen.insert(*vip)).collect()
            }
            _ => named(&announce, &vips.collect(), &held)?,
        };
        if announced.is_empty() {
            let warning = announce.fault("no VIP is announced");
            self.warnings
                .push(warning.hint("give a [[service]] a VIP that is in no [[vrrp]], or remove [bgp]"));
        }
        // A node that does not announce the address does not have it, and would not start.
        if let Some(listen) = listen.filter(|listen| announced.contains(&listen.ip())) {
            let span = self.places.get(&Subject::Listen).cloned().unwrap_or(announce.span());
            let message = format!(
                "`[admin] listen` is on {}, which the node has only while it is announced",
                listen.ip()
            );
            return Err(fault(span, message)
                .other(announce.span(), "announced")
                .hint("name the node's own address, or an unspecified one, as in \"0.0.0.0:9465\""));
        }
        Ok(announced)
    }
}

/// Addresses of virtual routers: the place of each, and whose it is.
type Held<'a> = BTreeMap<IpAddr, (&'a Span, &'a str)>;

fn named(announce: &Value<'_>, vips: &BTreeSet<IpAddr>, held: &Held<'_>) -> Checked<Vec<IpAddr>> {
    const FORM: &str = "write announce = \"all\", or a list of VIPs: announce = [\"192.0.2.10\"]";
    if announce.text().is_some() {
        return Err(announce.mistyped("\"all\" or a list of addresses").hint(FORM));
    }
    let texts = announce.strings().map_err(|fault| fault.hint(FORM))?;
    let mut places: BTreeMap<IpAddr, Span> = BTreeMap::new();
    let mut announced = Vec::new();
    for (span, text) in texts {
        let ip = address::alone(&span, text)?;
        let wrong = |message: String| fault(span.clone(), message);
        if let Some((place, router)) = held.get(&ip) {
            return Err(wrong(format!(
                "{ip} is an address of a virtual router, which nobody announces"
            ))
            .other((*place).clone(), format!("held by the master of \"{router}\""))
            .hint("remove it here or there: one node holds it, or several announce it"));
        }
        if !vips.contains(&ip) {
            let message = format!("{ip} is no VIP, so nothing tells whether it is to be announced");
            return Err(wrong(message).hint("name an address of a [[service]]"));
        }
        if let Some(first) = places.insert(ip, span.clone()) {
            return Err(wrong(format!("{ip} stands here twice")).other(first, "first here"));
        }
        announced.push(ip);
    }
    Ok(announced)
}
