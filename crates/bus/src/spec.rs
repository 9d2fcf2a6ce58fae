//! What the rest of the program knows of a kind of bus: [`BusSpec`], and an entry under `buses:` of one kind, [`Entry`].
//!
//! The check, the schema, the manual page, docs/buses.md, the table of outputs and the commands go by the specs in [`BUSES`] and name no
//! kind.
//! A kind that others are like in most respects is written down as what differs from [`BusSpec::USUAL`].

use std::path::{Path, PathBuf};

use fieldgate_model::{Field, Kind, Name, Need, Setting, Wrong};
use serde_json::{Map, Value as Json};

use crate::signals::Signals;
use crate::sim::chips::{ChipSpec, FindChip};
use crate::{BUSES, BY_RPPAL, Bus, BusError, Claim, Files};

/// The checked keys of an entry under `buses:`, without those that name other buses, in the order of the spec's fields.
pub type Keys = fieldgate_model::Settings;

/// The key that names the bus beneath, of a kind that sits on another.
pub const BENEATH: &str = "bus";

/// Everything the rest of the program knows about a kind of bus.
#[derive(Debug)]
pub struct BusSpec {
    /// As in `type:`.
    pub name: &'static str,
    /// What docs/buses.md says of it behind its name: wiring, what has to be switched on, quirks. Markdown, its lines broken and
    /// indented as they stand there. Empty where a section of that page says it.
    pub page: &'static str,
    /// Its keys but for `type` and `backend`. One that sits on another bus has [`BENEATH`] among them.
    pub fields: &'static [Field],
    /// An entry under `buses:`, name included.
    pub example: &'static str,
    /// What the bus beneath must offer, of one that sits on another.
    pub on: Option<BusNeed>,
    /// What may sit on it.
    pub offers: &'static [BusNeed],
    /// What its lines are called.
    pub lines: Lines,
    /// The line of a Raspberry Pi's config.txt that makes it; empty where there is none.
    pub switched_on_by: &'static str,
    /// The kernel's module that makes its device files, where it may be missing although the hardware is switched on.
    pub module: &'static str,
    /// What the kernel shows of the hardware behind this device file, with its module or without; `None` of a kind without a module.
    pub hardware_at: fn(file: &Path) -> Option<PathBuf>,
    /// As which user the kernel shows this program where it uses a line; `None` of a kind whose lines have no users that are shown.
    pub shown_as_user: Option<&'static str>,
    /// Whether nothing keeps its lines as they were driven when the program has ended.
    pub releases_lines: bool,
    /// The key of a driver that says where PWM comes out, where only one of `channel` and `line` can.
    pub pwm_place: Option<&'static str>,
    /// Whether several entries are channels of one chip, each of which joins the wires beneath to others while it is open: an
    /// address must then not be used on both.
    pub is_channel: bool,
    /// What is wrong with keys that are right one by one, and the key to mark.
    pub wrong: fn(&Keys) -> Option<(&'static str, Wrong)>,
    /// Why it cannot be opened on this machine whatever its keys say, and what to do: a warning.
    pub absent: fn() -> Option<Wrong>,
    /// What it cannot do of what this key of a driver asks for.
    pub refuses: fn(key: &str, setting: &Setting) -> Option<Wrong>,
    /// What it occupies on the bus beneath, each with the key that says so; of keys that may be incomplete.
    pub claims: fn(&Keys) -> Vec<(&'static str, Claim)>,
    /// Which device it is, so that two names for one are found; `None` where each entry is a bus of its own.
    pub device: fn(&Entry) -> Option<Device>,
    /// The file whose rights decide who may open it, or what of the kernel shows that it is there; `None` of one that is not wired to the
    /// board. The last argument is the folder below which the machine's files are looked for, `/` but in tests; the answer is as below `/`.
    pub shown_at: fn(&Entry, &dyn Files, &Path) -> Option<PathBuf>,
    /// By what of the system, such as a login prompt, this file is used below this folder, and the remedy, where that cannot be seen of
    /// the file itself.
    pub used_by: fn(root: &Path, file: &Path) -> Option<String>,
    /// The keys that drive outputs, as the table of outputs keeps them for a later version.
    pub to_stored: fn(&Entry) -> Map<String, Json>,
    /// The keys from what this or an earlier version stored.
    pub from_stored: fn(&'static BusSpec, &Json) -> Option<Keys>,
    /// What stands in for it on a simulated bus beneath, if it is a chip there.
    pub chip: Option<ChipSpec>,
    /// Opens it on the bus beneath, which is the machine itself for one that is wired to the board. Called again after failures.
    pub open: Open,
}

/// Opens a bus on the one beneath. The last argument finds the simulated chips that drivers expect.
type Open = fn(&Entry, &mut dyn Bus, FindChip) -> Result<Box<dyn Bus>, BusError>;

/// What the lines of a bus are called.
#[derive(Clone, Copy, Debug)]
pub enum Lines {
    /// Only the open bus knows, if it has any.
    Unknown,
    /// Only the open bus knows, and it may be the header of a Raspberry Pi; whether its lines are also known by number then.
    Board(fn(&Keys) -> bool),
    /// These, and by number from 0.
    Pins(&'static [&'static str]),
}

impl Lines {
    /// The number of a pin by its name or its number.
    pub fn pin(&self, line: &str) -> Option<u8> {
        let Self::Pins(pins) = self else { return None };
        let by_name = pins.iter().position(|pin| pin.eq_ignore_ascii_case(line));
        let number = by_name.or_else(|| line.parse().ok().filter(|number| *number < pins.len()))?;
        u8::try_from(number).ok()
    }

    /// What they are called, for hints; nothing where only the open bus knows.
    pub fn describe(&self) -> String {
        match self {
            Self::Pins(pins @ [first, .., last]) => format!("{first} to {last}, or 0 to {}", pins.len() - 1),
            _ => String::new(),
        }
    }
}

/// What a bus is, however it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A file of the machine, perhaps by a link.
    File(PathBuf),
    /// Something that has a name of its own.
    Named(String),
}

/// What a driver, or a chip that is a bus itself, needs of the bus that it sits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusNeed {
    /// An I²C adapter.
    I2c,
    /// A GPIO chip.
    Gpio,
    /// A PWM chip.
    Pwm,
    /// One chip select of an SPI controller.
    Spi,
    /// A serial port.
    Uart,
    /// The kernel's 1-Wire masters.
    W1,
    /// No bus; it may be given one, and then shares its thread.
    None,
    /// No bus, and it must not be given one: it is computed of other sensors.
    Sensors,
}

impl BusNeed {
    /// The usual kind of bus for it, which is the first of the table; `None` if it needs no bus.
    pub fn usual(self) -> Option<&'static BusSpec> {
        BUSES.iter().copied().find(|spec| spec.offers.contains(&self))
    }

    /// Whether a sample of what has this need is several transfers, between which another program's may come: the kernel keeps two programs
    /// apart for one transfer only.
    pub fn is_several_transfers(self) -> bool {
        match self {
            Self::I2c | Self::Spi | Self::Uart => true,
            Self::Gpio | Self::Pwm | Self::W1 | Self::None | Self::Sensors => false,
        }
    }

    /// The bus that is needed, in words.
    pub fn describe(self) -> String {
        let Some(usual) = self.usual() else { return "no bus".into() };
        let by_kernel = |name| BusSpec::find(name, false).is_some_and(|spec| spec.offers.contains(&self));
        let others = BY_RPPAL.iter().filter(|spec| spec.offers.contains(&self) && !by_kernel(spec.name));
        let others: String = others.map(|spec| format!(", or of type {} with backend: rppal", spec.name)).collect();
        format!("a bus of type {}{others}", usual.name)
    }

    /// An entry under `buses:` that fits, or any if no bus is needed.
    pub fn example(self) -> &'static str {
        self.usual().unwrap_or(BUSES[0]).example
    }
}

impl BusSpec {
    /// A kind that is wired to the board, has no keys and offers nothing. Each kind says its own name, example and way to open.
    pub const USUAL: Self = Self {
        name: "",
        page: "",
        fields: &[],
        example: "",
        on: None,
        offers: &[],
        lines: Lines::Unknown,
        switched_on_by: "",
        module: "",
        hardware_at: |_| None,
        shown_as_user: None,
        releases_lines: false,
        pwm_place: None,
        is_channel: false,
        wrong: |_| None,
        absent: || None,
        refuses: |_, _| None,
        claims: |_| Vec::new(),
        device: |_| None,
        shown_at: |entry, _, _| entry.file(),
        used_by: |_, _| None,
        to_stored: |entry| entry.spec.stored_keys(&entry.keys, |_| true),
        from_stored: |spec, stored| spec.keys_of(|field| stored_value(field, stored)),
        chip: None,
        open: |_, beneath, _| Err(beneath.lacks("bus of a kind without a way to open it")),
    };

    /// The kind of that name, with `backend: rppal` if so wished.
    pub fn find(name: &str, by_rppal: bool) -> Option<&'static Self> {
        let table = if by_rppal { BY_RPPAL } else { BUSES };
        table.iter().copied().find(|spec| spec.name == name)
    }

    /// Whether it is driven by rppal in place of the kernel.
    pub fn is_by_rppal(&self) -> bool {
        BY_RPPAL.iter().any(|spec| std::ptr::eq(*spec, self))
    }

    /// Whether what has this need may sit on it.
    pub fn suits(&self, need: BusNeed) -> bool {
        matches!(need, BusNeed::None | BusNeed::Sensors) || self.offers.contains(&need)
    }

    /// The fields that become [`Keys`]: all but those that name other buses.
    pub fn own_fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        let beneath = self.on.map(|_| BENEATH);
        self.fields.iter().filter(move |f| Some(f.name) != beneath && !matches!(f.kind, Kind::Section(_)))
    }

    /// The keys that `value` knows, in the order of the fields.
    pub fn known_keys(&self, value: impl Fn(&'static Field) -> Option<Setting>) -> Keys {
        let mut keys = Keys::default();
        for field in self.own_fields() {
            value(field).into_iter().for_each(|setting| keys.insert(field.name, setting));
        }
        keys
    }

    /// Whether no key is missing that is required or has a default, so that a bus may ask for it when it is opened.
    pub fn has_all(&self, keys: &Keys) -> bool {
        self.own_fields()
            .all(|field| matches!(field.need, Need::Optional | Need::Or(_)) || keys.get(field.name).is_some())
    }

    /// The keys that `value` knows, if none of them is missing in this sense.
    pub fn keys_of(&self, value: impl Fn(&'static Field) -> Option<Setting>) -> Option<Keys> {
        Some(self.known_keys(value)).filter(|keys| self.has_all(keys))
    }

    /// Those of the keys that are `wanted`, as JSON.
    pub fn stored_keys(&self, keys: &Keys, wanted: impl Fn(&str) -> bool) -> Map<String, Json> {
        keys.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| (name.to_owned(), value.to_json())).collect()
    }

    /// A bus of this kind that is wired to the board, with these keys.
    pub fn wired(&'static self, keys: impl IntoIterator<Item = (&'static str, Setting)>) -> Settings {
        self.entry(None, keys)
    }

    /// A bus of this kind that sits on another one, with these keys.
    pub fn upon(&'static self, on: Upstream, keys: impl IntoIterator<Item = (&'static str, Setting)>) -> Settings {
        self.entry(Some(Box::new(on)), keys)
    }

    fn entry(
        &'static self,
        on: Option<Box<Upstream>>,
        given: impl IntoIterator<Item = (&'static str, Setting)>,
    ) -> Settings {
        let mut keys = Keys::default();
        given.into_iter().for_each(|(name, setting)| keys.insert(name, setting));
        Settings::Entry(Entry { spec: self, keys, on, interrupt: None })
    }
}

/// The value of a field in what was stored; `null` is none.
fn stored_value(field: &Field, stored: &Json) -> Option<Setting> {
    Setting::from_json(&field.kind, stored.get(field.name)?)
}

/// How to open a bus.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// As an entry under `buses:` says.
    Entry(Entry),
    /// The machine itself: sysfs and procfs. Drivers that need no bus share it.
    Host,
    /// What other sensors sampled, for those that are computed of it.
    Signals(Signals),
}

/// An entry under `buses:`, checked.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The kind of bus that its `type:` names.
    pub spec: &'static BusSpec,
    /// Its checked keys; those that name other buses are not among them.
    pub keys: Keys,
    /// The bus that it sits on, unless it is wired to the board itself.
    pub on: Option<Box<Upstream>>,
    /// The line that it signals changes on, of a kind with the key `interrupt`.
    pub interrupt: Option<Interrupt>,
}

impl Entry {
    /// The file of the machine that it is; `None` of one that is something else.
    pub fn file(&self) -> Option<PathBuf> {
        match (self.spec.device)(self)? {
            Device::File(path) => Some(path),
            Device::Named(_) => None,
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let same_kind = std::ptr::eq(self.spec, other.spec);
        same_kind && (&self.keys, &self.on, &self.interrupt) == (&other.keys, &other.on, &other.interrupt)
    }
}

/// The bus that another one sits on.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name under `buses:`.
    pub name: Name,
    /// How to open it.
    pub settings: Settings,
}

/// A line of another chip to which an interrupt pin is wired.
#[derive(Clone, Debug, PartialEq)]
pub struct Interrupt {
    /// The bus of that line.
    pub on: Box<Upstream>,
    /// The line's name or number, as the configuration has it.
    pub line: String,
}

impl Settings {
    /// The entry under `buses:`, of a bus that has one.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Host | Self::Signals(_) => None,
        }
    }

    /// The bus that this one sits on, unless it is wired to the board itself.
    pub fn on(&self) -> Option<&Upstream> {
        self.entry()?.on.as_deref()
    }

    /// The bus at the bottom, which is wired to the board itself: this one, called `name`, or the one that it sits on.
    /// All buses with one root are one pair of wires, and so one thread.
    pub fn root<'a>(&'a self, name: &'a Name) -> (&'a Name, &'a Self) {
        self.on().map_or((name, self), |on| on.settings.root(&on.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_names_the_usual_kind_and_what_only_rppal_has() {
        assert_eq!(BusNeed::I2c.describe(), "a bus of type i2c");
        assert_eq!(BusNeed::Gpio.describe(), "a bus of type gpio");
        assert_eq!(BusNeed::Pwm.describe(), "a bus of type pwm, or of type gpio with backend: rppal");
        assert_eq!((BusNeed::None.describe(), BusNeed::Sensors.describe()), ("no bus".into(), "no bus".into()));
    }

    #[test]
    fn every_kind_says_what_the_rest_of_the_program_asks_for() {
        for spec in BUSES.iter().chain(BY_RPPAL) {
            let name = spec.name;
            assert_eq!(spec.on.is_some(), spec.fields.iter().any(|field| field.name == BENEATH), "{name}");
            assert!(!spec.offers.is_empty() && spec.offers.iter().all(|need| spec.suits(*need)), "{name}");
            assert!(spec.on.is_none_or(|need| need.usual().is_some()), "{name}");
            assert!(!spec.fields.iter().any(|field| ["type", "backend"].contains(&field.name)), "{name}");
            // A missing module is reported only where the hardware is shown.
            let hardware = (spec.hardware_at)(Path::new("/dev/any-1"));
            assert_eq!(hardware.is_some(), !spec.module.is_empty(), "{name}");
        }
        let twice = |at: usize| BUSES[..at].iter().any(|other| other.name == BUSES[at].name);
        assert!(!(0..BUSES.len()).any(twice), "each kind stands once in the table");
        assert!(BY_RPPAL.iter().all(|spec| BusSpec::find(spec.name, false).is_some()));
    }

    #[test]
    fn a_pin_is_known_by_its_name_and_its_number() {
        let pins = Lines::Pins(&["P0", "P1", "P2"]);
        assert_eq!(["P1", "p1", "1", "3", "GPIO1"].map(|line| pins.pin(line)), [Some(1), Some(1), Some(1), None, None]);
        assert_eq!(pins.describe(), "P0 to P2, or 0 to 2");
        assert_eq!(Lines::Unknown.pin("P1"), None);
    }
}
