//! What the guard is given and what it decides, and times as it words them.

use std::time::Duration;

use fieldgate_model::field::format_duration;
use fieldgate_model::{Action, Refusal, StateCause};

/// Who may say what an output does while nothing limits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Commands, and a lost link, which makes it safe.
    Commands,
    /// An active rule, which a lost link does not concern.
    Rule,
}

/// How far the hardware is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readback {
    /// It was read back as on.
    pub(crate) is_on: bool,
    /// It is on its way, by a ramp.
    pub(crate) is_ramping: bool,
}

/// What an output must do, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// What to do; never [`Action::Toggle`].
    pub(crate) action: Action,
    /// For the state message.
    pub(crate) cause: StateCause,
}

/// The decision about a command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Grant {
    /// Do it.
    Now(Verdict),
    /// [`Guard::due`] will say it at this moment, for this reason not sooner.
    At(Duration, Refusal),
}

/// Rounded up, above ten seconds to whole seconds: `59.98s` helps nobody, and a time that is too short would be wrong.
pub(super) fn round_up(duration: Duration) -> String {
    let unit = if duration > Duration::from_secs(10) { 1000 } else { 1 };
    let ms = u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
    format_duration(Duration::from_millis(ms.div_ceil(unit).saturating_mul(unit)))
}

pub(super) fn format_whole(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    format_duration(Duration::from_millis(if ms > 10_000 { ms / 1000 * 1000 } else { ms }))
}
