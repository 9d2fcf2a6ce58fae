//! A [`Session`](super::Session) by MQTT 3.1.1, with the client library `rumqttc-v4-next`; otherwise as `v5.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rumqttc_v4 as mqtt;
use tokio::sync::mpsc;

use super::causes::{closed, describe_timeout, find_io, io_cause};
use super::{
    Arrived, CONNECT_TIMEOUT, Cause, CauseKind, Connected, Event, Filter, Grant, Line, MAX_PACKET, MAX_WINDOW, Opening,
    Pending, Publication, PublishOutcome, REQUEST_CAPACITY, keep_alive_seconds,
};
use crate::{Broker, Protocol, reason};
use fieldgate_model::Qos;

/// The half of a session that sends.
pub(super) struct Client(mqtt::AsyncClient);

/// The reading half, with what is needed to say why it ended.
pub(super) struct EventLoop {
    inner: mqtt::EventLoop,
    broker: Broker,
}

pub(super) fn open(opening: &Opening<'_>, line: &Arc<Line>) -> Result<(Client, EventLoop), Cause> {
    let (settings, broker) = (opening.settings, opening.broker);
    let mut options = mqtt::MqttOptions::new(opening.client_id, mqtt::Broker::tcp(broker.place(), broker.port));
    let (dialer, line) = (opening.dialer(), Arc::clone(line));
    options.set_socket_connector(move |_, _| Opening::connect(dialer.clone(), Arc::clone(&line)));
    let unusable = |error: mqtt::ConfigError| Cause::other(format!("unusable settings: {error}"));
    options.set_keep_alive(keep_alive_seconds(settings)).set_request_channel_capacity(REQUEST_CAPACITY);
    options.set_max_packet_size(MAX_PACKET as usize, MAX_PACKET as usize);
    options.set_max_request_batch(usize::from(MAX_WINDOW));
    options.try_set_inflight(MAX_WINDOW).map_err(unusable)?;
    options.try_set_clean_session(settings.clean_session).map_err(unusable)?;
    if !settings.clean_session {
        options.set_session_store(NothingInFlight);
    }
    if let Some(will) = opening.will {
        let qos = if will.assured { mqtt::QoS::AtLeastOnce } else { mqtt::QoS::AtMostOnce };
        options.set_last_will(mqtt::LastWill::new(settings.topics.status(), "offline", qos, will.retain));
    }
    match (&settings.username, &opening.password) {
        (Some(user), Some(password)) => drop(options.set_credentials(user, password.reveal().to_vec())),
        (Some(user), None) => drop(options.set_username(user)),
        (None, Some(_)) => return Err(Cause::other("MQTT 3.1.1 allows a password only together with mqtt.username")),
        (None, None) => {}
    }
    let mut network = mqtt::NetworkOptions::new();
    network.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
    let built = mqtt::AsyncClient::builder(options).capacity(REQUEST_CAPACITY).try_build();
    let (client, mut inner) = built.map_err(|error| Cause::other(format!("unusable settings: {error}")))?;
    inner.set_network_options(network);
    Ok((Client(client), EventLoop { inner, broker: opening.broker.clone() }))
}

/// Polls until the end, alone in its task.
pub(super) async fn poll(mut eventloop: EventLoop, events: mpsc::Sender<Event>, line: Arc<Line>) {
    loop {
        let event = match eventloop.inner.poll().await {
            Ok(mqtt::Event::Incoming(packet)) => translate(packet),
            Ok(_) => None,
            Err(error) => Some(Event::Ended(line.judge(cause(&eventloop.broker, &error)))),
        };
        let Some(event) = event else { continue };
        if matches!(event, Event::Connected(_)) {
            line.accept();
        }
        let last = matches!(event, Event::Ended(_));
        // A closed channel means that the session was dropped, which also aborts this task.
        if events.send(event).await.is_err() || last {
            return;
        }
    }
}

fn translate(packet: mqtt::Packet) -> Option<Event> {
    match packet {
        mqtt::Packet::ConnAck(connack) => Some(Event::Connected(Connected {
            protocol: Protocol::V4,
            session_present: connack.session_present,
            receive_maximum: u16::MAX,
            maximum_packet_size: u32::MAX,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            server_keep_alive: None,
            wildcards: true,
        })),
        // A topic that is not UTF-8 is none of ours.
        mqtt::Packet::Publish(publish) => String::from_utf8(publish.topic.to_vec()).ok().map(|topic| {
            Event::Publish(Arrived {
                topic,
                payload: publish.payload,
                retain: publish.retain,
                expired: false,
                nonce: None,
                response: None,
            })
        }),
        _ => None,
    }
}

impl Client {
    pub(super) fn publish(&self, publication: Publication) -> Pending<PublishOutcome> {
        let topic = publication.topic.clone();
        let qos = match publication.qos {
            Qos::AtMostOnce => mqtt::QoS::AtMostOnce,
            Qos::AtLeastOnce => mqtt::QoS::AtLeastOnce,
            Qos::ExactlyOnce => mqtt::QoS::ExactlyOnce,
        };
        let options = mqtt::PublishOptions::new(qos).retain(publication.retain);
        match self.0.try_publish_tracked(publication.topic, publication.payload, options) {
            Ok(notice) => Box::pin(async move {
                if notice.wait_async().await.is_ok() { PublishOutcome::Acknowledged } else { PublishOutcome::Lost }
            }),
            Err(mqtt::ClientError::InvalidRequest(_)) => {
                Box::pin(std::future::ready(PublishOutcome::Refused(format!("{topic:?} is not a topic"))))
            }
            Err(_) => Box::pin(std::future::ready(PublishOutcome::Lost)),
        }
    }

    pub(super) fn subscribe(&self, filters: Vec<Filter>) -> Pending<Grant> {
        let names: Vec<String> = filters.into_iter().map(|filter| filter.topic).collect();
        let wanted = names.iter().map(|name| mqtt::SubscribeFilter::new(name.clone(), mqtt::QoS::AtLeastOnce));
        match self.0.try_subscribe_many_tracked(wanted) {
            Ok(notice) => Box::pin(async move {
                let Ok(suback) = notice.wait_async().await else { return Grant::Lost };
                let refused = |code: &mqtt::SubscribeReasonCode| matches!(code, mqtt::SubscribeReasonCode::Failure);
                match names.iter().zip(&suback.return_codes).find(|(_, code)| refused(code)) {
                    Some((name, _)) => Grant::Refused(format!("{name}: failure (128); check the broker's access list")),
                    None => Grant::Granted,
                }
            }),
            // The library takes no more requests on this connection, which is about to end.
            Err(_) => Box::pin(std::future::ready(Grant::Lost)),
        }
    }

    pub(super) async fn disconnect(&self) {
        // It fails only when the connection has ended already.
        drop(self.0.disconnect_now().await);
    }
}

fn cause(broker: &Broker, error: &mqtt::ConnectionError) -> Cause {
    match error {
        mqtt::ConnectionError::ConnectionRefused(code) => refused(*code as u8),
        mqtt::ConnectionError::MqttState(mqtt::StateError::AwaitPingResp) => {
            Cause::other("the broker did not answer a ping within the keep-alive")
        }
        mqtt::ConnectionError::MqttState(mqtt::StateError::ConnectionAborted) => closed(""),
        mqtt::ConnectionError::NetworkTimeout => Cause::other(describe_timeout(broker)),
        mqtt::ConnectionError::FlushTimeout => Cause::other("the broker takes no more bytes"),
        mqtt::ConnectionError::RequestsDone => Cause::other("disconnected orderly"),
        mqtt::ConnectionError::MqttState(mqtt::StateError::Deserialization(
            mqtt::mqttbytes::Error::PayloadSizeLimitExceeded(size),
        )) => Cause {
            words: format!("the broker sent a message of {size} bytes; {MAX_PACKET} are the most that is taken"),
            kind: CauseKind::TooLarge,
        },
        // This variant hides its cause from source(); in it is what the broker said of our certificate under TLS 1.3.
        mqtt::ConnectionError::MqttState(mqtt::StateError::Deserialization(other)) => match find_io(other) {
            Some(io) => io_cause(broker, io),
            None => Cause::other(format!("the broker sent what is not MQTT: {other}")),
        },
        other => match find_io(other) {
            Some(io) => io_cause(broker, io),
            None => Cause::other(other.to_string()),
        },
    }
}

fn refused(code: u8) -> Cause {
    let kind = match code {
        1 => CauseKind::WrongProtocol,
        2 | 4 | 5 => CauseKind::Refused,
        _ => CauseKind::Other,
    };
    Cause { words: format!("connection refused: {}", reason::v4(code)), kind }
}

type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, mqtt::SessionStoreError>> + Send + 'a>>;

/// Informs the library that nothing of ours is in flight, so that it accepts a session that only the broker remembers.
///
/// That is true: QoS 2 is refused with a persistent session, and what was unacknowledged at QoS 1 is sent again from the
/// spool.
#[derive(Debug)]
struct NothingInFlight;

impl mqtt::SessionStore for NothingInFlight {
    fn load<'a>(&'a self, key: &'a mqtt::SessionStoreKey) -> StoreFuture<'a, Option<mqtt::PersistedSession>> {
        let session = mqtt::PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_session: false,
            max_inflight: MAX_WINDOW,
            ack_mode: mqtt::PersistedAckMode::Automatic,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(std::future::ready(Ok(Some(session))))
    }

    fn save<'a>(&'a self, _: &'a mqtt::SessionStoreKey, _: &'a mqtt::PersistedSession) -> StoreFuture<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn clear<'a>(&'a self, _: &'a mqtt::SessionStoreKey) -> StoreFuture<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_only_a_person_can_end_is_distinguished_from_one_that_may_pass() {
        let kinds = [
            (1, CauseKind::WrongProtocol),
            (2, CauseKind::Refused),
            (3, CauseKind::Other),
            (4, CauseKind::Refused),
            (5, CauseKind::Refused),
        ];
        for (code, kind) in kinds {
            assert_eq!(refused(code).kind, kind, "{code}");
        }
        assert!(refused(4).words.starts_with("connection refused: "));
    }
}
