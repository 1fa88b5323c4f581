//! What a file's mode lets others do (inode(7)).

/// May others than its owner, root and root's group write to it? In a folder: put files there, and take them away.
#[must_use]
pub const fn others_write(mode: u32, group: u32) -> bool {
    mode & 0o002 != 0 || (mode & 0o020 != 0 && group != 0)
}

/// Does a folder keep everybody from replacing what is somebody else's?
#[must_use]
pub const fn is_sticky(mode: u32) -> bool {
    mode & 0o1000 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_is_told_by_mode_and_group() {
        for (mode, group, written) in [
            (0o755, 0, false),
            (0o700, 1000, false),
            (0o775, 0, false),
            (0o775, 1000, true),
            (0o757, 0, true),
            (0o1777, 0, true),
        ] {
            assert_eq!(others_write(mode, group), written, "{mode:o} {group}");
        }
        assert!(is_sticky(0o41777) && !is_sticky(0o40777));
    }
}
