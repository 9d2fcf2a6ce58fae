//! Messages as lines: JSON, as a subscriber would have written them down, or CSV with a row for each measurement. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::de::IgnoredAny;
use serde_json::{Map, Value as Json};

use crate::config::Config;
use fieldgate_model::payload::{self, StoredEvent, StoredReply};
use fieldgate_model::topic::Topics;
use fieldgate_model::{ClockStatus, Message, MessageKind, Name};

/// The first line of CSV.
pub(super) const HEADER: &str = "time,sensor,measurement,value,unit,run,seq,clock\r\n";

/// Keys of a reading that are no measurement.
const NO_MEASUREMENT: &str = "samples";

/// A message that cannot be written: its body is none that this version writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// What the configuration adds to the messages.
#[derive(Debug, Default)]
pub(super) struct Form {
    is_csv: bool,
    /// Nothing without a configuration: topics are then relative to the base topic.
    topics: Option<Topics>,
    units: BTreeMap<Name, BTreeMap<String, String>>,
}

impl Form {
    pub(super) fn new(is_csv: bool, config: Option<&Config>) -> Self {
        let of = |config: &Config| {
            let units = config.sensors.iter().map(|sensor| {
                let units = sensor.quantities().into_iter().map(|q| (q.name.into_owned(), q.unit.into_owned()));
                (sensor.name.clone(), units.collect())
            });
            (config.topics.clone(), units.collect())
        };
        let (topics, units) = config.map(of).unzip();
        Self { is_csv, topics, units: units.unwrap_or_default() }
    }

    /// What stands in front of all lines.
    pub(super) fn header(&self) -> &'static str {
        if self.is_csv { HEADER } else { "" }
    }

    /// The lines of a message.
    pub(super) fn write(&self, message: &Message) -> Result<String, Unreadable> {
        if self.is_csv { self.rows(message) } else { self.line(message) }
    }

    /// `{"topic":"fieldgate/shed/late/air","payload":{"time":…}}`: what is published when the service has its broker.
    fn line(&self, message: &Message) -> Result<String, Unreadable> {
        let relative = Topics::new("");
        let topics = self.topics.as_ref().unwrap_or(&relative);
        let mut topic = topics.of(&message.key, true);
        let payload = match message.key.kind {
            MessageKind::Reading => payload::reading(message, true, None),
            MessageKind::Loss => message.body.clone(),
            MessageKind::Event => {
                let stored = StoredEvent::decode(&message.body).ok_or(Unreadable)?;
                topic = topics.of_event(&stored.topic);
                stored.payload.into_bytes()
            }
            _ => StoredReply::decode(&message.body).ok_or(Unreadable)?.payload.into_bytes(),
        };
        let topic = Json::from(topic.strip_prefix('/').filter(|_| self.topics.is_none()).unwrap_or(&topic));
        let payload = String::from_utf8(payload).map_err(|_| Unreadable)?;
        // As it is, to the last digit; what is no JSON, or would be several lines, becomes a text.
        let is_one_line = !payload.contains(char::is_control);
        let is_json = is_one_line && serde_json::from_str::<IgnoredAny>(&payload).is_ok();
        let payload = if is_json { payload } else { Json::from(payload).to_string() };
        Ok(format!("{{\"topic\":{topic},\"payload\":{payload}}}\n"))
    }

    fn rows(&self, message: &Message) -> Result<String, Unreadable> {
        let body = [b"{".as_slice(), &message.body, b"}"].concat();
        let all: Map<String, Json> = serde_json::from_slice(&body).map_err(|_| Unreadable)?;
        let time = payload::time(message.taken_at.wall);
        let (sensor, run, seq) = (&message.key.source, message.run, message.seq);
        let clock = match message.taken_at.clock {
            ClockStatus::Synchronised => "",
            ClockStatus::Unsynchronised => "unsynchronised",
        };
        let mut rows = String::new();
        for (name, value) in all.iter().filter(|(name, _)| *name != NO_MEASUREMENT) {
            let unit = self.units.get(sensor).and_then(|units| units.get(name)).map_or("", String::as_str);
            let (name, value, unit) = (field(name), bare(value), field(unit));
            write!(rows, "{time},{sensor},{name},{},{unit},{run},{seq},{clock}\r\n", field(&value))
                .expect("a String takes all");
        }
        Ok(rows)
    }
}

/// A value without the quotes of JSON; `null` is empty.
fn bare(value: &Json) -> Cow<'_, str> {
    match value {
        Json::String(text) => Cow::Borrowed(text),
        Json::Null => Cow::Borrowed(""),
        // Without an exponent, which spreadsheets of some languages do not read.
        Json::Number(number) if number.is_f64() => {
            Cow::Owned(number.as_f64().map(|number| number.to_string()).unwrap_or_default())
        }
        value => Cow::Owned(value.to_string()),
    }
}

/// A field of CSV (RFC 4180), in quotes where it must be. Control characters would act on a terminal, and many readers of CSV take a line
/// for a row whatever the quotes say, so they are replaced.
fn field(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| c.is_control() || matches!(c, ',' | '"')) {
        return Cow::Borrowed(text);
    }
    let clean: String = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    Cow::Owned(format!("\"{}\"", clean.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use fieldgate_model::{Key, Moment, Qos, RunId};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    const CONFIG: &str = "
gateway: { name: shed }
mqtt: { broker: mqtt://localhost }
buses: { bench: { type: sim } }
sensors:
  air: { driver: bme280, bus: bench, every: 1s, settings: { address: 0x76 } }
";

    fn message(kind: MessageKind, source: &str, body: &[u8]) -> Message {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_600);
        Message {
            key: Key { kind, source: Name::new(source).unwrap() },
            run: RunId(0x5f3a_9c1e),
            seq: 7,
            taken_at: Moment { boot: Duration::ZERO, wall, clock: ClockStatus::Unsynchronised },
            qos: Qos::AtLeastOnce,
            retain: true,
            body: body.to_vec(),
        }
    }

    fn check(is_csv: bool, config: Option<&Config>, message: &Message, lines: &str) {
        assert_eq!(Form::new(is_csv, config).write(message).as_deref(), Ok(lines));
    }

    #[test]
    fn a_reading_is_what_will_be_published() {
        let config = config::load_text(CONFIG, Path::new("x.yaml")).unwrap().config;
        let reading = message(MessageKind::Reading, "air", br#""value":21.50,"samples":3"#);
        let payload = concat!(
            r#"{"time":"2026-11-22T10:00:00.000Z","run":"5f3a9c1e","seq":7,"value":21.50,"samples":3,"#,
            r#""clock":"unsynchronised","late":true}"#
        );
        for (config, topic) in [(Some(&config), "fieldgate/shed/late/air"), (None, "late/air")] {
            check(false, config, &reading, &format!("{{\"topic\":\"{topic}\",\"payload\":{payload}}}\n"));
        }
    }

    #[test]
    fn each_measurement_is_a_row_with_its_unit_where_that_is_known() {
        let config = config::load_text(CONFIG, Path::new("x.yaml")).unwrap().config;
        let reading = message(
            MessageKind::Reading,
            "air",
            br#""temperature":21.5,"is_up":true,"big":18446744073709551615,"small":0.0000001,"none":null"#,
        );
        let row = |what: &str| format!("2026-11-22T10:00:00.000Z,air,{what},5f3a9c1e,7,unsynchronised\r\n");
        let rest = row("is_up,true,") + &row("big,18446744073709551615,") + &row("small,0.0000001,") + &row("none,,");
        check(true, Some(&config), &reading, &(row("temperature,21.5,°C") + &rest));
        check(true, None, &reading, &(row("temperature,21.5,") + &rest));
    }

    #[test]
    fn answers_and_events_go_to_their_topics_and_text_is_one_line() {
        let reply = StoredReply { payload: r#"{"outcome":"done"}"#.into(), response: None }.encode();
        let done = "{\"topic\":\"actuators/pump/reply\",\"payload\":{\"outcome\":\"done\"}}\n";
        check(false, None, &message(MessageKind::Reply, "pump", &reply), done);
        let event = StoredEvent { topic: "alarms/frost".into(), payload: "cold\n\x1b[2J".into() }.encode();
        let text = "{\"topic\":\"alarms/frost\",\"payload\":\"cold\\n\\u001b[2J\"}\n";
        check(false, None, &message(MessageKind::Event, "frost", &event), text);
        assert_eq!(Form::default().write(&message(MessageKind::Reply, "pump", b"x")), Err(Unreadable));
        assert_eq!(
            Form { is_csv: true, ..Form::default() }.write(&message(MessageKind::Reading, "a", b"{")),
            Err(Unreadable)
        );
    }

    #[test]
    fn a_field_is_quoted_as_rfc_4180_has_it_and_has_no_control_characters() {
        for (text, quoted) in [
            ("plain °C", "plain °C"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\r\nlines\x1b[2J", "\"two\u{fffd}\u{fffd}lines\u{fffd}[2J\""),
        ] {
            assert_eq!(field(text), quoted);
        }
    }
}
