//! Telling others a state.

use tokio::sync::watch;

/// Tells `now`, where that is news.
pub fn tell<T: PartialEq>(to: &watch::Sender<T>, now: T) {
    to.send_if_modified(|known| {
        let news = *known != now;
        *known = now;
        news
    });
}
