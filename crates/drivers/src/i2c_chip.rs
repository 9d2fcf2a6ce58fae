//! What the drivers of I²C chips share: saying that a chip is missing or another one, reading a word of it, and refusing values
//! that it cannot measure.
//!
//! It hides no transfer: each driver's own file shows every byte that goes to its chip.

use std::ops::RangeInclusive;

use embedded_hal::i2c::I2c;

use crate::DriverError;
use fieldgate_bus::{BusError, Claim};
use fieldgate_model::Settings;

/// The claim of a driver whose only claim is its setting `address`.
pub(crate) fn claims(settings: &Settings) -> Vec<Claim> {
    vec![Claim::Address(settings.address("address"))]
}

/// At bring-up: turns a missing acknowledgement into the missing chip, by name. Other failures stay what they are.
pub(crate) fn absent(chip: &'static str) -> impl Fn(BusError) -> DriverError {
    move |error| match error {
        BusError::NoAcknowledge { address } => {
            another(chip, address, "nobody answers; check the wiring, the supply and the address".to_owned())
        }
        other => DriverError::Bus(other),
    }
}

/// Something answers at this address, but not as this chip does.
pub(crate) fn another(chip: &'static str, address: u8, why: String) -> DriverError {
    DriverError::NoDevice { chip, place: format!("address {address:#04x}"), why }
}

/// A register of 16 bits, high byte first, behind a pointer of one byte.
pub(crate) fn read_word(i2c: &mut impl I2c<Error = BusError>, address: u8, register: u8) -> Result<u16, BusError> {
    let mut bytes = [0; 2];
    i2c.write_read(address, &[register], &mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

/// The value, if the chip can measure it.
pub(crate) fn within(quantity: &'static str, value: f64, range: &RangeInclusive<f64>) -> Result<f64, DriverError> {
    if range.contains(&value) { Ok(value) } else { Err(DriverError::OutOfRange { quantity, value }) }
}

/// The relative humidity, cut to what can be. Chips whose scale goes beyond 0 to 100 % leave it by their own error, and by more
/// in dew; a scale's end is no humidity but a wet, open or missing sensing element.
pub(crate) fn relative_humidity(percent: f64) -> Result<f64, DriverError> {
    Ok(within("humidity", percent, &(-5.0..=110.0))?.clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_humidity_a_little_beyond_its_range_is_cut_and_the_end_of_a_scale_refused() {
        assert_eq!(relative_humidity(-1.5).unwrap(), 0.0);
        assert_eq!(relative_humidity(42.0).unwrap(), 42.0);
        assert_eq!(relative_humidity(104.0).unwrap(), 100.0);
        assert!(relative_humidity(-6.0).is_err() && relative_humidity(118.9).is_err());
    }

    #[test]
    fn a_missing_acknowledgement_names_the_chip_and_where_it_should_be() {
        let error = absent("BH1750")(BusError::NoAcknowledge { address: 0x23 }).to_string();
        assert!(error.starts_with("no BH1750 at address 0x23: nobody answers"), "{error}");
    }

    #[test]
    fn what_is_not_a_number_is_out_of_range() {
        assert!(within("temperature", f64::NAN, &(-40.0..=85.0)).is_err());
        assert!(within("temperature", 85.0, &(-40.0..=85.0)).is_ok());
    }
}
