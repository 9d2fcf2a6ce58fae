//! What the channels of devices that the kernel drives are usually called, for `fieldgate scan`, which proposes a configuration.

use crate::{linux_hwmon, linux_iio};

/// What a channel for this file is usually called: `temperature` for `in_temp_input`, `voltage_0` for `in0_input`. `None` for
/// a file whose unit is not known.
pub fn usual_name(driver: &str, attribute: &str) -> Option<String> {
    let (units, plain) = match driver {
        "linux-iio" => (linux_iio::UNITS, attribute.strip_prefix("in_")?),
        _ => (linux_hwmon::UNITS, attribute),
    };
    let (prefix, ..) = units.iter().find(|(prefix, ..)| attribute.starts_with(prefix))?;
    let prefix = if driver == "linux-iio" { prefix.strip_prefix("in_")? } else { *prefix };
    let number: String = plain.strip_prefix(prefix)?.chars().take_while(char::is_ascii_digit).collect();
    let term = match prefix {
        "temp" => "temperature",
        "humidityrelative" => "humidity",
        "in" => "voltage",
        "curr" => "current",
        "concentration_co2" => "co2",
        other => other,
    };
    // hwmon counts from 1 where there may be only one, and says nothing by it.
    Some(if number.is_empty() { term.to_owned() } else { format!("{term}_{number}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_kernel_has_a_usual_name() {
        let name = |driver, file| usual_name(driver, file).unwrap_or_default();
        assert_eq!(name("linux-iio", "in_temp_input"), "temperature");
        assert_eq!(name("linux-iio", "in_humidityrelative_input"), "humidity");
        assert_eq!(name("linux-iio", "in_voltage3_raw"), "voltage_3");
        assert_eq!(name("linux-iio", "in_concentration_co2_input"), "co2");
        assert_eq!(name("linux-hwmon", "temp1_input"), "temperature_1");
        assert_eq!(name("linux-hwmon", "in0_input"), "voltage_0");
        assert_eq!(name("linux-hwmon", "pwm1_input"), "");
    }
}
