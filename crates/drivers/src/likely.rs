//! Which chips may be at an I²C address, identified by what can be read without changing any of them.
//!
//! An address has 7 bits and hundreds of kinds of chips share them, so an address alone says little. Where a driver has an
//! [`Identity`], its question is put and the answer decides.

use std::ops::RangeInclusive;

use embedded_hal::i2c::I2c;

use crate::{DRIVERS, DriverSpec, Identity};
use fieldgate_bus::BusError;
use fieldgate_model::Kind;

/// What an address may be.
#[derive(Clone, Debug)]
pub enum Likely {
    /// This chip: it said so.
    Confirmed(&'static DriverSpec),
    /// One of these, or something else.
    Possible {
        /// Drivers whose chips have this address and cannot be identified.
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
        if says(i2c, address, &identity) {
            return Likely::Confirmed(spec);
        }
    }
    let others = OTHERS.iter().filter(|(range, _)| range.contains(&address)).map(|(_, words)| *words).collect();
    Likely::Possible { drivers, others }
}

/// Whether the chip gives the answer to each question.
fn says(i2c: &mut impl I2c<Error = BusError>, address: u8, identity: &Identity) -> bool {
    let mut answer = vec![0; identity.length];
    i2c.write_read(address, identity.ask, &mut answer).is_ok()
        && (identity.is)(&answer)
        && identity.then.is_none_or(|next| says(i2c, address, next))
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
    use crate::transcript::{ChipUnderTest, Script};
    use crate::{Role, transcript};
    use embedded_hal::i2c::{ErrorType, Operation};
    use fieldgate_bus::seconds::Seconds;
    use fieldgate_bus::{Bus, SharedI2c};
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    /// The drivers of I²C sensors that have a simulated chip, each with its addresses.
    fn chips_with_addresses() -> impl Iterator<Item = (&'static DriverSpec, u8)> {
        let present = DRIVERS.iter().copied().filter(|spec| spec.chip.is_some());
        present.flat_map(|spec| addresses(spec).into_iter().map(move |address| (spec, address)))
    }

    #[test]
    fn every_chip_with_an_identity_is_known_and_no_other_is_taken_for_it() {
        for (spec, address) in chips_with_addresses() {
            match at(&mut ChipUnderTest::with(spec.name, address), address) {
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
    fn sampled(spec: &DriverSpec, address: u8, between: impl FnOnce(&mut ChipUnderTest)) -> String {
        let Role::Sensor { build, .. } = spec.role else { panic!("{} is not a sensor", spec.name) };
        let mut chip = ChipUnderTest::with(spec.name, address);
        let settings = transcript::settings(spec, &[("address", &format!("{address:#04x}"))]);
        let mut sensor = build(&mut chip, &settings).unwrap();
        let first = format!("{:?}", sensor.sample());
        between(&mut chip);
        format!("{first}, {:?}, {:?}", sensor.sample(), sensor.sample())
    }

    #[test]
    fn no_question_changes_a_chip_that_shares_the_address() {
        for (spec, address) in chips_with_addresses().filter(|(spec, _)| matches!(spec.role, Role::Sensor { .. })) {
            let untouched = sampled(spec, address, |_| {});
            let asked = sampled(spec, address, |chip| drop(at(chip, address)));
            assert_eq!(asked, untouched, "{} at {address:#04x}", spec.name);
        }
    }

    /// Registers that are read before a chip is brought up and say how it is, not who.
    const STATES: &[(&str, u8)] = &[("ccs811", 0x00)];

    /// A chip one byte of whose ids is another one. The first write ends the test: a driver that writes has accepted the chip.
    #[derive(Clone)]
    struct Altered {
        chip: ChipUnderTest,
        altered: Option<(Id, u8)>,
        read: Rc<RefCell<Vec<Id>>>,
        accepted: Rc<Cell<bool>>,
    }

    /// A byte of an id: of a register of 16 bits, or a register of its own.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Id {
        Byte(u8),
        OfWord(u8, usize),
    }

    impl Id {
        fn of(register: u8, length: usize) -> impl Iterator<Item = Self> {
            (0..length).map(move |at| match length {
                2 => Self::OfWord(register, at),
                // The highest bit asks some chips to go on to the next register.
                _ => Self::Byte(register.wrapping_add(at as u8) & 0x7F),
            })
        }
    }

    impl Altered {
        fn new(spec: &DriverSpec, address: u8, altered: Option<(Id, u8)>) -> Self {
            Self {
                chip: ChipUnderTest::with(spec.name, address),
                altered,
                read: Rc::default(),
                accepted: Rc::default(),
            }
        }

        /// What the driver says of it; nothing when it takes it for its own.
        fn refused_by(&mut self, spec: &DriverSpec) -> Option<String> {
            let Role::Sensor { build, .. } = spec.role else { panic!("{} is not a sensor", spec.name) };
            let outcome = build(self, &transcript::settings(spec, &[])).err();
            outcome.filter(|_| !self.accepted.get()).map(|error| error.to_string())
        }
    }

    impl ErrorType for Altered {
        type Error = BusError;
    }

    impl I2c for Altered {
        fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
            let [Operation::Write(asked), Operation::Read(answer)] = operations else {
                self.accepted.set(true);
                return Err(BusError::NoAcknowledge { address });
            };
            self.chip.write_read(address, asked, answer)?;
            let [register] = **asked else { return Ok(()) };
            for (id, byte) in Id::of(register, answer.len()).zip(answer.iter_mut()) {
                if let Some((_, value)) = self.altered.filter(|(altered, _)| *altered == id) {
                    *byte = value;
                }
            }
            if answer.len() <= 3 {
                self.read.borrow_mut().extend(Id::of(register, answer.len()));
            }
            Ok(())
        }
    }

    impl Bus for Altered {
        fn describe(&self) -> String {
            "a chip with another id".to_owned()
        }

        fn i2c(&mut self) -> Result<SharedI2c, BusError> {
            Ok(SharedI2c::new(self.clone()))
        }

        fn seconds(&mut self) -> Result<Box<dyn Seconds>, BusError> {
            Ok(Box::new(Script))
        }
    }

    #[test]
    fn what_the_scan_takes_for_a_chip_its_driver_takes_too() {
        let known = chips_with_addresses()
            .filter(|(spec, address)| spec.identity.is_some() && addresses(spec).first() == Some(address));
        for (spec, address) in known {
            let mut as_it_is = Altered::new(spec, address, None);
            assert_eq!(as_it_is.refused_by(spec), None, "{}", spec.name);
            let ids: Vec<_> = as_it_is.read.take();
            for id in
                ids.into_iter().filter(|id| !STATES.iter().any(|(name, at)| *name == spec.name && *id == Id::Byte(*at)))
            {
                for value in 0..=u8::MAX {
                    let mut chip = Altered::new(spec, address, Some((id, value)));
                    let scanned = at(&mut chip, address);
                    let refused = chip.refused_by(spec);
                    if let Likely::Confirmed(found) = scanned
                        && found.name == spec.name
                    {
                        assert_eq!(refused, None, "{} whose {id:?} is {value:#04x}", spec.name);
                    }
                    let Some((_, named)) = refused.as_deref().and_then(|words| words.split_once("write driver: "))
                    else {
                        continue;
                    };
                    let named = crate::find(named).unwrap();
                    assert_eq!(
                        chip.refused_by(named),
                        None,
                        "sent from {} to {}, {id:?} is {value:#04x}",
                        spec.name,
                        named.name
                    );
                }
            }
        }
    }

    #[test]
    fn nobody_is_asked_where_a_question_would_be_an_order() {
        for spec in crate::DRIVERS {
            let Some(identity) = spec.identity else { continue };
            let questions = std::iter::successors(Some(&identity), |question| question.then);
            let are_short = questions.clone().all(|question| question.ask.len() == 1);
            assert!(are_short, "{}: two bytes write a register of a PCA9685", spec.name);
            let expander = |address: &u8| matches!(address, 0x20..=0x27 | 0x38..=0x3F);
            assert!(!addresses(spec).iter().any(expander), "{}: an expander would drive its pins", spec.name);
        }
    }
}
