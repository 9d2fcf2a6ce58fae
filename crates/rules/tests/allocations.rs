//! A step allocates nothing but for what a person reads. Alone in its program, for the counts are those of the whole process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::System;
use std::time::Duration;

use fieldgate_formula::{self as language, Kind, Value};
use fieldgate_model::{Action, Name, OutputValue};
use fieldgate_rules::{Engine, Event, Now, RuleSpec, SignalKind, Table};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let name = |text: &str| Name::new(text).unwrap();
    let spec = |nth: usize| {
        let on = Action::Set(OutputValue::Switch(true));
        let set = vec![(name(&format!("heater{nth}")), on)];
        let until = Some(format!("t{nth} > 21 or mode == \"off\""));
        RuleSpec {
            set,
            until,
            ..RuleSpec::new(name(&format!("rule{nth}")), &format!("t{nth} < 19 and mode == \"auto\""))
        }
    };
    let kind = |name: &language::Name| {
        let kind = if name.to_string() == "mode" { Kind::options(["auto", "off"]) } else { Kind::number("°C") };
        Some(SignalKind::Continuous(kind))
    };
    let mut engine = Engine::new(Table::compile((0..20).map(spec).collect(), kind).unwrap());
    let mut orders = Vec::with_capacity(100);
    let signals: Vec<_> = engine.table().signals().map(str::to_owned).collect();
    let mode = signals.iter().position(|name| name == "mode").unwrap();
    engine.write(mode, Value::Text("auto"));
    let mut step = |engine: &mut Engine, nth: u32, temperature: f64| {
        let signal = (usize::try_from(nth).unwrap() * 7) % signals.len();
        if signal != mode {
            engine.write(signal, Value::Number(temperature));
        }
        engine.step(Now::without_wall(Duration::from_millis(u64::from(nth))), Event::Time, &mut orders);
        orders.clear();
    };
    (0..200).for_each(|nth| step(&mut engine, nth, 20.0));
    let region = Region::new(ALLOCATOR);
    (200..10_000).for_each(|nth| step(&mut engine, nth, 19.5 + f64::from(nth % 10) / 10.0));
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
}
