//! Transfers to simulated chips: the I²C adapter, and the faults of a chip and of its transfers.
//!
//! Some faults belong to the bus and not to a chip: `nak` (the chip is off the bus; it comes back as it is after
//! power-on), `hang` (the transfer does not end before the fault does, as with a real adapter whose clock line is held
//! down), `time-out` (the adapter gives up after a while) and `panic` (a defect of the driver). All others are the chip's own.
//!
//! A chip behind a multiplexer has a place such as `0x70.3/0x44`: it is connected while the chip at 0x70 has channel 3 open.
//! When several chips with one address are connected, all of them answer at once, as they do on a wire.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::TAU;
use std::rc::Rc;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorType, I2c, Operation};
use rustix::io::Errno;

use crate::sim::World;
use crate::sim::chips::{self, Chip, ChipSpec, FindChip};
use crate::sim::kernel::KernelDevice;
use crate::sim::place::ChipPlace;
use crate::{BusError, Delay};
use fieldgate_clock::monotonic;

/// A chip soldered to its place.
pub(super) struct ChipSlot {
    spec: ChipSpec,
    pub(super) chip: Box<dyn Chip>,
    pub(super) fault: Option<String>,
    /// Registers that the state file does not have yet as the chip has them.
    pub(super) unwritten: BTreeSet<&'static str>,
    /// The surroundings that drift goes around.
    rest: Vec<(&'static str, f64)>,
}

/// Every chip on the bus.
pub(super) struct ChipSlots {
    all: BTreeMap<ChipPlace, ChipSlot>,
    /// The chips of the drivers.
    find: FindChip,
}

impl ChipSlots {
    /// None yet.
    pub(super) fn new(find: FindChip) -> Self {
        Self { all: BTreeMap::new(), find }
    }

    /// Puts the chip for a driver at its place; `false` when no chip is known for it.
    pub(super) fn put(&mut self, place: impl Into<ChipPlace>, driver: &str) -> bool {
        let Some(spec) = chips::of_bus(driver).or_else(|| (self.find)(driver)) else { return false };
        let chip = (spec.make)();
        let rest = chip.world();
        self.all.insert(place.into(), ChipSlot { spec, chip, fault: None, unwritten: BTreeSet::new(), rest });
        true
    }

    pub(super) fn get(&mut self, place: impl Into<ChipPlace>) -> Option<&mut ChipSlot> {
        self.all.get_mut(&place.into())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ChipPlace, &ChipSlot)> {
        self.all.iter()
    }

    /// The file has every register.
    pub(super) fn written(&mut self) {
        self.all.values_mut().for_each(|slot| slot.unwritten.clear());
    }

    /// Where the chips are that hear this address at the moment.
    fn connected(&self, address: u8) -> Vec<ChipPlace> {
        let open = |gate: &ChipPlace, channel: u8| {
            self.all.get(gate).is_some_and(|gate| gate.chip.open_channels() >> channel & 1 == 1)
        };
        self.all.keys().filter(|place| place.hears(address, open)).cloned().collect()
    }

    /// Moves every chip's surroundings to where they are some seconds after the start.
    pub(super) fn drift(&mut self, seconds: f64) {
        for (place, slot) in &mut self.all {
            for (name, value) in &slot.rest {
                slot.chip.set_world(name, drifted(name, *value, place.phase(), seconds));
            }
        }
    }
}

impl ChipSlot {
    /// What the kernel makes of it, where it drives the chip itself.
    pub(super) fn kernel(&self) -> Option<KernelDevice> {
        self.spec.kernel
    }

    /// Breaks or mends the chip; `false` for an unknown fault.
    pub(super) fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let of_the_bus = matches!(fault, Some("nak" | "hang" | "time-out" | "panic"));
        let known = of_the_bus || self.chip.set_fault(fault);
        if !known {
            return false;
        }
        if self.fault.as_deref() == Some("nak") {
            self.power_on();
        }
        // Known from above; a chip that is new has to be written again.
        self.chip.set_fault(if of_the_bus { None } else { fault });
        self.fault = fault.map(str::to_owned);
        true
    }

    /// Gives the chip the registers that it has after power-on; what it measures stays as it is.
    fn power_on(&mut self) {
        let mut fresh = (self.spec.make)();
        for (name, value) in self.chip.world() {
            fresh.set_world(name, value);
        }
        self.chip = fresh;
        self.unwritten = self.chip.registers().into_iter().map(|(name, _)| name).collect();
    }

    /// Carries a transaction to the chip and remembers which registers must be written to the file.
    fn transact(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        let before = self.chip.registers();
        let outcome = chips::transact(self.chip.as_mut(), address, operations);
        let changed = self.chip.registers().into_iter().filter(|register| !before.contains(register));
        self.unwritten.extend(changed.map(|(name, _)| name));
        outcome
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
        world.reach()?;
        let connected = world.slots.connected(address);
        let acts = |place: &ChipPlace| world.slots.all.get(place).is_some_and(|slot| !slot.chip.registers().is_empty());
        if connected.iter().any(acts) {
            // Another process may have written to the same chip.
            world.follow(monotonic());
        }
        let mut outcome = None;
        let mut unwritten = false;
        for place in &connected {
            // One that is off the bus leaves the wires to the others.
            let Some(slot) = world.reach_chip(place)? else { continue };
            outcome = Some(match outcome {
                None => slot.transact(address, operations),
                Some(before) => both(operations, |operations| slot.transact(address, operations)).or(before),
            });
            unwritten |= !slot.unwritten.is_empty();
        }
        if unwritten {
            world.changed();
        }
        outcome.unwrap_or(Err(BusError::NoAcknowledge { address }))
    }
}

/// Lets one more chip answer: a chip that pulls the line low wins.
fn both(
    operations: &mut [Operation<'_>],
    transact: impl FnOnce(&mut [Operation<'_>]) -> Result<(), BusError>,
) -> Result<(), BusError> {
    let heard: Vec<Vec<u8>> = operations
        .iter()
        .filter_map(|operation| match operation {
            Operation::Read(buffer) => Some(buffer.to_vec()),
            Operation::Write(_) => None,
        })
        .collect();
    let outcome = transact(operations);
    let reads = operations.iter_mut().filter_map(|operation| match operation {
        Operation::Read(buffer) => Some(buffer),
        Operation::Write(_) => None,
    });
    for (buffer, heard) in reads.zip(heard) {
        buffer.iter_mut().zip(heard).for_each(|(byte, other)| *byte &= other);
    }
    outcome
}

impl World {
    /// The chip at a place, past the faults of the bus; `None` where nobody answers.
    pub(super) fn reach_chip(&mut self, place: &ChipPlace) -> Result<Option<&mut ChipSlot>, BusError> {
        self.reach()?;
        match self.slots.get(place.clone()).and_then(|slot| slot.fault.as_deref()) {
            Some("nak") => return Ok(None),
            Some("hang") => hang(self, place),
            Some("time-out") => return Err(time_out(place)),
            Some("panic") => panic!("a simulated defect of the driver at {place}"),
            _ => {}
        }
        Ok(self.slots.get(place.clone()))
    }
}

/// Between two looks at whether a fault has ended.
const HANG_MS: u32 = 20;

/// What the adapters of a Raspberry Pi wait for a clock line that is held down.
const TIME_OUT_MS: u32 = 1000;

/// Returns when the fault has ended, which without a state file is never.
fn hang(world: &mut World, place: &ChipPlace) {
    while world.slots.get(place.clone()).is_some_and(|slot| slot.fault.as_deref() == Some("hang")) {
        Delay.delay_ms(HANG_MS);
        world.follow(monotonic());
    }
}

fn time_out(place: &ChipPlace) -> BusError {
    Delay.delay_ms(TIME_OUT_MS);
    BusError::Wires { what: format!("transfer with {place}"), source: Errno::TIMEDOUT.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimBus;
    use crate::sim::chips::stand_in;
    use crate::{Bus, Claim, SharedI2c};

    fn bus() -> (SimBus, SharedI2c) {
        let mut bus = SimBus::open(None, stand_in::find).unwrap();
        bus.expect(stand_in::NAME, &[Claim::Address(0x48)]);
        let i2c = bus.i2c().unwrap();
        (bus, i2c)
    }

    #[test]
    fn the_chip_of_the_expected_driver_answers() {
        let (bus, mut i2c) = bus();
        bus.world.borrow_mut().slots.get(0x48).unwrap().chip.set_world("temperature", 25.0);
        let mut bytes = [0; 2];
        i2c.write_read(0x48, &[0], &mut bytes).unwrap();
        assert_eq!(bytes, [0x19, 0x00]);
    }

    #[test]
    fn a_chip_behind_a_multiplexer_is_heard_while_its_channel_is_open() {
        let (bus, mut i2c) = bus();
        bus.chip_sockets().unwrap().expect("tca9548a", &[Claim::Address(0x70)]);
        for (channel, celsius) in [(3, 25.0), (4, 50.0)] {
            bus.chip_sockets().unwrap().behind(0x70, channel).expect(stand_in::NAME, &[Claim::Address(0x49)]);
            let place = ChipPlace::parse(&format!("0x70.{channel}/0x49")).unwrap();
            assert!(bus.world.borrow_mut().slots.get(place).unwrap().chip.set_world("temperature", celsius));
        }
        let mut bytes = [0; 2];
        assert!(matches!(i2c.write_read(0x49, &[0], &mut bytes), Err(BusError::NoAcknowledge { .. })));
        for (channels, heard) in [(8, [0x19, 0]), (16, [0x32, 0]), (24, [0x10, 0])] {
            i2c.write(0x70, &[channels]).unwrap();
            i2c.write_read(0x49, &[0], &mut bytes).unwrap();
            assert_eq!(bytes, heard, "two at once are heard as what both say");
        }
    }

    #[test]
    fn of_two_chips_with_one_address_the_one_that_is_off_the_bus_is_not_heard() {
        let (bus, mut i2c) = bus();
        bus.chip_sockets().unwrap().expect("tca9548a", &[Claim::Address(0x70)]);
        bus.chip_sockets().unwrap().behind(0x70, 3).expect(stand_in::NAME, &[Claim::Address(0x48)]);
        i2c.write(0x70, &[8]).unwrap();
        let places = [ChipPlace::Address(0x48), ChipPlace::parse("0x70.3/0x48").unwrap()];
        for (place, celsius) in places.iter().zip([25.0, 50.0]) {
            assert!(bus.world.borrow_mut().slots.get(place.clone()).unwrap().chip.set_world("temperature", celsius));
        }
        let fault = |index: usize, fault| {
            assert!(bus.world.borrow_mut().slots.get(places[index].clone()).unwrap().set_fault(fault));
        };
        let mut bytes = [0; 2];
        for (absent, heard) in [(0, [0x32, 0]), (1, [0x19, 0])] {
            fault(absent, Some("nak"));
            i2c.write_read(0x48, &[0], &mut bytes).unwrap();
            assert_eq!(bytes, heard, "without {}", places[absent]);
            fault(1 - absent, Some("nak"));
            assert!(i2c.read(0x48, &mut [0]).is_err());
            fault(0, None);
            fault(1, None);
        }
    }

    #[test]
    fn neighbouring_reads_are_one_transfer() {
        let (bus, mut i2c) = bus();
        bus.world.borrow_mut().slots.get(0x48).unwrap().chip.set_world("temperature", 25.0625);
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
        assert!(bus.world.borrow_mut().slots.get(0x48).unwrap().set_fault(Some("nak")));
        assert!(matches!(i2c.read(0x48, &mut [0]), Err(BusError::NoAcknowledge { address: 0x48 })));
        assert!(bus.world.borrow_mut().slots.get(0x48).unwrap().set_fault(None));
        assert!(i2c.read(0x48, &mut [0]).is_ok());
    }

    #[test]
    fn a_chip_that_was_off_the_bus_comes_back_as_after_power_on() {
        let (bus, mut i2c) = bus();
        i2c.write(0x48, &[1, 0x61, 0xA0]).unwrap();
        let configuration = |i2c: &mut SharedI2c| {
            let mut bytes = [0; 2];
            i2c.write_read(0x48, &[1], &mut bytes).map(|()| bytes)
        };
        assert_ne!(configuration(&mut i2c).unwrap(), [0x60, 0xA0]);
        for fault in [Some("nak"), None] {
            bus.world.borrow_mut().slots.get(0x48).unwrap().set_fault(fault);
        }
        assert_eq!(configuration(&mut i2c).unwrap(), [0x60, 0xA0]);
    }

    #[test]
    fn a_chip_that_comes_back_with_another_fault_shows_it() {
        let (bus, mut i2c) = bus();
        for fault in ["nak", "stuck"] {
            assert!(bus.world.borrow_mut().slots.get(0x48).unwrap().set_fault(Some(fault)));
        }
        let mut bytes = [0; 2];
        i2c.write_read(0x48, &[0], &mut bytes).unwrap();
        assert_eq!(bytes, [0xFF, 0xFF]);
    }

    #[test]
    fn an_unknown_fault_changes_nothing() {
        let (bus, mut i2c) = bus();
        assert!(!bus.world.borrow_mut().slots.get(0x48).unwrap().set_fault(Some("no such fault")));
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
