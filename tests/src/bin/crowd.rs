//! Many TCP connections that are open at the same time, each with a token of its own: the server, and the clients of
//! one address. For `tests/nat_crowd.rs`.
//!
//! `crowd serve NAME ADDRESS:PORT` answers each token with an answer. `crowd connect SOURCE ADDRESS:PORT COUNT` opens
//! connections, and says what it has seen: `BACKEND PORT` for each of them, then `open`. With every line of its standard
//! input it goes on: all speak once more (`spoken`), all are closed (`closed`).

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Connections of a client that are worked on at the same time.
const WORKERS: usize = 32;

/// What the server says: the first token that this connection has brought, the one that it brings now, who the server
/// is, and whose port it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    first: u64,
    now: u64,
    name: [u8; 8],
    port: u16,
}

impl Answer {
    const SIZE: usize = 26;

    fn encode(&self) -> Vec<u8> {
        let (first, now, port) = (
            self.first.to_be_bytes(),
            self.now.to_be_bytes(),
            self.port.to_be_bytes(),
        );
        [&first[..], &now, &self.name, &port].concat()
    }

    fn decode(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |from: usize| <[u8; 8]>::try_from(&bytes[from..from + 8]).unwrap_or_default();
        Self {
            first: u64::from_be_bytes(word(0)),
            now: u64::from_be_bytes(word(8)),
            name: word(16),
            port: u16::from_be_bytes([bytes[24], bytes[25]]),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve", name, listen] => serve(name, listen.parse()?).await,
        ["connect", source, to, count] => connect(source.parse()?, to.parse()?, count.parse()?).await,
        _ => bail!("not arguments of this program: {arguments:?}"),
    }
}

async fn serve(name: &str, listen: SocketAddr) -> Result<()> {
    let mut padded = [b' '; 8];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    let listener = TcpListener::bind(listen).await?;
    println!("ready");
    loop {
        let (stream, peer) = listener.accept().await?;
        tokio::spawn(answer(stream, padded, peer.port()));
    }
}

async fn answer(mut stream: TcpStream, name: [u8; 8], port: u16) -> Result<()> {
    let mut first = None;
    while let Ok(now) = stream.read_u64().await {
        let first = *first.get_or_insert(now);
        let answer = Answer { first, now, name, port };
        stream.write_all(&answer.encode()).await?;
    }
    Ok(())
}

/// A connection, and the token and the answer that it began with.
struct Open {
    stream: TcpStream,
    token: u64,
    answer: Answer,
}

async fn connect(source: Ipv4Addr, to: SocketAddr, count: u32) -> Result<()> {
    let workers = (0..WORKERS).map(|worker| open(source, to, (worker as u32..count).step_by(WORKERS)));
    let mut groups = together(workers).await?;
    for open in groups.iter().flatten() {
        println!(
            "{} {}",
            String::from_utf8_lossy(&open.answer.name).trim_end(),
            open.answer.port
        );
    }
    step("open")?;
    groups = together(groups.into_iter().map(speak_again)).await?;
    step("spoken")?;
    drop(groups);
    step("closed")
}

async fn open(source: Ipv4Addr, to: SocketAddr, numbers: impl Iterator<Item = u32>) -> Result<Vec<Open>> {
    let mut all = Vec::new();
    for number in numbers {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let mut stream = socket.connect(to).await.context("connecting")?;
        let token = u64::from(source.to_bits()) << 32 | u64::from(number);
        let answer = speak(&mut stream, token).await?;
        ensure!(
            answer.first == token,
            "this connection was another's before: {answer:?}"
        );
        all.push(Open { stream, token, answer });
    }
    Ok(all)
}

async fn speak_again(mut all: Vec<Open>) -> Result<Vec<Open>> {
    for Open { stream, token, answer } in &mut all {
        let expected = Answer {
            now: !*token,
            ..*answer
        };
        let answer = speak(stream, !*token).await?;
        ensure!(answer == expected, "{answer:?} instead of {expected:?}");
    }
    Ok(all)
}

/// Sends a token, and reads the answer to it.
async fn speak(stream: &mut TcpStream, token: u64) -> Result<Answer> {
    stream.write_u64(token).await?;
    let mut bytes = [0; Answer::SIZE];
    stream.read_exact(&mut bytes).await.context("reading an answer")?;
    let answer = Answer::decode(&bytes);
    ensure!(answer.now == token, "this answer is for another: {answer:?}");
    Ok(answer)
}

/// Waits for all, or for the first that fails.
async fn together<T: Send + 'static>(
    tasks: impl Iterator<Item = impl Future<Output = Result<T>> + Send + 'static>,
) -> Result<Vec<T>> {
    let mut set = JoinSet::new();
    for task in tasks {
        set.spawn(task);
    }
    let mut all = Vec::new();
    while let Some(done) = set.join_next().await {
        all.push(done??);
    }
    Ok(all)
}

/// Says how far this is, and waits to be told to go on.
fn step(what: &str) -> Result<()> {
    println!("{what}");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
