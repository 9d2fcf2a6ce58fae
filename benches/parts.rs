//! The pure parts of a reading's way and of a command's: `cargo bench --bench parts`.

#![allow(missing_docs, clippy::unwrap_used, reason = "a measurement has no users, and may panic")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use fieldgate::worker::schedule::Schedule;
use fieldgate_link::inflight::{InFlight, Window};
use fieldgate_link::lanes::Lane;
use fieldgate_model::topic::Topics;
use fieldgate_model::{
    ClockStatus, Key, Measurement, Message, MessageKind, Moment, Name, Qos, Quantity, RunId, payload,
};
use fieldgate_spool::Sequence;

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);

fn measurements() -> Vec<Measurement> {
    vec![TEMPERATURE.measured(21.534), HUMIDITY.measured(44.81)]
}

fn key() -> Key {
    Key { kind: MessageKind::Reading, source: Name::new("greenhouse").unwrap() }
}

fn message() -> Message {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_341_600_123);
    Message {
        key: key(),
        run: RunId(7),
        seq: 123_456,
        taken_at: Moment { boot: Duration::from_secs(5000), wall, clock: ClockStatus::Synchronised },
        qos: Qos::AtLeastOnce,
        retain: false,
        body: payload::measurements(&measurements(), None),
    }
}

fn schedule(criterion: &mut Criterion) {
    let second = Duration::from_secs(1);
    let (mut schedule, mut now) = (Schedule::new(Duration::ZERO, second), Duration::ZERO);
    criterion.bench_function("schedule: take a tick", |bencher| {
        bencher.iter(|| {
            now += second;
            black_box(schedule.take(now))
        });
    });
}

fn payloads(criterion: &mut Criterion) {
    let (measurements, message) = (measurements(), message());
    criterion.bench_function("payload: measurements", |bencher| {
        bencher.iter(|| payload::measurements(black_box(&measurements), None));
    });
    criterion.bench_function("payload: reading", |bencher| {
        bencher.iter(|| payload::reading(black_box(&message), false, None));
    });
}

fn topics(criterion: &mut Criterion) {
    let (topics, key) = (Topics::new("site/greenhouse"), key());
    criterion.bench_function("topic: of a reading", |bencher| bencher.iter(|| topics.of(black_box(&key), false)));
    criterion.bench_function("topic: whose command", |bencher| {
        bencher.iter(|| topics.commanded(black_box("site/greenhouse/actuators/pump/set")).is_some());
    });
}

fn commands(criterion: &mut Criterion) {
    criterion.bench_function("command: a word", |bencher| {
        bencher.iter(|| payload::decode_command(black_box(b"on")).is_ok());
    });
    let object = br#"{"value":"on","id":"a1","for":"5m","issued_at":"2026-11-22T10:00:00Z"}"#;
    criterion.bench_function("command: an object", |bencher| {
        bencher.iter(|| payload::decode_command(black_box(object)).is_ok());
    });
}

fn window(criterion: &mut Criterion) {
    let (mut window, mut sequence, message) = (Window::new(64), 0, Arc::new(message()));
    criterion.bench_function("window: enter and leave", |bencher| {
        bencher.iter(|| {
            sequence += 1;
            let message = Arc::clone(&message);
            let slot = InFlight::Spooled { sequence: Sequence(sequence), message, lane: Lane::Live };
            let ticket = window.enter(slot);
            window.leave(ticket)
        });
    });
}

criterion_group!(parts, schedule, payloads, topics, commands, window);
criterion_main!(parts);
