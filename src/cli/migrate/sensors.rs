//! `sensor_modules` and `sensor_inputs` as sensors: one for each chip, with the measurements that have an input.

use super::chips::{Chip, Input, Measured};
use super::inputs::NO_MODULE;
use super::keys;
use super::read::Section;
use super::state::{Migration, seconds};
use super::table::Module;
use super::write::{Entry, inline, named, quoted, shown};

/// How often mqtt-io reads a sensor where nothing is said, in seconds.
const INTERVAL: i64 = 60;

/// A year in seconds, the longest interval.
const YEAR: i64 = 365 * 86_400;

/// The finest that the filter `round` takes, in decimals.
const MOST_DIGITS: i64 = 9;

const PLACE: &str = "sensor_inputs";

impl<'a> Migration<'a> {
    /// Writes the sensors.
    pub(super) fn sensors(&mut self, root: &Section<'a>) {
        let mut inputs = self.sensor_inputs(root);
        let modules = self.reader.list(root, "sensor_modules");
        let of_kernel = |section: &Section<'a>| self.reader.text(section, "module") == Some("dht22");
        let several_dht = modules.iter().filter(|section| of_kernel(section)).count() > 1;
        let mut names = Vec::new();
        for section in modules {
            let (name, wanted) = (self.reader.required(&section, "name"), self.reader.required(&section, "module"));
            let (Some(name), Some(wanted)) = (name, wanted) else { continue };
            if names.contains(&name) {
                self.reader.wrong(&section.span("name"), "two modules have this name", "");
            }
            names.push(name);
            let (own, others) = inputs.into_iter().partition(|input: &Input<'a>| input.module == name);
            inputs = others;
            let own: Vec<Input<'a>> = own;
            let Some(module) = self.module(&section, "sensor_modules", name, wanted) else {
                own.iter().for_each(|input| self.leave_entry(PLACE, NO_MODULE, input.name));
                continue;
            };
            if own.is_empty() {
                self.file.leave("sensor_modules", "no sensor input names it", Some(name));
                continue;
            }
            for input in &own {
                self.leave_keys(&input.section, PLACE, &[keys::of(PLACE), module.each], Some(input.name));
            }
            self.chips(&section, name, module, own, several_dht);
        }
        for input in &inputs {
            let what = format!("sensor_modules has no {:?}", input.module);
            self.reader.wrong(&input.section.span("module"), &what, "");
        }
    }

    fn sensor_inputs(&mut self, root: &Section<'a>) -> Vec<Input<'a>> {
        let mut inputs: Vec<Input<'a>> = Vec::new();
        for section in self.reader.list(root, PLACE) {
            let (name, module) = (self.reader.required(&section, "name"), self.reader.required(&section, "module"));
            let (Some(name), Some(module)) = (name, module) else { continue };
            if inputs.iter().any(|other| other.name == name) {
                self.reader.wrong(&section.span("name"), "two sensor inputs have this name", "");
            }
            inputs.push(Input { section, name, module });
        }
        inputs
    }

    /// Most modules are one chip; the pulse counters have a line for each input.
    fn chips(
        &mut self,
        section: &Section<'a>,
        name: &str,
        module: &'static Module,
        inputs: Vec<Input<'a>>,
        several_dht: bool,
    ) {
        if matches!(module.name, "flowsensor" | "frequencycounter" | "mock") {
            for input in inputs {
                let Some(chip) = self.single(&input, module.name) else { continue };
                self.sensor(name, chip, vec![input]);
            }
        } else if let Some(chip) = self.chip(section, module.name, &inputs, several_dht) {
            self.sensor(name, chip, inputs);
        }
    }

    fn sensor(&mut self, module: &str, chip: Chip, inputs: Vec<Input<'a>>) {
        let wanted = if let [only] = inputs.as_slice() { only.name } else { module };
        let has_several = inputs.len() > 1;
        let mut measured: Vec<(String, Input<'a>)> = Vec::new();
        for input in inputs {
            match self.measured(&chip, &input) {
                Measured::As(name) => measured.push((name, input)),
                Measured::Not(why) => self.leave_entry(PLACE, why, input.name),
            }
        }
        if measured.is_empty() {
            return;
        }
        let mut entry = self.entry(wanted);
        entry.comments.extend(chip.comments.iter().cloned());
        entry.key("driver", chip.driver);
        if let Some(bus) = &chip.bus {
            entry.key("bus", named(bus));
        }
        self.every(&mut entry, &measured);
        if measured.iter().any(|(_, input)| self.reader.flag(&input.section, "retain") == Some(true)) {
            entry.key("retain", "true");
        }
        if !chip.settings.is_empty() {
            entry.key("settings", inline(&chip.settings));
        }
        self.filters(&mut entry, &chip, &measured);
        self.shown_sensor(&mut entry, &measured, has_several);
        for (quantity, input) in &measured {
            let value = if self.plain { format!("/{quantity}") } else { format!(", as {quantity}") };
            self.topic("sensor", input.name, &format!("B/sensors/{}{value}", entry.name));
        }
        self.file.sensors.push(entry);
    }

    fn every(&mut self, entry: &mut Entry, measured: &[(String, Input<'a>)]) {
        let intervals: Vec<_> = measured
            .iter()
            .map(|(_, input)| self.reader.integer(&input.section, "interval", 1, YEAR).unwrap_or(INTERVAL))
            .collect();
        let shortest = intervals.iter().copied().min().unwrap_or(INTERVAL);
        for ((_, input), interval) in measured.iter().zip(&intervals).filter(|(_, interval)| **interval > shortest) {
            let words = format!("mqtt-io reads {} every {}", shown(input.name), seconds(*interval as f64));
            entry.comments.push(words);
        }
        entry.key("every", seconds(shortest as f64));
    }

    /// Decimals, and what a chip measures that no input names.
    fn filters(&mut self, entry: &mut Entry, chip: &Chip, measured: &[(String, Input<'a>)]) {
        let mut filters: Vec<(&str, String)> = Vec::new();
        for (quantity, input) in measured {
            let Some(digits) = self.reader.integer(&input.section, "digits", 0, MOST_DIGITS) else { continue };
            if filters.iter().any(|(known, _)| known == quantity) {
                continue;
            }
            let step = if digits == 0 { "1".to_owned() } else { format!("0.{:0>1$}", 1, digits as usize) };
            filters.push((quantity, format!("[{{ round: {step} }}]")));
        }
        for quantity in chip.all.iter().filter(|quantity| !measured.iter().any(|(known, _)| known == *quantity)) {
            filters.push((quantity, "omit".to_owned()));
        }
        if !filters.is_empty() {
            entry.key("filters", inline(&filters));
        }
    }

    fn shown_sensor(&mut self, entry: &mut Entry, measured: &[(String, Input<'a>)], has_several: bool) {
        let mut keys: Vec<(&str, String)> = Vec::new();
        for (quantity, input) in measured {
            let shown = self.discovery(&input.section, PLACE, input.name).and_then(|(_, name)| name);
            // mqtt-io announces an input by its own name where it is given no other.
            let own = || (self.announced && has_several).then(|| quoted(input.name));
            if let Some(shown) = shown.or_else(own)
                && !keys.iter().any(|(known, _)| known == quantity)
            {
                keys.push((quantity, inline(&[("name", shown)])));
            }
        }
        if !keys.is_empty() {
            entry.key("home_assistant", inline(&keys));
        }
    }
}
