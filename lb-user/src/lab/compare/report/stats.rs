//! What a few repeated samples tell, and when two subjects differ.
//!
//! A run has few rounds, and the next run will not give the same figures. So the range that is printed is not how far
//! the rounds lay apart, but where the median of another run like this one is to be expected in 19 of 20 cases:
//!
//! - two medians of n samples, one of each run, differ with a deviation of `sqrt(2/n)` times that of the samples;
//! - the deviation is itself an estimate of n samples, which Student's t makes up for;
//! - a median is less sure than a mean, by up to `sqrt(π/2)`, but a disturbed round does not move it;
//! - rounds of a run share what changes from run to run: where code and buffers lie, what else the machine does. They
//!   cannot show it, so a range is never narrower than [`BETWEEN_RUNS`] each way. A machine that is itself faster or slower
//!   by the hour, as virtual ones on a busy host are, goes beyond that: of two runs there, 20 medians of 112 left their
//!   ranges, though every pair of ranges still overlapped.
//!
//! Two subjects differ when their ranges do not overlap. Of subjects that are alike, fewer than one pair in a hundred
//! is taken for different; the tests have that from simulation.

/// What a run cannot show of its own: the part of the median by which another one may differ at least.
pub(super) const BETWEEN_RUNS: f64 = 0.05;

/// Student's t, two-sided 95 %, for 1, 2... degrees of freedom; the last stands for all above.
const STUDENT: [f64; 10] = [12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// How much less sure a median is than a mean, at most: `sqrt(π/2)`.
const MEDIAN: f64 = 1.2533;

/// A median, and where that of another run is to be expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) median: f64,
    /// Never below 0: nothing that is measured can be.
    pub(super) low: f64,
    pub(super) high: f64,
    /// A single one has no range: both ends are the median, and nothing can be said of differences.
    pub(super) samples: usize,
}

impl Range {
    /// None without samples. What is not a number is no sample.
    pub(super) fn of(samples: &[f64]) -> Option<Self> {
        let mut samples: Vec<f64> = samples.iter().copied().filter(|value| value.is_finite()).collect();
        samples.sort_by(f64::total_cmp);
        let count = samples.len();
        let median = match count {
            0 => return None,
            odd if odd % 2 == 1 => samples[odd / 2],
            even => f64::midpoint(samples[even / 2 - 1], samples[even / 2]),
        };
        let half = match count {
            1 => 0.0,
            _ => (expected(&samples)).max(BETWEEN_RUNS * median),
        };
        Some(Self {
            median,
            low: (median - half).max(0.0),
            high: median + half,
            samples: count,
        })
    }

    /// From the median to the upper end.
    pub(super) fn half(&self) -> f64 {
        self.high - self.median
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// How many times `other` this is; what is larger comes first.
    pub(super) fn against(&self, other: &Self) -> Difference {
        if self.samples < 2 || other.samples < 2 {
            return Difference::Unknown;
        }
        if self.overlaps(other) {
            return Difference::None;
        }
        if other.median <= 0.0 {
            return Difference::Nothing;
        }
        Difference::Times(self.median / other.median)
    }
}

/// How far from the median that of another run may lie, from what these samples show; two at least.
fn expected(samples: &[f64]) -> f64 {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let variance = samples.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let student = STUDENT[(samples.len() - 2).min(STUDENT.len() - 1)];
    MEDIAN * student * (variance * 2.0 / count).sqrt()
}

/// What two subjects' ranges say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Difference {
    /// None beyond noise.
    None,
    /// The one is so many times the other.
    Times(f64),
    /// They differ, but the other is 0, of which nothing is a multiple.
    Nothing,
    /// There is one sample of one of them: nobody knows the noise.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of a normal distribution, always the same ones: xorshift, and twelve uniform ones added.
    struct Noise(u64);

    impl Noise {
        fn uniform(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn samples(&mut self, count: usize, mean: f64, deviation: f64) -> Vec<f64> {
            (0..count)
                .map(|_| mean + deviation * ((0..12).map(|_| self.uniform()).sum::<f64>() - 6.0))
                .collect()
        }
    }

    #[test]
    fn medians_of_few_samples() {
        assert_eq!(Range::of(&[]), None);
        assert_eq!(Range::of(&[f64::NAN, f64::INFINITY]), None);
        let one = Range::of(&[7.0]).unwrap();
        assert_eq!((one.median, one.low, one.high, one.samples), (7.0, 7.0, 7.0, 1));
        assert_eq!(Range::of(&[3.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(Range::of(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        let zero = Range::of(&[0.0, 0.0, 0.0]).unwrap();
        assert_eq!((zero.low, zero.high), (0.0, 0.0));
    }

    #[test]
    fn a_range_is_never_narrower_than_runs_differ() {
        let range = Range::of(&[100.0; 5]).unwrap();
        assert_eq!((range.low, range.high), (95.0, 105.0));
        let wide = Range::of(&[1.0, 100.0]).unwrap();
        assert_eq!(wide.low, 0.0, "nothing is negative");
    }

    /// Noise of 20 %, so that [`BETWEEN_RUNS`] does not help.
    #[test]
    fn another_run_agrees() {
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
        for rounds in [3, 5, 10] {
            let (mut within, mut taken_for_different) = (0, 0);
            for _ in 0..4000 {
                let one = Range::of(&noise.samples(rounds, 1000.0, 200.0)).unwrap();
                let other = Range::of(&noise.samples(rounds, 1000.0, 200.0)).unwrap();
                within += usize::from((one.low..=one.high).contains(&other.median));
                taken_for_different += usize::from(one.against(&other) != Difference::None);
            }
            assert!(
                within >= 3760,
                "{rounds} rounds: {within} of 4000 medians within the range"
            );
            assert!(
                taken_for_different <= 40,
                "{rounds} rounds: {taken_for_different} of 4000"
            );
        }
    }

    #[test]
    fn differences() {
        let range = |samples: &[f64]| Range::of(samples).unwrap();
        let (slow, fast) = (range(&[100.0, 102.0, 98.0]), range(&[201.0, 200.0, 199.0]));
        assert_eq!(fast.against(&slow), Difference::Times(2.0));
        assert_eq!(slow.against(&range(&[104.0, 106.0, 105.0])), Difference::None);
        assert_eq!(fast.against(&range(&[100.0])), Difference::Unknown);
        assert_eq!(
            fast.against(&range(&[0.0, 0.0])),
            Difference::Nothing,
            "nothing is a multiple of 0"
        );
    }
}
