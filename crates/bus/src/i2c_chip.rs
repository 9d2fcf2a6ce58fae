//! What buses that are chips on an I²C bus have in common: keys, and what they occupy there.

use fieldgate_model::{Field, Kind, Need};

use crate::{BENEATH, Claim, Keys};

/// The key that names the bus beneath.
pub(crate) const ON_I2C: Field =
    Field { name: BENEATH, kind: Kind::Name, need: Need::Required, doc: "the I²C bus that the chip sits on" };

/// The key of the chip's address, one of these.
pub(crate) const fn address(all: &'static [u16]) -> Field {
    Field { name: "address", kind: Kind::Address(all), need: Need::Required, doc: "its address" }
}

/// The address, as far as it is known.
pub(crate) fn claims(keys: &Keys) -> Vec<(&'static str, Claim)> {
    keys.get("address").map(|_| ("address", Claim::Address(keys.address("address")))).into_iter().collect()
}
