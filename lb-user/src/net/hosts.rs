//! Addresses of hosts, by the machine's own resolver: `/etc/hosts`, name servers, and what else nsswitch.conf(5) names.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Questions under way at once.
const AT_ONCE: usize = 64;

/// Asks for the addresses of each host, of both families; where there are none, why, for people. Returns within 3 s for
/// each 64 of them.
pub async fn look_up(names: BTreeSet<Arc<str>>) -> BTreeMap<Arc<str>, Result<BTreeSet<IpAddr>, String>> {
    look_up_by(names, |name: Arc<str>| async move {
        let found = tokio::net::lookup_host((&*name, 0)).await?;
        Ok(found.map(|address| address.ip().to_canonical()).collect())
    })
    .await
}

async fn look_up_by<F>(
    names: BTreeSet<Arc<str>>,
    ask: impl Fn(Arc<str>) -> F,
) -> BTreeMap<Arc<str>, Result<BTreeSet<IpAddr>, String>>
where
    F: Future<Output = io::Result<BTreeSet<IpAddr>>>,
{
    let one = |name: Arc<str>| {
        let asked = timeout(PATIENCE, ask(Arc::clone(&name)));
        async move {
            let answer = match asked.await {
                Ok(Ok(addresses)) if addresses.is_empty() => Err(format!("{name} has no address")),
                Ok(Ok(addresses)) => Ok(addresses),
                Ok(Err(error)) => Err(format!("{name} cannot be looked up: {error}")),
                Err(_) => Err(format!("{name} cannot be looked up: no answer within {PATIENCE:?}")),
            };
            (name, answer)
        }
    };
    let asked = futures_util::stream::iter(names).map(one);
    asked.buffer_unordered(AT_ONCE).collect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_are_asked_for_and_nobody_waits_for_ever() {
        let ips = |ips: &[&str]| -> BTreeSet<IpAddr> { ips.iter().map(|ip| ip.parse().unwrap()).collect() };
        let ask = |name: Arc<str>| async move {
            match &*name {
                "silent" => std::future::pending().await,
                "unknown" => Err(io::Error::other("no such name")),
                "empty" => Ok(BTreeSet::new()),
                _ => Ok(BTreeSet::from([[10, 0, 0, 7].into(), [10, 0, 0, 6].into()])),
            }
        };
        let names = ["web1", "silent", "unknown", "empty"].map(Arc::from).into();
        let expected: BTreeMap<Arc<str>, _> = [
            ("web1", Ok(ips(&["10.0.0.6", "10.0.0.7"]))),
            (
                "silent",
                Err("silent cannot be looked up: no answer within 3s".to_owned()),
            ),
            ("unknown", Err("unknown cannot be looked up: no such name".to_owned())),
            ("empty", Err("empty has no address".to_owned())),
        ]
        .map(|(name, answer)| (Arc::from(name), answer))
        .into();
        assert_eq!(look_up_by(names, ask).await, expected);
    }
}
