//! Connections between peers: greetings, and sealed messages after them.
//!
//! Both sides greet with the protocol's version and a nonce. From these and the key that nodes share comes a key for each
//! direction (HKDF, RFC 5869), with which every message is encrypted and numbered (ChaCha20-Poly1305, RFC 8439): one that
//! opens comes from a node, in this connection, and at its turn. Who records a connection and repeats it has other nonces
//! against him. There is no forward secrecy: who has the key reads what he has recorded.
//!
//! ```text
//! greeting   "FULC", version (2 bytes), nonce (32)
//! message    bytes that follow the number (4), number (8), what is sealed, tag (16)
//! ```
//!
//! Numbers are big-endian. Either side's first message is sent at once, and shows that it has the key.

use std::io;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::key::Key;
use crate::control::Gone;

const MAGIC: &[u8; 4] = b"FULC";

/// Of the protocol: it changes when messages do.
pub(super) const VERSION: u16 = 1;

const NONCE: usize = 32;

const GREETING: usize = 4 + 2 + NONCE;

/// Bytes before what is sealed.
const HEAD: usize = 4 + 8;

const TAG: usize = 16;

/// Longest message, without what seals it.
pub(super) const LONGEST: usize = 64 << 10;

/// Why a connection, or a message in it, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// It comes from an address that no peer has.
    Stranger,
    /// There are as many connections as can be.
    Crowd,
    /// It speaks something else, or another version of this.
    Version,
    /// The key does not open a message.
    Key,
    /// A message has come before.
    Replayed,
    /// A message makes no sense.
    Malformed,
    /// Nothing has come for too long.
    Silent,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Stranger,
        Self::Crowd,
        Self::Version,
        Self::Key,
        Self::Replayed,
        Self::Malformed,
        Self::Silent,
    ];

    /// As in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Crowd => "crowd",
            Self::Version => "version",
            Self::Key => "key",
            Self::Replayed => "replayed",
            Self::Malformed => "malformed",
            Self::Silent => "silent",
        }
    }
}

/// How a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("{}", said(*.0))]
    Refused(Refused),
    #[error("it speaks version {0} of this, and this node {VERSION}: let both run one release")]
    OtherVersion(u16),
    #[error("{0}")]
    Io(#[from] io::Error),
    /// With the daemon.
    #[error(transparent)]
    Gone(#[from] Gone),
}

impl End {
    /// The cause, where it is the other side's.
    pub(super) fn refused(&self) -> Option<Refused> {
        match self {
            Self::Refused(refused) => Some(*refused),
            Self::OtherVersion(_) => Some(Refused::Version),
            Self::Io(_) | Self::Gone(_) => None,
        }
    }
}

fn said(refused: Refused) -> &'static str {
    match refused {
        Refused::Stranger => "no peer has this address",
        Refused::Crowd => "there are too many connections",
        Refused::Version => "what listens there is not another node's [peers]",
        Refused::Key => "it has another key: copy key-file of [peers] to every node",
        Refused::Replayed => "a message came twice",
        Refused::Malformed => "a message makes no sense",
        Refused::Silent => "nothing has come for too long",
    }
}

/// Which side it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// It has connected, and tells.
    Caller,
    /// It listens.
    Listener,
}

/// Greets, and makes the keys of both directions.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    key: &Key,
    side: Side,
) -> Result<(Sealer, Opener), End> {
    let mut own = [0; GREETING];
    own[..4].copy_from_slice(MAGIC);
    own[4..6].copy_from_slice(&VERSION.to_be_bytes());
    let random = SystemRandom::new().fill(&mut own[6..]);
    random.map_err(|_| io::Error::other("the kernel has no random bytes"))?;
    let mut other = [0; GREETING];
    // A listener answers also what it does not understand, so that the other side can say what is wrong.
    match side {
        Side::Caller => {
            stream.write_all(&own).await?;
            stream.read_exact(&mut other).await?;
        }
        Side::Listener => {
            stream.read_exact(&mut other).await?;
            if &other[..4] == MAGIC {
                stream.write_all(&own).await?;
            }
        }
    }
    if &other[..4] != MAGIC {
        return Err(End::Refused(Refused::Version));
    }
    let version = u16::from_be_bytes([other[4], other[5]]);
    if version != VERSION {
        return Err(End::OtherVersion(version));
    }
    let (caller, listener) = match side {
        Side::Caller => (own, other),
        Side::Listener => (other, own),
    };
    let secret = key.extract(&[caller, listener].concat());
    let key = |of: &[u8]| {
        let info = [b"fulcrum peers ", of];
        let expanded = secret.expand(&info, &aead::CHACHA20_POLY1305);
        expanded.map(|bytes| LessSafeKey::new(UnboundKey::from(bytes)))
    };
    let keys = key(b"caller").and_then(|caller| Ok((caller, key(b"listener")?)));
    let (caller, listener) = keys.map_err(|_| io::Error::other("no keys can be made"))?;
    let (own, other) = match side {
        Side::Caller => (caller, listener),
        Side::Listener => (listener, caller),
    };
    Ok((Sealer { key: own, next: 0 }, Opener { key: other, next: 0 }))
}

/// The nonce of a message: its number, which never comes again under one key.
fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; aead::NONCE_LEN];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Seals what is sent.
pub(super) struct Sealer {
    key: LessSafeKey,
    next: u64,
}

impl Sealer {
    /// A message as it is sent, and its number. `message` has at most [`LONGEST`] bytes.
    pub(super) fn seal(&mut self, message: &[u8]) -> Result<(u64, Vec<u8>), End> {
        let number = self.next;
        self.next += 1;
        let mut sent = Vec::with_capacity(HEAD + message.len() + TAG);
        sent.extend_from_slice(&((message.len() + TAG) as u32).to_be_bytes());
        sent.extend_from_slice(&number.to_be_bytes());
        sent.extend_from_slice(message);
        let (head, body) = sent.split_at_mut(HEAD);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(number), Aad::from(&*head), body);
        let tag = tag.map_err(|_| io::Error::other("a message cannot be sealed"))?;
        sent.extend_from_slice(tag.as_ref());
        Ok((number, sent))
    }
}

/// Opens what is received.
pub(super) struct Opener {
    key: LessSafeKey,
    next: u64,
}

impl Opener {
    /// The next message, and its number.
    pub(super) async fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<(u64, Vec<u8>), End> {
        let mut head = [0; HEAD];
        stream.read_exact(&mut head).await?;
        let [a, b, c, d, number @ ..] = head;
        let (length, number) = (u32::from_be_bytes([a, b, c, d]) as usize, u64::from_be_bytes(number));
        if !(TAG..=LONGEST + TAG).contains(&length) {
            return Err(End::Refused(Refused::Malformed));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let opened = self.key.open_in_place(nonce(number), Aad::from(&head), &mut body);
        let opened = opened.map_err(|_| End::Refused(Refused::Key))?.len();
        // Only who has the key can be told that much.
        match number {
            number if number < self.next => return Err(End::Refused(Refused::Replayed)),
            number if number > self.next => return Err(End::Refused(Refused::Malformed)),
            _ => self.next += 1,
        }
        body.truncate(opened);
        Ok((number, body))
    }
}
