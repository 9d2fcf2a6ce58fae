//! For chips that measure by themselves, once in an interval: whether it is too early for a result or the chip measures no
//! more.

use crate::DriverError;
use crate::i2c_chip::another;
use fieldgate_bus::seconds::Seconds;

/// So many intervals without a result, and the chip is built again: it may have lost its supply, and with it its orders.
const INTERVALS_WITHOUT_RESULT: u64 = 3;

/// The rhythm of one chip.
pub(crate) struct Periodic {
    chip: &'static str,
    address: u8,
    seconds: Box<dyn Seconds>,
    /// In seconds.
    interval: u64,
    /// Seconds since the last result, or since the start.
    waited: u64,
}

impl Periodic {
    pub(crate) fn new(chip: &'static str, address: u8, seconds: Box<dyn Seconds>, interval: u64) -> Self {
        Self { chip, address, seconds, interval, waited: 0 }
    }

    /// The chip measures from now on: what passed before does not count.
    pub(crate) fn begin(&mut self) {
        self.seconds.passed();
        self.waited = 0;
    }

    /// To be called at each sample; how many seconds have passed since the last.
    pub(crate) fn pass(&mut self) -> u64 {
        let passed = self.seconds.passed();
        self.waited = self.waited.saturating_add(passed);
        passed
    }

    /// There was a result.
    pub(crate) fn heard(&mut self) {
        self.waited = 0;
    }

    /// Why there is none; `words` say how often there is one.
    pub(crate) fn nothing_new(&self, words: &'static str) -> DriverError {
        if self.waited <= INTERVALS_WITHOUT_RESULT * self.interval {
            return DriverError::TooEarly(words);
        }
        let why = format!("it has measured nothing for {} s: it may have lost its supply", self.waited);
        another(self.chip, self.address, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::Script;

    #[test]
    fn a_chip_that_is_silent_for_more_than_three_intervals_is_lost() {
        let mut rhythm = Periodic::new("SCD4x", 0x62, Box::new(Script), 5);
        rhythm.begin();
        for round in 0..2 {
            for second in 1..=15 {
                assert_eq!(rhythm.pass(), 1);
                assert!(matches!(rhythm.nothing_new("…"), DriverError::TooEarly("…")), "{round} {second}");
            }
            if round == 0 {
                rhythm.heard();
            }
        }
        rhythm.pass();
        let error = rhythm.nothing_new("…");
        assert!(!error.is_transient());
        let words = "no SCD4x at address 0x62: it has measured nothing for 16 s: it may have lost its supply";
        assert_eq!(error.to_string(), words);
    }
}
