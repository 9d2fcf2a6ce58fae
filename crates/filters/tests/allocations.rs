//! What a sample allocates on its way through filters and report: nothing.
//!
//! Alone in its program, for the counts are those of the whole process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::System;
use std::time::Duration;

use fieldgate_filters::{Aggregate, FILTERS, MeasurementFilters, Report, ReportSettings, SensorFilters, Step, Takes};
use fieldgate_model::{Measurement, Quantity};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[path = "../src/filter/written.rs"]
mod written;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);

/// What each filter that acts on numbers is to do in its own example, and behind these all of them, one behind the other.
fn chains() -> Vec<Vec<Step>> {
    let acting = FILTERS.iter().filter(|spec| !matches!(spec.takes, Takes::Nothing));
    let all: Vec<_> = acting.map(|spec| written::step(spec.example)).collect();
    all.iter().map(|step| vec![step.clone()]).chain([all.clone()]).collect()
}

fn main() {
    chains().into_iter().for_each(allocates_nothing);
}

fn allocates_nothing(steps: Vec<Step>) {
    let names: Vec<_> = steps.iter().map(|step| step.filter.name).collect();
    let settings = [MeasurementFilters { name: "temperature".into(), steps }];
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
        // In small steps, up and down: no filter drops one for a jump.
        sample.push(TEMPERATURE.measured((n % 32).abs_diff(16) as f64));
        filters.apply(&mut sample);
        readings += u32::from(report.take(Duration::from_secs(n), &mut sample).0);
    };
    (0..10).for_each(&mut take);
    let region = Region::new(ALLOCATOR);
    (10..10_000).for_each(&mut take);
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{names:?}");
    assert_eq!(readings, 1, "{names:?}: the first sample that was not skipped");
}
