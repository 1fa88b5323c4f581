//! How the manager has entries of `FLOWS` and `TRACKED` removed: it says what it has judged, and the program claims each
//! entry by that before it removes it ([`crate::slot::decide`]). A system call can delete an entry, but not on condition.

use crate::addr::Ipv6Be;
use crate::flow::Ports;
use crate::limits::REMOVALS;
use crate::nat::NatKey;
use crate::slot::Entry;

/// A list of entries, where a packet's bytes would be. The program changes it to say what it has done.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Removals {
    /// 0 for `FLOWS`, 1 for `TRACKED`.
    pub table: u64,
    /// Which bits of an entry's word have been judged: it goes if these are as they were.
    pub judged: u64,
    /// The entries, as many as there are; none after one without a word.
    pub list: [Removal; REMOVALS as usize],
}

/// An entry to be removed.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its key.
    pub key: NatKey,
    /// Its word as it was judged; [`Self::GONE`] when it has been removed, or was not there any more.
    pub word: u64,
}

impl Default for Removals {
    /// None.
    fn default() -> Self {
        let none = Ipv6Be([0; 2]);
        let key = NatKey {
            source: none,
            destination: none,
            ports: Ports::default(),
            protocol: 0,
        };
        let nothing = Removal {
            key,
            word: Removal::GONE,
        };
        Self {
            table: 0,
            judged: 0,
            list: [nothing; REMOVALS as usize],
        }
    }
}

impl Removal {
    /// No word that was judged: it names nobody.
    pub const GONE: u64 = 0;
}

impl Entry {
    /// All of a word: what is judged goes by the time.
    pub const WHOLE: u64 = u64::MAX;
    /// Whose the entry is, and nothing else.
    pub const MEMBER: u64 = 0xffff;
}
