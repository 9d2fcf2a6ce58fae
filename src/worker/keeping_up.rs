//! Whether a bus keeps up with the period of one of its sensors. Pure.
//!
//! One long stall is no slow bus, so not only the missed ticks count, but also how many samplings came too late.

/// Samplings that are looked at together: at half of the ticks missed, ten periods.
const WINDOW: u32 = 5;

/// So many of them must have missed a tick.
const LATE: u32 = 3;

/// What was managed of what the period asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    /// How many ticks passed.
    pub(super) asked: u64,
    /// Samplings in that time.
    pub(super) managed: u32,
}

/// The newest samplings of one sensor.
#[derive(Clone, Debug, Default)]
pub(super) struct KeepingUp {
    samplings: u32,
    late: u32,
    missed: u64,
    behind: Option<Figures>,
}

impl KeepingUp {
    /// A sampling took place for which so many ticks had been missed.
    pub(super) fn sampled(&mut self, missed: u64) {
        self.samplings += 1;
        self.late += u32::from(missed > 0);
        self.missed = self.missed.saturating_add(missed);
        if self.samplings < WINDOW {
            return;
        }
        if self.late >= LATE && self.missed >= u64::from(WINDOW) {
            self.behind = Some(Figures { asked: self.missed.saturating_add(WINDOW.into()), managed: WINDOW });
        } else if self.late <= 1 {
            self.behind = None;
        }
        (self.samplings, self.late, self.missed) = (0, 0, 0);
    }

    /// What was missed has another reason, which is reported already.
    pub(super) fn begin_again(&mut self) {
        *self = Self { behind: self.behind, ..Self::default() };
    }

    /// What was managed lately, if that is half of the ticks or less. It ends when four fifths are on time.
    pub(super) fn behind(&self) -> Option<Figures> {
        self.behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(missed: &[u64]) -> KeepingUp {
        let mut keeping = KeepingUp::default();
        missed.iter().for_each(|missed| keeping.sampled(*missed));
        keeping
    }

    #[test]
    fn half_of_ten_periods_missed_is_behind_and_less_is_not() {
        assert_eq!(after(&[1; 5]).behind(), Some(Figures { asked: 10, managed: 5 }));
        assert_eq!(after(&[19; 5]).behind(), Some(Figures { asked: 100, managed: 5 }));
        assert_eq!(after(&[1, 0, 1, 0, 1]).behind(), None);
        assert_eq!(after(&[2, 0, 2, 0, 2]).behind(), Some(Figures { asked: 11, managed: 5 }), "three of five are late");
    }

    #[test]
    fn one_stall_is_no_slow_bus() {
        assert_eq!(after(&[0, 600, 0, 0, 0]).behind(), None);
        assert_eq!(after(&[0, 600, 0, 40, 0]).behind(), None);
    }

    #[test]
    fn what_was_missed_for_another_reason_does_not_count() {
        let mut keeping = after(&[9; 4]);
        keeping.begin_again();
        (0..5).for_each(|_| keeping.sampled(0));
        assert_eq!(keeping.behind(), None);
        let mut keeping = after(&[9; 4]);
        keeping.begin_again();
        keeping.sampled(9);
        assert_eq!(keeping.behind(), None, "one sampling since");
        let mut behind = after(&[9; 5]);
        behind.begin_again();
        assert!(behind.behind().is_some(), "what was known stays known");
    }

    #[test]
    fn it_stays_until_nearly_all_are_on_time() {
        let mut keeping = after(&[2; 5]);
        for missed in [1, 0, 1, 0, 0] {
            keeping.sampled(missed);
        }
        assert!(keeping.behind().is_some(), "two of five late: neither");
        for missed in [0, 1, 0, 0, 0] {
            keeping.sampled(missed);
        }
        assert_eq!(keeping.behind(), None);
    }
}
