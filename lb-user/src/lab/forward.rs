//! A way into a lab from outside: accepts TCP connections where it is started, on loopback for instance, and opens each
//! again from within one of the lab's namespaces.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::args::Forward;
use super::serve::ACCEPT_PAUSE;
use crate::net::Namespace;

/// Forwards until it is killed.
pub(super) fn run(args: &Forward) -> anyhow::Result<ExitCode> {
    let namespace = Namespace::open(&args.namespace)?;
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listening on {}", args.listen))?;
    listener.set_nonblocking(true)?;
    println!("ready {}", listener.local_addr()?);
    let to = args.to;
    // The listener stays in the namespace that it was made in; what this thread makes is inside.
    let inside = std::thread::spawn(move || -> anyhow::Result<ExitCode> {
        namespace.enter().context("entering the namespace")?;
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(accept(listener, to))
    });
    inside.join().map_err(|_| anyhow!("the forwarder panicked"))?
}

async fn accept(listener: TcpListener, to: SocketAddr) -> anyhow::Result<ExitCode> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let mut near = match listener.accept().await {
            Ok((near, _)) => near,
            // The client left, or descriptors ran short, which passes when connections end.
            Err(error) => {
                eprintln!("accepting a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        tokio::spawn(async move {
            match TcpStream::connect(to).await {
                // An error is either end's business; the other sees the connection close.
                Ok(mut far) => drop(copy_bidirectional(&mut near, &mut far).await),
                Err(error) => eprintln!("connecting to {to}: {error}"),
            }
        });
    }
}
