//! Plain topics: each measurement and each output's state as bare text, for programs that read no JSON.
//!
//! They show the newest only, so they go the way of states: retained, replaced, never spooled. A late reading, which comes from
//! the spool, never gets there, and neither does what happens in a moment, such as a click: it would happen again at each connect.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::views::View;
use crate::worker::{ActuatorSettings, SensorSettings};
use fieldgate_model::payload;
use fieldgate_model::topic::Topics;
use fieldgate_model::{Measurement, Name, OutputValue, Value};

/// Where bare text is published: a topic for each measurement and each output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainTopics {
    sensors: BTreeMap<Name, Vec<(Cow<'static, str>, String)>>,
    outputs: BTreeMap<Name, String>,
}

impl PlainTopics {
    /// Those of these devices, below the base of `topics`.
    pub fn of(sensors: &[SensorSettings], outputs: &[ActuatorSettings], topics: &Topics) -> Self {
        let measurements = |sensor: &SensorSettings| {
            let topic = |name: &str| topics.plain_measurement(&sensor.name, name);
            sensor.quantities().into_iter().map(|quantity| (quantity.name.clone(), topic(&quantity.name))).collect()
        };
        Self {
            sensors: sensors.iter().map(|sensor| (sensor.name.clone(), measurements(sensor))).collect(),
            outputs: outputs.iter().map(|output| (output.name.clone(), topics.plain_state(&output.name))).collect(),
        }
    }

    /// These and those of `other`, which win.
    pub fn joined_with(mut self, other: Self) -> Self {
        self.sensors.extend(other.sensors);
        self.outputs.extend(other.outputs);
        self
    }

    /// Every topic.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.sensors.values().flatten().map(|(_, topic)| topic).chain(self.outputs.values())
    }

    /// What is published of a reading, topic and text: what it says of the present.
    pub fn values<'a>(
        &'a self,
        sensor: &Name,
        measurements: &'a [Measurement],
    ) -> impl Iterator<Item = (&'a String, Cow<'static, str>)> {
        let topics = self.sensors.get(sensor).map_or(&[][..], Vec::as_slice);
        let is_of_the_present = |measurement: &&Measurement| !matches!(measurement.value, Value::Word(_));
        measurements.iter().filter(is_of_the_present).filter_map(move |measurement| {
            let (_, topic) = topics.iter().find(|(name, _)| *name == measurement.name)?;
            Some((topic, payload::plain(measurement.value)))
        })
    }

    /// All that is published of what is known, topic and text: a reload may have added topics of devices that have nothing new to
    /// say.
    pub fn of_view(&self, view: &View) -> Vec<(String, Vec<u8>)> {
        let newest =
            view.sensors.iter().filter_map(|(name, sensor)| Some((name, &sensor.latest.as_ref()?.measurements)));
        let values = newest.flat_map(|(name, measurements)| self.values(name, measurements));
        let values = values.map(|(topic, text)| (topic.clone(), text.into_owned().into_bytes()));
        let states = view.outputs.iter().filter_map(|(name, output)| Some((self.state(name)?, state(output.value))));
        values.chain(states.map(|(topic, text)| (topic.clone(), text))).collect()
    }

    /// Where the state of an output is published.
    pub fn state(&self, output: &Name) -> Option<&String> {
        self.outputs.get(output)
    }
}

/// What an output does as bare text; nothing, which clears the topic, while that is not known.
pub fn state(value: Option<OutputValue>) -> Vec<u8> {
    value.map_or_else(Vec::new, |value| payload::plain_output(value).into_bytes())
}
