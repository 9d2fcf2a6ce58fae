//! A configuration for what was found. It passes `fieldgate check` as it is: what is certain stands in it, what has to be
//! decided by somebody who sees the board stands beside it as a comment.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::cli::scan::{Found, Who};
use fieldgate_bus::survey::KernelDevice;
use fieldgate_drivers::likely::Likely;
use fieldgate_drivers::usual_names::usual_name;

/// The whole file.
pub(super) fn configuration(found: &Found) -> String {
    let mut file = File { buses: String::new(), sensors: String::new(), taken: BTreeSet::new() };
    file.sensor("board", "{ driver: board, every: 60s }");
    file.i2c(found);
    file.one_wire(&found.survey.one_wire);
    file.kernel("linux-iio", &found.survey.iio);
    file.kernel("linux-hwmon", &found.survey.hwmon);
    file.gpio(found);
    let buses = if file.buses.is_empty() { String::new() } else { format!("buses:\n{}\n", file.buses) };
    format!(
        "# What `fieldgate scan` found on this board. Lines that begin with # wait for a decision of yours.\n\
         mqtt:\n  broker: mqtt://localhost:1883\n\n{buses}sensors:\n{}",
        file.sensors
    )
}

struct File {
    buses: String,
    sensors: String,
    /// Names that are given already; those of buses with `bus ` in front.
    taken: BTreeSet<String>,
}

impl File {
    /// A name like `wanted` that nobody has.
    fn name(&mut self, wanted: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
        let wanted: String = wanted.chars().map(plain).take(56).collect();
        let free = (1..).map(|count| if count == 1 { wanted.clone() } else { format!("{wanted}-{count}") });
        let name = free.into_iter().find(|name| !self.taken.contains(name)).expect("one of endless names is free");
        self.taken.insert(name.clone());
        name
    }

    fn sensor(&mut self, wanted: &str, entry: &str) {
        let name = self.name(wanted);
        writeln!(self.sensors, "  {name}: {entry}").expect("a String takes all");
    }

    fn comment(&mut self, text: &str) {
        writeln!(self.sensors, "  # {text}").expect("a String takes all");
    }

    fn bus(&mut self, name: &str, entry: &str) {
        if self.taken.insert(format!("bus {name}")) {
            writeln!(self.buses, "  {name}: {entry}").expect("a String takes all");
        }
    }

    fn i2c(&mut self, found: &Found) {
        for (adapter, chips) in found.survey.i2c.iter().zip(&found.chips) {
            let device = adapter.device.display();
            let bus = adapter.device.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            for (address, who) in chips {
                let entry = |driver: &str| {
                    format!("{{ driver: {driver}, bus: {bus}, every: 10s, settings: {{ address: {address:#04x} }} }}")
                };
                match who {
                    Who::Bound(_) => continue,
                    Who::Likely(Likely::Confirmed(spec)) => self.sensor(spec.name, &entry(spec.name)),
                    Who::Likely(Likely::Possible { drivers, others }) => {
                        if !others.is_empty() {
                            self.comment(&format!("{address:#04x} of {bus} may be {}", others.join(" or ")));
                        }
                        for spec in drivers {
                            self.comment(&format!("{}-{address:02x}: {}", spec.name, entry(spec.name)));
                        }
                    }
                }
                self.bus(&bus, &format!("{{ type: i2c, device: {device} }}"));
            }
        }
    }

    fn one_wire(&mut self, ids: &[String]) {
        for id in ids {
            self.bus("wire", "{ type: w1 }");
            self.sensor("ds18b20", &format!("{{ driver: ds18b20, bus: wire, every: 60s, settings: {{ id: {id} }} }}"));
        }
    }

    /// The sensors of the kernel whose files have a known meaning. The processor's own temperature is `board`'s.
    fn kernel(&mut self, driver: &str, devices: &[KernelDevice]) {
        for device in devices.iter().filter(|device| device.name != "cpu_thermal") {
            let known = device.attributes.iter().filter_map(|file| Some((usual_name(driver, file)?, file)));
            let channels: Vec<_> = known.map(|(name, file)| format!("{name}: {{ attribute: {file} }}")).collect();
            if channels.is_empty() {
                continue;
            }
            let name = serde_json::Value::from(device.name.as_str());
            let settings = format!("{{ device: {name}, channels: {{ {} }} }}", channels.join(", "));
            let entry = format!("{{ driver: {driver}, every: 10s, settings: {settings} }}");
            if devices.iter().filter(|other| other.name == device.name).count() > 1 {
                self.comment(&format!(
                    "one of several called {name}: add `parent`, as `fieldgate drivers {driver}` says"
                ));
                self.comment(&format!("{}: {entry}", device.name));
            } else {
                self.sensor(&device.name, &entry);
            }
        }
    }

    /// What hangs on a line cannot be seen from here.
    fn gpio(&mut self, found: &Found) {
        let Ok(chips) = &found.survey.gpio else { return };
        let header = chips.iter().find(|chip| chip.lines.iter().any(|line| line.name == "GPIO17"));
        let Some(chip) = header.or(chips.first()) else { return };
        let label = serde_json::Value::from(chip.label.as_str());
        self.bus("header", &format!("{{ type: gpio, chip: {label} }}"));
        let line = chip.lines.iter().find(|line| line.name == "GPIO17").map_or("0", |line| line.name.as_str());
        self.comment(&format!(
            "door: {{ driver: gpio-input, bus: header, settings: {{ line: {line}, active_low: true, bias: pull-up }} }}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::scan::tests::board;
    use crate::config;
    use fieldgate_bus::survey::Survey;
    use std::path::Path;

    #[test]
    fn what_is_printed_passes_the_check() {
        let text = configuration(&board());
        let loaded =
            config::load_text(&text, Path::new("scanned.yaml")).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let names: Vec<_> = loaded.config.sensors.iter().map(|sensor| sensor.name.as_str()).collect();
        assert_eq!(names, ["board", "bme280", "ds18b20", "dht11-4", "lm75"]);
        assert!(text.contains("# tmp102-48: { driver: tmp102, bus: i2c-1,"), "{text}");
        assert!(text.contains("# 0x51 of i2c-1 may be a memory: 24Cxx"), "{text}");
    }

    #[test]
    fn what_waits_for_a_decision_passes_the_check_too_once_it_is_taken() {
        let text = configuration(&board()).replace("  # tmp102-48:", "  tmp102-48:").replace("  # door:", "  door:");
        let loaded =
            config::load_text(&text, Path::new("scanned.yaml")).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(loaded.config.sensors.len(), 7);
    }

    #[test]
    fn a_machine_without_anything_still_has_itself() {
        let survey = Survey {
            model: None,
            i2c: Vec::new(),
            gpio: Ok(Vec::new()),
            one_wire_master: false,
            one_wire: Vec::new(),
            iio: Vec::new(),
            hwmon: Vec::new(),
            spi: Vec::new(),
            serial: Vec::new(),
            pwm: Vec::new(),
        };
        let text = configuration(&Found { survey, chips: Vec::new() });
        let loaded =
            config::load_text(&text, Path::new("scanned.yaml")).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(loaded.config.sensors.len(), 1);
    }
}
