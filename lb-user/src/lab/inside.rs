//! Work whose sockets are in a namespace.

use std::io;

use tokio::sync::oneshot;

use crate::net::Namespace;

/// Does `work` on a thread of its own in the namespace, on a runtime of its own.
///
/// # Errors
/// When the namespace cannot be entered.
pub(super) async fn inside<T: Send + 'static>(
    namespace: &Namespace,
    work: impl AsyncFnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let namespace = namespace.clone();
    let (say, said) = oneshot::channel();
    std::thread::Builder::new().name("inside".to_owned()).spawn(move || {
        let done = namespace.enter().and_then(|()| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(work()))
        });
        // Whoever has asked may have gone.
        let _ = say.send(done);
    })?;
    said.await.map_err(|_| io::Error::other("its thread panicked"))?
}
