//! The lists of one owner as the program reads them: tries of prefixes (see [`lb_common::protect::prefixes`]), and the
//! reverse, for people: which prefix has decided.
//!
//! 1. [`stretches`] sorts the prefixes of a family and cuts its addresses into stretches of which the same is known. From
//!    there on nobody asks which prefix is longer.
//! 2. [`nodes`] writes the trie of these stretches, from the leaves up.
//! 3. [`top`] does so behind the first two bytes, where the lists are those for all services.

mod nodes;
mod order;
mod stretches;
mod top;

use std::net::IpAddr;

use lb_common::protect::Roots;
use lb_common::protect::prefixes::{Line, Ref};

use crate::model::Prefix;
use crate::model::protection::{BOGONS, Lists};
use stretches::{Family, Stretches};
pub use top::Top;

/// What one owner knows of sources: the node, for all services, or one service.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Of the file.
    pub lists: &'a Lists,
    /// Sources that no client can have are known as such, except those that a prefix of `lists.allow` holds.
    pub bogons: bool,
    /// Denied at run time: whoever is in there is denied, whatever the file says.
    pub denies: &'a [Prefix],
}

/// Which list a prefix is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// [`Lists::allow`].
    Allow,
    /// [`Lists::deny`]: of a prefix that is in both, this one counts.
    Deny,
    /// [`Lists::exempt`].
    Exempt,
    /// [`BOGONS`].
    Bogons,
    /// [`Wanted::denies`].
    RunTime,
}

/// Appends what is wanted to `lines`, and returns where it begins. Lists may be in any order.
///
/// Of a million prefixes it takes less than a second, and needs, beside the lines, about as much memory as they do.
#[must_use]
pub fn append(wanted: &Wanted, lines: &mut Vec<Line>) -> Roots {
    let mut family = |family| nodes::append(&Stretches::of(wanted, family), family, lines);
    Roots {
        v4: family(Family::V4),
        v6: family(Family::V6),
    }
}

/// The same for the lists of all services: where each of their [`Top`]s leads.
#[must_use]
pub fn append_topped(wanted: &Wanted, lines: &mut Vec<Line>) -> [Top; 2] {
    [Family::V4, Family::V6].map(|family| Top::append(&Stretches::of(wanted, family), family, lines))
}

/// Appends the nodes of several tries, which `roots` lead to in `from`, in the order of their depth: those that packets meet
/// first lie first. The roots lead there from then on.
pub fn in_order<'a>(from: &[Line], roots: impl IntoIterator<Item = &'a mut Ref>, to: &mut Vec<Line>) {
    order::append(from, roots, to);
}

/// Whose prefix decides whether `source` may come, as the program's reason for refusing it says: first [`List::Bogons`],
/// then [`List::RunTime`], then the longest of [`List::Deny`] and [`List::Allow`]. `None`: it may, as nobody mentions it.
#[must_use]
pub fn deciding(wanted: &Wanted, source: IpAddr) -> Option<(List, Prefix)> {
    let allowed = longest(&wanted.lists.allow, source);
    let denied = longest(&wanted.lists.deny, source);
    let bogon = || longest(&bogons(), source).filter(|_| wanted.bogons && allowed.is_none());
    let by = |list| move |prefix| (list, prefix);
    let of_file = || match (allowed, denied) {
        (Some(allowed), denied) if denied.is_none_or(|denied| denied.length < allowed.length) => {
            Some((List::Allow, allowed))
        }
        (_, denied) => denied.map(by(List::Deny)),
    };
    bogon()
        .map(by(List::Bogons))
        .or_else(|| longest(wanted.denies, source).map(by(List::RunTime)))
        .or_else(of_file)
}

/// The longest prefix for which `source` is never limited.
#[must_use]
pub fn exempting(wanted: &Wanted, source: IpAddr) -> Option<Prefix> {
    longest(&wanted.lists.exempt, source)
}

fn longest(list: &[Prefix], source: IpAddr) -> Option<Prefix> {
    let holding = list.iter().filter(|prefix| prefix.holds(source));
    holding.max_by_key(|prefix| prefix.length).copied()
}

fn bogons() -> [Prefix; BOGONS.len()] {
    BOGONS.map(|text| text.parse().expect("prefixes"))
}

#[cfg(test)]
mod tests;
