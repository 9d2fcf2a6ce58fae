//! A simulated MCP23008 or MCP23017 expander.
//!
//! Microchip DS20001952 (MCP23017) and DS21919 (MCP23008): eleven registers, in the MCP23017 each twice, A and B side by
//! side, which is the order of IOCON.BANK = 0; other orders are not simulated. All pins are inputs after power-on.
//! The pointer counts on and around.
//!
//! A pin's world is what is connected to it: 0 pulls it low, 1 high; in between there is nothing, and an input follows its
//! pull-up or reads low.

use crate::sim::chips::{Chip, Fault, World, fill};

const IODIR: usize = 0;
const IPOL: usize = 1;
const GPINTEN: usize = 2;
const DEFVAL: usize = 3;
const INTCON: usize = 4;
const IOCON: usize = 5;
const GPPU: usize = 6;
const INTF: usize = 7;
const INTCAP: usize = 8;
const GPIO: usize = 9;
const OLAT: usize = 10;
const REGISTERS: usize = 11;

/// The registers that are kept, in order, by the names of the one port or of the two.
const KEPT: [(usize, [&str; 3]); 8] = [
    (IODIR, ["IODIR", "IODIRA", "IODIRB"]),
    (IPOL, ["IPOL", "IPOLA", "IPOLB"]),
    (GPINTEN, ["GPINTEN", "GPINTENA", "GPINTENB"]),
    (DEFVAL, ["DEFVAL", "DEFVALA", "DEFVALB"]),
    (INTCON, ["INTCON", "INTCONA", "INTCONB"]),
    (IOCON, ["IOCON", "IOCONA", "IOCONB"]),
    (GPPU, ["GPPU", "GPPUA", "GPPUB"]),
    (OLAT, ["OLAT", "OLATA", "OLATB"]),
];

const PINS_8: [&str; 8] = ["GP0", "GP1", "GP2", "GP3", "GP4", "GP5", "GP6", "GP7"];
const PINS_16: [&str; 16] = [
    "GPA0", "GPA1", "GPA2", "GPA3", "GPA4", "GPA5", "GPA6", "GPA7", "GPB0", "GPB1", "GPB2", "GPB3", "GPB4", "GPB5",
    "GPB6", "GPB7",
];

/// The simulated MCP23008 or MCP23017.
pub struct Mcp230xx {
    kind: &'static str,
    pins: &'static [&'static str],
    world: World,
    ports: Vec<Port>,
    pointer: usize,
    fault: Option<Fault>,
}

/// The registers of eight pins.
struct Port {
    registers: [u8; REGISTERS],
    /// The levels at the last look, for changes.
    last: u8,
}

impl Port {
    fn new() -> Self {
        let mut registers = [0; REGISTERS];
        registers[IODIR] = 0xFF;
        Self { registers, last: 0 }
    }

    /// Captures the port when a watched pin has changed and nothing is captured yet.
    fn notice(&mut self, levels: u8) {
        let reference = self.registers[INTCON] & self.registers[DEFVAL] | !self.registers[INTCON] & self.last;
        let flags = (levels ^ reference) & self.registers[GPINTEN] & self.registers[IODIR];
        if flags != 0 && self.registers[INTF] == 0 {
            self.registers[INTF] = flags;
            self.registers[INTCAP] = levels;
        }
        self.last = levels;
    }
}

impl Mcp230xx {
    /// An MCP23008, after power-on.
    pub fn mcp23008() -> Self {
        Self::new("mcp23008", &PINS_8)
    }

    /// An MCP23017, after power-on.
    pub fn mcp23017() -> Self {
        Self::new("mcp23017", &PINS_16)
    }

    fn new(kind: &'static str, pins: &'static [&'static str]) -> Self {
        let world = World::new(pins.iter().map(|pin| (*pin, 0.5, 0.0..=1.0)));
        let ports = (0..pins.len() / 8).map(|_| Port::new()).collect();
        Self { kind, pins, world, ports, pointer: 0, fault: None }
    }

    /// What the pins of a port read: an output its latch, an input what is connected, with IPOL upside down.
    fn levels(&self, port: usize) -> u8 {
        let registers = &self.ports[port].registers;
        let input = (0..8).fold(0, |levels, bit| {
            let connected = self.world.clamped(self.pins[port * 8 + bit]);
            let high = connected > 0.75 || connected >= 0.25 && registers[GPPU] >> bit & 1 == 1;
            levels | u8::from(high) << bit
        });
        (registers[IODIR] & input | !registers[IODIR] & registers[OLAT]) ^ registers[IPOL]
    }

    fn notice(&mut self) {
        for port in 0..self.ports.len() {
            let levels = self.levels(port);
            self.ports[port].notice(levels);
        }
    }

    /// The port and the register under the pointer, which moves on.
    fn step(&mut self) -> (usize, usize) {
        let ports = self.ports.len();
        let at = (self.pointer % ports, self.pointer / ports);
        self.pointer = (self.pointer + 1) % (ports * REGISTERS);
        at
    }

    fn put(&mut self, port: usize, register: usize, value: u8) {
        match register {
            INTF | INTCAP => {}
            // There is one IOCON, at two addresses.
            IOCON => self.ports.iter_mut().for_each(|port| port.registers[IOCON] = value & 0x7E),
            GPIO => self.ports[port].registers[OLAT] = value,
            _ => self.ports[port].registers[register] = value,
        }
    }

    fn take(&mut self, port: usize, register: usize) -> u8 {
        let levels = self.levels(port);
        let registers = &mut self.ports[port].registers;
        let value = if register == GPIO { levels } else { registers[register] };
        // DS20001952, section 3.5.9: the interrupt is cleared by reading INTCAP or GPIO.
        if matches!(register, INTCAP | GPIO) {
            registers[INTF] = 0;
        }
        value
    }

    fn names(&self) -> impl Iterator<Item = (usize, usize, &'static str)> {
        let two = self.ports.len() == 2;
        let ports = 0..self.ports.len();
        KEPT.iter().flat_map(move |(register, names)| {
            ports.clone().map(move |port| (port, *register, names[if two { port + 1 } else { 0 }]))
        })
    }
}

impl Chip for Mcp230xx {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some((pointer, values)) = bytes.split_first() else { return true };
        self.pointer = usize::from(*pointer) % (self.ports.len() * REGISTERS);
        for value in values {
            let (port, register) = self.step();
            self.put(port, register, *value);
        }
        self.notice();
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let answer: Vec<u8> = buffer
            .iter()
            .map(|_| {
                let (port, register) = self.step();
                self.take(port, register)
            })
            .collect();
        fill(buffer, answer);
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        let known = self.world.set(name, value);
        self.notice();
        known
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        Fault::set(&mut self.fault, fault, &[Fault::Nak])
    }

    fn registers(&self) -> Vec<(&'static str, u8)> {
        self.names().map(|(port, register, name)| (name, self.ports[port].registers[register])).collect()
    }

    fn set_register(&mut self, name: &str, value: u8) -> bool {
        let found = self.names().find(|(.., known)| *known == name);
        if let Some((port, register, _)) = found {
            self.put(port, register, value);
            self.notice();
        }
        found.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(chip: &mut Mcp230xx, register: u8) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(chip.write(&[register]) && chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn after_power_on_all_pins_are_inputs_without_pull_ups() {
        let mut chip = Mcp230xx::mcp23017();
        let registers: [u8; 22] = read(&mut chip, 0);
        assert_eq!(registers[..2], [0xFF; 2]);
        assert!(registers[2..].iter().all(|byte| *byte == 0));
        assert!(chip.write(&[0x0C, 0x81]) && chip.set_world("GPA7", 0.0) && chip.set_world("GPB1", 1.0));
        assert_eq!(read(&mut chip, 0x12), [0x01, 0x02], "pulled up, pulled low from outside, driven high");
    }

    #[test]
    fn an_output_follows_its_latch_and_gpio_writes_to_it() {
        let mut chip = Mcp230xx::mcp23017();
        assert!(chip.write(&[0x12, 0x0F, 0xF0]) && chip.write(&[0x00, 0xF0, 0x0F]));
        assert_eq!(read(&mut chip, 0x14), [0x0F, 0xF0]);
        assert_eq!(read(&mut chip, 0x12), [0x0F, 0xF0]);
        assert!(chip.write(&[0x02, 0x01]));
        assert_eq!(read(&mut chip, 0x12), [0x0E], "IPOL turns the first one around");
    }

    #[test]
    fn a_change_of_a_watched_pin_is_captured_until_it_is_read() {
        let mut chip = Mcp230xx::mcp23017();
        assert!(chip.write(&[0x04, 0x03, 0x00]));
        assert!(chip.set_world("GPA2", 1.0), "nobody watches this one");
        assert_eq!(read(&mut chip, 0x0E), [0, 0]);
        assert!(chip.set_world("GPA0", 1.0) && chip.set_world("GPA0", 0.0) && chip.set_world("GPA1", 1.0));
        assert_eq!(read(&mut chip, 0x0E), [0x01, 0, 0x05, 0, 0x06, 0], "the first change is kept");
        assert_eq!(read(&mut chip, 0x0E), [0, 0]);
    }

    #[test]
    fn an_mcp23008_has_the_same_registers_once() {
        let mut chip = Mcp230xx::mcp23008();
        assert!(chip.write(&[0x00, 0xFE]) && chip.write(&[0x0A, 0x01]));
        assert_eq!(read(&mut chip, 0x09), [0x01]);
        assert_eq!(chip.registers().len(), 8);
    }
}
