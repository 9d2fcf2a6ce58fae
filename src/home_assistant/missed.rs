//! What a Home Assistant that has just started must be sent again. Pure.
//!
//! What is retained it gets from the broker, if that keeps anything. A reading that is not is sent once more, as it was: with its
//! run, number and time, so that a consumer that counts readings sees that it is the same. What is not good any more is not sent: a sensor
//! that is down, one that has said nothing yet, a value that would have expired. What has happened in a moment, such as a click,
//! does not happen again.

use super::sensor::expires_after;
use super::{Overrides, Settings};
use crate::views::View;
use crate::worker::SensorSettings;
use fieldgate_model::topic::Topics;
use fieldgate_model::{Key, Message, MessageKind, Moment, Qos, Reading, SensorStatus, Value, payload};

/// Topics and payloads. `is_kept` says whether the broker keeps what is retained; a sensor's `retain: true` is worth nothing else.
pub fn missed(
    settings: &Settings,
    topics: &Topics,
    sensors: &[SensorSettings],
    view: &View,
    now: &Moment,
    is_kept: bool,
) -> Vec<(String, Vec<u8>)> {
    let usual = Overrides::default();
    let is_shown = |sensor: &&SensorSettings| !settings.sensors.get(&sensor.name).unwrap_or(&usual).is_hidden;
    let again = |sensor: &SensorSettings| {
        let view = view.sensors.get(&sensor.name)?;
        let reading = view.latest.as_ref()?;
        let age = now.boot.saturating_sub(reading.taken_at.boot);
        let is_good = matches!(view.status, Some(SensorStatus::Ok | SensorStatus::Degraded));
        let is_fresh = expires_after(sensor).is_none_or(|expires| age < expires);
        let message = of_the_present(reading).filter(|_| is_good && is_fresh)?;
        let corrected = reading.taken_at.corrected(now);
        Some((topics.reading(&sensor.name), payload::reading(&message, false, corrected)))
    };
    sensors.iter().filter(|sensor| !(sensor.retain && is_kept)).filter(is_shown).filter_map(again).collect()
}

/// What a reading says of the present, as the message that it was.
fn of_the_present(reading: &Reading) -> Option<Message> {
    let mut measurements = reading.measurements.clone();
    measurements.retain(|measurement| !matches!(measurement.value, Value::Word(_)));
    (!measurements.is_empty()).then(|| Message {
        key: Key { kind: MessageKind::Reading, source: reading.sensor.clone() },
        run: reading.run,
        seq: reading.seq,
        taken_at: reading.taken_at,
        qos: Qos::AtMostOnce,
        retain: false,
        body: payload::measurements(&measurements, reading.samples),
    })
}
