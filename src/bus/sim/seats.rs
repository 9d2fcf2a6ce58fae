//! Simulated chips at their addresses, and the I²C adapter that reaches them.
//!
//! Two faults belong to the bus and not to a chip: `nak` (the chip is off the bus) and `hang` (the transfer never
//! ends, and with it the thread, as with a real adapter whose clock line is held down). All others are the chip's own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::rc::Rc;

use embedded_hal::i2c::{ErrorType, I2c, Operation};

use crate::bus::BusError;
use crate::bus::sim::World;
use crate::bus::sim::chips::{self, Chip};

/// A chip soldered to an address.
pub(super) struct Seat {
    pub(super) chip: Box<dyn Chip>,
    pub(super) fault: Option<String>,
    /// The surroundings that drift goes around.
    rest: Vec<(&'static str, f64)>,
}

/// Every chip on the bus.
#[derive(Default)]
pub(super) struct Seats(BTreeMap<u8, Seat>);

impl Seats {
    /// Puts the chip for a driver at an address; `false` when no chip is known for it.
    pub(super) fn put(&mut self, address: u8, driver: &str) -> bool {
        let Some(chip) = chips::for_driver(driver) else { return false };
        let rest = chip.world();
        self.0.insert(address, Seat { chip, fault: None, rest });
        true
    }

    pub(super) fn get(&mut self, address: u8) -> Option<&mut Seat> {
        self.0.get_mut(&address)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, &Seat)> {
        self.0.iter().map(|(address, seat)| (*address, seat))
    }

    /// Moves every chip's surroundings to where they are some seconds after the start.
    pub(super) fn drift(&mut self, seconds: f64) {
        for (address, seat) in &mut self.0 {
            for (name, value) in &seat.rest {
                seat.chip.set_world(name, drifted(name, *value, *address, seconds));
            }
        }
    }
}

impl Seat {
    /// Breaks or mends the chip; `false` for an unknown fault.
    pub(super) fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let of_the_bus = matches!(fault, Some("nak" | "hang"));
        let known = self.chip.set_fault(if of_the_bus { None } else { fault }) || of_the_bus;
        if known {
            self.fault = fault.map(str::to_owned);
        }
        known
    }
}

/// A value some seconds after the start: a slow wave around `rest`, out of step from address to address.
pub(super) fn drifted(name: &str, rest: f64, address: u8, seconds: f64) -> f64 {
    let (amplitude, period) = match name {
        "temperature" => (0.6, 97.0),
        "humidity" => (1.5, 131.0),
        "pressure" => (0.8, 307.0),
        _ => (rest.abs() * 0.02, 61.0),
    };
    rest + amplitude * (TAU * (seconds / period + f64::from(address) / 128.0)).sin()
        - amplitude * (TAU * f64::from(address) / 128.0).sin()
}

/// The adapter: one more hand on the same bus.
pub(super) struct SimI2c(pub(super) Rc<RefCell<World>>);

impl ErrorType for SimI2c {
    type Error = BusError;
}

impl I2c for SimI2c {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        let mut world = self.0.borrow_mut();
        let seat = world.seats.get(address).ok_or(BusError::NoAcknowledge { address })?;
        match seat.fault.as_deref() {
            Some("nak") => return Err(BusError::NoAcknowledge { address }),
            Some("hang") => hang(),
            _ => {}
        }
        chips::transact(seat.chip.as_mut(), address, operations)
    }
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::sim::SimBus;
    use crate::bus::{Bus, Claim, SharedI2c};

    fn bus() -> (SimBus, SharedI2c) {
        let mut bus = SimBus::open(None).unwrap();
        bus.expect("tmp102", &[Claim::Address(0x48)]);
        let i2c = bus.i2c().unwrap();
        (bus, i2c)
    }

    #[test]
    fn the_chip_of_the_expected_driver_answers() {
        let (bus, mut i2c) = bus();
        bus.world.borrow_mut().seats.get(0x48).unwrap().chip.set_world("temperature", 25.0);
        let mut bytes = [0; 2];
        i2c.write_read(0x48, &[0], &mut bytes).unwrap();
        assert_eq!(bytes, [0x19, 0x00]);
    }

    #[test]
    fn neighbouring_reads_are_one_transfer() {
        let (bus, mut i2c) = bus();
        bus.world.borrow_mut().seats.get(0x48).unwrap().chip.set_world("temperature", 25.0625);
        let (mut high, mut low) = ([0; 1], [0; 1]);
        let operations = &mut [Operation::Write(&[0]), Operation::Read(&mut high), Operation::Read(&mut low)];
        i2c.transaction(0x48, operations).unwrap();
        assert_eq!((high, low), ([0x19], [0x10]));
    }

    #[test]
    fn nobody_answers_where_no_chip_is_or_where_it_has_fallen_off() {
        let (bus, mut i2c) = bus();
        assert!(matches!(i2c.read(0x49, &mut [0]), Err(BusError::NoAcknowledge { address: 0x49 })));
        assert!(i2c.write(0x48, &[]).is_ok());
        assert!(bus.world.borrow_mut().seats.get(0x48).unwrap().set_fault(Some("nak")));
        assert!(matches!(i2c.read(0x48, &mut [0]), Err(BusError::NoAcknowledge { address: 0x48 })));
        assert!(bus.world.borrow_mut().seats.get(0x48).unwrap().set_fault(None));
        assert!(i2c.read(0x48, &mut [0]).is_ok());
    }

    #[test]
    fn an_unknown_fault_changes_nothing() {
        let (bus, mut i2c) = bus();
        assert!(!bus.world.borrow_mut().seats.get(0x48).unwrap().set_fault(Some("no such fault")));
        assert!(i2c.read(0x48, &mut [0]).is_ok());
    }

    #[test]
    fn drift_starts_at_rest_and_stays_small_and_smooth() {
        assert_eq!(drifted("temperature", 21.5, 0x48, 0.0), 21.5);
        for second in 0..600 {
            let now = drifted("temperature", 21.5, 0x48, f64::from(second));
            let next = drifted("temperature", 21.5, 0x48, f64::from(second) + 1.0);
            assert!((now - 21.5).abs() <= 1.2 && (now - next).abs() < 0.05);
        }
    }
}
