//! What others say, as it can stand in a message.

/// The first `most` characters of what a backend or a command says, in one line.
#[must_use]
pub fn quoted(text: &[u8], most: usize) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = String::from_utf8_lossy(text).chars().map(shown).collect();
    text.trim().chars().take(most).collect()
}
