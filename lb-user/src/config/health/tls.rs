//! What `kind = "https"`, `"tls"` and `"mysql"` say about certificates.

use tokio_rustls::rustls::pki_types::ServerName;

use super::super::fault::Checked;
use super::super::raw::{Table, excerpt};
use super::contradiction;
use crate::model::TlsCheck;

pub(super) const KEYS: &[&str] = &["server-name", "verify", "ca"];

pub(super) fn terms(health: &Table<'_>) -> Checked<TlsCheck> {
    let server_name = match health.get("server-name") {
        Some(value) => {
            let name = value.string()?;
            if ServerName::try_from(name).is_err() {
                let message = format!("\"{}\" is not the name of a server", excerpt(name));
                let hint = "write a host name or an IP address, without a port: \"shop.example\"";
                return Err(value.fault(message).hint(hint));
            }
            Some(name.to_owned())
        }
        None => None,
    };
    let verify = health.get("verify").map_or(Ok(true), |value| value.boolean())?;
    let ca = health.get("ca");
    if let (false, Some(ca), Some(verify)) = (verify, &ca, health.get("verify")) {
        let message = "`ca` says whom to believe, but nothing is verified";
        return Err(contradiction(ca, message, &verify, "here").hint("remove `ca`, or verify = false"));
    }
    Ok(TlsCheck {
        server_name,
        verify,
        ca: ca.map(|value| value.path()).transpose()?,
    })
}
