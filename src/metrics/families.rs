//! Every family of metrics, gathered for one scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use rustix::time::{ClockId, clock_gettime};

use crate::health;
use crate::metrics::Metrics;
use crate::metrics::quantities::place;
use crate::roster::Roster;
use crate::views::View;
use fieldgate_clock as clock;
use fieldgate_link::LinkState;
use fieldgate_model::{ClockStatus, Quantity, SensorStatus, Value};

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
        families.gateway(metrics);
        families.link_and_spool(metrics);
        families.outputs(metrics, &roster, &metrics.views.current());
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

    fn gauge(&mut self, name: &str, unit: Option<&str>, help: &str, labels: Labels, value: f64) {
        self.add(&format!("{PREFIX}_{name}"), unit, help, false, labels, value);
    }

    fn counter(&mut self, name: &str, help: &str, labels: Labels, value: u64) {
        self.add(&format!("{PREFIX}_{name}"), None, help, true, labels, value as f64);
    }

    fn gateway(&mut self, metrics: &Metrics) {
        let (sources, now) = (&metrics.sources, clock::now());
        let is_set = now.clock == ClockStatus::Synchronised;
        self.gauge("clock_synchronised", None, "Whether the board's clock was set", vec![], flag(is_set));
        for bus in sources.buses.list().keys() {
            let labels = vec![("bus", bus.to_string())];
            self.gauge("bus_alarm", None, "Buses that do not work; those that do are not listed", labels, 1.0);
        }
        for rule in sources.rules.list().keys() {
            let labels = vec![("rule", rule.to_string())];
            self.gauge(
                "rule_alarm",
                None,
                "Rules that are stopped because they go round in a circle; no others are listed",
                labels,
                1.0,
            );
        }
        let started = since_1970(now.wall) - now.boot.saturating_sub(sources.started.boot).as_secs_f64();
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        let bytes = health::resident_bytes() as f64;
        let seconds = Some("seconds");
        self.add("process_cpu", seconds, "Processor time that was used", true, vec![], cpu);
        self.add("process_start_time", seconds, "When the program was started", false, vec![], started);
        self.add("process_resident_memory", Some("bytes"), "Memory that is resident", false, vec![], bytes);
    }

    fn link_and_spool(&mut self, metrics: &Metrics) {
        let link = metrics.sources.link.borrow().clone();
        let stats = metrics.sources.spool.stats();
        self.gauge("link_up", None, "Whether the broker is connected", vec![], flag(link.state == LinkState::Up));
        self.gauge("link_alarm", None, "Whether the link needs a person", vec![], flag(link.alarm.is_some()));
        self.counter("link_connects", "Connections that the broker accepted", vec![], link.connects);
        self.gauge("spool_messages", None, "Messages that wait for the broker", vec![], stats.queued as f64);
        self.gauge("spool_size", Some("bytes"), "Bytes of the disk that the spool uses", vec![], stats.bytes as f64);
        self.gauge("spool_error", None, "Whether the spool's disk is in trouble", vec![], flag(stats.error.is_some()));
        let age = stats.oldest.and_then(|oldest| clock::now().wall.duration_since(oldest).ok()).unwrap_or_default();
        let help = "Age of the oldest message that waits; 0 when none does";
        self.gauge("spool_oldest_message", Some("seconds"), help, vec![], age.as_secs_f64());
        self.counter("spool_dropped_readings", "Readings that will never arrive", vec![], stats.dropped);
    }

    fn outputs(&mut self, metrics: &Metrics, roster: &Roster, view: &View) {
        let commands = metrics.sources.commands.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for name in roster.targets.keys() {
            let labels = || vec![("output", name.to_string())];
            let tally = commands.get(name).copied().unwrap_or_default();
            self.counter("commands", "Commands that named the output", labels(), tally.commands);
            self.counter("commands_refused", "Commands that were rejected or failed", labels(), tally.rejected);
            let trips = metrics.sources.trips.of(name);
            self.counter("output_trips", "How often the output was made safe by itself", labels(), trips);
            let value = view.outputs.get(name).and_then(|output| output.value);
            if let Some(value) = value {
                self.gauge("output_on", None, "Whether something flows at the output", labels(), flag(value.is_on()));
            }
        }
    }

    fn sensors(&mut self, roster: &Roster, view: &View) {
        let now = clock::boottime();
        for (sensor, quantities) in &roster.inventory.sensors {
            let Some(tally) = roster.tallies.get(&sensor.name) else { continue };
            let labels = || vec![("sensor", sensor.name.to_string())];
            let is_up = tally.status() != SensorStatus::Down;
            let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
            self.gauge("sensor_up", None, "Whether the sensor can be read", labels(), flag(is_up));
            self.counter("readings", "Readings that were taken", labels(), count(&tally.taken));
            self.counter("samples", "Samples that succeeded", labels(), count(&tally.samples));
            self.counter("sample_failures", "Samplings that failed", labels(), count(&tally.failed));
            self.counter("skipped_samples", "Times at which no sample was taken", labels(), count(&tally.skipped));
            self.counter("filtered_values", "Values that filters dropped", labels(), count(&tally.filtered));
            let latest = view.sensors.get(&sensor.name).and_then(|known| known.latest.as_ref());
            let Some(reading) = latest.filter(|_| is_up) else { continue };
            let age = now.saturating_sub(reading.taken_at.boot);
            self.gauge("reading_age", Some("seconds"), "Age of the newest reading", labels(), age.as_secs_f64());
            for measurement in &reading.measurements {
                let quantity = quantities.iter().find(|quantity| quantity.name == measurement.name);
                if let Some(quantity) = quantity {
                    self.measured(quantity, labels(), &measurement.value);
                }
            }
        }
    }

    /// What a sensor measures, in its base unit.
    fn measured(&mut self, quantity: &Quantity, mut labels: Labels, value: &Value) {
        let value = match value {
            Value::Number { value, .. } if value.is_finite() => *value,
            Value::Flag(is_so) => flag(*is_so),
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

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn spoken(name: &str) -> String {
    name.replace('_', " ")
}

fn since_1970(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
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
