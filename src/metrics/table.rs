//! THE TABLE: every metric of our own, a line each, with its whole name, what Prometheus shows as its help, and the number it is.
//!
//! There are three parts: metrics of the gateway, of each output and of each sensor. A number that a line needs and its part does not have
//! yet is a field of [`OfGateway`], [`OfOutput`] or [`OfSensor`], which `families.rs` fills at each scrape; a test fills them itself.
//! A metric with a label of its own, such as a reason, is no line but a function of `families.rs`.
//! Names have neither the unit at their end nor `_total`, which are written by the format. What sensors measure is no line: that is
//! made of their quantities (`quantities.rs`).

use std::time::{Duration, SystemTime};

use fieldgate_link::{LinkState, LinkStatus};
use fieldgate_model::payload::report;
use fieldgate_model::{ClockStatus, Moment, OutputValue, SensorStatus};
use fieldgate_spool::Stats;

/// The gateway's own numbers.
#[derive(Clone, Debug)]
pub(super) struct OfGateway {
    pub(super) now: Moment,
    /// Since the start of the program.
    pub(super) uptime: Duration,
    /// Processor time of all threads.
    pub(super) cpu: Duration,
    /// Memory in RAM.
    pub(super) resident_bytes: u64,
    pub(super) link: LinkStatus,
    pub(super) spool: Stats,
}

/// The numbers of one output.
#[derive(Clone, Debug)]
pub(super) struct OfOutput {
    pub(super) counts: report::Actuator,
    /// What it does; `None` while that is unknown.
    pub(super) value: Option<OutputValue>,
}

/// The numbers of one sensor.
#[derive(Clone, Debug)]
pub(super) struct OfSensor {
    pub(super) counts: report::Sensor,
    /// Since its newest reading; `None` while it has none, or is down.
    pub(super) age: Option<Duration>,
}

/// A family of metrics that is read off a `T`.
pub(super) struct Metric<T> {
    pub(super) name: &'static str,
    /// As it stands at the end of the name.
    pub(super) unit: Option<&'static str>,
    pub(super) help: &'static str,
    pub(super) is_counter: bool,
    /// The number; `None`: nothing is listed.
    pub(super) value: fn(&T) -> Option<f64>,
}

const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Metric<T> {
    Metric { name, unit: None, help, is_counter: false, value }
}

const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Metric<T> {
    Metric { name, unit: None, help, is_counter: true, value }
}

impl<T> Metric<T> {
    const fn in_seconds(mut self) -> Self {
        self.unit = Some("seconds");
        self
    }

    const fn in_bytes(mut self) -> Self {
        self.unit = Some("bytes");
        self
    }
}

/// Of the gateway, its link and its spool.
pub(super) static OF_GATEWAY: &[Metric<OfGateway>] = &[
    gauge("fieldgate_clock_synchronised", "Whether the board's clock was set", |g| {
        flag(g.now.clock == ClockStatus::Synchronised)
    }),
    gauge("fieldgate_link_up", "Whether the broker is connected", |g| flag(g.link.state == LinkState::Up)),
    gauge("fieldgate_link_alarm", "Whether the link needs a person", |g| flag(g.link.alarm.is_some())),
    counter("fieldgate_link_connects", "Connections that the broker accepted", |g| count(g.link.connects)),
    gauge("fieldgate_spool_messages", "Messages that wait for the broker", |g| count(g.spool.queued)),
    gauge("fieldgate_spool_size", "Bytes of the disk that the spool uses", |g: &OfGateway| count(g.spool.bytes))
        .in_bytes(),
    gauge("fieldgate_spool_error", "Whether the spool's disk is in trouble", |g| flag(g.spool.error.is_some())),
    gauge(
        "fieldgate_spool_oldest_message",
        "Age of the oldest message that waits; 0 when none does",
        |g: &OfGateway| {
            seconds(g.spool.oldest.and_then(|oldest| g.now.wall.duration_since(oldest).ok()).unwrap_or_default())
        },
    )
    .in_seconds(),
    counter("fieldgate_spool_dropped_readings", "Readings that will never arrive", |g| count(g.spool.dropped)),
    counter("process_cpu", "Processor time that was used", |g: &OfGateway| seconds(g.cpu)).in_seconds(),
    gauge("process_start_time", "When the program was started", |g: &OfGateway| {
        let now = g.now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(now.as_secs_f64() - g.uptime.as_secs_f64())
    })
    .in_seconds(),
    gauge("process_resident_memory", "Memory that is resident", |g: &OfGateway| count(g.resident_bytes)).in_bytes(),
];

/// The metrics of each output.
pub(super) static OF_OUTPUT: &[Metric<OfOutput>] = &[
    counter("fieldgate_commands", "Commands that named the output", |o| count(o.counts.commands)),
    counter("fieldgate_commands_refused", "Commands that were rejected or failed", |o| count(o.counts.rejected)),
    counter("fieldgate_output_trips", "How often the output was made safe by itself", |o| count(o.counts.trips)),
    gauge("fieldgate_output_on", "Whether something flows at the output", |o| flag(o.value?.is_on())),
];

/// The metrics of each sensor.
pub(super) static OF_SENSOR: &[Metric<OfSensor>] = &[
    gauge("fieldgate_sensor_up", "Whether the sensor can be read", |s| flag(s.counts.status != SensorStatus::Down)),
    counter("fieldgate_readings", "Readings that were taken", |s| count(s.counts.taken)),
    counter("fieldgate_samples", "Samples that succeeded", |s| count(s.counts.samples)),
    counter("fieldgate_sample_failures", "Samplings that failed", |s| count(s.counts.failed)),
    counter("fieldgate_skipped_samples", "Times at which no sample was taken", |s| count(s.counts.skipped)),
    counter("fieldgate_filtered_values", "Values that filters dropped", |s| count(s.counts.filtered)),
    gauge("fieldgate_reading_age", "Age of the newest reading", |s: &OfSensor| seconds(s.age?)).in_seconds(),
];

fn flag(is_so: bool) -> Option<f64> {
    Some(if is_so { 1.0 } else { 0.0 })
}

fn count(number: u64) -> Option<f64> {
    Some(number as f64)
}

fn seconds(time: Duration) -> Option<f64> {
    Some(time.as_secs_f64())
}
