//! What a reading allocates on its whole way, from the bus to the broker's acknowledgement, once the program is in its stride.
//!
//! Alone in its program, for the counts are those of the whole process: nothing else may run beside it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::alloc::System;
use std::path::Path;
use std::time::Duration;

use common::mosquitto::Mosquitto;
use fieldgate::config;
use fieldgate::gateway::Gateway;
use fieldgate::views::Views;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Readings that are counted together.
const READINGS: u64 = 2000;

/// The start, the first statuses and buffers that still grow.
const BEFORE: u64 = 500;

/// What a look at the progress itself allocates is counted too, so it is taken seldom.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Three filters, one of them with a window.
const FILTERS: &str = ", filters: { value: [{ offset: 1 }, { median: 5 }, { round: 0.1 }] }";

fn config(folder: &Path, url: &str, filters: &str) -> config::Config {
    let sensors = (0..20).map(|n| {
        format!("  s{n}: {{ driver: waveform, bus: bench, every: 100ms, settings: {{ shape: counter }}{filters} }}\n")
    });
    let text = format!(
        "gateway: {{ name: t }}\nmqtt: {{ broker: \"{url}\", base_topic: b }}\nspool: {{ path: \"{}\" }}\n\
         buses: {{ bench: {{ type: sim }} }}\nsensors:\n{}",
        folder.join("spool").display(),
        sensors.collect::<String>()
    );
    config::load_text(&text, &folder.join("fieldgate.yaml")).unwrap().config
}

async fn delivered(gateway: &Gateway, at_least: u64) -> u64 {
    tokio::time::timeout(Duration::from_secs(120), async {
        loop {
            let (delivered, _) = gateway.delivered_and_waiting();
            if delivered >= at_least {
                return delivered;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await
    .unwrap()
}

/// What a reading allocates: how often, and how many bytes.
fn allocated(filters: &str) -> (f64, f64) {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let config = config(folder.path(), &broker.url(), filters);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let gateway = Gateway::start(config, Views::default()).unwrap();
        let from = delivered(&gateway, BEFORE).await;
        let region = Region::new(ALLOCATOR);
        let to = delivered(&gateway, from + READINGS).await;
        let change = region.change();
        let readings = (to - from) as f64;
        let count = (change.allocations + change.reallocations) as f64 / readings;
        let bytes = change.bytes_allocated as f64 / readings;
        let kept = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
        gateway.stop().await;
        let found = format!(
            "{count:.1} allocations and {bytes:.0} bytes for each of {readings} readings, {kept} bytes not freed"
        );
        assert!(count <= 45.0 && bytes <= 4500.0 && kept <= 100_000.0, "{found}");
        (count, bytes)
    })
}

#[test]
fn a_reading_allocates_little_and_filters_allocate_nothing() {
    let (plain, filtered) = (allocated(""), allocated(FILTERS));
    // The rest of the program differs a little from run to run.
    assert!(filtered.0 <= 1.2 * plain.0 && filtered.1 <= 1.2 * plain.1, "{plain:?} and with filters {filtered:?}");
}
