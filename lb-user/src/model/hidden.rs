//! Secrets in memory: keys, tokens, passwords.

use std::fmt;

use zeroize::Zeroize;

/// What nobody is to see: `Debug` does not show it, and it is overwritten when it is dropped. What libraries make of it for
/// themselves, and what a growing buffer has left behind, is not.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden<T: Zeroize>(pub T);

impl<T: Zeroize> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl<T: Zeroize> Drop for Hidden<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Seen<'a>(&'a Cell<bool>);

    impl Zeroize for Seen<'_> {
        fn zeroize(&mut self) {
            self.0.set(true);
        }
    }

    #[test]
    fn it_is_not_shown_and_is_overwritten_at_its_end() {
        let overwritten = Cell::new(false);
        let hidden = Hidden(Seen(&overwritten));
        assert_eq!(format!("{hidden:?}"), "(hidden)");
        assert!(!overwritten.get());
        drop(hidden);
        assert!(overwritten.get());
    }
}
