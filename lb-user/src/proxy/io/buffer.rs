//! Buffers that go back to their thread's pool while a connection idles.

use std::cell::RefCell;
use std::ops::Range;

/// Bytes of a buffer as it comes from the pool: as much as a record of TLS holds (RFC 8446 §5.1).
pub const SIZE: usize = 16 * 1024;

/// Bytes of a buffer for bodies that are longer: few calls for many bytes.
pub const LARGE: usize = 64 * 1024;

/// How many of each size a thread keeps: enough for all that is under way at once, and 4 and 2 MiB at most.
const KEPT: [usize; 2] = [256, 32];

thread_local! {
    static POOL: RefCell<[Vec<Vec<u8>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Bytes that were read and not yet used, in a piece of memory that never moves them by itself.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    used: Range<usize>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffer {
    /// An empty one of [`SIZE`].
    #[must_use]
    pub fn new() -> Self {
        Self::of_size(SIZE)
    }

    /// An empty one of [`LARGE`].
    #[must_use]
    pub fn large() -> Self {
        Self::of_size(LARGE)
    }

    fn of_size(size: usize) -> Self {
        let kept = POOL.with_borrow_mut(|pool| pool[usize::from(size == LARGE)].pop());
        Self {
            memory: kept.unwrap_or_else(|| vec![0; size]),
            used: 0..0,
        }
    }

    /// One that takes no memory, until it is asked for room.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            memory: Vec::new(),
            used: 0..0,
        }
    }

    /// What was read and not used.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.used.clone()]
    }

    /// How much that is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// The first `length` bytes have been used.
    #[inline]
    pub fn consume(&mut self, length: usize) {
        debug_assert!(length <= self.len());
        self.used.start += length;
        if self.used.is_empty() {
            self.used = 0..0;
        }
    }

    /// Room behind what is there: at least one byte, since it grows when there is none.
    pub fn room(&mut self) -> &mut [u8] {
        if self.used.end == self.memory.len() {
            if self.memory.is_empty() {
                *self = Self::new();
            } else if self.used.start > 0 {
                self.memory.copy_within(self.used.clone(), 0);
                self.used = 0..self.used.len();
            } else {
                let size = self.memory.len() * 2;
                self.memory.resize(size, 0);
            }
        }
        &mut self.memory[self.used.end..]
    }

    /// So many bytes have been written to the room.
    pub fn filled(&mut self, length: usize) {
        self.used.end += length;
        debug_assert!(self.used.end <= self.memory.len());
    }

    /// Adds bytes.
    pub fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let here = room.len().min(bytes.len());
            room[..here].copy_from_slice(&bytes[..here]);
            self.filled(here);
            bytes = &bytes[here..];
        }
    }

    /// Takes the first `length` bytes out, in their memory; what follows them moves to another one.
    #[must_use]
    pub fn split_to(&mut self, length: usize) -> Self {
        let mut rest = Self::none();
        rest.extend(&self.bytes()[length..]);
        self.used.end = self.used.start + length;
        std::mem::replace(self, rest)
    }

    /// Gives the memory back when nothing is in it.
    pub fn rest(&mut self) {
        if self.is_empty() {
            *self = Self::none();
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let place = match self.memory.len() {
            SIZE => 0,
            LARGE => 1,
            _ => return,
        };
        let memory = std::mem::take(&mut self.memory);
        // While the thread ends there is no pool any more.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool[place].len() < KEPT[place] {
                pool[place].push(memory);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_makes_room_and_what_is_not_stays() {
        let mut buffer = Buffer::new();
        buffer.extend(&[1; SIZE]);
        buffer.consume(SIZE - 2);
        buffer.extend(&[2; 3]);
        assert_eq!(buffer.bytes(), [1, 1, 2, 2, 2]);
        let size = buffer.memory.len();
        assert_eq!(size, SIZE, "it was moved and did not grow");
        buffer.extend(&[3; SIZE]);
        assert_eq!(buffer.len(), SIZE + 5);
    }

    #[test]
    fn a_head_leaves_with_its_memory() {
        let mut buffer = Buffer::new();
        buffer.extend(b"head");
        let place = buffer.bytes().as_ptr();
        let head = buffer.split_to(4);
        assert_eq!((head.bytes(), head.bytes().as_ptr()), (&b"head"[..], place));
        assert!(buffer.memory.is_empty(), "nothing followed it");
        buffer.extend(b"headbody");
        assert_eq!(buffer.split_to(4).bytes(), b"head");
        assert_eq!(buffer.bytes(), b"body");
    }

    #[test]
    fn memory_comes_back() {
        let first = Buffer::new();
        let place = first.memory.as_ptr();
        drop(first);
        assert_eq!(Buffer::new().memory.as_ptr(), place);
        let mut idle = Buffer::new();
        idle.rest();
        assert!(idle.memory.is_empty());
    }
}
