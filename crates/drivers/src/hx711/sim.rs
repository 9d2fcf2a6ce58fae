//! A simulated Avia HX711: the 24 bits of a conversion, in two's complement with the highest first.
//!
//! Datasheet, "Serial interface": beyond the range the output stays at 0x800000 or 0x7FFFFF. Below it stands what the
//! kernel's hx711.c makes of it, which turns the sign bit round.

use rustix::io::Errno;

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};
use fieldgate_bus::sim::{Answering, KernelDevice, Subsystem};

/// The converter; both inputs have the same signal.
pub(super) struct Hx711 {
    world: World,
    fault: Option<Fault>,
}

impl Default for Hx711 {
    fn default() -> Self {
        let world = World::new([("counts", 120_000.0, -8_388_608.0..=8_388_607.0)]);
        Self { world, fault: None }
    }
}

impl Chip for Hx711 {
    fn kind(&self) -> &'static str {
        "hx711"
    }

    /// Nothing is ever sent to it but clock pulses.
    fn write(&mut self, _bytes: &[u8]) -> bool {
        self.fault != Some(Fault::Nak)
    }

    /// Without a finished conversion its line stays high.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if matches!(self.fault, Some(Fault::Nak | Fault::NotReady)) {
            return false;
        }
        let [_, bytes @ ..] = (self.world.clamped("counts").round() as i32).to_be_bytes();
        fill(buffer, bytes);
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        Fault::set(&mut self.fault, fault, &[Fault::Nak, Fault::NotReady])
    }
}

/// As hx711.c shows it.
pub(super) const DEVICE: KernelDevice = KernelDevice {
    subsystem: Subsystem::Iio,
    files: &[
        ("name", |_, _| Ok("hx711".into())),
        ("in_voltage0_raw", |chip, _| raw(chip)),
        ("in_voltage1_raw", |chip, _| raw(chip)),
    ],
};

/// Counts with the sign bit turned round.
fn raw(chip: Answering<'_>) -> Result<String, Errno> {
    let mut bytes = [0; 3];
    if !chip.is_some_and(|chip| chip.read(&mut bytes)) {
        return Err(Errno::IO);
    }
    let [high, middle, low] = bytes;
    Ok((u32::from_be_bytes([0, high, middle, low]) ^ 0x80_0000).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_reported_in_twos_complement_and_end_with_the_range() {
        let mut chip = Hx711::default();
        for (counts, expected) in [(-1.0, [0xFF; 3]), (1e9, [0x7F, 0xFF, 0xFF]), (-1e9, [0x80, 0, 0])] {
            let mut bytes = [0; 3];
            assert!(chip.set_world("counts", counts) && chip.read(&mut bytes));
            assert_eq!(bytes, expected);
        }
    }
}
