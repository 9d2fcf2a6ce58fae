//! What is known while one file becomes the other: what was read, what is written so far, and which names are given.

use std::collections::BTreeSet;
use std::time::Duration;

use super::keys;
use super::read::{Reader, Section};
use super::table::{Fate, Key};
use super::write::{Entry, File, quoted, shown};
use fieldgate_model::Name;
use fieldgate_model::field::format_duration;

/// Room for a number behind a name that another one has.
const NAME_LENGTH: usize = 56;

/// The chip of most boards' header.
pub(super) const HEADER_CHIP: &str = "/dev/gpiochip0";

/// What stands for a topic that has no counterpart.
pub(super) const NO_TOPIC: &str = "nothing";

/// A file on its way.
pub(super) struct Migration<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) file: File,
    /// `--plain`.
    pub(super) plain: bool,
    /// What mqtt-io's topics begin with.
    pub(super) prefix: String,
    /// Whether devices are announced to Home Assistant.
    pub(super) announced: bool,
    names: BTreeSet<String>,
}

impl<'a> Migration<'a> {
    pub(super) fn new(reader: Reader<'a>, plain: bool) -> Self {
        let (file, names) = (File::default(), BTreeSet::new());
        Self { reader, file, plain, prefix: String::new(), announced: false, names }
    }

    /// A sensor or an output that is called like `wanted`, with a comment where that cannot be its name.
    pub(super) fn entry(&mut self, wanted: &str) -> Entry {
        let name = free(&self.names, wanted);
        self.names.insert(name.clone());
        let comments = if name == wanted { Vec::new() } else { vec![format!("{} in mqtt-io", shown(wanted))] };
        Entry { name, comments, keys: Vec::new() }
    }

    /// The name of the bus with these keys, which is called like `wanted` if it is not there yet.
    pub(super) fn bus(&mut self, wanted: &str, keys: Vec<(&'static str, String)>) -> String {
        if let Some(known) = self.file.buses.iter().find(|bus| bus.keys == keys) {
            return known.name.clone();
        }
        let taken = self.file.buses.iter().map(|bus| bus.name.clone()).collect();
        let name = free(&taken, wanted);
        self.file.buses.push(Entry { name: name.clone(), comments: Vec::new(), keys });
        name
    }

    /// The I²C bus of this number.
    pub(super) fn i2c(&mut self, number: i64) -> String {
        let device = format!("/dev/i2c-{number}");
        self.bus(&format!("i2c-{number}"), vec![("type", "i2c".to_owned()), ("device", device)])
    }

    /// The I²C bus that an entry names, or the board's own.
    pub(super) fn i2c_of(&mut self, section: &Section<'a>) -> String {
        let number = self.reader.integer(section, "i2c_bus_num", 0, 255).unwrap_or(1);
        self.i2c(number)
    }

    /// The lines of the board's header.
    pub(super) fn header(&mut self, wanted: &str) -> String {
        let count = self.file.buses.len();
        let keys = vec![("type", "gpio".to_owned()), ("chip", HEADER_CHIP.to_owned())];
        let name = self.bus(wanted, keys);
        if let Some(new) = self.file.buses.get_mut(count) {
            new.comments
                .push("`fieldgate scan` lists the chips; on a Raspberry Pi 5 write chip: pinctrl-rp1".to_owned());
        }
        name
    }

    /// Notes what is written in this section of `place` and not carried. `tables` have its keys, `of` is whose it is.
    pub(super) fn leave_keys(&mut self, section: &Section<'a>, place: &str, tables: &[&[Key]], of: Option<&str>) {
        for key in section.keys() {
            // What a module says of a key of its own goes before what all have in common.
            let found = tables.iter().rev().find_map(|table| table.iter().find(|known| known.name == key));
            let way = if place.is_empty() { shown(key) } else { format!("{place}.{}", shown(key)) };
            match found.map(|known| known.fate) {
                Some(Fate::Carried(_)) => {}
                Some(Fate::Left(why)) => self.file.leave(&way, why, of),
                None if place.ends_with("ha_discovery") => self.file.leave(&way, keys::ANY_DISCOVERY, of),
                None => self.file.leave(&way, "mqtt-io 2.7 has no such key", of),
            }
        }
    }

    /// `ha_discovery` of an input or output: its name there, if anything is announced at all.
    pub(super) fn discovery(
        &mut self,
        section: &Section<'a>,
        place: &str,
        of: &str,
    ) -> Option<(Section<'a>, Option<String>)> {
        section.node("ha_discovery")?;
        let way = format!("{place}.ha_discovery");
        if !self.announced {
            self.file.leave(&way, "mqtt.ha_discovery is not enabled", Some(of));
            return None;
        }
        let discovery = self.reader.section(section, "ha_discovery");
        self.leave_keys(&discovery, &way, &[keys::of(&way)], Some(of));
        let name = self.reader.text(&discovery, "name").map(quoted);
        Some((discovery, name))
    }

    /// Notes that an entry of digital_inputs, digital_outputs or sensor_inputs is not carried.
    pub(super) fn leave_entry(&mut self, place: &str, why: &str, name: &str) {
        let kind = match place {
            "digital_inputs" => "input",
            "digital_outputs" => "output",
            _ => "sensor",
        };
        self.topic(kind, name, NO_TOPIC);
        self.file.leave(place, why, Some(name));
    }

    /// Says what stands for a topic of mqtt-io: `kind` is input, output or sensor, `new` what is below the base topic.
    pub(super) fn topic(&mut self, kind: &str, name: &str, new: &str) {
        let old = format!("{}/{kind}/{}", shown(&self.prefix), shown(name));
        self.file.topics.push((old, new.to_owned()));
    }
}

/// A name like `wanted` that is not taken.
fn free(taken: &BTreeSet<String>, wanted: &str) -> String {
    let plain: String = Name::like(wanted).as_str().chars().take(NAME_LENGTH).collect();
    let mut count = 1;
    let mut name = if wanted.len() <= Name::MAX_LENGTH { Name::like(wanted).to_string() } else { plain.clone() };
    while taken.contains(&name) {
        count += 1;
        name = format!("{plain}-{count}");
    }
    name
}

/// A number of seconds as it is written.
pub(super) fn seconds(number: f64) -> String {
    format_duration(Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX))
}
