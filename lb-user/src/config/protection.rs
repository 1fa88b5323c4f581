//! `[protection]` and `[service.protection]`: who is let in, and how much of each.

pub(super) mod file;
mod limits;
mod lists;

use super::Reader;
use super::fault::Checked;
use super::raw::{Table, Value, excerpt};
use super::schema;
use super::service::Draft;
use crate::model::{Enforcement, Limits, Mode, Prefix, Protection, Protocol, ServiceProtection};

impl Reader {
    /// `[protection]`, of these services.
    pub(super) fn protection(&mut self, value: &Value<'_>, drafts: &[Draft]) -> Checked<Protection> {
        let table = value.table(&schema::PROTECTION)?;
        let default = Protection::default();
        let truth = |key, default| table.get(key).map_or(Ok(default), |value: Value<'_>| value.boolean());
        let enforcement = enforcement(&table)?.unwrap_or(default.enforcement);
        let (malformed, bogons) = (truth("malformed", default.malformed)?, truth("bogons", default.bogons)?);
        let lists = self.lists(&table)?;
        let cookies = table.get("syn-cookies");
        let of_proxy = |draft: &Draft| draft.service.is_proxied() && !draft.service.is_pool();
        if let Some(cookies) = cookies.as_ref().filter(|_| !drafts.iter().any(of_proxy)) {
            let message = "`syn-cookies` has no effect: no service has mode = \"proxy\"";
            let hint = "in the other modes the backends answer SYNs; `connections-per-second` limits them";
            self.warnings.push(cookies.fault(message).hint(hint));
        }
        Ok(Protection {
            enforcement,
            malformed,
            bogons,
            lists,
            limits: Limits {
                connections: limits::limit(&table, "connections-per-second", &schema::CONNECTIONS)?,
                packets: limits::limit(&table, "packets-per-second", &schema::PACKETS)?,
            },
            icmp: limits::limit(&table, "icmp-per-second", &schema::ICMP)?,
            syn_cookies: cookies
                .map(|cookies| limits::syn_cookies(&cookies, &schema::SYN_COOKIES))
                .transpose()?,
        })
    }

    /// `[service.protection]`, where there is one.
    pub(super) fn service_protection(
        &mut self,
        service: &Table<'_>,
        mode: Mode,
        protocol: Protocol,
    ) -> Checked<Option<ServiceProtection>> {
        let Some(value) = service.get("protection") else {
            return Ok(None);
        };
        let table = value.table(&schema::SERVICE_PROTECTION)?;
        if table.is_empty() {
            let hint = "give it lists or limits of its own, or remove it; [protection] holds for every service";
            self.warnings
                .push(value.fault("[service.protection] says nothing").hint(hint));
        }
        let beside = |value: Value<'_>, key, label, message: &str| {
            let fault = value.fault(message);
            match service.get(key) {
                Some(other) => fault.other(other.span(), label),
                None => fault,
            }
        };
        let enforcement = enforcement(&table)?;
        let lists = self.lists(&table)?;
        if let Some(value) = table
            .get("connections-per-second")
            .filter(|_| protocol == Protocol::Udp)
        {
            let message = "`connections-per-second` counts SYNs of TCP, and this is UDP";
            let fault = beside(value, "protocol", "the protocol", message);
            return Err(fault.hint("limit `packets-per-second`"));
        }
        let cookies = table.get("syn-cookies");
        if let Some(value) = cookies.clone().filter(|_| mode != Mode::Proxy) {
            let fault = beside(value, "mode", "the mode", "`syn-cookies` is for mode = \"proxy\"");
            return Err(fault.hint(match mode {
                Mode::Nat => "the backends answer SYNs here: limit `connections-per-second`",
                _ => "the backends answer SYNs here, and may have cookies of their own: limit `connections-per-second`",
            }));
        }
        Ok(Some(ServiceProtection {
            enforcement,
            lists,
            limits: Limits {
                connections: limits::limit(&table, "connections-per-second", &schema::SERVICE_CONNECTIONS)?,
                packets: limits::limit(&table, "packets-per-second", &schema::SERVICE_PACKETS)?,
            },
            syn_cookies: cookies
                .map(|cookies| limits::syn_cookies(&cookies, &schema::SERVICE_SYN_COOKIES))
                .transpose()?,
        }))
    }
}

fn enforcement(table: &Table<'_>) -> Checked<Option<Enforcement>> {
    let words = [Enforcement::Enforce, Enforcement::Observe].map(|word| (word.label(), word));
    table.get("enforcement").map(|value| value.choice(&words)).transpose()
}

/// Why a text is no prefix that packets come from.
#[derive(Debug)]
struct Unfit {
    message: String,
    hint: String,
}

/// A prefix, or an address by itself. Bits behind the length are cleared.
fn source(text: &str) -> Result<Prefix, Unfit> {
    let prefix: Prefix = text.parse().map_err(|hint| Unfit {
        message: format!("\"{}\" is not a prefix", excerpt(text)),
        hint,
    })?;
    if let std::net::IpAddr::V6(v6) = prefix.ip
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return Err(Unfit {
            message: format!("{v6} is an IPv4 address in IPv6 clothes"),
            hint: format!("write it as IPv4, such as {v4}"),
        });
    }
    Ok(prefix.cleared())
}

/// A prefix or an address that packets come from, as the file's lists have them, for commands. Bits behind the length are
/// cleared.
///
/// # Errors
/// Why it is none, in one line, and what to write.
pub fn prefix(text: &str) -> Result<Prefix, String> {
    source(text).map_err(|Unfit { message, hint }| format!("{message}; {hint}"))
}
