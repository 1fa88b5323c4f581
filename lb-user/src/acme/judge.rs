//! Whether the files that a configuration names for ordering certificates are good, told at their places in it.

use crate::config::{ConfigError, Parsed, Subject};
use crate::net::tls::roots;

use super::order::external_key;

/// Reads what `parsed` names. Nobody is asked over the network: an authority that is not there is nothing against a file.
///
/// # Errors
/// The first file that cannot be used.
pub fn judge(parsed: &Parsed) -> Result<(), ConfigError> {
    for (service, acme) in super::wanted(&parsed.config) {
        if let Some(ca) = &acme.authority.ca
            && let Err(distrust) = roots(Some(ca))
        {
            let subject = Subject::AcmeCa(service.to_string());
            let message = format!("{}: {distrust}", ca.display());
            return Err(parsed.error_at(
                &subject,
                message,
                "name a PEM file with the certificates of authorities",
            ));
        }
        if let Some(external) = &acme.authority.external_account
            && let Err(reason) = external_key(external)
        {
            let subject = Subject::ExternalAccountKey(external.key_file.clone());
            return Err(parsed.error_at(&subject, reason, "write the key into it as the authority has given it"));
        }
    }
    Ok(())
}
