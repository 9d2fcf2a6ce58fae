//! What a quantity is to Home Assistant: device class, state class and the name that people read. Pure.
//!
//! Home Assistant refuses an entity whose class does not know its unit, so a class is chosen by the unit, and by the name only
//! where the unit leaves it open. A unit that no row has gets no class, which is always accepted. `tests/home_assistant` compares
//! every row with the lists of Home Assistant itself.

use fieldgate_model::Quantity;

/// A device class and what it stands for.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// As Home Assistant calls it.
    pub class: &'static str,
    /// Names that it is limited to, each also as the beginning or end of a longer one; none: all.
    pub names: &'static [&'static str],
    /// The units, each of which Home Assistant knows for this class.
    pub units: &'static [&'static str],
}

const fn row(class: &'static str, names: &'static [&'static str], units: &'static [&'static str]) -> Row {
    Row { class, names, units }
}

/// What is the case at a moment; the first row that fits is taken.
pub static MEASURED: &[Row] = &[
    row("humidity", &["humidity"], &["%"]),
    row("moisture", &["moisture"], &["%"]),
    row("battery", &["battery"], &["%"]),
    row("temperature", &[], &["°C", "°F", "K"]),
    row("atmospheric_pressure", &["pressure"], &["hPa", "mbar", "inHg"]),
    row("pressure", &[], &["Pa", "hPa", "kPa", "bar", "mbar", "psi", "inHg"]),
    row("illuminance", &[], &["lx"]),
    row("carbon_dioxide", &["co2", "eco2"], &["ppm"]),
    row("volatile_organic_compounds_parts", &["tvoc"], &["ppb", "ppm"]),
    row("pm1", &["pm1_0"], &["µg/m³"]),
    row("pm25", &["pm2_5"], &["µg/m³"]),
    row("pm10", &["pm10"], &["µg/m³"]),
    row("voltage", &[], &["V", "mV"]),
    row("current", &[], &["A", "mA"]),
    row("power", &[], &["W", "kW", "mW"]),
    row("frequency", &[], &["Hz", "kHz"]),
    row("duration", &[], &["ms", "s", "min", "h", "d"]),
    row("distance", &[], &["mm", "cm", "m", "km", "in", "ft"]),
    row("speed", &[], &["m/s", "km/h", "mph", "kn"]),
    row("precipitation_intensity", &[], &["mm/h"]),
    row("volume_flow_rate", &[], &["L/min", "L/h", "L/s", "m³/h"]),
    row("weight", &[], &["g", "kg", "lb", "oz"]),
    row("sound_pressure", &[], &["dB"]),
];

/// What only grows. A volume is neither called water nor gas, for a meter's pulses do not say which.
pub static COUNTED: &[Row] = &[
    row("energy", &[], &["Wh", "kWh", "MWh"]),
    row("volume", &[], &["mL", "L", "m³", "gal", "ft³"]),
    row("precipitation", &[], &["mm"]),
];

/// Quantities that only grow.
const COUNTERS: &[&str] = &["total", "missed"];

/// Names that people read otherwise than they are written.
const LABELS: &[(&str, &str)] = &[
    ("co2", "CO₂"),
    ("eco2", "eCO₂"),
    ("tvoc", "TVOC"),
    ("voc", "VOC"),
    ("cpu", "CPU"),
    ("pm1_0", "PM1"),
    ("pm2_5", "PM2.5"),
    ("pm10", "PM10"),
    ("particles_0_3", "particles above 0.3 µm"),
    ("particles_0_5", "particles above 0.5 µm"),
    ("particles_1_0", "particles above 1 µm"),
    ("particles_2_5", "particles above 2.5 µm"),
    ("particles_5_0", "particles above 5 µm"),
    ("particles_10", "particles above 10 µm"),
];

/// The device class, where there is one.
pub(super) fn device_class(quantity: &Quantity, grows: bool) -> Option<&'static str> {
    let rows = if grows { COUNTED } else { MEASURED };
    let fits = |row: &&Row| {
        let is_named = row.names.is_empty() || row.names.iter().any(|name| is_about(&quantity.name, name));
        is_named && row.units.contains(&&*quantity.unit)
    };
    rows.iter().find(fits).map(|row| row.class)
}

/// The state class: what long-term statistics are made of.
pub(super) fn state_class(grows: bool) -> &'static str {
    if grows { "total_increasing" } else { "measurement" }
}

/// A measurement's name as people read it: in lower case, but for abbreviations.
pub(super) fn label(name: &str) -> String {
    if let Some((_, label)) = LABELS.iter().find(|(written, _)| *written == name) {
        return (*label).to_owned();
    }
    if let Some((written, label)) = LABELS.iter().rfind(|(written, _)| name.starts_with(&format!("{written}_"))) {
        return format!("{label} {}", plain(&name[written.len()..]));
    }
    plain(name)
}

/// A name as the beginning of a sentence.
pub(super) fn title(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A device's name in the configuration as people read it.
pub(super) fn plain(name: &str) -> String {
    name.split(['_', '-']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Whether what a driver calls so only grows.
pub(super) fn is_counter(name: &str) -> bool {
    COUNTERS.iter().any(|counter| is_about(name, counter))
}

/// Whether `name` is this word, or begins or ends with it: `humidity_max`, `soil_moisture`.
pub(super) fn is_about(name: &str, word: &str) -> bool {
    let begins = name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    begins || name.strip_suffix(word).is_some_and(|rest| rest.ends_with('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, unit: &'static str, device: Option<&str>, state: &str) {
        let quantity = Quantity::new(name, unit, 1);
        let grows = is_counter(name);
        assert_eq!((device_class(&quantity, grows), state_class(grows)), (device, state), "{name} {unit}");
    }

    #[test]
    fn the_unit_decides_and_the_name_where_the_unit_leaves_it_open() {
        check("temperature", "°C", Some("temperature"), "measurement");
        check("cpu_temperature_max", "°F", Some("temperature"), "measurement");
        check("humidity_min", "%", Some("humidity"), "measurement");
        check("soil_moisture", "%", Some("moisture"), "measurement");
        check("memory_used", "%", None, "measurement");
        check("pressure", "hPa", Some("atmospheric_pressure"), "measurement");
        check("pressure", "bar", Some("pressure"), "measurement");
        check("pm10", "µg/m³", Some("pm10"), "measurement");
        check("pm1_0", "µg/m³", Some("pm1"), "measurement");
        check("gas_resistance", "Ω", None, "measurement");
        check("value", "", None, "measurement");
    }

    #[test]
    fn what_only_grows_is_a_total() {
        check("total", "kWh", Some("energy"), "total_increasing");
        check("total", "m³", Some("volume"), "total_increasing");
        check("total", "mm", Some("precipitation"), "total_increasing");
        check("total", "W", None, "total_increasing");
        check("missed", "", None, "total_increasing");
        check("energy", "kWh", None, "measurement");
    }

    #[test]
    fn names_read_as_people_write_them() {
        let read = |name| title(&label(name));
        assert_eq!(read("temperature"), "Temperature");
        assert_eq!(read("cpu_temperature"), "CPU temperature");
        assert_eq!(read("co2"), "CO₂");
        assert_eq!(read("eco2_mean"), "ECO₂ mean");
        assert_eq!(read("pm1_0_max"), "PM1 max");
        assert_eq!(read("voltage_0"), "Voltage 0");
        assert_eq!(read(""), "");
    }
}
