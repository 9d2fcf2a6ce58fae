//! Which chips may be at an I²C address, told by what can be read without changing any of them.
//!
//! An address has 7 bits and hundreds of kinds of chips share them, so an address alone says little. Where a driver has an
//! [`Identity`](crate::drivers::Identity), its question is put and the answer decides.

use std::ops::RangeInclusive;

use embedded_hal::i2c::I2c;

use crate::bus::BusError;
use crate::drivers::{DRIVERS, DriverSpec};
use crate::model::Kind;

/// What an address may be.
#[derive(Clone, Debug)]
pub enum Likely {
    /// This chip: it said so.
    Confirmed(&'static DriverSpec),
    /// One of these, or something else.
    Possible {
        /// Drivers whose chips have this address and nothing to be told by.
        drivers: Vec<&'static DriverSpec>,
        /// Other things that are common at this address.
        others: Vec<&'static str>,
    },
}

/// What is common on a board and is not read by a driver at this address.
const OTHERS: &[(RangeInclusive<u8>, &str)] = &[
    (0x20..=0x27, "an expander: pcf8574, mcp23017"),
    (0x38..=0x3F, "an expander: pcf8574a"),
    (0x3C..=0x3D, "a display: SSD1306"),
    (0x50..=0x57, "a memory: 24Cxx"),
    (0x60..=0x61, "a converter: MCP4725"),
    (0x68..=0x68, "a clock: DS3231, DS1307, PCF8523"),
    (0x70..=0x77, "a multiplexer: tca9548a"),
];

/// Asks the chip at `address` the questions of every driver that may be meant.
pub fn at(i2c: &mut impl I2c<Error = BusError>, address: u8) -> Likely {
    let mut drivers = Vec::new();
    for spec in DRIVERS.iter().copied().filter(|spec| addresses(spec).contains(&address)) {
        let Some(identity) = spec.identity else {
            drivers.push(spec);
            continue;
        };
        let mut answer = vec![0; identity.length];
        if i2c.write_read(address, identity.ask, &mut answer).is_ok() && (identity.is)(&answer) {
            return Likely::Confirmed(spec);
        }
    }
    let others = OTHERS.iter().filter(|(range, _)| range.contains(&address)).map(|(_, words)| *words).collect();
    Likely::Possible { drivers, others }
}

/// The addresses that a driver's setting `address` allows.
fn addresses(spec: &DriverSpec) -> Vec<u8> {
    let field = spec.settings.iter().find(|field| field.name == "address");
    let Some(Kind::Address(all)) = field.map(|field| field.kind) else { return Vec::new() };
    all.iter().filter_map(|address| u8::try_from(*address).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::sim::chips;
    use crate::drivers::transcript::Bench;
    use crate::drivers::{self, Role, transcript};

    /// The drivers of I²C sensors that have a simulated chip, each with its addresses.
    fn chips_with_addresses() -> impl Iterator<Item = (&'static DriverSpec, u8)> {
        let present = DRIVERS.iter().copied().filter(|spec| chips::for_driver(spec.name).is_some());
        present.flat_map(|spec| addresses(spec).into_iter().map(move |address| (spec, address)))
    }

    #[test]
    fn every_chip_with_an_identity_is_known_and_no_other_is_taken_for_it() {
        for (spec, address) in chips_with_addresses() {
            match at(&mut Bench::with(spec.name, address), address) {
                Likely::Confirmed(found) => assert_eq!(found.name, spec.name, "at {address:#04x}"),
                Likely::Possible { drivers, .. } => {
                    let names: Vec<_> = drivers.iter().map(|spec| spec.name).collect();
                    assert!(spec.identity.is_none(), "{} at {address:#04x} was not known", spec.name);
                    assert!(names.contains(&spec.name), "{} is missing in {names:?}", spec.name);
                }
            }
        }
    }

    /// What a chip's own driver reads before and after something is done to the chip.
    fn sampled(spec: &DriverSpec, address: u8, between: impl FnOnce(&mut Bench)) -> String {
        let mut bench = Bench::with(spec.name, address);
        let mut sensor = transcript::build(spec, &mut bench).unwrap();
        let first = format!("{:?}", sensor.sample());
        between(&mut bench);
        format!("{first}, {:?}, {:?}", sensor.sample(), sensor.sample())
    }

    #[test]
    fn no_question_changes_a_chip_that_shares_the_address() {
        for spec in DRIVERS.iter().filter(|spec| matches!(spec.role, Role::Sensor { .. })) {
            let Some(address) = addresses(spec).first().copied() else { continue };
            let untouched = sampled(spec, address, |_| {});
            let asked = sampled(spec, address, |bench| drop(at(bench, address)));
            assert_eq!(asked, untouched, "{}", spec.name);
        }
    }

    #[test]
    fn nobody_is_asked_where_a_question_would_be_an_order() {
        for spec in drivers::DRIVERS {
            let Some(identity) = spec.identity else { continue };
            assert_eq!(identity.ask.len(), 1, "{}: two bytes write a register of a PCA9685", spec.name);
            let expander = |address: &u8| matches!(address, 0x20..=0x27 | 0x38..=0x3F);
            assert!(!addresses(spec).iter().any(expander), "{}: an expander would drive its pins", spec.name);
        }
    }
}
