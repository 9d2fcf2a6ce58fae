//! read: a sample now. The worker of the sensor takes it, so it waits for what its bus is doing, and it is filtered like any other.

use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use crate::requests::{Context, VerbSpec, Work};
use crate::worker::Order;
use fieldgate_model::payload;
use fieldgate_model::{Field, Kind, Name, Need, Reason, Refusal, Settings};

pub(super) const SPEC: VerbSpec = VerbSpec {
    name: "read",
    page: "samples a sensor now, and answers with what its filters leave of it; the sample also counts as one of its own",
    fields: &[Field { name: "sensor", kind: Kind::Name, need: Need::Required, doc: "which" }],
    example: r#"{"transaction":"t1","sensor":"air"}"#,
    is_default: true,
    answer,
    ..VerbSpec::USUAL
};

fn answer(context: &Context, arguments: &Settings) -> Result<Work, Refusal> {
    let sensor = known(context, arguments)?;
    let roster = context.roster.borrow();
    let busy = || Refusal::new(Reason::Busy, "the sensor's bus has not taken the orders before this");
    let inbox = roster.readers.get(&sensor).ok_or_else(busy)?;
    let (answer, sampled) = oneshot::channel();
    inbox.try_send(Order::Sample { sensor: sensor.clone(), answer }).map_err(|_| busy())?;
    Ok(Box::pin(async move {
        let gone = |_| Err(Refusal::new(Reason::Hardware, "the sensor is gone"));
        let sample = sampled.await.unwrap_or_else(gone)?;
        let measurements = payload::measurements(&sample, None);
        let inside = String::from_utf8_lossy(&measurements);
        let values = serde_json::from_str(&format!("{{{inside}}}")).unwrap_or(Json::Null);
        Ok(json!({ "sensor": sensor.as_str(), "values": values }))
    }))
}

/// The sensor that is named, if there is one of that name.
///
/// # Errors
/// There is none.
pub(super) fn known(context: &Context, arguments: &Settings) -> Result<Name, Refusal> {
    let text = arguments.text("sensor");
    let name = Name::new(text).ok().filter(|name| context.roster.borrow().sensors.contains(name));
    name.ok_or_else(|| Refusal::new(Reason::Unknown, format!("there is no sensor called {text}")))
}
