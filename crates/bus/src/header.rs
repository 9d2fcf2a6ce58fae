//! The header of a Raspberry Pi: which of its lines are the pins of a bus.
//!
//! A line that is claimed as GPIO while its bus is in use is taken away from the bus, whose transfers then fail or hang, or the bus
//! drives what hangs on the line.

use std::path::Path;

/// What `line` is to the bus behind `device`, if it is one of its pins, such as SDA.
pub fn pin_of(line: u32, device: &Path) -> Option<&'static str> {
    let device = device.to_str()?;
    let pins: &[(u32, &str)] = match device {
        "/dev/i2c-0" => &[(0, "SDA"), (1, "SCL")],
        "/dev/i2c-1" => &[(2, "SDA"), (3, "SCL")],
        "/dev/serial0" | "/dev/ttyAMA0" | "/dev/ttyS0" => &[(14, "TXD"), (15, "RXD")],
        spi if spi.starts_with("/dev/spidev0.") => &[(7, "CE1"), (8, "CE0"), (9, "MISO"), (10, "MOSI"), (11, "SCLK")],
        _ => &[],
    };
    pins.iter().find(|(pin, _)| *pin == line).map(|(_, name)| *name)
}

/// The number in a line's name, as the header's lines are called: GPIO17.
pub fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("GPIO").or_else(|| name.strip_prefix("gpio"))?;
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a GPIO chip of this label is a Raspberry Pi's header, whose lines are also known by number.
pub fn is_header(label: &str) -> bool {
    label == "pinctrl-rp1" || label.starts_with("pinctrl-bcm2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pins_of_each_bus_are_known_and_others_are_free() {
        for (line, device, pin) in [
            (2, "/dev/i2c-1", Some("SDA")),
            (2, "/dev/i2c-0", None),
            (14, "/dev/serial0", Some("TXD")),
            (14, "/dev/ttyUSB0", None),
            (10, "/dev/spidev0.1", Some("MOSI")),
            (10, "/dev/spidev1.0", None),
            (17, "/dev/i2c-1", None),
        ] {
            assert_eq!(pin_of(line, Path::new(device)), pin, "{line} {device}");
        }
        assert_eq!([number("GPIO2"), number("2"), number("GPIO+2"), number("ID_SDA")], [Some(2), None, None, None]);
    }
}
