//! Programs that are told, and scripts that are watched.
