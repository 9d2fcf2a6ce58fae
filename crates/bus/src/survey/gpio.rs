//! GPIO chips and the lines on them. No line is claimed.

use std::path::PathBuf;

use gpiocdev::chip::Chip;

use crate::BusError;
use crate::gpio::kernel_error;

/// A chip and its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpioChip {
    /// `/dev/gpiochip0`.
    pub path: PathBuf,
    /// `pinctrl-bcm2711`; the same on every board of a kind, unlike the number.
    pub label: String,
    /// In the chip's order.
    pub lines: Vec<GpioLine>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpioLine {
    /// `GPIO17`; empty where the board gives it none.
    pub name: String,
    /// Who holds it, if somebody does.
    pub holder: Option<String>,
}

/// Every chip that may be opened; an error if none may.
///
/// # Errors
/// [`BusError::Open`] with what to do about it.
pub fn chips() -> Result<Vec<GpioChip>, BusError> {
    let paths = gpiocdev::chip::chips().unwrap_or_default();
    let mut found = Vec::new();
    let mut refused = None;
    for path in paths {
        match chip(&path) {
            Ok(chip) => found.push(chip),
            Err(error) => refused = Some((path, error)),
        }
    }
    match refused {
        Some((path, error)) if found.is_empty() => Err(BusError::Open {
            what: path.display().to_string(),
            hint: "the user that runs this must be in the group gpio".into(),
            source: kernel_error(error),
        }),
        _ => Ok(found),
    }
}

fn chip(path: &std::path::Path) -> gpiocdev::Result<GpioChip> {
    let chip = Chip::from_path(path)?;
    let label = chip.info()?.label;
    let line = |info: gpiocdev::Result<gpiocdev::line::Info>| {
        let info = info?;
        let holder = info.used.then(|| if info.consumer.is_empty() { "the kernel".into() } else { info.consumer });
        Ok(GpioLine { name: info.name, holder })
    };
    let lines = chip.line_info_iter()?.map(line).collect::<gpiocdev::Result<_>>()?;
    Ok(GpioChip { path: path.to_owned(), label, lines })
}
