//! An evaluation allocates nothing. Alone in its program, for the counts are those of the whole process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::System;

use fieldgate_formula::{Input, Kind, TimeOfDay, Value, compile};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let names = [
        ("air.temperature", Kind::number("°C")),
        ("air.humidity", Kind::number("%")),
        ("mode", Kind::options(["auto", "off"])),
    ];
    let source = "if(mode == \"auto\" and (time > \"22:00\" or not link.up), \
                  mean(dew_point(air.temperature, air.humidity), clamp(air.temperature - 3, 0, 20), -round(1.5)), 0)";
    let program = compile(source, &names[..]).unwrap();
    let evening = TimeOfDay::new(22, 30).unwrap();
    let region = Region::new(ALLOCATOR);
    let mut sum = 0.0;
    for temperature in 0..1000 {
        let value = program.evaluate(|input| match input {
            Input::Signal(0) => Value::Number(f64::from(temperature) / 25.0),
            Input::Signal(1) => Value::Number(60.0),
            Input::Signal(_) => Value::Text("auto"),
            Input::Time => Value::Time(evening),
            Input::Weekday => Value::Unknown,
            Input::LinkUp => Value::Flag(true),
        });
        sum += value.as_number().unwrap();
    }
    let change = region.change();
    assert!(sum > 1000.0);
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
}
