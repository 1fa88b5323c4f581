//! Dense numbers for things that sit in arrays. They survive a restart, because they are read back from the maps.

/// A backend within its service: 1 to 65,534. 0 means "no backend" and is never given to one, and 65,535 marks a
/// settled slot (see [`crate::ring::Slot`]).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberIndex(pub u16);

impl MemberIndex {
    /// No backend.
    pub const NONE: Self = Self(0);
    /// The largest index that a backend may have.
    pub const MAX: Self = Self(u16::MAX - 1);
}

/// A (service, backend) pair: the service's member base plus the backend's [`MemberIndex`]; an index into `BACKENDS`
/// and `COUNTERS`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub u32);

impl MemberId {
    /// No member.
    pub const NONE: Self = Self(0);
}
