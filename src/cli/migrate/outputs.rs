//! `digital_outputs` as outputs.

use super::gpio::{Gpio, Pins};
use super::inputs::NO_MODULE;
use super::keys;
use super::read::Section;
use super::state::{Migration, NO_TOPIC, seconds};
use super::write::{Entry, inline, named};
use crate::config::foreign::Span;

/// The longest time for which an output may be on, in milliseconds: a year.
const LONGEST_ON: i64 = 365 * 86_400_000;

const PLACE: &str = "digital_outputs";

/// What an output of Home Assistant may be.
const KINDS: [&str; 5] = ["light", "fan", "valve", "siren", "lock"];

impl<'a> Migration<'a> {
    /// Writes an output for each.
    pub(super) fn digital_outputs(&mut self, root: &Section<'a>, modules: &[Gpio<'a>]) {
        let mut names: Vec<(&'a str, Span)> = Vec::new();
        for section in self.reader.list(root, PLACE) {
            let Some((name, gpio)) = self.of_module(&section, modules) else { continue };
            if names.iter().any(|(other, _)| *other == name) {
                self.reader.wrong(&section.span("name"), "two outputs have this name", "");
            }
            names.push((name, section.span("name")));
            match &modules[gpio].bus {
                None => self.leave_entry(PLACE, NO_MODULE, name),
                Some((bus, pins)) => {
                    let own = modules[gpio].module.map_or(&[][..], |module| module.each);
                    self.leave_keys(&section, PLACE, &[keys::of(PLACE), own], Some(name));
                    self.digital_output(&section, name, bus, *pins);
                }
            }
        }
    }

    fn digital_output(&mut self, section: &Section<'a>, name: &'a str, bus: &str, pins: Pins) {
        let class = self.reader.text(section, "class").unwrap_or("LED");
        if pins == Pins::Zero && !matches!(class, "LED" | "OutputDevice" | "DigitalOutputDevice") {
            self.leave_entry(PLACE, "no counterpart to its class of gpiozero", name);
            return;
        }
        let Some(line) = self.line_of(section, pins) else { return };
        let mut entry = self.entry(name);
        entry.key("driver", "gpio-output");
        entry.key("bus", named(bus));
        let is_inverted = self.reader.flag(section, "inverted").unwrap_or(false);
        let mut settings = vec![("line", line)];
        if is_inverted {
            settings.push(("active_low", "true".to_owned()));
        }
        entry.key("settings", inline(&settings));
        let is_on = self.is_on_at_first(section, is_inverted);
        entry.key("safe_state", if is_on { "\"on\"" } else { "\"off\"" });
        entry.key("safe_after", "never");
        if is_on {
            let words = "initial means on: so it is on at the start, but as its safe state also after a stop or a crash. Is that safe?";
            entry.comments.push(words.to_owned());
        }
        self.timed(section, &mut entry, name, is_on);
        self.shown_output(section, &mut entry, name);
        self.topic("output", name, &format!("B/actuators/{}{}", entry.name, if self.plain { "" } else { "/state" }));
        self.commands(name, &entry.name, is_on);
        self.file.outputs.push(entry);
    }

    /// What stands for the topics of commands. A time that is given ends in the safe state.
    fn commands(&mut self, old: &str, new: &str, is_on: bool) {
        let set = format!("B/actuators/{new}/set");
        self.topic("output", &format!("{old}/set"), &set);
        for (value, leads_away) in [("on", !is_on), ("off", is_on)] {
            let timed = format!("{set} with {{\"value\":\"{value}\",\"for\":\"500ms\"}}");
            self.topic("output", &format!("{old}/set_{value}_ms"), if leads_away { &timed } else { NO_TOPIC });
        }
    }

    /// Whether `initial` means on.
    fn is_on_at_first(&mut self, section: &Section<'a>, is_inverted: bool) -> bool {
        match self.reader.text(section, "initial") {
            Some("high") => !is_inverted,
            Some("low") => is_inverted,
            None => false,
            Some(_) => {
                self.reader.wrong(&section.span("initial"), "initial: this is neither high nor low", "");
                false
            }
        }
    }

    fn timed(&mut self, section: &Section<'a>, entry: &mut Entry, name: &str, is_on: bool) {
        let Some(most) = self.reader.integer(section, "timed_set_ms", 1, LONGEST_ON) else { return };
        if is_on {
            let why = "an output that is on when it is safe may stay on, so there is no time after which it goes off";
            self.file.leave("digital_outputs.timed_set_ms", why, Some(name));
        } else {
            entry.comments.push("mqtt-io also ends an off after that time; here an off stays".to_owned());
            entry.key("max_on", seconds(most as f64 / 1000.0));
        }
    }

    fn shown_output(&mut self, section: &Section<'a>, entry: &mut Entry, name: &str) {
        let Some((discovery, shown)) = self.discovery(section, PLACE, name) else { return };
        let mut keys = Vec::new();
        keys.extend(shown.map(|shown| ("name", shown)));
        let kind = self.reader.text(&discovery, "component");
        keys.extend(kind.filter(|kind| KINDS.contains(kind)).map(|kind| ("as", kind.to_owned())));
        if !keys.is_empty() {
            entry.key("home_assistant", inline(&keys));
        }
    }
}
