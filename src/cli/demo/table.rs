//! What the demo puts into the table. Pure: everything it shows is handed in.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::demo::place::Place;
use crate::cli::table::{OutputLine, OutputState, SensorLine, Table, clock};
use crate::config::Config;
use crate::views::{OutputView, View};
use fieldgate_model::{Measurement, Moment, Name, Quantity, Value, payload};

/// The devices in the order of the configuration.
pub(super) struct Names {
    gateway: Name,
    base: String,
    sensors: Vec<(Name, &'static str, Vec<Quantity>)>,
    outputs: Vec<(Name, &'static str)>,
}

impl Names {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            gateway: config.name.clone(),
            base: config.topics.base().to_owned(),
            sensors: config.sensors.iter().map(|s| (s.name.clone(), s.driver.name, s.quantities())).collect(),
            outputs: config.actuators.iter().map(|a| (a.name.clone(), a.driver.name)).collect(),
        }
    }
}

/// Everything that one drawing shows.
pub(super) struct Frame<'a> {
    pub(super) names: &'a Names,
    pub(super) view: &'a View,
    pub(super) place: &'a Place,
    /// What there is to say of the link.
    pub(super) link: Option<String>,
    pub(super) up: Duration,
    pub(super) sent: u64,
    pub(super) waiting: u64,
    pub(super) now: Moment,
}

impl Frame<'_> {
    /// The whole table.
    pub(super) fn lines(&self) -> Vec<String> {
        let heading = format!(
            "fieldgate demo   {}   broker {}   up {}   sent {}   waiting {}",
            self.names.gateway,
            self.place,
            clock(self.up),
            self.sent,
            self.waiting
        );
        let mut notes: Vec<_> = self.link_line().lines().map(str::to_owned).collect();
        notes.extend(self.hints());
        Table { heading, sensors: self.sensors(), outputs: self.outputs(), notes }.lines()
    }

    fn sensors(&self) -> Vec<SensorLine> {
        let line = |(name, driver, quantities): &(Name, &'static str, Vec<Quantity>)| {
            let view = self.view.sensors.get(name);
            let latest = view.and_then(|view| view.latest.as_ref());
            SensorLine {
                name: name.to_string(),
                driver: (*driver).to_owned(),
                latest: latest.map(|reading| measurements(&reading.measurements, quantities)),
                age: latest.map(|reading| self.now.boot.saturating_sub(reading.taken_at.boot)),
                status: view.and_then(|view| view.status).map(|status| status.as_str().to_owned()),
            }
        };
        self.names.sensors.iter().map(line).collect()
    }

    fn outputs(&self) -> Vec<OutputLine> {
        let state = |view: &OutputView| OutputState {
            value: view.value.map(|value| value.to_string()),
            since: self.now.wall.duration_since(view.since).unwrap_or_default(),
            cause: view.cause.as_str().to_owned(),
        };
        let line = |(name, driver): &(Name, &'static str)| OutputLine {
            name: name.to_string(),
            driver: (*driver).to_owned(),
            state: self.view.outputs.get(name).map(state),
        };
        self.names.outputs.iter().map(line).collect()
    }

    /// What there is to say of the link, as a line.
    pub(super) fn link_line(&self) -> String {
        self.link.as_ref().map_or_else(String::new, |words| format!("link     {words}\n"))
    }

    /// What to copy into a second terminal.
    fn hints(&self) -> Vec<String> {
        let Some(broker) = self.place.client_options() else { return Vec::new() };
        let base = &self.names.base;
        let mut hints = vec![format!("watch    mosquitto_sub {broker} -t '{base}/#' -v")];
        hints.extend(self.names.outputs.iter().map(|(name, driver)| {
            let value = if *driver == "gpio-output" { "on" } else { "40" };
            format!("command  mosquitto_pub {broker} -t {base}/actuators/{name}/set -m {value}")
        }));
        hints
    }

    /// The first words into a pipe.
    pub(super) fn introduction(&self) -> String {
        let mut out = format!("fieldgate demo   {}   broker {}\n", self.names.gateway, self.place);
        for hint in self.hints() {
            out.push_str(&hint);
            out.push('\n');
        }
        out
    }

    /// One plain line for everything that is newer than in `printed`.
    pub(super) fn changes(&self, printed: &View) -> String {
        let mut out = String::new();
        for (name, _, quantities) in &self.names.sensors {
            let latest = self.view.sensors.get(name).and_then(|view| view.latest.as_ref());
            let before = printed.sensors.get(name).and_then(|view| view.latest.as_ref());
            if let Some(reading) = latest
                && before.is_none_or(|before| before.taken_at.boot != reading.taken_at.boot)
            {
                let (at, all) = (reading.taken_at.wall, &reading.measurements);
                writeln!(out, "{}  {name}  {}", payload::time(at), measurements(all, quantities))
                    .expect("a String takes all");
            }
        }
        for (name, _) in &self.names.outputs {
            if let Some(view) = self.view.outputs.get(name)
                && printed.outputs.get(name).is_none_or(|then| then.since != view.since)
            {
                let value = view.value.map_or_else(|| "–".into(), |value| value.to_string());
                writeln!(out, "{}  {name}  {value}  {}", payload::time(view.since), view.cause.as_str())
                    .expect("a String takes all");
            }
        }
        out
    }
}

/// `21.53 °C   44.8 %   1013.2 hPa`.
fn measurements(all: &[Measurement], quantities: &[Quantity]) -> String {
    let shown = all.iter().map(|measurement| match measurement.value {
        Value::Flag(true) => "open".into(),
        Value::Flag(false) => "closed".into(),
        Value::Word(word) => word.into(),
        Value::Number { value, decimals } => {
            let unit =
                quantities.iter().find(|quantity| quantity.name == measurement.name).map_or("", |q| q.unit.as_ref());
            format!("{} {unit}", payload::number(value, decimals))
        }
    });
    shown.collect::<Vec<String>>().join("   ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::SensorView;
    use fieldgate_model::{ClockStatus, OutputValue, Reading, RunId, SensorStatus, StateCause};
    use std::time::SystemTime;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn at(seconds: u64) -> Moment {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Moment { boot: Duration::from_secs(seconds), wall, clock: ClockStatus::Synchronised }
    }

    fn check(draw: impl FnOnce(&Frame<'_>)) {
        let temperature = Quantity::new("temperature", "°C", 2);
        let names = Names {
            gateway: name("greenhouse"),
            base: "fieldgate/greenhouse".into(),
            sensors: vec![(name("air"), "bme280", vec![temperature.clone()]), (name("soil"), "ads1115", Vec::new())],
            outputs: vec![(name("pump"), "gpio-output")],
        };
        let mut view = View::default();
        let latest = Some(Reading {
            sensor: name("air"),
            run: RunId(1),
            seq: 1,
            taken_at: at(100),
            measurements: vec![temperature.measured(21.53)],
            samples: None,
        });
        view.sensors
            .insert(name("air"), SensorView { latest, status: Some(SensorStatus::Ok), ..SensorView::default() });
        let (value, since, cause) = (Some(OutputValue::Switch(false)), at(40).wall, StateCause::Start);
        view.outputs.insert(name("pump"), OutputView { value, target: None, since, cause, rule: None });
        let up = Duration::from_secs(72);
        let place = &Place::Embedded(1884);
        draw(&Frame { names: &names, view: &view, place, link: None, up, sent: 214, waiting: 0, now: at(112) });
    }

    #[test]
    fn the_table_shows_values_ages_and_what_to_copy() {
        check(|frame| {
            let lines = frame.lines();
            assert!(lines[0].ends_with("(embedded)   up 00:01:12   sent 214   waiting 0"), "{}", lines[0]);
            assert!(
                lines[2].starts_with("air      bme280       21.53 °C") && lines[2].ends_with("12 s     ok"),
                "{}",
                lines[2]
            );
            assert!(lines[3].contains('–'), "a sensor without a reading is shown all the same");
            assert_eq!(lines[5], "pump     gpio-output  off       00:01:12   start");
            assert_eq!(lines[6], "watch    mosquitto_sub -p 1884 -t 'fieldgate/greenhouse/#' -v");
            assert_eq!(lines[7], "command  mosquitto_pub -p 1884 -t fieldgate/greenhouse/actuators/pump/set -m on");
        });
    }

    #[test]
    fn into_a_pipe_only_what_changed_is_printed() {
        check(|frame| {
            assert_eq!(frame.changes(&View::default()).lines().count(), 2);
            assert_eq!(frame.changes(frame.view), "");
        });
    }
}
