//! The board's PWM channels by rppal, which knows the chip of each board and uses the kernel's files itself.
//!
//! rppal stops a channel when it takes it, so that a restart leaves a gap, unlike `backend: linux`. The level stays after the
//! program's end.

use std::io::{self, ErrorKind};
use std::time::Duration;

use rppal::pwm::{Channel, Error, Polarity, Pwm};

use crate::{Bus, BusError, PwmChannel, PwmPlace, PwmRequest};

/// What stands in errors for the chip.
const CHIP: &str = "the PWM chip by rppal";

/// The channels of the board.
pub(super) struct RppalPwm;

impl Bus for RppalPwm {
    fn describe(&self) -> String {
        CHIP.into()
    }

    fn pwm(&mut self, request: &PwmRequest) -> Result<Box<dyn PwmChannel>, BusError> {
        let lacks = || self.lacks(&format!("PWM {}", request.place));
        let PwmPlace::Channel(number) = request.place else { return Err(lacks()) };
        let channel = u8::try_from(number).ok().and_then(|number| Channel::try_from(number).ok()).ok_or_else(lacks)?;
        let polarity = if request.inverted { Polarity::Inverse } else { Polarity::Normal };
        let high = active(request.period, request.percent);
        let pwm = Pwm::with_period(channel, request.period, high, polarity, true);
        let mut pwm = pwm.map_err(|error| refused(number, error))?;
        pwm.set_reset_on_drop(false);
        let commanded = (request.percent, high);
        Ok(Box::new(RppalChannel { pwm, number, period: request.period, commanded }))
    }
}

struct RppalChannel {
    pwm: Pwm,
    number: u32,
    period: Duration,
    /// What was asked for last and what it became: read back, the same means the same percentage, unrounded.
    commanded: (f64, Duration),
}

impl RppalChannel {
    fn failed(&self, doing: &str, error: Error) -> BusError {
        BusError::Io { what: format!("{doing} channel {} of {CHIP}", self.number), source: io_error(error) }
    }
}

impl PwmChannel for RppalChannel {
    fn set(&mut self, percent: f64) -> Result<(), BusError> {
        let high = active(self.period, percent);
        self.pwm.set_pulse_width(high).map_err(|error| self.failed("driving", error))?;
        self.commanded = (percent, high);
        Ok(())
    }

    fn percent(&mut self) -> Result<f64, BusError> {
        let failed = |error| self.failed("reading back", error);
        if !self.pwm.is_enabled().map_err(failed)? {
            return Ok(0.0);
        }
        let high = self.pwm.pulse_width().map_err(failed)?;
        let (percent, commanded) = self.commanded;
        if high == commanded { Ok(percent) } else { Ok(self.pwm.duty_cycle().map_err(failed)? * 100.0) }
    }
}

/// The active part of a period. What is not a number is nothing.
fn active(period: Duration, percent: f64) -> Duration {
    if percent > 0.0 { period.mul_f64(percent.min(100.0) / 100.0) } else { Duration::ZERO }
}

fn refused(number: u32, error: Error) -> BusError {
    let source = io_error(error);
    let hint = match source.kind() {
        ErrorKind::NotFound => {
            "dtoverlay=pwm or pwm-2chan in config.txt makes the channels; or use a line, with software PWM"
        }
        ErrorKind::PermissionDenied => "a udev rule gives the files to the group gpio; the user has to be in it",
        ErrorKind::ReadOnlyFilesystem => "under systemd the service needs ReadWritePaths=/sys/class/pwm",
        ErrorKind::ResourceBusy => "a driver of the kernel uses this channel",
        _ => "",
    };
    BusError::Open { what: format!("channel {number} of {CHIP}"), hint: hint.into(), source }
}

/// The kernel's own error, with its errno; what the library itself refused keeps its words.
fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(source) => source,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_active_part_stays_within_its_period() {
        let period = Duration::from_micros(40);
        for (percent, micros) in [(0.0, 0), (25.0, 10), (100.0, 40), (140.0, 40), (-3.0, 0), (f64::NAN, 0)] {
            assert_eq!(active(period, percent), Duration::from_micros(micros), "{percent}");
        }
    }

    #[test]
    fn a_channel_that_the_board_has_not_is_refused() {
        let request = |place| PwmRequest { place, period: Duration::from_millis(1), percent: 0.0, inverted: false };
        for place in [PwmPlace::Channel(4), PwmPlace::Channel(256), PwmPlace::Line("GPIO18".into())] {
            let refused = RppalPwm.pwm(&request(place)).err().unwrap();
            assert!(matches!(refused, BusError::Unsupported { .. }), "{refused}");
        }
        let error = refused(0, Error::Io(io::Error::from_raw_os_error(2)));
        assert!(error.to_string().contains("dtoverlay=pwm"), "{error}");
    }
}
