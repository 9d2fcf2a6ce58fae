//! `buses:`.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use crate::config::check::Checker;
use crate::config::check::chips::Draft;
use crate::config::check::section::Section;
use crate::config::check::spelling::nearest;
use crate::config::raw;
use crate::config::tree::{Key, Node, Span, Value};
use fieldgate_bus::rppal::Part;
use fieldgate_bus::{self as bus, Claim, multiplexer};
use fieldgate_drivers::BusNeed;
use fieldgate_model::{Field, Name};

/// A bus as far as it could be read.
pub(super) struct Bus {
    pub(super) name: Name,
    pub(super) span: Span,
    /// `None` when something is wrong with it, which has been reported.
    pub(super) settings: Option<bus::Settings>,
    /// What it occupies on other buses, and where that is written.
    pub(super) claims: Vec<(Name, Claim, Span)>,
    device: Option<Device>,
}

/// An entry under a name of the user's own.
pub(super) struct Named<'a> {
    pub(super) name: Name,
    pub(super) key: &'a Key,
    pub(super) node: &'a Node,
    /// It stands here again, which has been reported. It is looked at, and then left out.
    pub(super) is_again: bool,
}

/// What a bus is, however it is written, as far as can be known without opening it.
#[derive(PartialEq)]
enum Device {
    File(PathBuf),
    PwmChip(u32),
    Channel { on: Name, address: u8, channel: u8 },
    OneWire,
    OfPi(Part),
}

impl Bus {
    /// Whether a driver with this need may sit here. A bus that could not be read suits all, so that one mistake is one
    /// problem.
    pub(super) fn suits(&self, need: BusNeed) -> bool {
        use bus::Settings::{Expander, Gpio, I2c, Multiplexed, Pwm, Rppal, Sim, Spi, Uart, W1};
        match &self.settings {
            None | Some(Sim { .. }) => true,
            Some(settings) => match need {
                BusNeed::None | BusNeed::Sensors => true,
                BusNeed::I2c => matches!(settings, I2c { .. } | Multiplexed(_) | Rppal(Part::I2c { .. })),
                BusNeed::Gpio => matches!(settings, Gpio { .. } | Expander(_) | Rppal(Part::Gpio)),
                BusNeed::Pwm => matches!(settings, Pwm { .. } | Rppal(Part::Pwm | Part::Gpio)),
                BusNeed::Spi => matches!(settings, Spi { .. }),
                BusNeed::Uart => matches!(settings, Uart { .. }),
                BusNeed::W1 => matches!(settings, W1),
            },
        }
    }

    /// Whether it is the header of a Raspberry Pi by rppal.
    pub(super) fn is_header_by_rppal(&self) -> bool {
        matches!(self.settings, Some(bus::Settings::Rppal(Part::Gpio)))
    }

    /// Which key names the place of a PWM output here; nothing where both do, or neither.
    pub(super) fn pwm_key(&self) -> Option<&'static str> {
        match self.settings {
            Some(bus::Settings::Pwm { .. } | bus::Settings::Rppal(Part::Pwm)) => Some("channel"),
            Some(bus::Settings::Rppal(Part::Gpio)) => Some("line"),
            _ => None,
        }
    }

    /// Its name and type, for hints.
    pub(super) fn describe(&self) -> String {
        match self.settings {
            Some(_) => format!("{} of type {}", self.name, self.kind()),
            None => self.name.to_string(),
        }
    }

    /// As in `type:`.
    pub(super) fn kind(&self) -> &'static str {
        match &self.settings {
            Some(bus::Settings::I2c { .. } | bus::Settings::Rppal(Part::I2c { .. })) => "i2c",
            Some(bus::Settings::Gpio { .. } | bus::Settings::Rppal(Part::Gpio)) => "gpio",
            Some(bus::Settings::Pwm { .. } | bus::Settings::Rppal(Part::Pwm)) => "pwm",
            Some(bus::Settings::Spi { .. }) => "spi",
            Some(bus::Settings::Uart { .. }) => "uart",
            Some(bus::Settings::W1) => "w1",
            Some(bus::Settings::Sim { .. }) => "sim",
            Some(bus::Settings::Multiplexed(channel)) => channel.model,
            Some(bus::Settings::Expander(expander)) => expander.model.name(),
            Some(bus::Settings::Host | bus::Settings::Signals(_)) | None => "unknown",
        }
    }
}

impl<'a> Checker<'a> {
    pub(super) fn buses(&mut self, top: &Section<'a>) -> Vec<Bus> {
        let mut buses = Vec::new();
        let mut chips = Vec::new();
        for Named { name, key, node, is_again } in self.named(top, "buses") {
            let draft = self.bus(key, node);
            if is_again {
                continue;
            }
            let settings = match draft {
                Some(Draft::Plain(settings)) => Some(settings),
                Some(Draft::Chip(chip)) => {
                    chips.push((buses.len(), chip));
                    None
                }
                None => None,
            };
            buses.push(Bus { name, span: key.span.clone(), settings, claims: Vec::new(), device: None });
        }
        self.settle(chips, &mut buses);
        self.twice(&mut buses);
        buses
    }

    /// Two names for one device.
    fn twice(&mut self, buses: &mut [Bus]) {
        for index in 0..buses.len() {
            let device = buses[index].settings.as_ref().and_then(device);
            let bus = &buses[index];
            if let Some(other) = buses[..index].iter().find(|other| device.is_some() && other.device == device) {
                let line = self.source.place(other.span.start).line;
                let what = format!("{} is the same device as {} in line {line}", bus.name, other.name);
                self.error(&bus.span, what, "use one bus for both");
            }
            buses[index].device = device;
        }
    }

    /// The entries of a map from the user's own names to sections. What is not a name is reported, and what is below it looked
    /// at under one like it.
    pub(super) fn named(&mut self, top: &Section<'a>, section: &str) -> Vec<Named<'a>> {
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for node in top.nodes(section) {
            for (key, node) in self.entries(Some(node), section).unwrap_or(&[]) {
                let name = Name::new(&key.text).unwrap_or_else(|error| {
                    self.error(&key.span, format!("{section}: {error}"), "");
                    // One like it would show a secret in another form, which nothing masks.
                    if self.source.is_secret(&key.text) { Name::stand_in(all.len() + 1) } else { Name::like(&key.text) }
                });
                let is_again = !seen.insert(name.clone());
                all.push(Named { name, key, node, is_again });
            }
        }
        all
    }

    fn bus(&mut self, key: &Key, node: &'a Node) -> Option<Draft> {
        let is_by_rppal = word(node, "backend").and_then(|word| nearest(word, &["linux", "rppal"])) == Some("rppal");
        let tables = if is_by_rppal { raw::BUS_RPPAL } else { raw::BUS_TYPES };
        // A type that is misspelt is reported, and the rest checked as that which was probably meant.
        let names: Vec<_> = tables.iter().map(|(name, _)| *name).collect();
        let meant = word(node, "type")
            .and_then(|kind| names.iter().find(|name| **name == kind).copied().or(nearest(kind, &names)));
        let fields = tables.iter().find(|(name, _)| Some(*name) == meant);
        let fields: &'static [Field] = fields.map_or(raw::BUS, |(_, fields)| fields);
        let section = self.section(&key.span, Some(node), key.text.as_str(), fields);
        if is_by_rppal {
            return self.rppal(&section).map(Draft::Plain);
        }
        let draft = self.draft(meant?, &section);
        match section.text("type") {
            Some(_) => draft,
            None => draft.and_then(Draft::guessed),
        }
    }

    /// The bus of that type as far as its own entry says.
    fn draft(&mut self, kind: &str, section: &Section<'a>) -> Option<Draft> {
        Some(Draft::Plain(match kind {
            "i2c" => bus::Settings::I2c { device: PathBuf::from(section.text("device")?) },
            "gpio" => bus::Settings::Gpio { chip: self.chip(section)? },
            "pwm" => bus::Settings::Pwm { chip: u32::try_from(section.integer("chip")?).ok()? },
            "spi" => bus::Settings::Spi { device: PathBuf::from(section.text("device")?) },
            "uart" => bus::Settings::Uart { device: PathBuf::from(section.text("device")?) },
            "w1" => bus::Settings::W1,
            "sim" => bus::Settings::Sim { state_file: section.text("state_file").map(PathBuf::from) },
            model => return Some(Draft::Chip(self.chip_on_a_bus(model, section))),
        }))
    }

    fn rppal(&mut self, section: &Section<'a>) -> Option<bus::Settings> {
        let span = section.span("backend");
        let part = match section.text("type")? {
            "gpio" => Part::Gpio,
            "pwm" => Part::Pwm,
            "i2c" => {
                let device = section.text("device")?;
                let number = device.strip_prefix("/dev/i2c-").and_then(|number| number.parse().ok());
                let Some(number) = number else {
                    let what = "rppal finds an adapter by its number only";
                    self.error(&section.span("device"), what, "write /dev/i2c-1, or leave backend out");
                    return None;
                };
                Part::I2c { number }
            }
            other => {
                let what = format!("rppal has no bus of type {other}");
                self.error(&span, what, "leave backend out");
                return None;
            }
        };
        if !bus::rppal::is_here() {
            let what = "this machine is not a Raspberry Pi, and backend rppal works only on one";
            self.warning(&span, what, "here the bus cannot be opened; without `backend` it works on every board");
        }
        Some(bus::Settings::Rppal(part))
    }

    fn chip(&mut self, section: &Section<'a>) -> Option<String> {
        let chip = section.text("chip")?;
        if chip.is_empty() || chip.contains('/') && !chip.starts_with("/dev/") {
            let hint = "write /dev/gpiochip0, or a label such as pinctrl-rp1";
            self.error(&section.span("chip"), "chip is neither a device nor a label", hint);
            return None;
        }
        Some(chip.to_owned())
    }
}

/// What stands under a key, before anything is checked.
fn word<'n>(node: &'n Node, name: &str) -> Option<&'n str> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(key, _)| key.text == name).and_then(|(_, value)| value.scalar_text())
}

/// The device of a bus; simulated ones without a state file are each their own.
fn device(settings: &bus::Settings) -> Option<Device> {
    match settings {
        bus::Settings::I2c { device } | bus::Settings::Spi { device } | bus::Settings::Uart { device } => {
            Some(Device::File(real(device)))
        }
        bus::Settings::W1 => Some(Device::OneWire),
        bus::Settings::Gpio { chip } => Some(Device::File(real(&Path::new("/dev").join(chip)))),
        bus::Settings::Pwm { chip } => Some(Device::PwmChip(*chip)),
        bus::Settings::Rppal(Part::I2c { number }) => {
            Some(Device::File(real(&PathBuf::from(format!("/dev/i2c-{number}")))))
        }
        bus::Settings::Rppal(part) => Some(Device::OfPi(*part)),
        bus::Settings::Sim { state_file } => state_file.as_deref().map(|file| Device::File(real(file))),
        bus::Settings::Multiplexed(multiplexer::Settings { on, address, channel, .. }) => {
            Some(Device::Channel { on: on.name.clone(), address: *address, channel: *channel })
        }
        // Two of them on one address are reported as such.
        bus::Settings::Expander(_) | bus::Settings::Host | bus::Settings::Signals(_) => None,
    }
}

/// The file behind links, where there is one; else the path without detours.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| {
        path.components().fold(PathBuf::new(), |mut plain, part| {
            match part {
                Component::ParentDir => _ = plain.pop(),
                Component::CurDir => {}
                part => plain.push(part),
            }
            plain
        })
    })
}
