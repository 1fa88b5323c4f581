//! VIPs that are announced: which, and what is warned of.

use std::net::IpAddr;

use super::vrrp::{ROUTER, SEED};
use super::{NODE, SERVICE, read};

const BACKEND: &str = "[[service.backend]]\naddress = \"10.0.0.6:80\"\n";

/// A service at 192.0.2.10, 192.0.2.20 and 2001:db8::10, two of which it has twice.
fn parsed(more: &str) -> crate::config::Parsed {
    let vips = "[\"192.0.2.20:80\", \"192.0.2.10:80\", \"[2001:db8::10]:80\", \"192.0.2.10:443\"]";
    let service = SERVICE.replace("\"192.0.2.10:80\"", vips).replace("dsr", "proxy");
    let text = format!("{NODE}{SEED}{service}{BACKEND}{more}");
    read(&text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn all_or_some_are_announced() {
    let announced = |more: &str| -> Vec<String> {
        let parsed = parsed(more);
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        parsed.config.announced.iter().map(IpAddr::to_string).collect()
    };
    assert_eq!(announced(""), [""; 0]);
    let all = "[bgp]\nannounce = \"all\"\n";
    assert_eq!(announced(all), ["192.0.2.20", "192.0.2.10", "2001:db8::10"]);
    // But for those of virtual routers; and nothing is held by every node, so nobody is warned.
    assert_eq!(announced(&format!("{ROUTER}{all}")), ["192.0.2.20", "2001:db8::10"]);
    let some = "[bgp]\nannounce = [\"2001:db8::10\", \"192.0.2.20\"]\n";
    assert_eq!(announced(some), ["2001:db8::10", "192.0.2.20"]);
}

#[test]
fn what_is_not_announced_is_warned_of() {
    let warnings = |more: &str| -> Vec<String> {
        let parsed = parsed(more);
        parsed.warnings.iter().map(ToString::to_string).collect()
    };
    let [warning] = &warnings("[bgp]\nannounce = []\n")[..] else {
        panic!("one warning")
    };
    assert!(warning.contains("no VIP is announced"), "{warning}");
    let some = format!("{ROUTER}[bgp]\nannounce = [\"2001:db8::10\"]\n");
    let [warning] = &warnings(&some)[..] else {
        panic!("one warning")
    };
    assert!(warning.contains("192.0.2.20 is in no [[vrrp]]"), "{warning}");
}
