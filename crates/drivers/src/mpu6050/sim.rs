//! A simulated InvenSense MPU-6050.
//!
//! Register map RM-MPU-6000A, revision 4.2: byte registers behind a pointer that moves on, results high byte first, sleep
//! after power-on, ranges, the flag of a new result, the id.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const GYROSCOPE_RANGE: usize = 0x1B;
const ACCELERATION_RANGE: usize = 0x1C;
const INTERRUPT_ENABLE: usize = 0x38;
const INTERRUPT_STATUS: usize = 0x3A;
const DATA: usize = 0x3B;
const DATA_END: usize = 0x49;
const SIGNAL_PATH_RESET: usize = 0x68;
const POWER: usize = 0x6B;
const WHO_AM_I: usize = 0x75;

const RESET: u8 = 0x80;
const ASLEEP: u8 = 0x40;
const DATA_READY: u8 = 0x01;

/// What is at the places of the results.
const NAMES: [&str; 7] = [
    "acceleration_x",
    "acceleration_y",
    "acceleration_z",
    "temperature",
    "angular_rate_x",
    "angular_rate_y",
    "angular_rate_z",
];

pub(super) struct Mpu6050 {
    world: World,
    fault: Option<Fault>,
    pointer: usize,
    registers: [u8; 0x80],
}

impl Default for Mpu6050 {
    /// At rest on a table.
    fn default() -> Self {
        let values = [0.0, 0.0, 9.8, 25.0, 0.0, 0.0, 0.0];
        let range = |name: &str| if name == "temperature" { -40.0..=85.0 } else { -4000.0..=4000.0 };
        let world = NAMES.iter().zip(values).map(|(name, value)| (*name, value, range(name)));
        Self { world: World::new(world), fault: None, pointer: 0, registers: at_reset() }
    }
}

fn at_reset() -> [u8; 0x80] {
    let mut registers = [0; 0x80];
    registers[POWER] = ASLEEP;
    registers[WHO_AM_I] = 0x68;
    registers
}

impl Mpu6050 {
    fn set(&mut self, register: usize, value: u8) {
        match register {
            _ if self.fault == Some(Fault::PowerOn) => {}
            POWER if value & RESET != 0 => self.registers = at_reset(),
            // These act and read as zero.
            SIGNAL_PATH_RESET => {}
            INTERRUPT_STATUS..DATA_END | WHO_AM_I => {}
            _ => self.registers[register & 0x7F] = value,
        }
    }

    /// Asleep the results stay what they were.
    fn measure(&mut self) {
        if self.registers[POWER] & ASLEEP != 0 || self.fault == Some(Fault::NotReady) {
            return;
        }
        let acceleration = 16_384.0 / 9.806_65 / f64::from(1_u32 << (self.registers[ACCELERATION_RANGE] >> 3 & 3));
        let rate = [131.0, 65.5, 32.8, 16.4][usize::from(self.registers[GYROSCOPE_RANGE] >> 3 & 3)];
        for (index, name) in NAMES.iter().enumerate() {
            let measured = self.world.clamped(name);
            let steps = match index {
                0..=2 => measured * acceleration,
                3 => (measured - 36.53) * 340.0,
                _ => measured * rate,
            };
            let word = steps.round().clamp(-32_768.0, 32_767.0) as i16;
            self.registers[DATA + 2 * index..][..2].copy_from_slice(&word.to_be_bytes());
        }
        self.registers[INTERRUPT_STATUS] = self.registers[INTERRUPT_ENABLE] & DATA_READY;
    }
}

impl Chip for Mpu6050 {
    fn kind(&self) -> &'static str {
        "mpu6050"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some((register, values)) = bytes.split_first() else { return true };
        self.pointer = usize::from(*register & 0x7F);
        for value in values {
            self.set(self.pointer, *value);
            self.pointer = (self.pointer + 1) & 0x7F;
        }
        true
    }

    /// Reading the status takes its flag back.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        if self.fault == Some(Fault::Stuck) {
            buffer.fill(0xFF);
            return true;
        }
        self.measure();
        let mut registers = self.registers;
        if self.fault == Some(Fault::WrongId) {
            // An MPU-6500's.
            registers[WHO_AM_I] = 0x70;
        }
        fill(buffer, registers.into_iter().cycle().skip(self.pointer).take(buffer.len()));
        if (self.pointer..self.pointer + buffer.len()).contains(&INTERRUPT_STATUS) {
            self.registers[INTERRUPT_STATUS] = 0;
        }
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
            self.registers = at_reset();
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(chip: &mut Mpu6050, register: usize) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(chip.write(&[register as u8]) && chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn it_sleeps_until_it_is_woken() {
        let mut chip = Mpu6050::default();
        assert_eq!((read(&mut chip, WHO_AM_I), read(&mut chip, POWER)), ([0x68], [ASLEEP]));
        assert_eq!(read(&mut chip, DATA), [0; 14]);
        assert!(chip.write(&[POWER as u8, 0x00]));
        assert_eq!(read(&mut chip, DATA + 4), 16_373_i16.to_be_bytes(), "9.8 m/s²");
        assert!(chip.write(&[POWER as u8, RESET]));
        assert_eq!(read(&mut chip, POWER), [ASLEEP]);
    }

    #[test]
    fn ranges_scale_and_saturate() {
        let mut chip = Mpu6050::default();
        assert!(chip.write(&[POWER as u8, 0x00]) && chip.set_world("angular_rate_z", 1000.0));
        assert_eq!(read(&mut chip, DATA + 12), i16::MAX.to_be_bytes());
        assert!(chip.write(&[GYROSCOPE_RANGE as u8, 0x18, 0x18]));
        assert_eq!(read(&mut chip, DATA + 12), 16_400_i16.to_be_bytes());
        assert_eq!(read(&mut chip, DATA + 4), 2047_i16.to_be_bytes());
    }

    #[test]
    fn the_flag_of_a_new_result_must_be_asked_for() {
        let mut chip = Mpu6050::default();
        assert!(chip.write(&[POWER as u8, 0x00]));
        assert_eq!(read(&mut chip, INTERRUPT_STATUS), [0]);
        assert!(chip.write(&[INTERRUPT_ENABLE as u8, 0x01]));
        assert_eq!(read(&mut chip, INTERRUPT_STATUS), [DATA_READY]);
    }
}
