//! `backend: rppal`: a Raspberry Pi by the crate of that name, which writes the processor's registers itself.
//!
//! What it has that the kernel's interfaces have not: software PWM on any line, and outputs whose level stays when the program
//! has ended, on every kernel. What it has not: the kernel does not know of its outputs, so nobody is kept from driving the
//! same line by another way; and it is no longer developed. The kernel's own interfaces are the default, therefore.
//!
//! This module and its children are the only place that knows the crate.

mod errors;
mod gpio;
mod i2c;
mod inputs;
mod pwm;
mod software_pwm;

use std::io;

use crate::{Bus, BusError};

/// What is opened by rppal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The lines of the board's header.
    Gpio,
    /// The board's PWM channels.
    Pwm,
    /// An I²C adapter by its number.
    I2c {
        /// `1` for `/dev/i2c-1`.
        number: u8,
    },
}

/// Whether this machine is a Raspberry Pi that rppal knows. Reads small files of the kernel and changes nothing.
pub fn is_here() -> bool {
    rppal::system::DeviceInfo::new().is_ok()
}

/// Opens a part of the board.
///
/// # Errors
/// [`BusError::Open`]: this is no Raspberry Pi, or the part is switched off or not ours.
pub(super) fn open(part: Part) -> Result<Box<dyn Bus>, BusError> {
    if !is_here() {
        return Err(no_pi());
    }
    Ok(match part {
        Part::Gpio => Box::new(gpio::RppalGpio::open()?),
        Part::Pwm => Box::new(pwm::RppalPwm),
        Part::I2c { number } => Box::new(i2c::RppalI2c::open(number)?),
    })
}

fn no_pi() -> BusError {
    BusError::Open {
        what: "a bus with backend rppal".into(),
        hint: "it needs a Raspberry Pi; leave `backend` out, and the bus works on every board".into(),
        source: io::Error::new(io::ErrorKind::Unsupported, "this machine is no Raspberry Pi that rppal knows"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elsewhere_than_on_a_pi_the_error_says_what_it_needs() {
        if is_here() {
            return;
        }
        for part in [Part::Gpio, Part::Pwm, Part::I2c { number: 1 }] {
            let error = crate::open(&crate::Settings::Rppal(part), None, |_| None).err().unwrap();
            let words = fieldgate_model::describe_error(&error);
            assert!(words.contains("needs a Raspberry Pi; leave `backend` out"), "{words}");
            assert!(!error.is_gone());
        }
    }
}
