//! Every family of metrics, gathered for one scrape: the lines of the table (`table.rs`), alarms, and what sensors measure.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use rustix::time::{ClockId, clock_gettime};

use crate::health::{self, Sources};
use crate::metrics::Metrics;
use crate::metrics::quantities::place;
use crate::metrics::table::{Metric, OF_GATEWAY, OF_OUTPUT, OF_SENSOR, OfGateway, OfOutput, OfSensor};
use crate::roster::Roster;
use crate::views::View;
use fieldgate_clock as clock;
use fieldgate_model::{Name, Quantity, SensorStatus, Value};

/// What all names begin with, but for those of the process, which every exporter calls alike.
const PREFIX: &str = "fieldgate";

type Labels = Vec<(&'static str, String)>;

/// A family and its values.
#[derive(Clone, Debug)]
struct Family {
    help: String,
    unit: Option<String>,
    is_counter: bool,
    values: Vec<(Labels, f64)>,
}

/// All families by their names without the unit, in the order of these.
#[derive(Clone, Debug, Default)]
pub(super) struct Families(BTreeMap<String, Family>);

impl Families {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let mut families = Self::default();
        let roster = metrics.sources.roster.borrow().clone();
        families.gateway(&metrics.sources);
        families.outputs(&metrics.sources, &roster, &metrics.views.current());
        families.sensors(&roster, &metrics.views.current());
        families
    }

    pub(super) fn render(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // A String takes all.
        encode(&mut text, &registry).ok();
        text
    }

    fn add(&mut self, name: &str, unit: Option<&str>, help: &str, is_counter: bool, labels: Labels, value: f64) {
        let new = || Family { help: help.to_owned(), unit: unit.map(str::to_owned), is_counter, values: Vec::new() };
        let family = self.0.entry(name.to_owned()).or_insert_with(new);
        family.values.push((labels, value));
    }

    /// The lines of a part of the table.
    fn list<T>(&mut self, table: &[Metric<T>], labels: &[(&'static str, String)], numbers: &T) {
        for metric in table {
            if let Some(value) = (metric.value)(numbers) {
                self.add(metric.name, metric.unit, metric.help, metric.is_counter, labels.to_vec(), value);
            }
        }
    }

    fn gateway(&mut self, sources: &Sources) {
        let (now, cpu) = (clock::now(), clock_gettime(ClockId::ProcessCPUTime));
        let numbers = OfGateway {
            now,
            uptime: now.boot.saturating_sub(sources.started.boot),
            cpu: cpu.try_into().unwrap_or_default(),
            resident_bytes: health::resident_bytes(),
            link: sources.link.borrow().clone(),
            spool: sources.spool.stats(),
        };
        self.list(OF_GATEWAY, &[], &numbers);
        let (buses, rules) = (sources.buses.list(), sources.rules.list());
        self.alarms("bus", buses.keys(), "Buses that do not work; those that do are not listed");
        let help = "Rules that are stopped because they go round in a circle; no others are listed";
        self.alarms("rule", rules.keys(), help);
    }

    fn alarms<'n>(&mut self, of: &'static str, names: impl Iterator<Item = &'n Name>, help: &str) {
        for name in names {
            self.add(&format!("{PREFIX}_{of}_alarm"), None, help, false, vec![(of, name.to_string())], 1.0);
        }
    }

    fn outputs(&mut self, sources: &Sources, roster: &Roster, view: &View) {
        for name in roster.targets.keys() {
            let value = view.outputs.get(name).and_then(|output| output.value);
            let numbers = OfOutput { counts: sources.of_output(name), value };
            self.list(OF_OUTPUT, &[("output", name.to_string())], &numbers);
        }
    }

    fn sensors(&mut self, roster: &Roster, view: &View) {
        let now = clock::boottime();
        for (sensor, quantities) in &roster.inventory.sensors {
            let Some(tally) = roster.tallies.get(&sensor.name) else { continue };
            let labels = vec![("sensor", sensor.name.to_string())];
            let counts = health::of_sensor(tally);
            let latest = view.sensors.get(&sensor.name).and_then(|known| known.latest.as_ref());
            let reading = latest.filter(|_| counts.status != SensorStatus::Down);
            let age = reading.map(|reading| now.saturating_sub(reading.taken_at.boot));
            self.list(OF_SENSOR, &labels, &OfSensor { counts, age });
            for measurement in reading.iter().flat_map(|reading| &reading.measurements) {
                let quantity = quantities.iter().find(|quantity| quantity.name == measurement.name);
                if let Some(quantity) = quantity {
                    self.measured(quantity, labels.clone(), &measurement.value);
                }
            }
        }
    }

    /// What a sensor measures, in its base unit.
    fn measured(&mut self, quantity: &Quantity, mut labels: Labels, value: &Value) {
        let value = match value {
            Value::Number { value, .. } if value.is_finite() => *value,
            Value::Flag(is_so) => f64::from(u8::from(*is_so)),
            _ => return,
        };
        let Some(place) = place(quantity) else { return };
        labels.push(("measurement", quantity.name.to_string()));
        let value = value * place.factor + place.offset;
        let help = match &place.unit {
            Some(unit) => format!("{} that sensors measure, in {}", spoken(&place.name), spoken(unit)),
            None => format!("{} that sensors measure", spoken(&place.name)),
        };
        let mut name = format!("{PREFIX}_{}", place.name);
        // A measurement may be called as one of ours, or as another with a unit of its own.
        let is_another = |name: &String, all: &Self| {
            all.0
                .get(name)
                .is_some_and(|f| f.unit != place.unit || f.is_counter != place.is_counter || !f.is_measured())
        };
        while is_another(&name, self) {
            name = name.replacen(PREFIX, &format!("{PREFIX}_measured"), 1);
        }
        self.add(&name, place.unit.as_deref(), &help, place.is_counter, labels, value);
    }
}

impl Family {
    fn is_measured(&self) -> bool {
        self.values.first().is_some_and(|(labels, _)| labels.iter().any(|(key, _)| *key == "measurement"))
    }
}

fn spoken(name: &str) -> String {
    name.replace('_', " ")
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        let name = format!("{PREFIX}_build");
        build.encode(encoder.encode_descriptor(&name, "What this program is", None, MetricType::Info)?)?;
        for (name, family) in &self.0 {
            let unit = family.unit.clone().map(Unit::Other);
            let kind = if family.is_counter { MetricType::Counter } else { MetricType::Gauge };
            let mut metric = encoder.encode_descriptor(name, &family.help, unit.as_ref(), kind)?;
            for (labels, value) in &family.values {
                let one = |metric| match family.is_counter {
                    true => ConstCounter::new(*value).encode(metric),
                    false => ConstGauge::new(*value).encode(metric),
                };
                one(metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use fieldgate_link::{LinkState, LinkStatus, Protocol};
    use fieldgate_model::payload::report;
    use fieldgate_model::{ClockStatus, Moment, OutputValue};
    use fieldgate_spool::Stats;

    /// What Prometheus is given, without descriptions.
    fn values(families: Families) -> String {
        let text = families.render();
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn the_gateways_own_numbers_are_listed_as_they_are() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let link = LinkStatus {
            state: LinkState::Up,
            since: at(0),
            broker: "mqtt://localhost".into(),
            protocol: Protocol::V5,
            connects: 3,
            last_error: None,
            alarm: Some("certificate".into()),
            has_twin: false,
        };
        let spool = Stats { queued: 7, bytes: 4096, oldest: Some(at(970)), dropped: 2, error: None };
        let numbers = OfGateway {
            now: Moment { boot: Duration::from_secs(60), wall: at(1000), clock: ClockStatus::Synchronised },
            uptime: Duration::from_millis(10_500),
            cpu: Duration::from_millis(250),
            resident_bytes: 9_000_000,
            link,
            spool,
        };
        let mut families = Families::default();
        families.list(OF_GATEWAY, &[], &numbers);
        let expected = "fieldgate_clock_synchronised 1.0
fieldgate_link_alarm 1.0
fieldgate_link_connects_total 3.0
fieldgate_link_up 1.0
fieldgate_spool_dropped_readings_total 2.0
fieldgate_spool_error 0.0
fieldgate_spool_messages 7.0
fieldgate_spool_oldest_message_seconds 30.0
fieldgate_spool_size_bytes 4096.0
process_cpu_seconds_total 0.25
process_resident_memory_bytes 9000000.0
process_start_time_seconds 989.5
";
        assert_eq!(values(families).split_once('\n').unwrap().1.replace("{}", ""), expected);
    }

    #[test]
    fn what_is_unknown_of_a_device_is_left_out() {
        let mut families = Families::default();
        let counts = report::Actuator { commands: 5, rejected: 1, trips: 0 };
        let on = OfOutput { counts, value: Some(OutputValue::Switch(true)) };
        families.list(OF_OUTPUT, &[("output", "pump".into())], &on);
        families.list(OF_OUTPUT, &[("output", "lamp".into())], &OfOutput { value: None, ..on.clone() });
        let text = values(families);
        assert!(text.contains("fieldgate_commands_refused_total{output=\"lamp\"} 1.0\n"), "{text}");
        assert!(text.contains("fieldgate_output_on{output=\"pump\"} 1.0\n"), "{text}");
        assert!(!text.contains("fieldgate_output_on{output=\"lamp\"}"), "{text}");
    }

    #[test]
    fn a_measurement_that_is_called_as_one_of_ours_gets_a_name_of_its_own() {
        let mut families = Families::default();
        let sensor = || vec![("sensor", "meter".into())];
        let counts =
            report::Sensor { status: SensorStatus::Ok, taken: 4, samples: 4, filtered: 0, failed: 0, skipped: 0 };
        families.list(OF_SENSOR, &sensor(), &OfSensor { counts, age: Some(Duration::from_secs(2)) });
        for (name, unit, value) in [("temperature", "°C", 21.5), ("sensor_up", "", 3.0), ("reading_age", "s", f64::NAN)]
        {
            families.measured(&Quantity::new(name, unit, 1), sensor(), &Value::Number { value, decimals: 1 });
        }
        let text = values(families);
        for line in [
            "fieldgate_reading_age_seconds{sensor=\"meter\"} 2.0",
            "fieldgate_sensor_up{sensor=\"meter\"} 1.0",
            "fieldgate_measured_sensor_up{sensor=\"meter\",measurement=\"sensor_up\"} 3.0",
            "fieldgate_temperature_celsius{sensor=\"meter\",measurement=\"temperature\"} 21.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("reading_age").count(), 1, "what is no number is not listed: {text}");
    }
}
