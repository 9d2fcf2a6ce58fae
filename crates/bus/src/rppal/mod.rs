//! `backend: rppal`: a Raspberry Pi by the crate of that name, which writes the processor's registers itself.
//!
//! What it has that the kernel's interfaces have not: software PWM on any line, and outputs whose level stays when the program
//! has ended, on every kernel. What it has not: the kernel does not know of its outputs, so nobody is kept from driving the
//! same line by another way; and it is no longer developed. The kernel's own interfaces are the default, therefore.
//!
//! This module and its children are the only place that knows the crate.

mod gpio;
mod header;
mod i2c;
mod inputs;
mod pwm;
mod software_pwm;

use std::io;

use serde_json::Map;

use crate::i2c::DEVICE;
use crate::{BusError, BusNeed, BusSpec, Device, Keys, Lines};
use fieldgate_model::{Setting, Wrong};

/// An I²C adapter by its number.
pub static I2C: BusSpec = BusSpec {
    name: "i2c",
    fields: DEVICE,
    offers: &[BusNeed::I2c],
    wrong: |keys| match number(keys) {
        Some(_) => None,
        None => {
            let hint = "write /dev/i2c-1, or leave backend out";
            Some(Wrong::new("rppal finds an adapter by its number only", hint).at("device"))
        }
    },
    device: |entry| number(&entry.keys).map(|number| Device::File(format!("/dev/i2c-{number}").into())),
    to_stored: |entry| Map::from_iter(number(&entry.keys).map(|number| ("number".to_owned(), number.into()))),
    from_stored: |spec, stored| {
        let number = u8::try_from(stored["number"].as_u64()?).ok()?;
        spec.keys_of(|_| Some(Setting::Text(format!("/dev/i2c-{number}"))))
    },
    open: |entry, _, _| {
        on_a_pi()?;
        // The check has seen to it that there is a number.
        Ok(Box::new(i2c::RppalI2c::open(number(&entry.keys).ok_or_else(no_pi)?)?))
    },
    ..OF_PI
};

/// The lines of the board's header.
pub static GPIO: BusSpec = BusSpec {
    name: "gpio",
    offers: &[BusNeed::Gpio, BusNeed::Pwm],
    lines: Lines::Board(|_| true),
    pwm_place: Some("line"),
    refuses: gpio::refuses,
    device: |_| Some(Device::Named(header::HEADER.into())),
    open: |_, _, _| {
        on_a_pi()?;
        Ok(Box::new(gpio::RppalGpio::open()?))
    },
    ..OF_PI
};

/// The board's PWM channels.
pub static PWM: BusSpec = BusSpec {
    name: "pwm",
    offers: &[BusNeed::Pwm],
    pwm_place: Some("channel"),
    device: |_| Some(Device::Named("PWM by rppal".into())),
    open: |_, _, _| {
        on_a_pi()?;
        Ok(Box::new(pwm::RppalPwm))
    },
    ..OF_PI
};

const OF_PI: BusSpec = BusSpec {
    absent: || {
        let what = "this machine is not a Raspberry Pi, and backend rppal works only on one";
        let hint = "here the bus cannot be opened; without `backend` it works on every board";
        (!is_here()).then(|| Wrong::new(what, hint))
    },
    ..BusSpec::USUAL
};

/// N of `/dev/i2c-N`.
fn number(keys: &Keys) -> Option<u8> {
    keys.text("device").strip_prefix("/dev/i2c-")?.parse().ok()
}

/// Whether this machine is a Raspberry Pi that rppal knows. Reads small files of the kernel and changes nothing.
pub fn is_here() -> bool {
    rppal::system::DeviceInfo::new().is_ok()
}

/// Each part of the board is opened on a Raspberry Pi only.
fn on_a_pi() -> Result<(), BusError> {
    if is_here() { Ok(()) } else { Err(no_pi()) }
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
        let adapter = ("device", Setting::Text("/dev/i2c-1".into()));
        for part in [GPIO.wired([]), PWM.wired([]), I2C.wired([adapter])] {
            let error = crate::open(&part, None, |_| None).err().unwrap();
            let words = fieldgate_model::describe_error(&error);
            assert!(words.contains("needs a Raspberry Pi; leave `backend` out"), "{words}");
            assert!(!error.is_gone());
        }
    }
}
