//! `mqtt:`.

use std::fs::Metadata;
use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use crate::config::check::section::Section;
use crate::config::check::{Checker, broker};
use crate::config::tree::{Node, Span, Value};
use crate::config::{mask, raw};
use fieldgate_link::{self as link, Broker, Protocol, ProtocolChoice, Transport};
use fieldgate_model::topic::{self, Topics};
use fieldgate_model::{Name, Qos};

/// What the rest of the check needs of `mqtt:`.
pub(super) struct Mqtt {
    pub(super) link: Option<link::Settings>,
    pub(super) topics: Topics,
    pub(super) qos: Qos,
    /// Where that is written.
    pub(super) qos_span: Span,
    pub(super) retain: bool,
    pub(super) plain: bool,
    /// Whether QoS 2 is refused, because the broker keeps the session.
    pub(super) kept_session: bool,
}

impl<'a> Checker<'a> {
    pub(super) fn mqtt(&mut self, top: &Section<'a>, name: &Name) -> Mqtt {
        let mqtt = self.sub(top, "mqtt", raw::MQTT);
        let topics = self.topics(&mqtt, name);
        let qos = qos(mqtt.integer("qos")).unwrap_or(Qos::AtLeastOnce);
        let kept_session = mqtt.flag("clean_session") == Some(false);
        if kept_session && qos == Qos::ExactlyOnce && mqtt.has("qos") {
            self.two_with_kept_session(&mqtt.span("qos"));
        }
        let retain = mqtt.flag("retain").unwrap_or(false);
        let plain = mqtt.flag("plain").unwrap_or(false);
        let (link, qos_span) = (self.link(&mqtt, name, &topics), mqtt.span("qos"));
        Mqtt { link, topics, qos, qos_span, retain, plain, kept_session }
    }

    pub(super) fn two_with_kept_session(&mut self, span: &Span) {
        self.error(
            span,
            "qos 2 cannot be combined with clean_session: false",
            "use qos 1, or leave clean_session at true",
        );
    }

    fn retain_state(&mut self, mqtt: &Section<'a>) -> bool {
        let retain = mqtt.flag("retain_state").unwrap_or(true);
        if !retain {
            let hint = "a subscriber that comes later learns status and states at the gateway's next connect or their next \
                change only, and after a loss of power or network nobody who comes later learns that it is gone";
            self.warning(&mqtt.span("retain_state"), "status and states are not retained", hint);
        }
        retain
    }

    fn topics(&mut self, mqtt: &Section<'a>, name: &Name) -> Topics {
        let written = mqtt.text("base_topic");
        if let Some(Err(error)) = written.map(topic::check_base) {
            self.error(
                &mqtt.span("base_topic"),
                format!("base_topic: {error}"),
                "write for example fieldgate/greenhouse",
            );
        }
        if written.is_some_and(|base| base.starts_with('/') && topic::check_base(base).is_ok()) {
            let what = "base_topic: a / at the start makes a first level without a name, so `+/status` does not match";
            self.warning(&mqtt.span("base_topic"), what, "leave it out unless others expect it");
        }
        Topics::new(written.map_or_else(|| format!("fieldgate/{name}"), str::to_owned))
    }

    fn link(&mut self, mqtt: &Section<'a>, name: &Name, topics: &Topics) -> Option<link::Settings> {
        let brokers = self.brokers(mqtt);
        let protocol = match mqtt.text("protocol") {
            Some("3.1.1") => Protocol::V4.into(),
            Some("5") => Protocol::V5.into(),
            _ => ProtocolChoice::Auto,
        };
        let password = self.password(mqtt, protocol, &brokers);
        let tls = self.tls(mqtt, &brokers);
        let (reconnect_min, reconnect_max) = self.reconnect(mqtt);
        let client_id = self.client_id(mqtt, name);
        let keep_alive = self.keep_alive(mqtt);
        let bind_address = self.bind_address(mqtt, &brokers);
        Some(link::Settings {
            brokers,
            protocol,
            prefer_first: mqtt.duration("prefer_first"),
            client_id,
            clean_session: mqtt.flag("clean_session").unwrap_or(true),
            keep_alive,
            bind_address,
            username: mqtt.text("username").map(str::to_owned),
            password,
            tls,
            reconnect_min,
            reconnect_max,
            late_after: mqtt.duration("late_after")?,
            retain_state: self.retain_state(mqtt),
            leaves_nothing: false,
            topics: topics.clone(),
            // Filled in where the outputs are known.
        })
    }

    fn brokers(&mut self, mqtt: &Section<'a>) -> Vec<Broker> {
        let nodes: &[Node] = match mqtt.node("broker") {
            Some(Node { value: Value::List(items), .. }) => items,
            Some(node) => std::slice::from_ref(node),
            None => &[],
        };
        let mut brokers = Vec::new();
        for node in nodes {
            // What is not a text has been reported with the section.
            let Some(words) = node.scalar_text() else { continue };
            match broker::parse(words) {
                Ok(broker) if brokers.contains(&broker) => {
                    self.error(&node.span, "this broker is in the list twice", "");
                }
                Ok(broker) => {
                    self.look_at(node, &broker);
                    brokers.push(broker);
                }
                Err(bad) => {
                    let span = mask::within(&node.span, &self.source.text, words, bad.part);
                    self.error(&span, bad.what, bad.hint);
                }
            }
        }
        brokers
    }

    /// What is odd about an address that can be used.
    fn look_at(&mut self, node: &Node, broker: &Broker) {
        if broker::has_secret_query(broker) {
            let what = "what follows the ? seems to be a secret, and everybody who may read this file may read it";
            self.warning(&node.span, what, "let nobody but root and the service read this file: chmod 640");
        }
        let path = Path::new(&broker.path);
        if broker.transport == Transport::Unix && std::fs::metadata(path).is_ok_and(|about| !is_socket(&about)) {
            self.warning(&node.span, "there is something else than a socket", "look for `listener 0` at the broker");
        }
    }

    /// `None` when chance is to choose.
    fn client_id(&mut self, mqtt: &Section<'a>, name: &Name) -> Option<String> {
        match mqtt.text("client_id") {
            Some("") => {
                if mqtt.flag("clean_session") == Some(false) {
                    let hint = "name the client, or leave clean_session at true";
                    self.error(&mqtt.span("client_id"), "an empty client_id needs clean_session: true", hint);
                }
                None
            }
            Some(id) => Some(id.to_owned()),
            None => Some(format!("fieldgate-{name}-{}", self.machine.digits())),
        }
    }

    /// MQTT counts the keep-alive in whole seconds, and zero would switch it off: a dead line would never be noticed.
    fn keep_alive(&mut self, mqtt: &Section<'a>) -> Duration {
        let keep_alive = mqtt.duration("keep_alive").unwrap_or(Duration::from_secs(60));
        if keep_alive.is_zero() {
            let hint = "without it a dead line is never noticed; write 1s to 18h";
            self.error(&mqtt.span("keep_alive"), "keep_alive cannot be 0", hint);
        } else if keep_alive.subsec_nanos() != 0 {
            self.error(&mqtt.span("keep_alive"), "keep_alive is counted in whole seconds", "write 1s to 18h");
        }
        keep_alive
    }

    fn bind_address(&mut self, mqtt: &Section<'a>, brokers: &[Broker]) -> Option<IpAddr> {
        let text = mqtt.text("bind_address")?;
        let address = text.parse().ok();
        if address.is_none() {
            self.error(
                &mqtt.span("bind_address"),
                "bind_address is not an IP address",
                "write for example 192.168.1.20",
            );
        }
        if !brokers.is_empty() && brokers.iter().all(|broker| broker.transport == Transport::Unix) {
            let what = "bind_address: no broker is reached over a network";
            self.error(&mqtt.key("bind_address"), what, "leave it out");
        }
        address
    }

    fn reconnect(&mut self, mqtt: &Section<'a>) -> (Duration, Duration) {
        let reconnect = self.sub(mqtt, "reconnect", raw::RECONNECT);
        let min = reconnect.duration("min").unwrap_or(Duration::from_secs(1));
        let max = reconnect.duration("max").unwrap_or(Duration::from_secs(60));
        if min > max {
            let key = if reconnect.has("min") { "min" } else { "max" };
            self.error(&reconnect.span(key), "reconnect: min is longer than max", "");
        }
        (min, max)
    }
}

fn is_socket(about: &Metadata) -> bool {
    about.file_type().is_socket()
}

/// The QoS of a number that the tables have already limited.
pub(super) fn qos(number: Option<i64>) -> Option<Qos> {
    match number? {
        0 => Some(Qos::AtMostOnce),
        1 => Some(Qos::AtLeastOnce),
        _ => Some(Qos::ExactlyOnce),
    }
}
