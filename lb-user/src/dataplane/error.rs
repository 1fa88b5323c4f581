//! What can go wrong with a map.

/// A map operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// No room for another key.
    #[error("map {map} is full: it holds {capacity} entries")]
    MapFull {
        /// Its name.
        map: &'static str,
        /// Its capacity.
        capacity: u32,
    },
    /// An index that the map does not have.
    #[error("map {map} has no element {index}")]
    OutOfBounds {
        /// Its name.
        map: &'static str,
        /// The index.
        index: u32,
    },
    /// Entries that are to be removed change all the time.
    #[error("{left} entries of map {map} have changed whenever they were about to be removed")]
    Busy {
        /// Its name.
        map: &'static str,
        /// How many.
        left: usize,
    },
    /// The kernel refused.
    #[error("cannot {verb} map {map}")]
    Kernel {
        /// `read`, `write` or `sweep`.
        verb: &'static str,
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
