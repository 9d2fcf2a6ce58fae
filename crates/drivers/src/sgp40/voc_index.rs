//! The VOC index: how bad the air is, compared with that of the last hours. Pure.
//!
//! Sensirion's Gas Index Algorithm 3.2 for VOC at one sample a second, as its engineering guidelines and its C source describe
//! it, rewritten; © 2022 Sensirion AG for the algorithm and its constants, which it publishes under the BSD 3-clause licence.
//! With floating-point numbers of 64 bits, where the source has 32: results differ by one now and then.
//!
//! A mean and a deviation of the raw signal are learnt, fast at first and then over twelve hours; while the index is high they
//! are not, so that bad air does not become the usual (gating). The raw signal's distance from the mean becomes an index of 0 to 500 by a
//! sigmoid in which the mean is 100, and a low-pass filter that is quick when much changes smooths it.

/// So long the raw signal only settles, in seconds.
const BLACKOUT: f64 = 45.0;
/// Raw signals count from here, and no further than this.
const RAW_MINIMUM: f64 = 20_000.0;
const RAW_SPAN: f64 = 32_767.0;

/// What the sigmoid makes of any distance is between 0 and this; of none it is 100.
const LARGEST: f64 = 500.0;
const GAIN: f64 = 230.0;

/// The index, and what it has learnt.
#[derive(Clone, Debug, Default)]
pub(super) struct VocIndex {
    seconds: f64,
    index: f64,
    usual: Usual,
    smooth: Option<LowPass>,
}

impl VocIndex {
    /// Takes the raw signal of the next second; `None` during the first 46.
    pub(super) fn next(&mut self, raw: u16) -> Option<f64> {
        if self.seconds <= BLACKOUT {
            self.seconds += 1.0;
            return None;
        }
        let raw = (f64::from(raw) - RAW_MINIMUM).clamp(1.0, RAW_SPAN);
        let distance = (raw - self.usual.mean.unwrap_or(0.0)) / -(self.usual.deviation + 220.0) * GAIN;
        let scaled = LARGEST * falling(distance, 213.0, -0.0065);
        let smooth = self.smooth.get_or_insert(LowPass { fast: scaled, slow: scaled, out: scaled });
        self.index = smooth.next(scaled).max(0.5);
        self.usual.learn(raw, self.index);
        Some((self.index + 0.5).floor())
    }
}

/// A sigmoid that falls from 1 to 0 around `middle`.
fn falling(value: f64, middle: f64, steepness: f64) -> f64 {
    1.0 / (1.0 + (steepness * (value - middle)).exp())
}

/// Mean and deviation of the raw signal.
#[derive(Clone, Debug)]
struct Usual {
    /// The first value begins it.
    mean: Option<f64>,
    deviation: f64,
    /// Seconds of learning, and since learning was last stopped for too long.
    learning: f64,
    gating: f64,
    /// For how many minutes, as it were, learning has been stopped.
    stopped_min: f64,
}

impl Default for Usual {
    fn default() -> Self {
        Self { mean: None, deviation: 50.0, learning: 0.0, gating: 0.0, stopped_min: 0.0 }
    }
}

impl Usual {
    /// Uptimes are counted to here.
    const LONGEST_UPTIME: f64 = 32_766.0;
    /// All rates of learning carry this factor.
    const SCALE: f64 = 64.0;

    /// So many seconds each is learnt fast.
    const MEAN_YOUNG: f64 = 0.75 * 3600.0;
    const DEVIATION_YOUNG: f64 = 1.45 * 3600.0;

    fn learn(&mut self, raw: f64, index: f64) {
        let Some(mean) = self.mean else {
            self.mean = Some(raw);
            return;
        };
        let (mean_rate, deviation_rate) = self.rates(index);
        let delta = (raw - mean) / Self::SCALE;
        // The source scales these, and moves an offset along with the mean, for the sake of its numbers of 32 bits.
        let square = self.deviation * self.deviation / Self::SCALE + deviation_rate * delta * delta;
        self.deviation = ((Self::SCALE - deviation_rate) * square).sqrt();
        self.mean = Some(mean + mean_rate * delta / 8.0);
    }

    /// How fast mean and deviation are learnt now.
    fn rates(&mut self, index: f64) -> (f64, f64) {
        let rate = |time_constant: f64| Self::SCALE / (time_constant + 1.0);
        for uptime in [&mut self.learning, &mut self.gating] {
            *uptime = (*uptime + 1.0).min(Self::LONGEST_UPTIME);
        }
        let later = rate(12.0 * 3600.0);
        let young_mean = falling(self.learning, Self::MEAN_YOUNG, 0.01);
        let young_deviation = falling(self.learning, Self::DEVIATION_YOUNG, 0.01);
        let mean_rate = 8.0 * (later + (rate(20.0) - later) * young_mean);
        let deviation_rate = later + (rate(2500.0) - later) * (young_deviation - young_mean);
        let threshold = |young: f64| 340.0 + (510.0 - 340.0) * falling(self.gating, young, 0.01);
        let mean_gate = falling(index, threshold(Self::MEAN_YOUNG), 0.09);
        let deviation_gate = falling(index, threshold(Self::DEVIATION_YOUNG), 0.09);
        self.stopped_min = (self.stopped_min + ((1.0 - mean_gate) * 1.3 - 0.3) / 60.0).max(0.0);
        if self.stopped_min > 180.0 {
            self.gating = 0.0;
        }
        (mean_gate * mean_rate, deviation_gate * deviation_rate)
    }
}

/// A low-pass filter between 20 and 500 seconds: the more a quick and a slow one of its kind differ, the quicker.
#[derive(Clone, Debug)]
struct LowPass {
    fast: f64,
    slow: f64,
    out: f64,
}

impl LowPass {
    const FAST: f64 = 20.0;
    const SLOW: f64 = 500.0;

    fn next(&mut self, sample: f64) -> f64 {
        let toward = |from: f64, tau: f64| from + (sample - from) / (1.0 + tau);
        self.fast = toward(self.fast, Self::FAST);
        self.slow = toward(self.slow, Self::SLOW);
        let calm = (-0.2 * (self.fast - self.slow).abs()).exp();
        self.out = toward(self.out, Self::FAST + (Self::SLOW - Self::FAST) * calm);
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise around a slow drift, five minutes of bad air every hour but the first, and at last bad air for hours: then learning
    /// begins again.
    fn series() -> impl Iterator<Item = (usize, u16)> {
        let mut state = 1_u32;
        (0..50_000).map(move |second| {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7FFF_FFFF;
            let noise = (state >> 16) % 41;
            let event = match second {
                30_000.. => 6000,
                3600.. if second % 3600 < 300 => 2500,
                _ => 0,
            };
            (second, (30_000 + second / 50 + noise as usize - 20 - event) as u16)
        })
    }

    /// What Sensirion's own source, version 3.2.0, answers to the same series.
    const SENSIRION: &[(usize, f64)] = &[
        (46, 1.0),
        (100, 91.0),
        (1000, 100.0),
        (3600, 105.0),
        (3650, 464.0),
        (3899, 455.0),
        (4500, 96.0),
        (7199, 90.0),
        (7300, 473.0),
        (18_000, 78.0),
        (18_100, 471.0),
        (28_799, 51.0),
        (28_900, 469.0),
        (30_100, 496.0),
        (40_000, 500.0),
        (45_000, 476.0),
        (49_999, 406.0),
    ];

    #[test]
    fn sensirions_own_source_answers_the_same() {
        let mut index = VocIndex::default();
        for (second, raw) in series() {
            let answer = index.next(raw);
            assert_eq!(answer.is_none(), second < 46, "{second}");
            if let Some((_, expected)) = SENSIRION.iter().find(|(at, _)| *at == second) {
                let answer = answer.unwrap();
                assert!((answer - expected).abs() <= 1.0, "second {second}: {answer}, not {expected}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_chip_says_the_index_is_within_its_range(raws in proptest::collection::vec(proptest::num::u16::ANY, 47..400)) {
            let mut index = VocIndex::default();
            for raw in raws {
                if let Some(answer) = index.next(raw) {
                    proptest::prop_assert!((1.0..=500.0).contains(&answer), "{}", answer);
                }
            }
        }
    }
}
