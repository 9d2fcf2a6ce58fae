//! The lines of the header by rppal: inputs whose edges the kernel stamps, outputs by register, and software PWM.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use rppal::gpio::{Error, Gpio, InputPin, OutputPin, Pin, Trigger};

use crate::gpio::holder_of;
use crate::rppal::header::{HEADER, io_error};
use crate::rppal::inputs::{Inputs, RppalInput};
use crate::rppal::software_pwm::SoftwarePwm;
use crate::{
    Bias, Bus, BusError, InputLine, InputRequest, OutputLine, OutputRequest, PwmChannel, PwmPlace, PwmRequest,
    SOFTWARE_HZ,
};
use fieldgate_model::{Setting, Wrong};

/// How the kernel calls the lines of the header, by the generation of the board.
const LABELS: [&str; 3] = ["pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"];

/// How soon to look for edges again: their stamps are exact all the same.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The pins of the board's header.
pub(super) struct RppalGpio {
    gpio: Gpio,
    inputs: Rc<RefCell<Inputs>>,
}

impl RppalGpio {
    pub(super) fn open() -> Result<Self, BusError> {
        let gpio = Gpio::new().map_err(|error| refused(HEADER, error))?;
        let inputs = Rc::new(RefCell::new(Inputs::new(gpio.clone())));
        Ok(Self { gpio, inputs })
    }

    /// Takes a line that nobody holds. The kernel knows nothing of rppal's registers, which would drive anybody's line.
    fn take(&self, line: &str) -> Result<Pin, BusError> {
        let number = number(line).ok_or_else(|| no_line(line))?;
        if let Some(holder) = LABELS.iter().find_map(|label| holder_of(label, number.into())) {
            return Err(claimed(line, &holder));
        }
        self.gpio.get(number).map_err(|error| claim_failed(line, error))
    }
}

impl Bus for RppalGpio {
    fn describe(&self) -> String {
        HEADER.into()
    }

    fn input(&mut self, request: &InputRequest) -> Result<Box<dyn InputLine>, BusError> {
        let pull: fn(Pin) -> InputPin = match request.bias {
            Bias::PullUp => Pin::into_input_pullup,
            Bias::PullDown => Pin::into_input_pulldown,
            Bias::Disabled => Pin::into_input,
            // rppal sets one of the three at each claim: a line that the board pulls would float.
            Bias::AsIs => return Err(self.lacks("bias as-is; write pull-up, pull-down or disabled")),
        };
        let mut pin = pull(self.take(&request.line)?);
        // What the line was before may have been somebody's output; an input harms nobody.
        pin.set_reset_on_drop(false);
        let debounce = Some(request.debounce).filter(|debounce| !debounce.is_zero());
        pin.set_interrupt(Trigger::Both, debounce).map_err(|error| claim_failed(&request.line, error))?;
        Ok(Box::new(RppalInput::new(&self.inputs, pin, request.active_low)))
    }

    fn output(&mut self, request: &OutputRequest) -> Result<Box<dyn OutputLine>, BusError> {
        let pin = driven(self.take(&request.line)?, request.active != request.active_low);
        Ok(Box::new(RppalOutput { pin, active_low: request.active_low }))
    }

    fn pwm(&mut self, request: &PwmRequest) -> Result<Box<dyn PwmChannel>, BusError> {
        let PwmPlace::Line(line) = &request.place else {
            return Err(self.lacks(&format!("PWM {}; name a line here", request.place)));
        };
        SoftwarePwm::check(request.period).map_err(|what| self.lacks(&what))?;
        Ok(Box::new(SoftwarePwm::new(|level| Ok(driven(self.take(line)?, level)), line, request)?))
    }

    fn refresh(&mut self) -> Result<Option<Duration>, BusError> {
        let mut inputs = self.inputs.borrow_mut();
        // What fails here fails again when a line is asked for its edges, and is reported then, by the line's sensor.
        inputs.look().unwrap_or_default();
        Ok((!inputs.is_empty()).then_some(LOOK_EVERY))
    }
}

/// What a device cannot ask of the header: as [`crate::BusSpec::refuses`].
pub(super) fn refuses(key: &str, setting: &Setting) -> Option<Wrong> {
    let (least, most) = SOFTWARE_HZ;
    match (key, setting) {
        ("bias", Setting::Text(bias)) if bias == "as-is" => {
            let what = "rppal cannot leave the pull of a line as it is";
            Some(Wrong::new(what, "write bias: pull-up, pull-down or disabled"))
        }
        ("frequency", Setting::Number(hertz)) if !(least..=most).contains(hertz) => {
            let hint = format!("{least} to {most}; a channel of a bus of type pwm can");
            Some(Wrong::new(format!("software PWM of {hertz} Hz is not possible"), hint))
        }
        _ => None,
    }
}

/// Drives a line to a level. The level is there before the line becomes an output, so it never shows another one, and it stays
/// when the line is let go: nobody else would hold it.
fn driven(pin: Pin, level: bool) -> OutputPin {
    let mut pin = if level { pin.into_output_high() } else { pin.into_output_low() };
    pin.set_reset_on_drop(false);
    pin
}

struct RppalOutput {
    pin: OutputPin,
    active_low: bool,
}

impl OutputLine for RppalOutput {
    fn set(&mut self, active: bool) -> Result<(), BusError> {
        self.pin.write((active != self.active_low).into());
        Ok(())
    }

    fn is_active(&mut self) -> Result<bool, BusError> {
        Ok(self.pin.is_set_high() != self.active_low)
    }
}

/// The number of a line on the processor: `GPIO17` or `17`.
fn number(line: &str) -> Option<u8> {
    let digits = line.strip_prefix("GPIO").unwrap_or(line);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn no_line(line: &str) -> BusError {
    let hint = "write its number on the processor, such as GPIO17 or 17";
    BusError::NoLine { chip: HEADER.into(), line: line.to_owned(), hint: hint.into() }
}

fn claimed(line: &str, holder: &str) -> BusError {
    let holder = if holder.is_empty() { "a user without a name" } else { holder };
    BusError::LineClaimed { chip: HEADER.into(), line: line.to_owned(), holder: holder.to_owned() }
}

/// Why a line could not be claimed.
fn claim_failed(line: &str, error: Error) -> BusError {
    match error {
        Error::PinUsed(_) => claimed(line, "fieldgate"),
        Error::PinNotAvailable(_) => no_line(line),
        Error::Io(source) if source.kind() == ErrorKind::ResourceBusy => claimed(line, ""),
        other => refused(&format!("line {line} of {HEADER}"), other),
    }
}

/// The board's registers or its GPIO chip cannot be opened.
fn refused(what: &str, error: Error) -> BusError {
    let hint = match &error {
        Error::PermissionDenied(_) => {
            "the group gpio may: add the user to it, and check that a udev rule gives /dev/gpiomem* and /dev/gpiochip* to \
             that group; a kernel without gpiomem lets only root"
        }
        Error::Io(source) if source.kind() == ErrorKind::NotFound => {
            "this kernel shows neither /dev/gpiomem nor a GPIO chip of the board; `backend: linux` needs only the latter"
        }
        _ => "",
    };
    BusError::Open { what: what.to_owned(), hint: hint.into(), source: io_error(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_line_is_known_by_its_number_on_the_processor() {
        for (line, expected) in [
            ("GPIO17", Some(17)),
            ("17", Some(17)),
            ("GPIO0", Some(0)),
            ("", None),
            ("GPIO", None),
            ("GPIO-1", None),
            ("GPIO+1", None),
            ("P9_12", None),
            ("ID_SDA", None),
            ("GPIO999", None),
        ] {
            assert_eq!(number(line), expected, "{line}");
        }
        assert!(no_line("ID_SDA").to_string().contains("such as GPIO17 or 17"));
    }

    #[test]
    fn a_line_in_use_is_reported_with_its_user() {
        let busy = || Error::Io(io::Error::from_raw_os_error(16));
        for (error, holder) in [(busy(), "a user without a name"), (Error::PinUsed(17), "fieldgate")] {
            let error = claim_failed("GPIO17", error).to_string();
            assert_eq!(error, format!("line GPIO17 of the header by rppal is in use by {holder:?}"));
        }
    }

    #[test]
    fn what_is_forbidden_names_the_group_and_the_errno_survives() {
        let error = refused(HEADER, Error::PermissionDenied("/dev/gpiomem".into()));
        let words = fieldgate_model::describe_error(&error);
        assert!(words.contains("group gpio") && words.contains("/dev/gpiomem may not be opened"), "{words}");
        let BusError::Open { source, .. } = refused(HEADER, Error::Io(io::Error::from_raw_os_error(2))) else {
            panic!()
        };
        assert_eq!(source.raw_os_error(), Some(2));
    }
}
