//! MCP23008 and MCP23017: eight or sixteen pins with registers for everything.
//!
//! Microchip DS21919 (MCP23008) and DS20001952 (MCP23017). The registers of the larger chip come in pairs, A and B side by
//! side (IOCON.BANK = 0, as after power-on). Each change is made in one byte of one register, read from the chip first, so
//! that pins of others stay as they are; and a level is in OLAT before the pin becomes an output in IODIR.
//!
//! Interrupts (section 3.5.10 and IOCON in 3.5.6): on any change of a claimed input, both ports on either pin (MIRROR), open drain
//! (ODR) so that several chips may share a line. INTCAP holds the port as it was at the first change.

use embedded_hal::i2c::I2c;

use crate::expander::{Levels, Port};
use crate::{Bias, BusError, SharedI2c};

/// Registers by their place in the MCP23008; in the MCP23017 at twice that, and one more for port B.
#[derive(Clone, Copy)]
enum Register {
    Iodir = 0,
    Ipol = 1,
    Gpinten = 2,
    Intcon = 4,
    Iocon = 5,
    Gppu = 6,
    Intf = 7,
    Gpio = 9,
    Olat = 10,
}

/// Bits of IOCON. BANK orders the registers otherwise; SEQOP keeps the pointer from counting on.
const BANK: u8 = 0x80;
const MIRROR: u8 = 0x40;
const SEQOP: u8 = 0x20;
const ODR: u8 = 0x04;

/// Which registers must stay as they were written, in the order of [`Mcp230xx::written`].
const VERIFIED: [Register; 5] = [Register::Iodir, Register::Ipol, Register::Gpinten, Register::Gppu, Register::Olat];

/// Bits of a register that were written here.
#[derive(Clone, Copy, Default)]
struct Written {
    mask: u16,
    bits: u16,
}

/// The chip.
pub(super) struct Mcp230xx {
    i2c: SharedI2c,
    address: u8,
    /// One or two, of eight pins each.
    ports: u8,
    written: [Written; VERIFIED.len()],
    /// IOCON, once interrupts are wanted.
    interrupts: Option<u8>,
}

impl Mcp230xx {
    pub(super) fn new(i2c: SharedI2c, address: u8, ports: u8) -> Self {
        Self { i2c, address, ports, written: Default::default(), interrupts: None }
    }

    /// A register of all ports.
    fn read(&mut self, register: Register) -> Result<u16, BusError> {
        let mut bytes = [0; 2];
        let used = &mut bytes[..usize::from(self.ports)];
        self.i2c.write_read(self.address, &[register as u8 * self.ports], used)?;
        Ok(u16::from_le_bytes(bytes))
    }

    /// Sets one bit in the chip's own register, and remembers that it has to stay.
    fn set(&mut self, register: Register, pin: u8, bit: bool) -> Result<(), BusError> {
        let (port, place) = (pin / 8, pin % 8);
        let at = register as u8 * self.ports + port;
        let mut byte = [0];
        self.i2c.write_read(self.address, &[at], &mut byte)?;
        let wanted = byte[0] & !(1 << place) | u8::from(bit) << place;
        if wanted != byte[0] {
            self.i2c.write(self.address, &[at, wanted])?;
        }
        if let Some(index) = VERIFIED.iter().position(|written| *written as u8 == register as u8) {
            let written = &mut self.written[index];
            written.mask |= 1 << pin;
            written.bits = written.bits & !(1 << pin) | u16::from(bit) << pin;
        }
        Ok(())
    }

    fn enable_interrupts(&mut self) -> Result<(), BusError> {
        let at = Register::Iocon as u8 * self.ports;
        let mirror = if self.ports == 2 { MIRROR } else { 0 };
        let mut byte = [0];
        self.i2c.write_read(self.address, &[at], &mut byte)?;
        let wanted = (byte[0] | ODR | mirror) & !SEQOP;
        if wanted != byte[0] {
            self.i2c.write(self.address, &[at, wanted])?;
        }
        self.interrupts = Some(wanted);
        Ok(())
    }
}

impl Port for Mcp230xx {
    /// Both addresses of IOCON are one register, and its highest bit would mean another order of all.
    fn probe(&mut self) -> Result<(), BusError> {
        let bytes = self.read(Register::Iocon)?.to_le_bytes();
        let plain = bytes[0] & BANK == 0 && (self.ports == 1 || bytes[0] == bytes[1]);
        if plain {
            return Ok(());
        }
        let what = format!("the expander at {:#04x}", self.address);
        let why =
            format!("has IOCON {:#04x}, {:#04x}: another chip, or its registers in another order", bytes[0], bytes[1]);
        Err(BusError::Lost { what, why })
    }

    /// Directions are known to the chip.
    fn spare(&mut self, _pins: u16) {}

    fn make_input(&mut self, pin: u8, bias: Bias, interrupts: bool) -> Result<(), BusError> {
        self.set(Register::Iodir, pin, true)?;
        self.set(Register::Ipol, pin, false)?;
        match bias {
            Bias::PullUp => self.set(Register::Gppu, pin, true)?,
            Bias::PullDown | Bias::Disabled => self.set(Register::Gppu, pin, false)?,
            Bias::AsIs => {}
        }
        if interrupts {
            self.enable_interrupts()?;
            // Compared with the level before, not with DEFVAL.
            self.set(Register::Intcon, pin, false)?;
            self.set(Register::Gpinten, pin, true)?;
        }
        Ok(())
    }

    fn make_output(&mut self, pin: u8, level: bool) -> Result<(), BusError> {
        self.set(Register::Olat, pin, level)?;
        self.set(Register::Ipol, pin, false)?;
        self.set(Register::Iodir, pin, false)
    }

    fn drive(&mut self, pin: u8, level: bool) -> Result<(), BusError> {
        self.set(Register::Olat, pin, level)
    }

    fn levels(&mut self) -> Result<Levels, BusError> {
        if self.interrupts.is_none() {
            return Ok(Levels { now: self.read(Register::Gpio)?, captured: None });
        }
        // INTF, INTCAP and GPIO of all ports, which stand in this order and release the interrupt line.
        let mut bytes = [0; 6];
        let ports = usize::from(self.ports);
        self.i2c.write_read(self.address, &[Register::Intf as u8 * self.ports], &mut bytes[..3 * ports])?;
        let word = |index: usize| {
            u16::from_le_bytes([bytes[index * ports], if ports == 2 { bytes[index * ports + 1] } else { 0 }])
        };
        let (flags, captured, now) = (word(0), word(1), word(2));
        Ok(Levels { now, captured: (flags != 0).then_some(now & !flags | captured & flags) })
    }

    fn is_intact(&mut self) -> Result<bool, BusError> {
        for (index, register) in VERIFIED.into_iter().enumerate() {
            let Written { mask, bits } = self.written[index];
            if mask != 0 && (self.read(register)? ^ bits) & mask != 0 {
                return Ok(false);
            }
        }
        let Some(wanted) = self.interrupts else { return Ok(true) };
        Ok(self.read(Register::Iocon)?.to_le_bytes()[0] == wanted)
    }

    fn release(&mut self, pin: u8) {
        self.written.iter_mut().for_each(|written| written.mask &= !(1 << pin));
    }
}
