//! Packets of MySQL's protocol: a length of three bytes, a number, and what they say.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Failure;

/// How much is read in one probe, in bytes. A status of replication lists sets of transactions, which may be long.
pub(super) const BUDGET: usize = 1 << 20;

/// Anything to talk over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One of several kinds.
pub(super) type Boxed = Box<dyn Stream>;

/// A connection, and the number that the next packet has.
pub(super) struct Connection<S> {
    stream: S,
    sequence: u8,
    budget: usize,
}

impl<S: Stream + 'static> Connection<S> {
    pub(super) fn new(stream: S) -> Self {
        Self::resume(stream, 0)
    }

    /// Goes on at a number, over another stream.
    pub(super) fn resume(stream: S, sequence: u8) -> Self {
        Self {
            stream,
            sequence,
            budget: BUDGET,
        }
    }

    pub(super) fn into_parts(self) -> (S, u8) {
        (self.stream, self.sequence)
    }

    pub(super) fn boxed(self) -> Connection<Boxed> {
        Connection {
            stream: Box::new(self.stream),
            sequence: self.sequence,
            budget: self.budget,
        }
    }

    /// The next packet, which is not empty.
    pub(super) async fn read(&mut self) -> Result<Vec<u8>, super::super::Failure> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await.map_err(failure)?;
        let [a, b, c, sequence] = header;
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        if sequence != self.sequence || length == 0 {
            return Err(Failure::NotMysql.into());
        }
        self.sequence = sequence.wrapping_add(1);
        self.budget = self.budget.checked_sub(length).ok_or(Failure::TooLarge)?;
        // What is announced is not believed before it comes.
        let mut packet = Vec::new();
        let read = (&mut self.stream).take(length as u64).read_to_end(&mut packet).await;
        if read.map_err(failure)? < length {
            return Err(Failure::Closed.into());
        }
        Ok(packet)
    }

    pub(super) async fn write(&mut self, packet: &[u8]) -> Result<(), super::super::Failure> {
        let [a, b, c, _] = (packet.len() as u32).to_le_bytes();
        let bytes = [&[a, b, c, self.sequence], packet].concat();
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&bytes).await.map_err(failure)?;
        self.stream.flush().await.map_err(failure)
    }

    /// Begins a new exchange.
    pub(super) async fn command(&mut self, command: u8, text: &[u8]) -> Result<(), super::super::Failure> {
        self.sequence = 0;
        self.write(&[&[command], text].concat()).await
    }
}

fn failure(error: io::Error) -> super::super::Failure {
    match error.raw_os_error() {
        Some(_) => error.into(),
        None => Failure::Closed.into(),
    }
}

/// What is left of a packet. Numbers are little-endian.
#[derive(Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.number(2).map(|number| number as u16)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(self.take(bytes)?);
        Some(u64::from_le_bytes(number))
    }

    /// What comes before a zero byte.
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    /// A number whose first byte says how long it is.
    pub(super) fn length(&mut self) -> Option<u64> {
        match self.u8()? {
            short @ 0..=0xfa => Some(short.into()),
            0xfc => self.number(2),
            0xfd => self.number(3),
            0xfe => self.number(8),
            0xfb | 0xff => None,
        }
    }

    /// Text behind its length.
    pub(super) fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// The value of a column; inside, nothing for NULL.
    pub(super) fn value(&mut self) -> Option<Option<&'a [u8]>> {
        if self.0.first() == Some(&0xfb) {
            self.take(1)?;
            return Some(None);
        }
        self.counted().map(Some)
    }
}
