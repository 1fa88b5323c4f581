//! The health of one backend, or of whatever else is probed, from the outcomes. Pure: it neither probes nor looks at a clock.
//!
//! A machine that has seen nothing believes the first outcome, whatever it is: a starting node serves at once with
//! what answers. From then on `fall` failures in a row take the backend down and `rise` successes in a row bring it
//! back, so that one lost packet moves no traffic.

use std::num::NonZeroU32;

use super::Health;

const ONE: NonZeroU32 = NonZeroU32::MIN;

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As the check wants.
    Success,
    /// In any other way.
    Failure,
}

/// A change of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Health before the outcome that was observed.
    pub from: Health,
    /// Health from now on. Never [`Health::Unknown`].
    pub to: Health,
}

/// Outcomes that speak against the present health, but are too few to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// So many in a row; at least one, fewer than `needed`.
    pub seen: u32,
    /// So many change the health.
    pub needed: NonZeroU32,
}

/// Health of one backend.
#[derive(Clone, Debug)]
pub struct Machine {
    health: Health,
    /// Outcomes in a row that speak against `health`.
    streak: u32,
    /// The next outcome decides alone.
    credulous: bool,
    rise: NonZeroU32,
    fall: NonZeroU32,
}

impl Machine {
    /// A machine that has seen nothing.
    #[must_use]
    pub const fn new(rise: NonZeroU32, fall: NonZeroU32) -> Self {
        Self {
            health: Health::Unknown,
            streak: 0,
            credulous: true,
            rise,
            fall,
        }
    }

    /// Health now.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// What speaks against the present health, if anything does.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        let needed = match self.health {
            Health::Unknown => return None,
            Health::Up => self.fall,
            Health::Down => self.rise,
        };
        (self.streak > 0).then_some(Doubt {
            seen: self.streak,
            needed,
        })
    }

    /// Takes in the outcome of a probe, and says whether the health changed.
    #[must_use]
    pub fn observe(&mut self, outcome: Outcome) -> Option<Transition> {
        let (needed, to) = match (self.health, outcome) {
            (Health::Unknown, Outcome::Success) => (ONE, Health::Up),
            (Health::Unknown, Outcome::Failure) => (ONE, Health::Down),
            (Health::Down, Outcome::Success) => (self.rise, Health::Up),
            (Health::Up, Outcome::Failure) => (self.fall, Health::Down),
            (Health::Up, Outcome::Success) | (Health::Down, Outcome::Failure) => {
                self.streak = 0;
                self.credulous = false;
                return None;
            }
        };
        let needed = if std::mem::take(&mut self.credulous) {
            ONE
        } else {
            needed
        };
        self.streak += 1;
        if self.streak < needed.get() {
            return None;
        }
        self.streak = 0;
        let from = std::mem::replace(&mut self.health, to);
        Some(Transition { from, to })
    }

    /// New thresholds, from the next outcome on. Outcomes already counted stay counted.
    pub const fn set_thresholds(&mut self, rise: NonZeroU32, fall: NonZeroU32) {
        self.rise = rise;
        self.fall = fall;
    }

    /// Something else is being asked from now on: the next outcome decides alone, as the first one did. Until then the
    /// health stays what it is, so that editing a check interrupts nothing.
    pub const fn believe_next(&mut self) {
        self.streak = 0;
        self.credulous = true;
    }
}

#[cfg(test)]
mod tests;
