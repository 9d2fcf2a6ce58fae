//! What the spool keeps: a [`Message`] knows its age and its key, and no MQTT.

use crate::{Moment, Name, RunId};

/// How surely a message is to arrive; the numbers are those of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// Sent once; not kept while the link is down.
    AtMostOnce = 0,
    /// Kept until acknowledged; may arrive twice.
    AtLeastOnce = 1,
    /// Kept until acknowledged; the broker passes it on once per connection.
    ExactlyOnce = 2,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// A sensor's reading.
    Reading,
    /// The answer to a command to an output.
    Reply,
    /// The answer to a command that sets the total of a sensor.
    TotalReply,
    /// The answer to a command that sets a variable.
    VariableReply,
    /// The response to a request.
    Response,
    /// What a rule publishes.
    Event,
    /// The answer to a command that switches a rule.
    RuleReply,
    /// The account of readings that will never arrive.
    Loss,
}

impl MessageKind {
    /// Whether it is the answer to a command.
    pub fn is_reply(self) -> bool {
        matches!(self, Self::Reply | Self::TotalReply | Self::VariableReply | Self::RuleReply | Self::Response)
    }
}

/// What must stay in order: everything of one kind from one source goes to one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What is reported: a reading, a reply, a loss and so on.
    pub kind: MessageKind,
    /// The sensor, output, variable or verb it is about, or the rule.
    pub source: Name,
}

/// Something that must reach the broker.
///
/// Topic and payload are finished by `model::topic` and `model::payload` at the moment of sending, for only then is it
/// known whether a reading is fresh or late.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it is and whose.
    pub key: Key,
    /// Which start of the program made it.
    pub run: RunId,
    /// The reading's number; 0 for replies and losses.
    pub seq: u64,
    /// When it was taken, for age and payload.
    pub taken_at: Moment,
    /// How surely it is to arrive.
    pub qos: Qos,
    /// Whether the broker keeps the newest.
    pub retain: bool,
    /// What `model::payload` made of it: for a reading its measurements, for a reply the whole payload and its properties.
    pub body: Vec<u8>,
}

/// Readings that will never arrive, reported on `B/loss`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The sensor that took them.
    pub sensor: Name,
    /// The start of the program in which they were taken.
    pub run: RunId,
    /// The first that is missing.
    pub from_seq: u64,
    /// The last that is missing.
    pub to_seq: u64,
    /// How many of them: less than the span when some between them did arrive.
    pub count: u64,
    /// Why they were lost, in words.
    pub reason: String,
}
