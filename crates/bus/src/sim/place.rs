//! How the place of a chip is named (`0x48`, `0x70.3/0x48`, `spi`), and which chip is put there for a driver.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::Claim;
use crate::sim::World;

/// A channel of the multiplexer at an address.
type Hop = (u8, u8);

/// Where a chip sits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ChipPlace {
    /// An I²C address.
    Address(u8),
    /// An I²C address behind channels of multiplexers, the outermost first.
    Behind(Vec<Hop>, u8),
    /// The one chip select for SPI.
    ChipSelect,
    /// The far end of the one serial port.
    Port,
    /// A device that the simulated kernel drives, by its name there, or whatever else a bus distinguishes its devices by.
    Device(String),
}

impl ChipPlace {
    /// As the key of a state file says it: `0x48` or `72`, `0x70.3/0x48`, `spi`, `uart`, or a device's name.
    pub(super) fn parse(key: &str) -> Option<Self> {
        if let Some((hops, own)) = key.rsplit_once('/') {
            return Some(Self::Behind(hops.split('/').map(hop).collect::<Option<_>>()?, address(own)?));
        }
        match address(key) {
            Some(address) => Some(Self::Address(address)),
            None if key.starts_with("0x") || key.starts_with("0X") || key.parse::<u8>().is_ok() => None,
            None => Some(Self::named(key.to_owned())),
        }
    }

    /// The place that has a name in place of an address.
    fn named(key: String) -> Self {
        match key.as_str() {
            "spi" => Self::ChipSelect,
            "uart" => Self::Port,
            _ => Self::Device(key),
        }
    }

    /// What sets the drift of neighbours apart.
    pub(super) fn phase(&self) -> u8 {
        match self {
            Self::Address(address) | Self::Behind(_, address) => *address,
            Self::ChipSelect | Self::Port => 0,
            Self::Device(name) => name.bytes().fold(0, u8::wrapping_add),
        }
    }

    /// The place with an address behind these channels.
    fn behind(hops: &[Hop], address: u8) -> Self {
        if hops.is_empty() { Self::Address(address) } else { Self::Behind(hops.to_vec(), address) }
    }

    /// Whether it is the place of an address, if `open` says that each multiplexer on the way has this channel open.
    pub(super) fn hears(&self, address: u8, open: impl Fn(&Self, u8) -> bool) -> bool {
        match self {
            Self::Address(own) => *own == address,
            Self::Behind(hops, own) => {
                let gate = |depth: usize| {
                    let (multiplexer, channel) = hops[depth];
                    open(&Self::behind(&hops[..depth], multiplexer), channel)
                };
                *own == address && (0..hops.len()).all(gate)
            }
            Self::ChipSelect | Self::Port | Self::Device(_) => false,
        }
    }
}

fn hop(text: &str) -> Option<Hop> {
    let (multiplexer, channel) = text.split_once('.')?;
    Some((address(multiplexer)?, channel.parse().ok().filter(|channel| *channel < 8)?))
}

/// `0x76` or `118`.
fn address(text: &str) -> Option<u8> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u8::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.ok().filter(|address| *address < 0x80)
}

impl From<u8> for ChipPlace {
    fn from(address: u8) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for ChipPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address:#04x}"),
            Self::Behind(hops, address) => {
                hops.iter().try_for_each(|(multiplexer, channel)| write!(f, "{multiplexer:#04x}.{channel}/"))?;
                write!(f, "{address:#04x}")
            }
            Self::ChipSelect => f.write_str("spi"),
            Self::Port => f.write_str("uart"),
            Self::Device(name) => f.write_str(name),
        }
    }
}

/// Where chips are put on a simulated bus, or behind multiplexers on it.
#[derive(Clone)]
pub struct ChipSockets {
    world: Rc<RefCell<World>>,
    behind: Vec<Hop>,
}

impl ChipSockets {
    /// On the bus itself.
    pub(super) fn of(world: &Rc<RefCell<World>>) -> Self {
        Self { world: Rc::clone(world), behind: Vec::new() }
    }

    /// Behind a channel of the multiplexer at this address.
    pub fn behind(&self, multiplexer: u8, channel: u8) -> Self {
        let hops = self.behind.iter().copied().chain([(multiplexer, channel)]);
        Self { world: Rc::clone(&self.world), behind: hops.collect() }
    }

    /// Puts the chip that a driver expects at each of these places where none is yet.
    pub fn expect(&self, driver: &'static str, claims: &[Claim]) {
        let mut world = self.world.borrow_mut();
        for place in claims.iter().filter_map(|claim| self.claimed(claim)) {
            if world.slots.get(place.clone()).is_none() && world.slots.put(place, driver) {
                world.changed();
            }
        }
    }

    /// The place that a claim means, if a chip may sit there.
    fn claimed(&self, claim: &Claim) -> Option<ChipPlace> {
        match claim {
            Claim::Address(address) | Claim::ChipChannel { address, .. } => {
                Some(ChipPlace::behind(&self.behind, *address))
            }
            Claim::Of { kind, which } => (kind.simulated)(which).map(ChipPlace::named),
            Claim::Line(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for text in ["0x48", "0x70.3/0x48", "0x70.3/0x71.7/0x48", "spi", "uart", "28-00000a1b2c3d"] {
            assert_eq!(ChipPlace::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ChipPlace::parse("72"), Some(ChipPlace::Address(0x48)));
        for text in ["0x80", "200", "0x70/0x48", "0x70.8/0x48", "0x70.3/", "0x70.x/0x48", "/0x48"] {
            assert_eq!(ChipPlace::parse(text), None, "{text}");
        }
    }
}
