//! What a device occupies on its bus, and all that others must know of it: [`Claim`].
//!
//! Two devices with one claim on one bus are an error of the configuration. An I²C address and a GPIO line are known to the whole
//! program, for multiplexers and expanders give them meaning on several buses at once. By whatever else a kind of bus distinguishes its
//! devices, it declares in its own file as a [`ClaimKind`], and its drivers claim one of those: `unit::UNIT.claim(17)`.

use std::hash::{Hash, Hasher};

use fieldgate_model::Setting;

/// What a device occupies on its bus.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// A 7-bit I²C address.
    Address(u8),
    /// A GPIO line as written.
    Line(String),
    /// One of several outputs of an I²C chip.
    ChipChannel {
        /// The chip's 7-bit address.
        address: u8,
        /// Which of its outputs.
        channel: u8,
        /// That of its frequency, which is one for all its outputs.
        prescaler: u8,
    },
    /// Something that only buses of one kind have.
    Of {
        /// As the file of that kind of bus declares it.
        kind: &'static ClaimKind,
        /// Which one; empty where a bus has only one.
        which: String,
    },
}

/// By what the devices on a kind of bus are distinguished. Two of them are the same kind if their names are.
#[derive(Debug)]
pub struct ClaimKind {
    /// What it is called in front of which one it is: `channel`, for "channel 3". Where a bus has only one, `one serial port`.
    pub name: &'static str,
    /// Whether a device that does not answer says nothing of the others on its bus. Else they are one chip and fail together.
    pub fails_alone: bool,
    /// Under which key of `chips` in the state file the simulated chip is; `None` where there is none.
    pub simulated: fn(which: &str) -> Option<String>,
}

impl ClaimKind {
    /// The claim to one of them.
    pub fn claim(&'static self, which: impl ToString) -> Claim {
        Claim::Of { kind: self, which: which.to_string() }
    }

    /// The claim to the only one of a bus.
    pub fn only(&'static self) -> Claim {
        self.claim("")
    }
}

impl PartialEq for ClaimKind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ClaimKind {}

impl Hash for ClaimKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Claim {
    /// How problems name it: `address 0x48`, `line GPIO17`.
    pub fn describe(&self) -> String {
        match self {
            Self::Address(address) => format!("address {address:#04x}"),
            Self::Line(line) => format!("line {line}"),
            Self::ChipChannel { address, channel, .. } => {
                format!("channel {channel} of the chip at address {address:#04x}")
            }
            Self::Of { kind, which } => [kind.name, which].join(" ").trim_end().to_owned(),
        }
    }

    /// The 7-bit I²C address that it occupies, alone or with others.
    pub fn i2c_address(&self) -> Option<u8> {
        match self {
            Self::Address(address) | Self::ChipChannel { address, .. } => Some(*address),
            Self::Line(_) | Self::Of { .. } => None,
        }
    }

    /// The GPIO line, as written.
    pub fn line(&self) -> Option<&str> {
        match self {
            Self::Line(line) => Some(line),
            _ => None,
        }
    }

    /// What stops answering when this device does: a whole chip, or what is claimed. `None`: the whole bus, which is one chip.
    pub fn fails_with(&self) -> Option<Self> {
        match self {
            Self::Address(address) | Self::ChipChannel { address, .. } => Some(Self::Address(*address)),
            Self::Of { kind, .. } if kind.fails_alone => Some(self.clone()),
            Self::Line(_) | Self::Of { .. } => None,
        }
    }

    /// Whether this value of one of the device's settings is where the claim comes from.
    pub fn comes_from(&self, setting: &Setting) -> bool {
        match (self, setting) {
            (Self::Address(address), Setting::Integer(number)) => i64::from(*address) == *number,
            (Self::ChipChannel { channel, .. }, Setting::Integer(number)) => i64::from(*channel) == *number,
            (Self::Of { which, .. }, Setting::Integer(number)) => *which == number.to_string(),
            (Self::Line(text) | Self::Of { which: text, .. }, Setting::Text(written)) => text == written,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static UNIT: ClaimKind =
        ClaimKind { name: "unit", fails_alone: true, simulated: |which| Some(format!("unit {which}")) };
    static PORT: ClaimKind = ClaimKind { name: "one port", fails_alone: false, simulated: |_| None };

    #[test]
    fn a_kind_of_bus_may_distinguish_its_devices_by_something_of_its_own() {
        let unit = UNIT.claim(17);
        assert_eq!(unit.describe(), "unit 17");
        assert_eq!(unit.fails_with(), Some(UNIT.claim("17")), "another unit goes on");
        assert_ne!(unit, UNIT.claim(18));
        assert!(unit.comes_from(&Setting::Integer(17)) && !unit.comes_from(&Setting::Integer(18)));
        assert_eq!((unit.i2c_address(), unit.line()), (None, None));
        let port = PORT.only();
        assert_eq!((port.describe().as_str(), port.fails_with()), ("one port", None));
        assert_ne!(port, UNIT.only());
    }

    #[test]
    fn outputs_of_one_chip_fail_with_the_chip() {
        let output = |channel| Claim::ChipChannel { address: 0x40, channel, prescaler: 121 };
        assert_eq!(output(3).fails_with(), output(4).fails_with());
        assert_eq!(output(3).fails_with(), Claim::Address(0x40).fails_with());
        assert_eq!(Claim::Line("P4".into()).fails_with(), None);
        assert_eq!(output(3).describe(), "channel 3 of the chip at address 0x40");
    }
}
