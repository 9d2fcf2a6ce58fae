//! `digital_inputs` as sensors, and the interrupt lines of expanders.

use std::collections::BTreeMap;

use super::gpio::{Gpio, Pins};
use super::keys;
use super::read::Section;
use super::state::{Migration, seconds};
use super::write::{Entry, inline, named, shown};

/// What mqtt-io polls at where nothing is said, in seconds.
const POLL_INTERVAL: f64 = 0.1;

/// The debounce where nothing is said, and the longest that swallows no press of a button, in milliseconds.
const DEBOUNCE: i64 = 20;
const LONGEST_DEBOUNCE: i64 = 50;

/// How often a contact is reported that does not change.
const HEARTBEAT: &str = "60s";

/// What is said of entries whose module has no counterpart.
pub(super) const NO_MODULE: &str = "their module is not carried";

const PLACE: &str = "digital_inputs";

/// An entry of `digital_inputs`.
struct Input<'a> {
    section: Section<'a>,
    name: &'a str,
    gpio: usize,
}

impl<'a> Migration<'a> {
    /// Writes a sensor for each input.
    pub(super) fn digital_inputs(&mut self, root: &Section<'a>, modules: &[Gpio<'a>]) {
        let mut inputs = Vec::new();
        for section in self.reader.list(root, PLACE) {
            let Some((name, gpio)) = self.of_module(&section, modules) else { continue };
            if inputs.iter().any(|other: &Input<'a>| other.name == name) {
                self.reader.wrong(&section.span("name"), "two inputs have this name", "");
            }
            inputs.push(Input { section, name, gpio });
        }
        let interrupts = self.interrupts(&inputs, modules);
        self.polls(&inputs, modules);
        for input in &inputs {
            if modules[input.gpio].bus.is_some() {
                let own = modules[input.gpio].module.map_or(&[][..], |module| module.each);
                self.leave_keys(&input.section, PLACE, &[keys::of(PLACE), own], Some(input.name));
            }
            match (&modules[input.gpio].bus, interrupts.get(input.name)) {
                (None, _) => self.leave_entry(PLACE, NO_MODULE, input.name),
                (Some(_), Some(bus)) => {
                    let words = format!("nothing: it is the interrupt line of {bus}");
                    self.topic("input", input.name, &words);
                }
                (Some((bus, pins)), None) => self.digital_input(input, bus, *pins),
            }
        }
    }

    /// The name of an entry and which module it names.
    pub(super) fn of_module(&self, section: &Section<'a>, modules: &[Gpio<'a>]) -> Option<(&'a str, usize)> {
        let (name, wanted) = (self.reader.required(section, "name"), self.reader.required(section, "module"));
        let (name, wanted) = (name?, wanted?);
        let found = modules.iter().position(|module| module.name == wanted);
        if found.is_none() {
            let what = format!("gpio_modules has no {wanted:?}");
            self.reader.wrong(&section.span("module"), &what, "");
        }
        Some((name, found?))
    }

    /// The line of an entry, as it is written.
    pub(super) fn line_of(&mut self, section: &Section<'a>, pins: Pins) -> Option<String> {
        let pin = self.reader.required(section, "pin")?;
        match pins.line(pin) {
            Ok(line) => Some(line),
            Err(words) => {
                self.reader.wrong(&section.span("pin"), &format!("pin: {words}"), "write its number");
                None
            }
        }
    }

    /// Gives expanders their interrupt lines. The inputs whose lines these are, each with its expander's bus.
    fn interrupts(&mut self, inputs: &[Input<'a>], modules: &[Gpio<'a>]) -> BTreeMap<&'a str, String> {
        let mut given = BTreeMap::new();
        for input in inputs.iter().filter(|input| input.section.node("interrupt_for").is_some()) {
            let mut of = Vec::new();
            for name in self.reader.texts(&input.section, "interrupt_for") {
                match inputs.iter().find(|other| other.name == name) {
                    Some(other) => of.push(other.gpio),
                    None => {
                        let span = input.section.span("interrupt_for");
                        self.reader.wrong(&span, &format!("no digital input is called {name:?}"), "");
                    }
                }
            }
            of.dedup();
            let expander = match of.as_slice() {
                [one] => modules[*one].bus.as_ref().filter(|(_, pins)| pins.is_expander()),
                _ => None,
            };
            let own = modules[input.gpio].bus.as_ref().filter(|(_, pins)| !pins.is_expander());
            let free = expander.filter(|(bus, _)| !given.values().any(|taken| taken == bus));
            if let (Some((expander, _)), Some((bus, pins))) = (free, own) {
                let Some(line) = self.line_of(&input.section, *pins) else { continue };
                self.wire(expander, bus, line, input);
                given.insert(input.name, expander.clone());
            } else {
                let why = "an interrupt line belongs to one expander, and an expander has one";
                self.file.leave("digital_inputs.interrupt_for", why, Some(input.name));
            }
        }
        given
    }

    fn wire(&mut self, expander: &str, bus: &str, line: String, input: &Input<'a>) {
        let is_rising = self.reader.text(&input.section, "interrupt") == Some("rising");
        let Some(entry) = self.file.buses.iter_mut().find(|entry| entry.name == expander) else { return };
        entry.key("interrupt", inline(&[("bus", named(bus)), ("line", line)]));
        entry.comments.push(format!("its interrupt pin is {} in mqtt-io", shown(input.name)));
        if is_rising {
            entry.comments.push("mqtt-io waits for the rising edge; here the pin must pull the line low".to_owned());
        }
    }

    /// Expanders without an interrupt line are looked at as often as the quickest of their inputs.
    fn polls(&mut self, inputs: &[Input<'a>], modules: &[Gpio<'a>]) {
        let mut quickest: BTreeMap<String, f64> = BTreeMap::new();
        for input in inputs {
            let interval = self.reader.number(&input.section, "poll_interval").unwrap_or(POLL_INTERVAL);
            let Some((bus, _)) = modules[input.gpio].bus.as_ref().filter(|(_, pins)| pins.is_expander()) else {
                continue;
            };
            let known = quickest.entry(bus.clone()).or_insert(interval);
            *known = known.min(interval);
        }
        for entry in &mut self.file.buses {
            let has_line = entry.keys.iter().any(|(key, _)| *key == "interrupt");
            if let Some(interval) = quickest.get(&entry.name).filter(|_| !has_line) {
                // A thousandth is the least that a bus takes, and an hour more than any contact can wait.
                entry.key("every", seconds(interval.clamp(0.001, 3600.0)));
            }
        }
    }

    fn digital_input(&mut self, input: &Input<'a>, bus: &str, pins: Pins) {
        let section = &input.section;
        let class = self.reader.text(section, "class").unwrap_or("Button");
        if pins == Pins::Zero && !matches!(class, "Button" | "DigitalInputDevice") {
            self.leave_entry(PLACE, "no counterpart to its class of gpiozero", input.name);
            return;
        }
        let mut entry = self.entry(input.name);
        entry.key("driver", "gpio-input");
        entry.key("bus", named(bus));
        entry.key("every", HEARTBEAT);
        if self.reader.flag(section, "retain") == Some(true) {
            entry.key("retain", "true");
        }
        let Some(line) = self.line_of(section, pins) else { return };
        let mut settings = vec![("line", line)];
        let is_inverted = self.reader.flag(section, "inverted").unwrap_or(false);
        // A Button pulls its line up and is pressed at a low level.
        if is_inverted != (pins == Pins::Zero && class == "Button") {
            settings.push(("active_low", "true".to_owned()));
        }
        settings.extend(self.bias(section, pins, class, input.name).map(|bias| ("bias", bias.to_owned())));
        settings.push(("debounce", self.debounce(section, input.name)));
        entry.key("settings", inline(&settings));
        self.shown_input(section, &mut entry, input.name);
        let value = if self.plain { "/active" } else { ", as active" };
        self.topic("input", input.name, &format!("B/sensors/{}{value}", entry.name));
        self.file.sensors.push(entry);
    }

    /// mqtt-io is deaf for `bouncetime` after an edge; a debounce asks that the level stays for so long.
    fn debounce(&mut self, section: &Section<'a>, name: &str) -> String {
        let asked = self.reader.integer(section, "bouncetime", 1, i64::MAX).unwrap_or(DEBOUNCE);
        if asked > LONGEST_DEBOUNCE {
            let why =
                "more than 50ms; a debounce swallows what is shorter than itself, and so would presses of a button";
            self.file.leave("digital_inputs.bouncetime", why, Some(name));
        }
        seconds(asked.min(LONGEST_DEBOUNCE) as f64 / 1000.0)
    }

    fn shown_input(&mut self, section: &Section<'a>, entry: &mut Entry, name: &str) {
        if let Some((_, Some(shown))) = self.discovery(section, PLACE, name) {
            entry.key("home_assistant", inline(&[("name", shown)]));
        }
    }

    fn bias(&mut self, section: &Section<'a>, pins: Pins, class: &str, name: &str) -> Option<&'static str> {
        let [up, down] = ["pullup", "pulldown"].map(|key| self.reader.flag(section, key).unwrap_or(false));
        if down && pins.is_expander() {
            self.file.leave("digital_inputs.pulldown", "an expander cannot pull down", Some(name));
        }
        match pins {
            Pins::Zero => Some(if class == "Button" { "pull-up" } else { "pull-down" }),
            Pins::Header | Pins::Numbers if up => Some("pull-up"),
            Pins::Header | Pins::Numbers if down => Some("pull-down"),
            // mqtt-io switches the pull off where none is asked for.
            Pins::Header | Pins::Numbers => Some("disabled"),
            Pins::Mcp23017 if up => Some("pull-up"),
            Pins::Mcp23017 | Pins::Pcf8574 | Pins::Simulated => None,
        }
    }
}
