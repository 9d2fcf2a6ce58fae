//! From a measurement and its unit to a family of metrics and its base unit. Pure.
//!
//! Where the unit says what the quantity is, the family is called after it, and all such measurements are in one: each temperature of the
//! house is in `fieldgate_temperature_celsius`. Where it does not (a percentage, parts per million), the measurement's own name says it. A
//! unit that has no row has its own family for each name, so that no family ever has values of two units.

use fieldgate_filters::conversion;
use fieldgate_model::{Form, Quantity};

/// Where a measurement goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    /// The family's name without its unit.
    pub(super) name: String,
    /// The base unit, as it stands at the end of the name; nothing for plain numbers.
    pub(super) unit: Option<String>,
    /// `base = value × factor + offset`.
    pub(super) factor: f64,
    /// See `factor`.
    pub(super) offset: f64,
    /// Whether it counts.
    pub(super) is_counter: bool,
}

/// A base unit, and what it is the base of.
struct Row {
    /// What the quantity is called; nothing where the unit leaves that to the measurement's name.
    quantity: Option<&'static str>,
    unit: &'static str,
    /// A unit that filters know too, whose kind this row takes as a whole; of one of that unit there are so many of this row's.
    kind: Option<(&'static str, f64)>,
    /// Other units with their factors.
    others: &'static [(&'static str, f64)],
}

const fn row(
    quantity: Option<&'static str>,
    unit: &'static str,
    kind: Option<(&'static str, f64)>,
    others: &'static [(&'static str, f64)],
) -> Row {
    Row { quantity, unit, kind, others }
}

const DEGREE: f64 = std::f64::consts::PI / 180.0;

static ROWS: &[Row] = &[
    row(Some("temperature"), "celsius", Some(("°C", 1.0)), &[]),
    row(Some("pressure"), "pascals", Some(("Pa", 1.0)), &[]),
    row(Some("length"), "meters", Some(("m", 1.0)), &[]),
    row(Some("voltage"), "volts", Some(("V", 1.0)), &[]),
    row(Some("current"), "amperes", Some(("A", 1.0)), &[]),
    row(Some("power"), "watts", Some(("W", 1.0)), &[]),
    row(Some("mass"), "grams", Some(("g", 1.0)), &[]),
    row(Some("volume"), "cubic_meters", Some(("m³", 1.0)), &[("ft³", 0.028_316_846_592)]),
    row(Some("speed"), "meters_per_second", Some(("m/s", 1.0)), &[]),
    row(Some("frequency"), "hertz", Some(("Hz", 1.0)), &[]),
    row(Some("energy"), "joules", None, &[("J", 1.0), ("Wh", 3600.0), ("kWh", 3.6e6), ("MWh", 3.6e9)]),
    row(Some("time"), "seconds", None, &[("ms", 0.001), ("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86_400.0)]),
    row(Some("illuminance"), "lux", None, &[("lx", 1.0)]),
    row(Some("resistance"), "ohms", None, &[("Ω", 1.0), ("kΩ", 1000.0)]),
    row(Some("acceleration"), "meters_per_second_squared", None, &[("m/s²", 1.0)]),
    row(Some("angle"), "radians", None, &[("°", DEGREE)]),
    row(Some("angular_rate"), "radians_per_second", None, &[("°/s", DEGREE)]),
    row(
        Some("flow"),
        "cubic_meters_per_second",
        None,
        &[("L/s", 1e-3), ("L/min", 1e-3 / 60.0), ("L/h", 1e-3 / 3600.0), ("m³/h", 1.0 / 3600.0)],
    ),
    row(None, "ratio", None, &[("%", 0.01)]),
    row(None, "parts_per_million", None, &[("ppm", 1.0), ("ppb", 0.001)]),
    row(None, "grams_per_cubic_meter", None, &[("µg/m³", 1e-6), ("mg/m³", 1e-3)]),
    row(None, "decibels", None, &[("dB", 1.0)]),
];

impl Row {
    fn line(&self, unit: &str) -> Option<(f64, f64)> {
        if let Some((_, factor)) = self.others.iter().find(|(name, _)| *name == unit) {
            return Some((*factor, 0.0));
        }
        let (base, factor) = self.kind?;
        let line = conversion(unit, base)?;
        Some((line.factor * factor, line.offset * factor))
    }
}

/// Where this measurement goes; nothing for events, which are not values.
pub(super) fn place(quantity: &Quantity) -> Option<Place> {
    match quantity.form {
        Form::Word => return None,
        Form::Flag => {
            return Some(Place { name: "flag".into(), unit: None, factor: 1.0, offset: 0.0, is_counter: false });
        }
        Form::Number => {}
    }
    let is_counter = quantity.count_scale.is_some();
    let found = ROWS.iter().find_map(|row| Some((row, row.line(&quantity.unit)?)));
    let (name, unit, (factor, offset)) = match found {
        Some((row, line)) => (row.quantity.unwrap_or(&quantity.name).to_owned(), Some(row.unit.to_owned()), line),
        None => {
            let unit = Some(spelt(&quantity.unit)).filter(|unit| !unit.is_empty());
            (quantity.name.to_string(), unit, (1.0, 0.0))
        }
    };
    let mut name = spelt(&name);
    if is_counter {
        // Beside a family of the same quantity that does not count.
        name = format!("counted_{name}");
    } else if unit.is_none() && RESERVED.iter().any(|end| name == *end || name.ends_with(&format!("_{end}"))) {
        name.push_str("_value");
    }
    let name = if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name };
    Some(Place { name, unit, factor, offset, is_counter })
}

/// Ends of names that mean a kind of metric.
const RESERVED: &[&str] = &["total", "count", "sum", "bucket", "info", "created"];

/// In the letters that a metric's name may have.
fn spelt(text: &str) -> String {
    let mut spelt = String::new();
    for letter in text.chars() {
        let word = match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' => letter.to_ascii_lowercase().to_string(),
            '/' => "_per_".into(),
            '%' => "_percent_".into(),
            '°' => "_degrees_".into(),
            'µ' | 'μ' => "micro".into(),
            '²' => "2".into(),
            '³' => "3".into(),
            '_' | '-' | '.' | ' ' | '·' => "_".into(),
            other => format!("_u{:x}_", u32::from(other)),
        };
        spelt.push_str(&word);
    }
    spelt.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, unit: &'static str, value: f64, family: &str, base: f64) {
        let place = place(&Quantity::new(name, unit, 1)).unwrap();
        let full = place.unit.map_or(place.name.clone(), |unit| format!("{}_{unit}", place.name));
        let found = value * place.factor + place.offset;
        assert_eq!(full, family, "{name} {unit}");
        assert!((found - base).abs() <= 1e-9 * base.abs().max(1.0), "{value} {unit} is {found} in {family}");
    }

    #[test]
    fn every_unit_becomes_its_base_unit() {
        check("temperature", "°C", 21.5, "temperature_celsius", 21.5);
        check("cpu_temperature", "°F", 212.0, "temperature_celsius", 100.0);
        check("pressure", "hPa", 1013.25, "pressure_pascals", 101_325.0);
        check("humidity", "%", 45.0, "humidity_ratio", 0.45);
        check("soil_moisture", "%", 45.0, "soil_moisture_ratio", 0.45);
        check("voltage_0", "mV", 3300.0, "voltage_volts", 3.3);
        check("illuminance", "lx", 300.0, "illuminance_lux", 300.0);
        check("weight", "kg", 1.5, "mass_grams", 1500.0);
        check("distance", "cm", 12.0, "length_meters", 0.12);
        check("tvoc", "ppb", 120.0, "tvoc_parts_per_million", 0.12);
        check("pm2_5", "µg/m³", 12.0, "pm2_5_grams_per_cubic_meter", 0.000_012);
        check("energy", "kWh", 2.0, "energy_joules", 7.2e6);
        check("angular_rate_x", "°/s", 180.0, "angular_rate_radians_per_second", std::f64::consts::PI);
    }

    #[test]
    fn a_unit_without_a_row_has_a_family_of_its_own() {
        check("load", "", 0.5, "load", 0.5);
        check("total", "", 5.0, "total_value", 5.0);
        check("particles_0_3", "/0.1 L", 7.0, "particles_0_3_per_0_1_l", 7.0);
        check("x", "€/°d", 7.0, "x_u20ac_per_degrees_d", 7.0);
        assert_eq!(place(&Quantity::word("click")), None);
        assert_eq!(place(&Quantity::flag("motion")).unwrap().name, "flag");
    }

    /// The rule that matters most: values in one family are in one unit.
    #[test]
    fn no_two_units_of_one_family_are_left_as_they_are() {
        for row in ROWS {
            for (unit, _) in row.others {
                let rows = ROWS.iter().filter(|row| row.line(unit).is_some()).count();
                assert_eq!(rows, 1, "{unit} has one row");
            }
        }
    }
}
