//! A chip of no maker, for this crate's own tests: a thermometer with four registers of 16 bits behind a pointer, such as many
//! thermometers are.

use crate::sim::chips::{Chip, ChipSpec, Fault, World, fill};

/// What the tests call its driver.
pub(crate) const NAME: &str = "stand-in";

/// Its temperature (read-only), its configuration and two limits after power-on.
const AT_RESET: [u16; 4] = [0, 0x60A0, 0x4B00, 0x5000];

/// Knows this chip and no other.
pub(crate) fn find(driver: &str) -> Option<ChipSpec> {
    (driver == NAME).then_some(ChipSpec::of(|| Box::new(StandIn::default())))
}

struct StandIn {
    world: World,
    fault: Option<Fault>,
    pointer: usize,
    registers: [u16; 4],
}

impl Default for StandIn {
    fn default() -> Self {
        let world = World::new([("temperature", 21.5, -128.0..=127.0)]);
        Self { world, fault: None, pointer: 0, registers: AT_RESET }
    }
}

impl Chip for StandIn {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        let pointer = bytes.first().map_or(self.pointer, |pointer| usize::from(*pointer));
        if self.fault == Some(Fault::Nak) || pointer >= self.registers.len() {
            return false;
        }
        self.pointer = pointer;
        if let [1..=3, high, low, ..] = bytes {
            self.registers[pointer] = u16::from_be_bytes([*high, *low]);
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        // A degree is 256 of them.
        self.registers[0] = ((self.world.clamped("temperature") * 256.0).round() as i16).cast_unsigned();
        let driven = self.fault != Some(Fault::Stuck);
        fill(buffer, self.registers[self.pointer].to_be_bytes().into_iter().filter(|_| driven));
        self.fault != Some(Fault::Nak)
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        Fault::set(&mut self.fault, fault, &[Fault::Nak, Fault::Stuck])
    }
}
