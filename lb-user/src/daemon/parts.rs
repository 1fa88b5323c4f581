//! Parts of the daemon that run until it ends: none of them ends by itself.

use anyhow::anyhow;
use tokio::task::JoinSet;

/// The running parts, by name.
#[derive(Default)]
pub(super) struct Parts {
    tasks: JoinSet<&'static str>,
}

impl Parts {
    /// Starts one.
    pub(super) fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            part.await;
            name
        });
    }

    /// Waits for a part to end, which none should.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(name)) => anyhow!("the part `{name}` ended"),
            Some(Err(error)) => anyhow!(error).context("a part failed"),
            None => anyhow!("every part has ended"),
        }
    }

    /// Waits until the named part has ended.
    pub(super) async fn end(&mut self, name: &'static str) {
        while let Some(ended) = self.tasks.join_next().await {
            if ended.is_ok_and(|ended| ended == name) {
                return;
            }
        }
    }
}
