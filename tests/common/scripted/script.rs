//! What a scripted broker does with a connection: answers and greetings, and the script that is made of them.

use std::sync::Arc;

use super::super::ledger::Ledger;
use super::super::wire::{Packet, Properties, Publish};

/// What the broker does with a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// PUBACK, or PUBREC and all that follows, or nothing at QoS 0.
    Acknowledge,
    /// PUBACK or PUBREC with this reason code (MQTT 5).
    Reason(u8),
    /// Nothing at all.
    Silence,
    /// Closes the connection instead of acknowledging.
    DropBefore,
    /// Acknowledges and closes the connection at once.
    DropAfter,
    /// Acknowledges another packet.
    WrongId(u16),
    /// These bytes instead.
    Raw(Vec<u8>),
}

/// What the broker does with a CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub enum Greeting {
    /// CONNACK with this code; 0 accepts, every other closes the connection after it.
    Code(u8),
    /// Accepts, and claims to have kept the session.
    SessionPresent,
    /// Reads on and never answers.
    Silence,
    /// Closes at once.
    Close,
    /// These bytes instead.
    Raw(Vec<u8>),
}

/// Decides about the nth message (from 0) of a connection.
type OnPublish = Arc<dyn Fn(usize, &Publish) -> Answer + Send + Sync>;

/// Whether a packet ends the connection.
type HangUp = Arc<dyn Fn(&Packet) -> bool + Send + Sync>;

/// How one connection goes.
#[derive(Clone)]
pub struct Script {
    pub(super) greeting: Greeting,
    pub(super) greeting_5: Option<Greeting>,
    pub(super) hang_up: HangUp,
    pub(super) properties: Properties,
    pub(super) publish: OnPublish,
    pub(super) suback: Option<u8>,
    pub(super) subacks: bool,
    /// Hangs up on a subscription that has this in one of its filters.
    pub(super) forbidden_filter: Option<&'static str>,
    /// Does not answer a subscription that has this in one of its filters.
    pub(super) ignored_filter: Option<&'static str>,
    /// CONNACK with this code for a will with the retain flag; 0 closes instead.
    pub(super) retained_will: Option<u8>,
    pub(super) ping: bool,
    pub(super) byte_at_a_time: bool,
    pub(super) ledger: Option<Ledger>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            greeting: Greeting::Code(0),
            greeting_5: None,
            hang_up: Arc::new(|_| false),
            properties: Properties::default(),
            publish: Arc::new(|_, _| Answer::Acknowledge),
            suback: None,
            subacks: true,
            forbidden_filter: None,
            ignored_filter: None,
            retained_will: None,
            ping: true,
            byte_at_a_time: false,
            ledger: None,
        }
    }
}

impl Script {
    /// A broker as it should be.
    pub fn good() -> Self {
        Self::default()
    }

    /// What it does with the CONNECT.
    pub fn greeting(self, greeting: Greeting) -> Self {
        Self { greeting, ..self }
    }

    /// What it does instead with a CONNECT of MQTT 5, because it is older.
    pub fn greeting_5(self, greeting: Greeting) -> Self {
        Self { greeting_5: Some(greeting), ..self }
    }

    /// Closes the connection without a word when such a packet comes.
    pub fn hang_up_on(self, decide: impl Fn(&Packet) -> bool + Send + Sync + 'static) -> Self {
        Self { hang_up: Arc::new(decide), ..self }
    }

    /// What it does with each message.
    pub fn on_publish(self, decide: impl Fn(usize, &Publish) -> Answer + Send + Sync + 'static) -> Self {
        Self { publish: Arc::new(decide), ..self }
    }

    /// What its CONNACK announces (MQTT 5).
    pub fn properties(self, properties: Properties) -> Self {
        Self { properties, ..self }
    }

    /// The code in every SUBACK, 0x80 and above refuse; otherwise what was asked for is granted.
    pub fn suback(self, code: u8) -> Self {
        Self { suback: Some(code), ..self }
    }

    /// Does not answer subscriptions.
    pub fn no_subacks(self) -> Self {
        Self { subacks: false, ..self }
    }

    /// Closes the connection over a subscription with this in one of its filters.
    pub fn hangs_up_on_filter(self, part: &'static str) -> Self {
        Self { forbidden_filter: Some(part), ..self }
    }

    /// Does not answer a subscription with this in one of its filters.
    pub fn ignores_filter(self, part: &'static str) -> Self {
        Self { ignored_filter: Some(part), ..self }
    }

    /// Refuses a will with the retain flag with this code; 0 closes without a word.
    pub fn refuses_retained_will(self, code: u8) -> Self {
        Self { retained_will: Some(code), ..self }
    }

    /// Does not answer pings.
    pub fn no_pings(self) -> Self {
        Self { ping: false, ..self }
    }

    /// Sends every byte in a packet of its own.
    pub fn byte_at_a_time(self) -> Self {
        Self { byte_at_a_time: true, ..self }
    }

    /// Notes what it acknowledges.
    pub fn noting(self, ledger: &Ledger) -> Self {
        Self { ledger: Some(ledger.clone()), ..self }
    }
}
