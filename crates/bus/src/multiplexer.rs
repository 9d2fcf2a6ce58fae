//! Channels of an I²C multiplexer: TCA9548A, PCA9548A and the like with four channels, each channel a bus of its own.
//!
//! Wiring: SDA and SCL of the chip on the parent's, SD0/SC0 … on those of each branch, every branch with pull-ups; A2 to A0
//! choose an address from 0x70 to 0x77; RESET to the supply. One control register, one bit for each channel (TI SCPS207,
//! section "Control Register"); after power-on all channels are off.
//!
//! Promises: before a transaction exactly the wanted channel of this multiplexer is open, and no channel of another one on
//! the same parent, for chips with the same address may sit behind both. What is open is remembered, so that a transaction
//! on the channel used last costs nothing more; after any error it counts as unknown and is written again. A channel stays
//! open until another is wanted or the bus is closed: the configuration has seen to it that no address behind it is also in
//! use on the parent.
//!
//! Two processes must not use one multiplexer at a time: each would turn it away from the other between two transfers.
//!
//! A multiplexer behind a channel of another one works the same way, with that channel as its parent.

use std::collections::BTreeMap;

use embedded_hal::i2c::{ErrorType, I2c, Operation};
use rustix::io::Errno;

use crate::i2c_chip::{ON_I2C, address, claims};
use crate::sim::chips::{Chip, ChipSpec, tca9548a};
use crate::{Bus, BusError, BusNeed, BusSpec, Claim, Device, Entry, SharedI2c, sim};
use fieldgate_model::{Field, Kind, Need};

/// A channel of a TCA9548A.
pub static TCA9548A: BusSpec =
    channel_of("tca9548a", "shelf-3: { type: tca9548a, bus: i2c-1, address: 0x70, channel: 3 }", EIGHT, || {
        Box::new(tca9548a::Multiplexer::new("tca9548a", 8))
    });

/// A channel of a PCA9548A.
pub static PCA9548A: BusSpec =
    channel_of("pca9548a", "shelf-3: { type: pca9548a, bus: i2c-1, address: 0x70, channel: 3 }", EIGHT, || {
        Box::new(tca9548a::Multiplexer::new("pca9548a", 8))
    });

/// A channel of a TCA9546A.
pub static TCA9546A: BusSpec =
    channel_of("tca9546a", "shelf-3: { type: tca9546a, bus: i2c-1, address: 0x70, channel: 3 }", FOUR, || {
        Box::new(tca9548a::Multiplexer::new("tca9546a", 4))
    });

/// A channel of a PCA9546A.
pub static PCA9546A: BusSpec =
    channel_of("pca9546a", "shelf-3: { type: pca9546a, bus: i2c-1, address: 0x70, channel: 3 }", FOUR, || {
        Box::new(tca9548a::Multiplexer::new("pca9546a", 4))
    });

static EIGHT: &[Field] = &[ON_I2C, ADDRESS, channel_up_to(7)];
static FOUR: &[Field] = &[ON_I2C, ADDRESS, channel_up_to(3)];

const ADDRESS: Field = address(&[0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77]);

const fn channel_up_to(max: i64) -> Field {
    Field { name: "channel", kind: Kind::Integer { min: 0, max }, need: Need::Required, doc: "which of the channels" }
}

const fn channel_of(
    name: &'static str,
    example: &'static str,
    fields: &'static [Field],
    chip: fn() -> Box<dyn Chip>,
) -> BusSpec {
    BusSpec {
        name,
        fields,
        example,
        on: Some(BusNeed::I2c),
        offers: &[BusNeed::I2c],
        is_channel: true,
        claims,
        device: |entry| {
            let Settings { address, channel, .. } = Settings::of(entry);
            let on = &entry.on.as_ref()?.name;
            Some(Device::Named(format!("channel {channel} of {address:#04x} on {on}")))
        },
        chip: Some(ChipSpec::of(chip)),
        open: |entry, beneath, _| Ok(Box::new(Channel::open(&Settings::of(entry), beneath)?)),
        ..BusSpec::USUAL
    }
}

/// One channel of one multiplexer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which chip, as in `type:`.
    pub model: &'static str,
    /// Its own address on the parent, 0x70 to 0x77.
    pub address: u8,
    /// Which of its channels.
    pub channel: u8,
}

impl Settings {
    fn of(entry: &Entry) -> Self {
        let channel = u8::try_from(entry.keys.integer("channel")).unwrap_or(u8::MAX);
        Self { model: entry.spec.name, address: entry.keys.address("address"), channel }
    }
}

/// What each multiplexer on one adapter has open, as far as is known.
#[derive(Debug, Default)]
pub struct Multiplexers(BTreeMap<u8, Open>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// Whatever somebody else, or a failed transfer, has left.
    Unknown,
    Nothing,
    Channel(u8),
}

/// A channel as a bus.
pub struct Channel {
    name: String,
    way: Branch,
    i2c: SharedI2c,
    sockets: Option<sim::ChipSockets>,
}

impl Channel {
    /// The channel on an open parent. The multiplexer is spoken to at the first transaction.
    ///
    /// # Errors
    /// [`BusError::Unsupported`] when the parent has no I²C.
    pub fn open(settings: &Settings, parent: &mut dyn Bus) -> Result<Self, BusError> {
        let Settings { model, address, channel } = *settings;
        parent.expect(model, &[Claim::Address(address)]);
        let adapter = parent.i2c()?;
        adapter.multiplexers.borrow_mut().0.entry(address).or_insert(Open::Unknown);
        let way = Branch { adapter, multiplexer: address, channel };
        Ok(Self {
            name: format!("channel {channel} of the {model} at {address:#04x} on {}", parent.describe()),
            i2c: SharedI2c::new(way.clone()),
            way,
            sockets: parent.chip_sockets().map(|sockets| sockets.behind(address, channel)),
        })
    }
}

impl Bus for Channel {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn i2c(&mut self) -> Result<SharedI2c, BusError> {
        Ok(self.i2c.clone())
    }

    fn expect(&mut self, driver: &'static str, claims: &[Claim]) {
        if let Some(sockets) = &self.sockets {
            sockets.expect(driver, claims);
        }
    }

    fn chip_sockets(&self) -> Option<sim::ChipSockets> {
        self.sockets.clone()
    }
}

/// Another process on the same wires must find the channel closed, or it would take the chips behind it for others.
impl Drop for Channel {
    fn drop(&mut self) {
        let Branch { adapter, multiplexer, channel } = &mut self.way;
        if adapter.multiplexers.borrow().0.get(multiplexer) == Some(&Open::Channel(*channel)) {
            // It may have been unplugged, and then it is closed.
            set(adapter, *multiplexer, Open::Nothing).ok();
        }
    }
}

/// The way to the chips behind one channel.
#[derive(Clone)]
struct Branch {
    adapter: SharedI2c,
    multiplexer: u8,
    channel: u8,
}

impl Branch {
    /// Opens this channel and no other. One that does not answer while it is to be closed is not there, and closed.
    fn select(&mut self) -> Result<(), BusError> {
        let known = self.adapter.multiplexers.borrow().0.clone();
        let (own, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|(at, _)| *at == self.multiplexer);
        for (at, open) in others.into_iter().chain(own) {
            let wanted = if at == self.multiplexer { Open::Channel(self.channel) } else { Open::Nothing };
            if open == wanted {
                continue;
            }
            match set(&mut self.adapter, at, wanted) {
                Err(BusError::NoAcknowledge { .. }) if wanted == Open::Nothing => remember(&self.adapter, at, wanted),
                outcome => outcome.map_err(|e| self.refused(e))?,
            }
        }
        Ok(())
    }

    /// A multiplexer's silence must not be taken for that of the chip behind it, which may mean "not ready".
    fn refused(&self, error: BusError) -> BusError {
        match error {
            BusError::NoAcknowledge { address } => {
                let what = format!("opening channel {} by the multiplexer at {address:#04x}", self.channel);
                BusError::Io { what, source: Errno::NXIO.into() }
            }
            other => other,
        }
    }
}

/// Writes the control register of a multiplexer.
fn set(adapter: &mut SharedI2c, multiplexer: u8, wanted: Open) -> Result<(), BusError> {
    let bits = if let Open::Channel(channel) = wanted { 1 << channel } else { 0 };
    remember(adapter, multiplexer, Open::Unknown);
    adapter.write(multiplexer, &[bits])?;
    remember(adapter, multiplexer, wanted);
    Ok(())
}

fn remember(adapter: &SharedI2c, multiplexer: u8, open: Open) {
    adapter.multiplexers.borrow_mut().0.insert(multiplexer, open);
}

impl ErrorType for Branch {
    type Error = BusError;
}

impl I2c for Branch {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        self.select()?;
        let outcome = self.adapter.transaction(address, operations);
        if outcome.is_err() {
            remember(&self.adapter, self.multiplexer, Open::Unknown);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bus;
    use std::cell::RefCell;
    use std::rc::Rc;

    type Transfers = Rc<RefCell<Vec<(u8, Vec<u8>)>>>;

    /// Acknowledges all addresses but these, and notes what is written.
    struct Wire {
        seen: Transfers,
        silent: Rc<RefCell<Vec<u8>>>,
    }

    impl ErrorType for Wire {
        type Error = BusError;
    }

    impl I2c for Wire {
        fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
            let written = operations.iter().filter_map(|operation| match operation {
                Operation::Write(bytes) => Some(bytes.to_vec()),
                Operation::Read(_) => None,
            });
            self.seen.borrow_mut().push((address, written.flatten().collect()));
            if self.silent.borrow().contains(&address) {
                return Err(BusError::NoAcknowledge { address });
            }
            Ok(())
        }
    }

    struct Parent(SharedI2c);

    impl Bus for Parent {
        fn describe(&self) -> String {
            "i2c-1".into()
        }

        fn i2c(&mut self) -> Result<SharedI2c, BusError> {
            Ok(self.0.clone())
        }
    }

    struct Rig {
        parent: Parent,
        opened: Vec<Channel>,
        seen: Transfers,
        silent: Rc<RefCell<Vec<u8>>>,
    }

    impl Rig {
        fn new() -> Self {
            let (seen, silent) = (Transfers::default(), Rc::<RefCell<Vec<u8>>>::default());
            let wire = Wire { seen: Rc::clone(&seen), silent: Rc::clone(&silent) };
            Self { parent: Parent(SharedI2c::new(wire)), opened: Vec::new(), seen, silent }
        }

        fn channel(&mut self, address: u8, channel: u8) -> SharedI2c {
            let mut bus = channel_on(&mut self.parent, address, channel);
            let i2c = bus.i2c().unwrap();
            self.opened.push(bus);
            i2c
        }

        fn seen(&self) -> Vec<(u8, Vec<u8>)> {
            std::mem::take(&mut self.seen.borrow_mut())
        }
    }

    fn channel_on(parent: &mut dyn Bus, address: u8, channel: u8) -> Channel {
        Channel::open(&Settings { model: "tca9548a", address, channel }, parent).unwrap()
    }

    #[test]
    fn a_channel_is_selected_when_another_was_used_last_and_only_then() {
        let mut rig = Rig::new();
        let (mut three, mut four) = (rig.channel(0x70, 3), rig.channel(0x70, 4));
        three.write(0x44, &[1]).unwrap();
        three.write(0x45, &[2]).unwrap();
        four.write(0x44, &[3]).unwrap();
        three.write(0x44, &[4]).unwrap();
        let transfers = [(0x70, 8), (0x44, 1), (0x45, 2), (0x70, 16), (0x44, 3), (0x70, 8), (0x44, 4)];
        assert_eq!(rig.seen(), transfers.map(|(address, byte)| (address, vec![byte])));
    }

    #[test]
    fn a_channel_is_closed_with_its_bus_unless_another_is_open() {
        let mut rig = Rig::new();
        let (mut three, _four) = (rig.channel(0x70, 3), rig.channel(0x70, 4));
        three.write(0x44, &[1]).unwrap();
        rig.seen();
        rig.opened.pop();
        assert_eq!(rig.seen(), []);
        rig.opened.pop();
        assert_eq!(rig.seen(), [(0x70, vec![0])]);
    }

    #[test]
    fn any_error_makes_the_channel_be_selected_anew() {
        let mut rig = Rig::new();
        let mut three = rig.channel(0x70, 3);
        three.write(0x44, &[1]).unwrap();
        rig.silent.borrow_mut().push(0x44);
        assert!(matches!(three.write(0x44, &[2]), Err(BusError::NoAcknowledge { address: 0x44 })));
        rig.silent.borrow_mut().clear();
        rig.seen();
        three.write(0x44, &[3]).unwrap();
        assert_eq!(rig.seen(), [(0x70, vec![8]), (0x44, vec![3])]);
    }

    #[test]
    fn no_channel_of_another_multiplexer_stays_open() {
        let mut rig = Rig::new();
        let (mut left, mut right) = (rig.channel(0x70, 0), rig.channel(0x71, 0));
        left.write(0x44, &[1]).unwrap();
        assert_eq!(rig.seen(), [(0x71, vec![0]), (0x70, vec![1]), (0x44, vec![1])], "whatever was left open before");
        right.write(0x44, &[2]).unwrap();
        assert_eq!(rig.seen(), [(0x70, vec![0]), (0x71, vec![1]), (0x44, vec![2])]);
        right.write(0x44, &[3]).unwrap();
        assert_eq!(rig.seen(), [(0x44, vec![3])]);
    }

    #[test]
    fn a_multiplexer_that_is_silent_is_named_and_hinders_no_other() {
        let mut rig = Rig::new();
        let (mut left, mut right) = (rig.channel(0x70, 5), rig.channel(0x71, 0));
        rig.silent.borrow_mut().push(0x70);
        let error = left.write(0x44, &[1]).unwrap_err();
        assert!(error.to_string().contains("channel 5 by the multiplexer at 0x70"), "{error}");
        assert!(matches!(error, BusError::Io { .. }), "it is not the chip that did not acknowledge");
        rig.seen();
        right.write(0x44, &[2]).unwrap();
        right.write(0x44, &[3]).unwrap();
        let seen = [(0x70, vec![0]), (0x71, vec![1]), (0x44, vec![2]), (0x44, vec![3])];
        assert_eq!(rig.seen(), seen, "what is not there is not asked twice");
    }

    #[test]
    fn a_multiplexer_behind_another_keeps_its_channel_while_the_other_turns_away() {
        let mut rig = Rig::new();
        let mut outer = channel_on(&mut rig.parent, 0x70, 1);
        let mut innermost = channel_on(&mut outer, 0x71, 2);
        let mut inner = innermost.i2c().unwrap();
        let mut aside = rig.channel(0x70, 7);
        inner.write(0x44, &[1]).unwrap();
        assert_eq!(rig.seen(), [(0x70, vec![2]), (0x71, vec![4]), (0x44, vec![1])]);
        aside.write(0x44, &[2]).unwrap();
        inner.write(0x44, &[3]).unwrap();
        assert_eq!(rig.seen(), [(0x70, vec![128]), (0x44, vec![2]), (0x70, vec![2]), (0x44, vec![3])]);
    }
}
