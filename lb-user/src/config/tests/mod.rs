//! The configuration as a whole: what is refused and where, what is warned about, what comes out.

mod accepted;
mod arbitrary;
mod bgp;
mod files;
mod peers;
mod probes;
mod protection;
mod proxy;
mod refused;
mod rendered;
mod vrrp;
mod warned;
mod written;

use super::{ConfigError, Parsed, parse_with};

/// Lines 1 and 2 of most cases.
const NODE: &str = "[node]\ninterfaces = [\"eth0\"]\n";

/// Lines 3 to 6 of most cases.
const SERVICE: &str = "[[service]]\nname = \"web\"\naddress = \"192.0.2.10:80\"\nmode = \"dsr\"\n";

fn read(text: &str) -> Result<Parsed, ConfigError> {
    parse_with("test.toml", text, || "host".to_owned())
}
