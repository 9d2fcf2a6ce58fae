//! `gpio_modules` as buses, and their pins as lines.

use super::keys;
use super::modules;
use super::read::{Section, whole};
use super::state::{HEADER_CHIP, Migration};
use super::table::{Fate, Module};
use super::write::{quoted, shown};

/// How a module calls its pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pins {
    /// By Broadcom's number: 17 is GPIO17.
    Header,
    /// As `Header`, with gpiozero's classes.
    Zero,
    /// By the number of the line on its chip.
    Numbers,
    /// From the other end: 0 is P7.
    Pcf8574,
    /// 0 is GPA0, 8 is GPB0.
    Mcp23017,
    /// Anyhow: nothing is behind it.
    Simulated,
}

/// An entry of `gpio_modules`.
#[derive(Debug)]
pub(super) struct Gpio<'a> {
    pub(super) name: &'a str,
    pub(super) module: Option<&'static Module>,
    /// The bus that it has become, if it was carried.
    pub(super) bus: Option<(String, Pins)>,
}

impl Pins {
    /// Whether it is a chip whose interrupt pin can be wired to a line.
    pub(super) fn is_expander(self) -> bool {
        matches!(self, Self::Pcf8574 | Self::Mcp23017)
    }

    /// Pins of this count at most.
    fn count(self) -> i64 {
        match self {
            Self::Pcf8574 => 8,
            Self::Mcp23017 => 16,
            _ => 1024,
        }
    }

    /// The line of a pin, as it is written; or why there is none.
    pub(super) fn line(self, pin: &str) -> Result<String, String> {
        let named = pin.strip_prefix("GPIO").filter(|_| self == Self::Zero).unwrap_or(pin);
        let number = whole(named);
        if let Some(number) = number.filter(|number| !(0..self.count()).contains(number)) {
            return Err(format!("{number} is not within 0 to {}", self.count() - 1));
        }
        match (self, number) {
            (Self::Header | Self::Zero | Self::Simulated, Some(number)) => Ok(format!("GPIO{number}")),
            (Self::Numbers, Some(number)) => Ok(number.to_string()),
            (Self::Pcf8574, Some(number)) => Ok(format!("P{}", 7 - number)),
            (Self::Mcp23017, Some(number)) if number < 8 => Ok(format!("GPA{number}")),
            (Self::Mcp23017, Some(number)) => Ok(format!("GPB{}", number - 8)),
            (Self::Numbers | Self::Simulated, None) => Ok(quoted(pin)),
            (_, None) => Err(format!("{} is no number of a pin", shown(pin))),
        }
    }
}

impl<'a> Migration<'a> {
    /// Writes the buses, and says what each module has become.
    pub(super) fn gpio_modules(&mut self, root: &Section<'a>) -> Vec<Gpio<'a>> {
        let mut found: Vec<Gpio<'a>> = Vec::new();
        for section in self.reader.list(root, "gpio_modules") {
            let (name, module) = (self.reader.required(&section, "name"), self.reader.required(&section, "module"));
            let (Some(name), Some(wanted)) = (name, module) else { continue };
            if found.iter().any(|other| other.name == name) {
                self.reader.wrong(&section.span("name"), "two modules have this name", "");
                continue;
            }
            let module = self.module(&section, "gpio_modules", name, wanted);
            let bus = module.and_then(|module| self.lines(&section, name, module));
            found.push(Gpio { name, module, bus });
        }
        found
    }

    /// The module that an entry names, if it is carried; else it is noted why not.
    pub(super) fn module(
        &mut self,
        section: &Section<'a>,
        place: &'static str,
        name: &str,
        wanted: &str,
    ) -> Option<&'static Module> {
        let what = format!("{place}, module {}", shown(wanted));
        let Some(module) = modules::find(place, wanted) else {
            self.file.leave(&what, "mqtt-io 2.7 has no such module", Some(name));
            return None;
        };
        match module.fate {
            Fate::Left(why) => {
                self.file.leave(&what, why, Some(name));
                None
            }
            Fate::Carried(_) => {
                self.leave_keys(section, place, &[keys::of(place), module.keys], Some(name));
                Some(module)
            }
        }
    }

    /// The bus of a module and how it calls its pins.
    fn lines(&mut self, section: &Section<'a>, name: &str, module: &Module) -> Option<(String, Pins)> {
        match module.name {
            "raspberrypi" => Some((self.header(name), Pins::Header)),
            "gpiozero" => Some((self.header(name), Pins::Zero)),
            "gpiod" => {
                let chip = self.reader.text(section, "chip").unwrap_or(HEADER_CHIP);
                // libgpiod takes the name of the device file as well.
                let is_name = chip.starts_with("gpiochip");
                let chip = if is_name { format!("/dev/{chip}") } else { chip.to_owned() };
                if chip == HEADER_CHIP {
                    return Some((self.header(name), Pins::Numbers));
                }
                let keys = vec![("type", "gpio".to_owned()), ("chip", quoted(&chip))];
                Some((self.bus(name, keys), Pins::Numbers))
            }
            "mock" => Some((self.bus(name, vec![("type", "sim".to_owned())]), Pins::Simulated)),
            "mcp23017" => {
                let address = self.reader.integer(section, "chip_addr", 0, 127).unwrap_or(0x20);
                Some((self.expander(section, name, "mcp23017", address), Pins::Mcp23017))
            }
            "pcf8574" => {
                self.reader.required(section, "i2c_bus_num")?;
                self.reader.required(section, "chip_addr")?;
                let address = self.reader.integer(section, "chip_addr", 0, 127)?;
                let kind = if address >= 0x38 { "pcf8574a" } else { "pcf8574" };
                Some((self.expander(section, name, kind, address), Pins::Pcf8574))
            }
            _ => None,
        }
    }

    fn expander(&mut self, section: &Section<'a>, name: &str, kind: &str, address: i64) -> String {
        let i2c = self.i2c_of(section);
        self.bus(name, vec![("type", kind.to_owned()), ("bus", i2c), ("address", format!("{address:#04x}"))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_module_has_its_own_names_for_pins() {
        let line = |pins: Pins, pin: &str| pins.line(pin).unwrap_or_else(|why| why);
        assert_eq!([line(Pins::Header, "17"), line(Pins::Zero, "GPIO17")], ["GPIO17", "GPIO17"]);
        assert_eq!([line(Pins::Numbers, "011"), line(Pins::Numbers, "PA6")], ["9", "\"PA6\""]);
        assert_eq!([line(Pins::Pcf8574, "0"), line(Pins::Pcf8574, "7")], ["P7", "P0"]);
        assert_eq!([line(Pins::Mcp23017, "7"), line(Pins::Mcp23017, "8")], ["GPA7", "GPB0"]);
        assert_eq!(line(Pins::Mcp23017, "16"), "16 is not within 0 to 15");
        assert_eq!(line(Pins::Header, "-1"), "-1 is not within 0 to 1023");
        assert_eq!(line(Pins::Header, "GPIO17"), "GPIO17 is no number of a pin");
    }
}
