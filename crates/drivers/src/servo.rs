//! What the drivers of servos share: angles to lengths of pulses and back.

use std::time::Duration;

use crate::DriverError;
use fieldgate_model::field::format_duration;
use fieldgate_model::{Field, Kind, Need, OutputKind, OutputValue, Setting, Settings, Wrong};

/// No servo understands shorter or longer ones.
const PULSE: Kind = Kind::Duration { min: Duration::from_micros(300), max: Duration::from_millis(3) };

/// The pulse at 0 degrees.
pub(super) const MIN_PULSE: Field =
    Field { name: "min_pulse", kind: PULSE, need: Need::Default("1ms"), doc: "the pulse at 0 degrees" };

/// At the largest angle.
pub(super) const MAX_PULSE: Field =
    Field { name: "max_pulse", kind: PULSE, need: Need::Default("2ms"), doc: "the pulse at the largest angle" };

/// The largest angle, in degrees.
pub(super) const DEGREES: Field = Field {
    name: "degrees",
    kind: Kind::Integer { min: 1, max: 360 },
    need: Need::Default("180"),
    doc: "how far it turns from the one pulse to the other, in degrees",
};

/// As in [`DEGREES`].
const USUAL_DEGREES: u16 = 180;

/// Of these settings, which may be none where they were wrong.
pub(super) fn kind(settings: &Settings) -> OutputKind {
    let degrees = match settings.get("degrees") {
        Some(Setting::Integer(degrees)) => u16::try_from(*degrees).ok(),
        _ => None,
    };
    OutputKind::Angle { most: degrees.unwrap_or(USUAL_DEGREES) }
}

/// The pulses must differ, and one of them must fit into a period.
pub(super) fn wrong(settings: &Settings) -> Option<(&'static str, Wrong)> {
    let (min, max, hertz) =
        (settings.duration("min_pulse"), settings.duration("max_pulse"), settings.number("frequency"));
    if max <= min {
        let what = format!("max_pulse is not longer than min_pulse, {}", format_duration(min));
        return Some(Wrong::new(what, "usual are 1ms and 2ms, or 0.5ms and 2.5ms").at("max_pulse"));
    }
    if max.as_secs_f64() * hertz >= 1.0 {
        let what = format!("a period of {hertz} Hz is too short for pulses of {}", format_duration(max));
        return Some(Wrong::new(what, "analogue servos want 50").at("frequency"));
    }
    None
}

/// Which pulse means which angle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    min: f64,
    max: f64,
    degrees: f64,
}

impl Scale {
    /// Of these settings.
    pub(super) fn new(settings: &Settings) -> Self {
        let seconds = |key| settings.duration(key).as_secs_f64();
        let OutputKind::Angle { most } = kind(settings) else { unreachable!("a servo has angles") };
        Self { min: seconds("min_pulse"), max: seconds("max_pulse"), degrees: f64::from(most) }
    }

    /// How long the pulse is, in seconds; none is 0.
    ///
    /// # Errors
    /// For what is no angle of this servo, which moves nothing.
    pub(super) fn pulse(&self, value: OutputValue) -> Result<f64, DriverError> {
        match value {
            OutputValue::Angle(None) => Ok(0.0),
            OutputValue::Angle(Some(angle)) if (0.0..=self.degrees).contains(&angle) => {
                Ok(self.min + angle / self.degrees * (self.max - self.min))
            }
            OutputValue::Angle(Some(value)) => Err(DriverError::OutOfRange { quantity: "angle", value }),
            other => Err(DriverError::Foreign(other)),
        }
    }

    /// What a pulse of so many seconds means, to a tenth of a degree; also beyond the range, where somebody else has set it.
    pub(super) fn value(&self, pulse: f64) -> OutputValue {
        if pulse <= 0.0 {
            return OutputValue::Angle(None);
        }
        let angle = (pulse - self.min) / (self.max - self.min) * self.degrees;
        OutputValue::Angle(Some((angle * 10.0).round() / 10.0 + 0.0))
    }
}
