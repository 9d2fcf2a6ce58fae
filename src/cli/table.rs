//! The table of `demo` and `watch`: sensors with their newest values, outputs with their states. Pure.

use std::time::Duration;

/// A name or a driver takes so many columns at most; longer ones push the rest of their line.
const WIDEST: usize = 24;

/// What a line says where nothing is known.
const NOTHING: &str = "–";

/// Everything that one drawing shows.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The first line.
    pub(super) heading: String,
    pub(super) sensors: Vec<SensorLine>,
    pub(super) outputs: Vec<OutputLine>,
    /// The lines below.
    pub(super) notes: Vec<String>,
}

/// A sensor.
#[derive(Debug, Default)]
pub(super) struct SensorLine {
    pub(super) name: String,
    pub(super) driver: String,
    /// Its newest values.
    pub(super) latest: Option<String>,
    /// How old they are.
    pub(super) age: Option<Duration>,
    pub(super) status: Option<String>,
}

/// An output.
#[derive(Debug, Default)]
pub(super) struct OutputLine {
    pub(super) name: String,
    pub(super) driver: String,
    /// Nothing as long as its state is not known.
    pub(super) state: Option<OutputState>,
}

/// What an output does.
#[derive(Debug, Default)]
pub(super) struct OutputState {
    pub(super) value: Option<String>,
    /// How long it has done that.
    pub(super) since: Duration,
    /// Why it does that: a command, a rule, a limit.
    pub(super) cause: String,
}

impl Table {
    /// From top to bottom.
    pub(super) fn lines(&self) -> Vec<String> {
        let of = |name: &dyn Fn() -> Vec<usize>, least: usize| name().into_iter().fold(least, usize::max).min(WIDEST);
        let names = || {
            let outputs = self.outputs.iter().map(|output| output.name.len());
            self.sensors.iter().map(|sensor| sensor.name.len()).chain(outputs).collect()
        };
        let drivers = || {
            let outputs = self.outputs.iter().map(|output| output.driver.len());
            self.sensors.iter().map(|sensor| sensor.driver.len()).chain(outputs).collect()
        };
        let (name_width, driver_width) = (of(&names, 8), of(&drivers, 12));
        let begin = |name: &str, driver: &str| format!("{name:<name_width$} {driver:<driver_width$}");
        let mut lines = vec![self.heading.clone()];
        lines.push(format!("{} {:<36} {:<8} STATUS", begin("SENSOR", "DRIVER"), "LATEST", "AGE"));
        lines.extend(self.sensors.iter().map(|sensor| {
            let latest = sensor.latest.as_deref().unwrap_or(NOTHING);
            let age = sensor.age.map_or_else(|| NOTHING.to_owned(), age);
            let status = sensor.status.as_deref().unwrap_or(NOTHING);
            format!("{} {latest:<36} {age:<8} {status}", begin(&sensor.name, &sensor.driver))
        }));
        lines.push(format!("{} {:<9} {:<10} CAUSE", begin("OUTPUT", "DRIVER"), "VALUE", "SINCE"));
        lines.extend(self.outputs.iter().map(|output| {
            let begin = begin(&output.name, &output.driver);
            match &output.state {
                Some(OutputState { value, since, cause }) => {
                    let value = value.as_deref().unwrap_or(NOTHING);
                    format!("{begin} {value:<9} {:<10} {cause}", clock(*since))
                }
                None => format!("{begin} {NOTHING}"),
            }
        }));
        lines.extend(self.notes.iter().cloned());
        lines
    }
}

/// `00:01:12`.
pub(super) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `0.4 s`, `12 s`, and `00:12:00` from ten minutes on.
fn age(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..600.0 => format!("{seconds:.0} s"),
        _ => clock(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_names_of_a_usual_length_and_no_wider() {
        let sensor = |name: &str| SensorLine { name: name.into(), driver: "bme280".into(), ..SensorLine::default() };
        let table = |name: &str| Table { sensors: vec![sensor(name), sensor("b")], ..Table::default() }.lines();
        assert_eq!(table("a")[2], format!("a        bme280       {:<36} –        –", "–"));
        assert_eq!(table("living-room-window")[3], format!("b                  bme280       {:<36} –        –", "–"));
        assert_eq!(table(&"x".repeat(64))[3], format!("{:<24} bme280       {:<36} –        –", "b", "–"));
    }

    #[test]
    fn times_are_short() {
        let seconds = Duration::from_secs_f64;
        assert_eq!(
            [0.44, 12.0, 599.0, 7201.0].map(|age| super::age(seconds(age))),
            ["0.4 s", "12 s", "599 s", "02:00:01"]
        );
    }
}
