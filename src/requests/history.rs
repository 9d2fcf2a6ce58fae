//! history: the newest readings, from memory; neither the disk nor the sensor is asked.

use serde_json::{Value as Json, json};

use crate::history::PER_SENSOR;
use crate::requests::{Context, VerbSpec, Work, read::known};
use fieldgate_model::payload;
use fieldgate_model::{Field, Kind, Need, Refusal, Settings};

pub(super) const SPEC: VerbSpec = VerbSpec {
    name: "history",
    page: "the newest readings of a sensor, the oldest of them first, from memory: 60 of each at most, none from before the start",
    fields: &[
        Field { name: "sensor", kind: Kind::Name, need: Need::Required, doc: "whose readings" },
        Field {
            name: "count",
            kind: Kind::Integer { min: 1, max: PER_SENSOR as i64 },
            need: Need::Default("60"),
            doc: "how many at most",
        },
    ],
    example: r#"{"transaction":"t1","sensor":"air","count":10}"#,
    answer,
    ..VerbSpec::USUAL
};

fn answer(context: &Context, arguments: &Settings) -> Result<Work, Refusal> {
    let sensor = known(context, arguments)?;
    let count = usize::try_from(arguments.integer("count")).unwrap_or(PER_SENSOR);
    let readings = context.history.newest(&sensor, count);
    // As they were published, which is JSON.
    let readings = readings.iter().map(|reading| serde_json::from_slice(&payload::reading(reading, false, None)));
    let readings: Vec<Json> = readings.filter_map(Result::ok).collect();
    let data = json!({ "sensor": sensor.as_str(), "readings": readings });
    Ok(Box::pin(async { Ok(data) }))
}
