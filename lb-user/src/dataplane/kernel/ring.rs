//! Ring buffers: what the program writes there, in batches.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use aya::maps::{Map, MapData, MapError, RingBuf};
use aya::{Ebpf, Pod};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::object::LoadError;

/// Batches that wait to be taken, each of what was there when somebody looked: at most a full ring buffer.
const BATCHES: usize = 4;

/// What is written to the ring buffer `name` from now on, each as `read` makes it of a `T`. Between two looks at it at least
/// `pause` passes, in which the kernel need not say that there is something. When batches are not taken in time, the ring
/// fills, and the program leaves out what finds no room.
pub(super) fn follow<T: Pod, R: Send + 'static>(
    program: &Ebpf,
    name: &'static str,
    pause: Duration,
    read: impl Fn(T) -> R + Send + 'static,
) -> Result<mpsc::Receiver<Vec<R>>, LoadError> {
    let mut ring = ring(program, name).map_err(|error| LoadError::map(name, error))?;
    // Somebody else's, who has gone before they came.
    while ring.next().is_some() {}
    // SAFETY: the ring buffer owns its file descriptor and keeps it open, the same one, as long as it lives.
    let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    let mut ring = ring.map_err(|error| LoadError::map(name, io::Error::from(error)))?;
    let (sender, receiver) = mpsc::channel(BATCHES);
    tokio::spawn(async move {
        loop {
            let mut ready = tokio::select! {
                ready = ring.readable_mut() => match ready {
                    Ok(ready) => ready,
                    Err(error) => return tracing::warn!(%error, "what the program tells cannot be read"),
                },
                () = sender.closed() => return,
            };
            let batch = all(ready.get_inner_mut(), &read);
            ready.clear_ready();
            if !batch.is_empty() && sender.send(batch).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    });
    Ok(receiver)
}

/// A hold of one's own on a ring buffer.
fn ring(program: &Ebpf, name: &str) -> Result<RingBuf<MapData>, MapError> {
    let Some(Map::RingBuf(map)) = program.map(name) else {
        return Err(MapError::InvalidName { name: name.to_owned() });
    };
    let fd = map.fd().as_fd().try_clone_to_owned()?;
    RingBuf::try_from(Map::RingBuf(MapData::from_fd(fd)?))
}

/// All that lies there.
fn all<T: Pod, R>(ring: &mut RingBuf<MapData>, read: &impl Fn(T) -> R) -> Vec<R> {
    let mut batch = Vec::new();
    while let Some(item) = ring.next() {
        let bytes: &[u8] = &item;
        if bytes.len() == size_of::<T>() {
            // SAFETY: as many bytes, of which any are a `T`.
            batch.push(read(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }));
        }
    }
    batch
}
