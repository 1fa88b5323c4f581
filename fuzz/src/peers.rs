//! What is read of a peer's message can be written again, and reads the same. The input is a message as it has been opened.

/// Panics at a message that does not.
pub fn check(input: &[u8]) {
    lb_user::peers::wire::fuzz(input);
}
