//! What a server sees of a client, and whose certificate a client sees.

use std::fs;

use anyhow::Context;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::bed::{Bed, clients};
use super::client::{Connection, at};
use super::model::Seen;
use super::subject::Subject;
use crate::lab::inside::inside;

/// Asks a server what it has seen; over TLS, where the subject's clients speak it, and for the certificate in any case.
pub(super) async fn look(bed: &Bed, subject: &Subject) -> anyhow::Result<Seen> {
    let client = clients()[0];
    let asking = at(subject, subject.tls, client);
    let secure = at(subject, true, client);
    let asked = inside(&bed.client.namespace, async move || {
        let shown = Connection::open(&secure).await?.certificate().map(<[u8]>::to_vec);
        let answer = Connection::open(&asking).await?.get("/headers").await?;
        anyhow::Ok((answer, shown))
    });
    let (answer, shown) = asked.await?.context("asking a server what it has seen")?;
    Ok(Seen {
        client: client.to_string(),
        as_client: answer.saw.map(|saw| saw.to_string()).unwrap_or_default(),
        added: headers(&answer.body),
        certificate: match shown {
            Some(shown) => whose(bed, &shown)?,
            None => String::new(),
        },
    })
}

/// Whose certificate this is: the lab has one for each.
fn whose(bed: &Bed, shown: &[u8]) -> anyhow::Result<String> {
    for name in ["balancer", "server"] {
        let place = bed.lab.folder().join(format!("{name}.pem"));
        let pem = fs::read(&place).with_context(|| format!("reading {}", place.display()))?;
        let own = CertificateDer::from_pem_slice(&pem).with_context(|| format!("reading {}", place.display()))?;
        if own.as_ref() == shown {
            return Ok(name.to_owned());
        }
    }
    anyhow::bail!("nobody here has the certificate that was shown")
}

/// Lines of a name and a value; those without a value did not arrive.
fn headers(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().filter_map(|line| line.split_once(": "));
    pairs
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_headers_that_arrived_count() {
        let text = "x-forwarded-for: 10.77.7.11\nx-real-ip: \nvia:\nx-forwarded-proto: https\n";
        let expected = [("x-forwarded-for", "10.77.7.11"), ("x-forwarded-proto", "https")];
        assert_eq!(
            headers(text),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
