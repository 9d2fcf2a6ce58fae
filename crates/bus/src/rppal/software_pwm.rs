//! PWM on any line: a thread of rppal's own switches it.
//!
//! It ends with the program. An orderly end leaves the line idle; a kill leaves it at whatever level it had at that moment,
//! until `fieldgate safe-state` has driven it. At 0 and 100 percent there is no thread, and the level stays.

use std::time::Duration;

use rppal::gpio::OutputPin;

use crate::rppal::header::{HEADER, io_error};
use crate::{BusError, PwmChannel, PwmRequest, SOFTWARE_HZ};

/// What the line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wave {
    Low,
    High,
    /// High for so long at the beginning of each period.
    Pulses(Duration),
}

impl Wave {
    fn of(percent: f64, inverted: bool, period: Duration) -> Self {
        let high = if inverted { 100.0 - percent } else { percent };
        if high >= 100.0 {
            Self::High
        } else if high > 0.0 {
            Self::Pulses(period.mul_f64(high / 100.0))
        } else {
            // What is not a number, too.
            Self::Low
        }
    }
}

/// One line.
pub(super) struct SoftwarePwm {
    pin: OutputPin,
    line: String,
    period: Duration,
    inverted: bool,
    percent: f64,
    wave: Wave,
}

impl SoftwarePwm {
    /// Words for a period that cannot be.
    pub(super) fn check(period: Duration) -> Result<(), String> {
        let (least, most) = SOFTWARE_HZ;
        let hertz = 1.0 / period.as_secs_f64();
        // A period is whole nanoseconds, so it may miss a bound by a hair.
        if (least * 0.999..=most * 1.001).contains(&hertz) {
            return Ok(());
        }
        Err(format!("software PWM of {hertz:.1} Hz, only from {least} to {most} Hz"))
    }

    /// Claims a line by `claim`, which drives it to a level at once.
    pub(super) fn new(
        claim: impl FnOnce(bool) -> Result<OutputPin, BusError>,
        line: &str,
        request: &PwmRequest,
    ) -> Result<Self, BusError> {
        let (period, inverted) = (request.period, request.inverted);
        let first = Wave::of(request.percent, inverted, period);
        let pin = claim(first == Wave::High)?;
        let (percent, wave) = (0.0, Wave::Low);
        let mut pwm = Self { pin, line: line.to_owned(), period, inverted, percent, wave };
        pwm.set(request.percent)?;
        Ok(pwm)
    }

    fn failed(&self, error: rppal::gpio::Error) -> BusError {
        BusError::Io { what: format!("software PWM on line {} of {HEADER}", self.line), source: io_error(error) }
    }

    fn make(&mut self, wave: Wave) -> Result<(), BusError> {
        match wave {
            // Its thread has left the line low when it has ended.
            Wave::Low | Wave::High => {
                self.pin.clear_pwm().map_err(|error| self.failed(error))?;
                self.pin.write((wave == Wave::High).into());
            }
            Wave::Pulses(high) => self.pin.set_pwm(self.period, high).map_err(|error| self.failed(error))?,
        }
        self.wave = wave;
        Ok(())
    }
}

impl PwmChannel for SoftwarePwm {
    fn set(&mut self, percent: f64) -> Result<(), BusError> {
        self.make(Wave::of(percent, self.inverted, self.period))?;
        self.percent = percent;
        Ok(())
    }

    fn percent(&mut self) -> Result<f64, BusError> {
        Ok(self.percent)
    }
}

impl Drop for SoftwarePwm {
    /// Pulses cannot go on without us; the line becomes idle. A steady level stays.
    fn drop(&mut self) {
        if let Wave::Pulses(_) = self.wave {
            // A thread that cannot be joined has ended already.
            self.make(if self.inverted { Wave::High } else { Wave::Low }).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    #[test]
    fn the_ends_of_the_range_are_levels_and_what_is_between_is_pulses() {
        let pulses = |ms| Wave::Pulses(Duration::from_millis(ms));
        for (percent, inverted, wave) in [
            (0.0, false, Wave::Low),
            (100.0, false, Wave::High),
            (30.0, false, pulses(3)),
            (0.0, true, Wave::High),
            (100.0, true, Wave::Low),
            (30.0, true, pulses(7)),
            (f64::NAN, false, Wave::Low),
            (140.0, false, Wave::High),
        ] {
            assert_eq!(Wave::of(percent, inverted, PERIOD), wave, "{percent} {inverted}");
        }
    }

    #[test]
    fn only_what_a_thread_can_do_is_accepted() {
        for hertz in [1.0, 50.0, 100.0, 300.0, 1000.0] {
            assert_eq!(SoftwarePwm::check(Duration::from_secs_f64(1.0 / hertz)), Ok(()), "{hertz}");
        }
        for hertz in [0.1, 25_000.0] {
            let words = SoftwarePwm::check(Duration::from_secs_f64(1.0 / hertz)).unwrap_err();
            assert_eq!(words, format!("software PWM of {hertz:.1} Hz, only from 1 to 1000 Hz"));
        }
    }
}
