//! Simulated chips, at the level of their registers; those on a serial line and those that the kernel drives, at the level of
//! the bytes that they send.
//!
//! Here are what all of them share, and those chips that are buses themselves. Those of sensors and outputs lie beside their
//! drivers, of which this crate knows none: the caller who opens a simulated bus passes a [`FindChip`].
//!
//! Each answers the bytes that its datasheet describes, so a driver that was never written for it can read it: ids,
//! calibration words, status bits, checksums, one-shot conversions. What the world around a chip is like and which fault
//! it shows are set from outside.
//!
//! There is no clock in here. A conversion is running when the status is read for the first time after its start, and
//! done at the second: drivers must poll, and tests need not wait.

pub mod mcp230xx;
pub mod pcf8574;
#[cfg(test)]
pub(crate) mod stand_in;
pub mod tca9548a;

use std::ops::RangeInclusive;

use embedded_hal::i2c::Operation;
use embedded_hal::spi;

use crate::sim::KernelDevice;
use crate::{BUSES, BusError};

/// A chip at register level on the simulated bus.
pub trait Chip {
    /// The kind as written in a state file: `bme280`.
    fn kind(&self) -> &'static str;
    /// Bytes that the controller writes; false is a NAK.
    fn write(&mut self, bytes: &[u8]) -> bool;
    /// Bytes that the controller reads; false is a NAK.
    fn read(&mut self, buffer: &mut [u8]) -> bool;
    /// What the world around the chip is like: `("temperature", 21.5)` …, as in a state file.
    fn world(&self) -> Vec<(&'static str, f64)>;
    /// Changes one of them; false for an unknown name and for what is not a number. Values beyond the chip's range
    /// saturate as the chip does.
    fn set_world(&mut self, name: &str, value: f64) -> bool;
    /// Shows a fault by name (`nak`, `checksum`, `not-ready`, `power-on`, `wrong-id`, `stuck`) until `None` ends it; false
    /// for a fault that this chip does not know.
    fn set_fault(&mut self, fault: Option<&str>) -> bool;
    /// Registers by which the chip acts on the world around it, as in a state file: there others see what it does, and a
    /// second process finds it as the first has left it. None for a sensor.
    fn registers(&self) -> Vec<(&'static str, u8)> {
        Vec::new()
    }
    /// Changes one of them; false for an unknown name.
    fn set_register(&mut self, _name: &str, _value: u8) -> bool {
        false
    }
    /// Of a multiplexer, a bit for each channel that connects what sits behind it.
    fn open_channels(&self) -> u8 {
        0
    }
}

/// A kind of simulated chip.
#[derive(Clone, Copy, Debug)]
pub struct ChipSpec {
    /// Makes one as it is after power-on, in usual surroundings.
    pub make: fn() -> Box<dyn Chip>,
    /// What the kernel shows of it, where the kernel drives it itself.
    pub kernel: Option<KernelDevice>,
}

impl ChipSpec {
    /// A chip on a bus of ours.
    pub const fn of(make: fn() -> Box<dyn Chip>) -> Self {
        Self { make, kernel: None }
    }

    /// A chip that the kernel drives, and shows as this device.
    pub const fn behind_kernel(make: fn() -> Box<dyn Chip>, device: KernelDevice) -> Self {
        Self { make, kernel: Some(device) }
    }
}

/// Finds the simulated chip that a driver expects, by the driver's name; `None` where it expects none.
pub type FindChip = fn(driver: &str) -> Option<ChipSpec>;

/// The chip of a multiplexer or an expander, by the name of its model.
pub fn of_bus(model: &str) -> Option<ChipSpec> {
    BUSES.iter().find(|spec| spec.name == model)?.chip
}

/// Carries one I²C transaction to the chip at `address`.
///
/// # Errors
/// [`BusError::NoAcknowledge`] when the chip does not acknowledge; the operations after that one do not happen.
pub fn transact(chip: &mut dyn Chip, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
    let mut runs = operations.chunk_by_mut(|a, b| is_read(a) == is_read(b));
    if runs.all(|run| transfer(chip, run)) { Ok(()) } else { Err(BusError::NoAcknowledge { address }) }
}

/// Carries one SPI transaction: the chip is given all that the controller shifts out, then asked for what it shifts out
/// meanwhile. A missing chip, or one that refuses, drives nothing, and the line reads as ones.
pub fn exchange(chip: Option<&mut dyn Chip>, operations: &mut [spi::Operation<'_, u8>]) {
    let mut out = Vec::new();
    for operation in operations.iter() {
        match operation {
            spi::Operation::Read(buffer) => out.resize(out.len() + buffer.len(), 0),
            spi::Operation::Write(bytes) => out.extend_from_slice(bytes),
            spi::Operation::Transfer(buffer, bytes) => {
                out.extend_from_slice(bytes);
                out.resize(out.len() + buffer.len().saturating_sub(bytes.len()), 0);
            }
            spi::Operation::TransferInPlace(bytes) => out.extend_from_slice(bytes),
            spi::Operation::DelayNs(_) => {}
        }
    }
    let mut answer = vec![0xFF; out.len()];
    if !chip.is_some_and(|chip| chip.write(&out) && chip.read(&mut answer)) {
        answer.fill(0xFF);
    }
    let mut rest = answer.into_iter();
    for operation in operations {
        let (buffer, also_out) = match operation {
            spi::Operation::Read(buffer) => (&mut **buffer, 0),
            spi::Operation::Write(bytes) => (&mut [][..], bytes.len()),
            spi::Operation::Transfer(buffer, bytes) => {
                let longer = bytes.len().saturating_sub(buffer.len());
                (&mut **buffer, longer)
            }
            spi::Operation::TransferInPlace(bytes) => (&mut **bytes, 0),
            spi::Operation::DelayNs(_) => (&mut [][..], 0),
        };
        buffer.fill_with(|| rest.next().unwrap_or(0xFF));
        rest.by_ref().take(also_out).for_each(drop);
    }
}

/// What a device on a serial line says into the buffer before it falls silent; how many bytes.
pub fn hear(chip: &mut dyn Chip, buffer: &mut [u8]) -> usize {
    buffer.iter_mut().map_while(|byte| chip.read(std::slice::from_mut(byte)).then_some(())).count()
}

fn is_read(operation: &Operation<'_>) -> bool {
    matches!(operation, Operation::Read(_))
}

/// Neighbours of one direction are one transfer on the wire, without a start condition between them.
fn transfer(chip: &mut dyn Chip, run: &mut [Operation<'_>]) -> bool {
    let mut written = Vec::new();
    let mut wanted = 0;
    for operation in run.iter() {
        match operation {
            Operation::Write(bytes) => written.extend_from_slice(bytes),
            Operation::Read(buffer) => wanted += buffer.len(),
        }
    }
    if wanted == 0 {
        // A transfer without bytes only asks whether anybody is there.
        return written.is_empty() || chip.write(&written);
    }
    let mut answer = vec![0; wanted];
    let acknowledged = chip.read(&mut answer);
    let mut rest = answer.as_slice();
    for operation in run {
        if let Operation::Read(buffer) = operation {
            let (part, left) = rest.split_at(buffer.len());
            buffer.copy_from_slice(part);
            rest = left;
        }
    }
    acknowledged
}

/// Puts what a chip answers into the controller's buffer; beyond its end nobody pulls the line low.
pub fn fill(buffer: &mut [u8], answer: impl IntoIterator<Item = u8>) {
    buffer.fill(0xFF);
    for (to, from) in buffer.iter_mut().zip(answer) {
        *to = from;
    }
}

/// What a chip does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Acknowledges nothing.
    Nak,
    /// Sends wrong checksums.
    Checksum,
    /// Never finishes a conversion.
    NotReady,
    /// Takes no measurement: its results are those after power-on.
    PowerOn,
    /// Answers with the id of another chip.
    WrongId,
    /// Reads as ones, as a bus does whose data line nobody drives.
    Stuck,
}

impl Fault {
    const NAMES: &[(&str, Self)] = &[
        ("nak", Self::Nak),
        ("checksum", Self::Checksum),
        ("not-ready", Self::NotReady),
        ("power-on", Self::PowerOn),
        ("wrong-id", Self::WrongId),
        ("stuck", Self::Stuck),
    ];

    /// Sets `fault` to the one of that name if it is among those that the chip `knows`.
    pub fn set(fault: &mut Option<Self>, name: Option<&str>, knows: &[Self]) -> bool {
        let Some(name) = name else {
            *fault = None;
            return true;
        };
        let found = Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, fault)| *fault);
        match found.filter(|found| knows.contains(found)) {
            Some(found) => *fault = Some(found),
            None => return false,
        }
        true
    }
}

/// The quantities around a chip, each with the range that the chip can follow.
#[derive(Clone, Debug)]
pub struct World(Vec<(&'static str, f64, RangeInclusive<f64>)>);

impl World {
    /// Quantities by name, each with its value at first and the range that the chip can follow.
    pub fn new(quantities: impl IntoIterator<Item = (&'static str, f64, RangeInclusive<f64>)>) -> Self {
        Self(quantities.into_iter().collect())
    }

    /// What was set, beyond the chip's range or not.
    pub fn list(&self) -> Vec<(&'static str, f64)> {
        self.0.iter().map(|(name, value, _)| (*name, *value)).collect()
    }

    /// Changes one; false for a name that it has not and for what is not a number.
    pub fn set(&mut self, name: &str, value: f64) -> bool {
        match self.0.iter_mut().find(|(known, ..)| *known == name) {
            Some(entry) if value.is_finite() => entry.1 = value,
            _ => return false,
        }
        true
    }

    /// The value as the chip measures it, within its range; 0 for a name that it has not.
    pub fn clamped(&self, name: &str) -> f64 {
        let entry = self.0.iter().find(|(known, ..)| *known == name);
        entry.map_or(0.0, |(_, value, range)| value.clamp(*range.start(), *range.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chip_that_is_a_bus_tells_its_world_and_takes_changes() {
        for (model, spec) in BUSES.iter().filter_map(|bus| Some((bus.name, bus.chip?))) {
            let mut chip = (spec.make)();
            assert_eq!(chip.kind(), model);
            for (name, value) in chip.world() {
                assert!(chip.set_world(name, value + 1.0), "{model} {name}");
                assert!(!chip.set_world(name, f64::NAN), "{model} {name}");
                assert!(chip.world().contains(&(name, value + 1.0)), "{model} {name}");
            }
            assert!(!chip.set_world("voltage_9", 1.0), "{model}");
            assert!(chip.set_fault(Some("nak")) && !chip.set_fault(Some("fire")), "{model}");
            assert!(!chip.write(&[0]) && !chip.read(&mut [0]), "{model}");
            assert!(chip.set_fault(None), "{model}");
        }
    }

    #[test]
    fn adjacent_writes_are_one_and_a_nak_ends_the_transaction() {
        let mut chip = (stand_in::find(stand_in::NAME).unwrap().make)();
        let mut limit = [0; 2];
        let mut operations = [Operation::Write(&[2, 0x12]), Operation::Write(&[0x34])];
        transact(chip.as_mut(), 0x48, &mut operations).unwrap();
        transact(chip.as_mut(), 0x48, &mut [Operation::Write(&[2]), Operation::Read(&mut limit)]).unwrap();
        assert_eq!(limit, [0x12, 0x34]);
        let mut operations = [Operation::Write(&[9]), Operation::Read(&mut limit), Operation::Write(&[2, 0, 0])];
        let refused = transact(chip.as_mut(), 0x48, &mut operations);
        assert!(matches!(refused, Err(BusError::NoAcknowledge { address: 0x48 })));
        transact(chip.as_mut(), 0x48, &mut [Operation::Write(&[2]), Operation::Read(&mut limit)]).unwrap();
        assert_eq!(limit, [0x12, 0x34]);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_make_a_chip_that_is_a_bus_panic(
            transfers: Vec<Vec<u8>>,
            length in 0_usize..40,
            world in proptest::num::f64::ANY,
        ) {
            for spec in BUSES.iter().filter_map(|bus| bus.chip) {
                let mut chip = (spec.make)();
                for (name, _) in chip.world() {
                    assert_eq!(chip.set_world(name, world), world.is_finite());
                }
                for bytes in &transfers {
                    let _acknowledged = chip.write(bytes) && chip.read(&mut vec![0; length]);
                }
            }
        }
    }
}
