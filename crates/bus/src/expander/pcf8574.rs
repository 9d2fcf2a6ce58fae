//! PCF8574 and PCF8574A: eight quasi-bidirectional pins.
//!
//! NXP PCF8574; PCF8574A, Rev. 5: one register without a pointer. A pin that is written 0 sinks up to 25 mA; one that is
//! written 1 is held by a current source of 0.1 mA, can be pulled low from outside, and is an input or a weak high output
//! (section 8.1). All are 1 after power-on. Reading gives the pins, never what was written.
//!
//! So what another process wrote is known by its levels only: a pin that reads high was written 1, one that reads low was
//! written 0 or is an input. Inputs must stay 1, or the chip would fight what is connected to them: hence `spare`. An
//! output that is high and yet reads low, because its load pulls it down, is not distinguished from one that is low; outputs are to
//! be wired so that low switches on.

use embedded_hal::i2c::I2c;

use crate::expander::{Levels, Port};
use crate::{Bias, BusError, SharedI2c};

/// The chip.
pub(super) struct Pcf8574 {
    i2c: SharedI2c,
    address: u8,
    /// Which pins are outputs of ours, and what they were written.
    outputs: u8,
    latch: u8,
    /// Which pins are inputs, claimed or not.
    inputs: u8,
}

impl Pcf8574 {
    pub(super) fn new(i2c: SharedI2c, address: u8) -> Self {
        Self { i2c, address, outputs: 0, latch: 0xFF, inputs: 0 }
    }

    fn read(&mut self) -> Result<u8, BusError> {
        let mut byte = [0];
        self.i2c.read(self.address, &mut byte)?;
        Ok(byte[0])
    }

    /// Writes what is ours and leaves the others as they are.
    fn write(&mut self) -> Result<(), BusError> {
        let others = self.read()? & !self.outputs;
        self.i2c.write(self.address, &[others | self.latch & self.outputs | self.inputs & !self.outputs])
    }
}

impl Port for Pcf8574 {
    fn probe(&mut self) -> Result<(), BusError> {
        self.read().map(drop)
    }

    fn spare(&mut self, pins: u16) {
        self.inputs |= low_byte(pins);
    }

    /// The interrupt of this chip cannot be switched off.
    fn make_input(&mut self, pin: u8, _bias: Bias, _interrupts: bool) -> Result<(), BusError> {
        self.outputs &= !(1 << pin);
        self.inputs |= 1 << pin;
        // A pin that reads high was written 1.
        if self.read()? >> pin & 1 == 1 { Ok(()) } else { self.write() }
    }

    fn make_output(&mut self, pin: u8, level: bool) -> Result<(), BusError> {
        let before = self.outputs;
        self.outputs |= 1 << pin;
        self.drive(pin, level).inspect_err(|_| self.outputs = before)
    }

    fn drive(&mut self, pin: u8, level: bool) -> Result<(), BusError> {
        self.latch = self.latch & !(1 << pin) | u8::from(level) << pin;
        self.write()
    }

    fn levels(&mut self) -> Result<Levels, BusError> {
        Ok(Levels { now: self.read()?.into(), captured: None })
    }

    /// Nothing outside can pull up what the chip holds low. What it holds high may well read low.
    fn is_intact(&mut self) -> Result<bool, BusError> {
        Ok(self.read()? & self.outputs & !self.latch == 0)
    }

    fn release(&mut self, pin: u8) {
        self.outputs &= !(1 << pin);
    }
}

/// This chip has eight pins.
fn low_byte(pins: u16) -> u8 {
    pins.to_le_bytes()[0]
}
