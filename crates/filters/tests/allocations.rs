//! What a sample allocates on its way through filters and report: nothing.
//!
//! Alone in its program, for the counts are those of the whole process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::System;
use std::time::Duration;

use fieldgate_filters::{
    Aggregate, FILTERS, MeasurementFilters, Parameter, Report, ReportSettings, SensorFilters, Step, Takes, find,
};
use fieldgate_model::{Measurement, Quantity, Setting, Settings};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);

/// Every filter of the table that acts on numbers, one behind the other.
fn steps() -> Vec<Step> {
    let number = Setting::Number;
    let pair = |low, high| Setting::List(vec![number(low), number(high)]);
    let keys = |all: &[(&'static str, Setting)]| {
        let mut keys = Settings::default();
        all.iter().for_each(|(name, value)| keys.insert(name, value.clone()));
        Parameter::Keys(keys)
    };
    let parameter = |name: &str| match name {
        "calibrate" => Parameter::Value(Setting::List(vec![pair(0.0, 1.0), pair(100.0, 101.0)])),
        "polynomial" => Parameter::Value(pair(0.0, 1.0)),
        "clamp" | "within" => Parameter::Value(pair(-1000.0, 1000.0)),
        "spike" => keys(&[("by", number(500.0)), ("for", Setting::Integer(3))]),
        "quantile" => keys(&[("window", Setting::Integer(20)), ("q", number(0.9))]),
        "median" | "moving_average" | "minimum" | "maximum" => Parameter::Value(Setting::Integer(20)),
        "skip_initial" => Parameter::Value(Setting::Integer(1)),
        "exponential_moving_average" => Parameter::Value(number(0.5)),
        "to" => Parameter::Value(Setting::Text("°F".into())),
        _ => Parameter::Value(number(0.5)),
    };
    let acting = FILTERS.iter().filter(|spec| !matches!(spec.takes, Takes::Nothing));
    acting.map(|spec| Step::new(find(spec.name).unwrap(), parameter(spec.name))).collect()
}

fn main() {
    let settings = [MeasurementFilters { name: "temperature".into(), steps: steps() }];
    let mut filters = SensorFilters::new(&settings, &[TEMPERATURE]);
    let report = ReportSettings {
        delta: vec![("temperature".into(), 1e6)],
        aggregate: vec![Aggregate::Mean, Aggregate::Min, Aggregate::Max],
        ..ReportSettings::default()
    };
    let mut report = Report::new(report, &[TEMPERATURE]);
    let mut sample: Vec<Measurement> = Vec::with_capacity(4);
    let mut readings = 0;
    let mut take = |n: u64| {
        sample.clear();
        sample.push(TEMPERATURE.measured((n % 17) as f64));
        filters.apply(&mut sample);
        readings += u32::from(report.take(Duration::from_secs(n), &mut sample).0);
    };
    (0..10).for_each(&mut take);
    let region = Region::new(ALLOCATOR);
    (10..10_000).for_each(&mut take);
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    assert_eq!(readings, 1, "the first sample that was not skipped");
}
