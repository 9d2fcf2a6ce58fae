//! The chip behind the drivers of its outputs: bring-up, and what is high for how long.
//!
//! Datasheet: PCA9685 revision 4 (2015); section numbers below are its.
//!
//! Each output is an actuator of its own, built and driven on its own; what they share is the oscillator, so the check
//! refuses two frequencies for one chip. A chip that sleeps has lost its supply or never been brought up: then all its outputs
//! are switched off before it is woken, so that none does what an earlier program left in its register. A chip that runs
//! as it should is not touched but for the own output, whose four bytes take effect at once, at the end of the transfer.
//!
//! The chip has neither id nor checksum. What was written is read back.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::DriverError;
use crate::i2c_chip::{absent, another};
use fieldgate_bus::{BusError, Claim};
use fieldgate_model::{Field, Kind, Need, Settings};

/// Where the chip is.
pub(crate) const ADDRESS: Field = Field {
    name: "address",
    kind: Kind::Address(&ADDRESSES),
    need: Need::Default("0x40"),
    doc: "0x40 with A0 to A5 at ground; each that is at the supply adds 1, 2, 4, 8, 16 or 32",
};

/// `channel`: the chip's output, 0 to 15.
pub(crate) const CHANNEL: Field = Field {
    name: "channel",
    kind: Kind::Integer { min: 0, max: 15 },
    need: Need::Required,
    doc: "which output of the chip",
};

/// 0x40 to 0x77, which is the last that I²C leaves to chips, without 0x70.
const ADDRESSES: [u16; 55] = {
    let mut all = [0; 55];
    let mut index = 0;
    while index < all.len() {
        all[index] = 0x40 + index as u16 + if index < 0x30 { 0 } else { 1 };
        index += 1;
    }
    all
};

// Registers (7.3).
const MODE1: u8 = 0x00;
const MODE2: u8 = 0x01;
const FIRST_OUTPUT: u8 = 0x06;
const ALL_OUTPUTS: u8 = 0xFA;
const PRESCALER: u8 = 0xFE;

// MODE1 (7.3.1): the register moves on with each byte, no call address is answered; and asleep. The highest bit is set by
// the chip when it is woken and its outputs still rest.
const AWAKE: u8 = 0x20;
const ASLEEP: u8 = 0x30;
const SLEEP: u8 = 0x10;
/// MODE2 (7.3.2): outputs drive both ways, change at the end of a transfer, are not inverted. As after power-on.
const TOTEM_POLE: u8 = 0x04;

/// In the upper byte of either end of the active part: always on, or always off, which wins (7.3.3).
const ALWAYS: u8 = 0x10;
const OFF: [u8; 4] = [0, 0, 0, ALWAYS];

/// Steps in a period.
pub(crate) const STEPS: u16 = 4096;
/// The oscillator in Hz (7.3.5).
const OSCILLATOR: f64 = 25e6;
/// Until the oscillator runs (7.3.1.1).
const WAKE_UP_US: u32 = 500;

/// The check has kept it within 0 to 15.
fn channel(settings: &Settings) -> u8 {
    u8::try_from(settings.integer("channel")).unwrap_or(0) & 0xF
}

/// Section 7.3.5: the prescaler for the frequency in the settings.
fn prescaler(settings: &Settings) -> u8 {
    let periods = OSCILLATOR / f64::from(STEPS) / settings.number("frequency");
    (periods.round() - 1.0).clamp(3.0, 255.0) as u8
}

/// The output that these settings name, and the frequency that they want of the chip.
pub(crate) fn claims(settings: &Settings) -> Vec<Claim> {
    let (address, channel, prescaler) = (settings.address("address"), channel(settings), prescaler(settings));
    vec![Claim::ChipChannel { address, channel, prescaler }]
}

/// One output of the chip.
pub(crate) struct Output<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    channel: u8,
    prescaler: u8,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Output<I, D> {
    /// The output that these settings name; nothing is changed yet.
    pub(crate) fn find(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let (address, channel, prescaler) = (settings.address("address"), channel(settings), prescaler(settings));
        let mut output = Self { i2c, delay, address, channel, prescaler };
        output.state().map_err(absent("PCA9685"))?;
        Ok(output)
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), BusError> {
        self.i2c.write(self.address, &[register, value])
    }

    /// The four registers of an output, or of all.
    fn write_output(&mut self, register: u8, [a, b, c, d]: [u8; 4]) -> Result<(), BusError> {
        self.i2c.write(self.address, &[register, a, b, c, d])
    }

    fn output_register(&self) -> u8 {
        FIRST_OUTPUT + 4 * self.channel
    }

    /// Both modes and the prescaler.
    fn state(&mut self) -> Result<[u8; 3], BusError> {
        let mut state = [0; 3];
        for (byte, register) in state.iter_mut().zip([MODE1, MODE2, PRESCALER]) {
            self.i2c.write_read(self.address, &[register], std::slice::from_mut(byte))?;
        }
        Ok(state)
    }

    fn runs_as_set(&mut self) -> Result<Result<(), String>, BusError> {
        let [mode1, mode2, prescaler] = self.state()?;
        Ok(if mode1 & SLEEP != 0 {
            Err("it is asleep; it may have lost its supply".to_owned())
        } else if [mode1, mode2, prescaler] == [AWAKE, TOTEM_POLE, self.prescaler] {
            Ok(())
        } else {
            Err(format!("its modes and its prescaler are {mode1:#04x}, {mode2:#04x} and {prescaler:#04x}"))
        })
    }

    /// The prescaler can only be written asleep (7.3.5).
    fn bring_up(&mut self) -> Result<(), BusError> {
        self.write(MODE1, ASLEEP)?;
        self.write_output(ALL_OUTPUTS, OFF)?;
        self.write(MODE2, TOTEM_POLE)?;
        self.write(PRESCALER, self.prescaler)?;
        self.write(MODE1, AWAKE)?;
        self.delay.delay_us(WAKE_UP_US);
        Ok(())
    }

    /// Makes it high for so many steps of each period.
    pub(crate) fn drive(&mut self, high: u16) -> Result<(), DriverError> {
        if self.runs_as_set()?.is_err() {
            self.bring_up()?;
            self.runs_as_set()?.map_err(|why| another("PCA9685", self.address, why))?;
        }
        let register = self.output_register();
        Ok(self.write_output(register, registers(high))?)
    }

    /// For how many steps of each period it is high.
    pub(crate) fn high(&mut self) -> Result<u16, DriverError> {
        self.runs_as_set()?.map_err(|why| another("PCA9685", self.address, why))?;
        let mut bytes = [0; 4];
        self.i2c.write_read(self.address, &[self.output_register()], &mut bytes)?;
        Ok(high_steps(bytes))
    }

    /// How long a step is, in seconds.
    pub(crate) fn step(&self) -> f64 {
        f64::from(u16::from(self.prescaler) + 1) / OSCILLATOR
    }
}

/// The registers of an output that is high for so many steps from the beginning of a period (7.3.3).
fn registers(high: u16) -> [u8; 4] {
    let [low, upper] = high.to_le_bytes();
    match high {
        0 => OFF,
        STEPS.. => [0, ALWAYS, 0, 0],
        _ => [0, 0, low, upper],
    }
}

/// For how many steps an output with these registers is high, wherever in a period that begins.
fn high_steps([on_low, on_high, off_low, off_high]: [u8; 4]) -> u16 {
    if off_high & ALWAYS != 0 {
        return 0;
    }
    if on_high & ALWAYS != 0 {
        return STEPS;
    }
    u16::from_le_bytes([off_low, off_high]).wrapping_sub(u16::from_le_bytes([on_low, on_high])) % STEPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pca9685::SPEC;
    use crate::transcript::settings;

    #[test]
    fn the_prescaler_of_the_datasheet_comes_out() {
        let of = |frequency| prescaler(&settings(&SPEC, &[("channel", "0"), ("frequency", frequency)]));
        assert_eq!(of("200"), 30, "7.3.5");
        assert_eq!((of("1526"), of("24")), (3, 253));
        assert_eq!((of("50"), of("1000")), (121, 5));
    }

    #[test]
    fn the_ends_are_always_and_never() {
        assert_eq!(
            (registers(0), registers(4096), registers(4095)),
            ([0, 0, 0, 0x10], [0, 0x10, 0, 0], [0, 0, 0xFF, 0x0F])
        );
        assert_eq!((high_steps([0, 0x10, 0, 0x10]), high_steps([0, 0x10, 5, 0])), (0, 4096), "off wins");
        assert_eq!(high_steps([0x00, 0x0F, 0x00, 0x01]), 512, "across the end of a period");
        for steps in 0..=4096 {
            assert_eq!(high_steps(registers(steps)), steps);
        }
    }
}
