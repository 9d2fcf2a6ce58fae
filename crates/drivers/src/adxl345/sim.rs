//! A simulated Analog Devices ADXL345.
//!
//! Datasheet ADXL345, revision E, "Register Map" and "Register Definitions": byte registers behind a pointer that moves on,
//! results low byte first, standby after power-on, ranges in both resolutions, justification, offsets, the flag of a new
//! result, the id. Events and the memory of past results are left out, and the last bit, which is 0 at 1600 and 3200 Hz.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const DEVID: usize = 0x00;
const OFFSETS: usize = 0x1E;
const ACT_TAP_STATUS: usize = 0x2B;
const BW_RATE: usize = 0x2C;
const POWER_CTL: usize = 0x2D;
const INT_SOURCE: usize = 0x30;
const DATA_FORMAT: usize = 0x31;
const DATA: usize = 0x32;
const DATA_LAST: usize = 0x37;
const FIFO_STATUS: usize = 0x39;
const COUNT: usize = 0x3A;

const MEASURE: u8 = 0x08;
const FULL_RES: u8 = 0x08;
const JUSTIFY_LEFT: u8 = 0x04;
const DATA_READY: u8 = 0x80;

const AXES: [&str; 3] = ["acceleration_x", "acceleration_y", "acceleration_z"];

pub(super) struct Adxl345 {
    world: World,
    fault: Option<Fault>,
    pointer: usize,
    registers: [u8; COUNT],
}

impl Default for Adxl345 {
    /// At rest on a table.
    fn default() -> Self {
        let world = AXES.iter().zip([0.0, 0.0, 9.8]).map(|(name, value)| (*name, value, -1000.0..=1000.0));
        Self { world: World::new(world), fault: None, pointer: 0, registers: at_power_on() }
    }
}

/// "Register Map", reset values. A watermark of no results is always reached.
fn at_power_on() -> [u8; COUNT] {
    let mut registers = [0; COUNT];
    registers[DEVID] = 0xE5;
    registers[BW_RATE] = 0x0A;
    registers[INT_SOURCE] = 0x02;
    registers
}

impl Adxl345 {
    fn set(&mut self, register: usize, value: u8) {
        match register {
            _ if self.fault == Some(Fault::PowerOn) => {}
            // The id and the reserved registers, and those that only the chip writes.
            0..0x1D | ACT_TAP_STATUS | INT_SOURCE | DATA..=DATA_LAST | FIFO_STATUS => {}
            // Two and four bits that are 0.
            POWER_CTL => self.registers[register] = value & 0x3F,
            DATA_FORMAT => self.registers[register] = value & 0xEF,
            _ => {
                if let Some(there) = self.registers.get_mut(register) {
                    *there = value;
                }
            }
        }
    }

    /// In standby the results stay what they were.
    fn measure(&mut self) {
        if self.registers[POWER_CTL] & MEASURE == 0 || self.fault == Some(Fault::NotReady) {
            return;
        }
        let format = self.registers[DATA_FORMAT];
        let range = u32::from(format & 0x03);
        // 10 bits, and one more for each doubling of the range in full resolution.
        let (bits, coarser) = if format & FULL_RES == 0 { (10, range) } else { (10 + range, 0) };
        let end = f64::from(1_u32 << (bits - 1));
        for (axis, name) in AXES.iter().enumerate() {
            // An offset's step is 15.6 mg, four of the finest of a result.
            let offset = f64::from(self.registers[OFFSETS + axis].cast_signed()) * 4.0;
            let steps = (self.world.clamped(name) / 9.806_65 * 256.0 + offset) / f64::from(1_u32 << coarser);
            let steps = steps.round().clamp(-end, end - 1.0) as i16;
            let word = if format & JUSTIFY_LEFT == 0 { steps } else { steps << (16 - bits) };
            self.registers[DATA + 2 * axis..][..2].copy_from_slice(&word.to_le_bytes());
        }
        self.registers[INT_SOURCE] |= DATA_READY;
    }
}

impl Chip for Adxl345 {
    fn kind(&self) -> &'static str {
        "adxl345"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some((register, values)) = bytes.split_first() else { return true };
        self.pointer = usize::from(*register);
        for value in values {
            self.set(self.pointer, *value);
            self.pointer += 1;
        }
        true
    }

    /// Reading a result takes the flag back.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        if self.fault == Some(Fault::Stuck) {
            fill(buffer, []);
            return true;
        }
        self.measure();
        let mut registers = self.registers;
        if self.fault == Some(Fault::WrongId) {
            // An ADXL346's.
            registers[DEVID] = 0xE6;
        }
        let end = self.pointer + buffer.len();
        fill(buffer, registers.into_iter().chain(std::iter::repeat(0)).skip(self.pointer));
        if self.pointer <= DATA_LAST && end > DATA {
            self.registers[INT_SOURCE] &= !DATA_READY;
        }
        self.pointer = end;
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    /// `power-on` also takes the chip back to that state and keeps it there.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::NotReady, Fault::PowerOn, Fault::Stuck, Fault::WrongId];
        let known = Fault::set(&mut self.fault, fault, &knows);
        if known && self.fault == Some(Fault::PowerOn) {
            self.registers = at_power_on();
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(chip: &mut Adxl345, register: usize) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(chip.write(&[register as u8]) && chip.read(&mut bytes));
        bytes
    }

    fn set(chip: &mut Adxl345, register: usize, value: u8) {
        assert!(chip.write(&[register as u8, value]));
    }

    #[test]
    fn it_stands_by_until_it_is_asked_to_measure() {
        let mut chip = Adxl345::default();
        assert_eq!((read(&mut chip, DEVID), read(&mut chip, BW_RATE)), ([0xE5], [0x0A, 0, 0, 0, 0x02, 0]));
        assert_eq!(read(&mut chip, DATA), [0; 6]);
        set(&mut chip, POWER_CTL, MEASURE);
        assert_eq!(read(&mut chip, INT_SOURCE), [0x82]);
        assert_eq!(read(&mut chip, DATA), [0, 0, 0, 0, 0x00, 0x01], "9.8 m/s² is 256 steps");
        set(&mut chip, POWER_CTL, 0);
        assert_eq!(read(&mut chip, INT_SOURCE), [0x02], "the result was read");
    }

    #[test]
    fn range_and_resolution_scale_and_saturate() {
        let mut chip = Adxl345::default();
        set(&mut chip, POWER_CTL, MEASURE);
        assert!(chip.set_world("acceleration_x", -30.0) && chip.set_world("acceleration_y", 300.0));
        // −30 m/s² is −783 steps of 1/256 g.
        for (format, x, y, z) in [
            (0x00, -512, 511, 256),
            (0x01, -392, 511, 128),
            (0x03, -98, 511, 32),
            (0x08, -512, 511, 256),
            (0x0A, -783, 2047, 256),
            (0x0B, -783, 4095, 256),
            (0x0F, -783 * 8, 4095 * 8, 256 * 8),
        ] {
            set(&mut chip, DATA_FORMAT, format);
            let words = [x, y, z].map(i16::to_le_bytes);
            assert_eq!(read::<6>(&mut chip, DATA), *words.as_flattened(), "{format:#04x}");
        }
    }

    #[test]
    fn an_offset_is_added_in_steps_of_four() {
        let mut chip = Adxl345::default();
        assert!(chip.write(&[OFFSETS as u8, 0x01, 0x00, 0xF0]) && chip.write(&[POWER_CTL as u8, MEASURE]));
        assert_eq!(read(&mut chip, DATA), [0x04, 0, 0, 0, 0xC0, 0x00]);
    }
}
