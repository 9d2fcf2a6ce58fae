//! A [`Session`](super::Session) by MQTT 5, with the client library `rumqttc-v5-next`.
//!
//! Nobody outside of `session/` sees the library: its events become [`Event`]s, its errors a [`Cause`] that names the remedy.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc_v5 as mqtt;
use tokio::sync::mpsc;

use super::causes::{closed, describe_timeout, find_io, io_cause};
use super::{
    Arrived, CONNECT_TIMEOUT, Cause, CauseKind, Connected, Event, Filter, Grant, Line, MAX_PACKET, MAX_WINDOW, NONCE,
    Opening, Pending, Publication, PublishOutcome, REQUEST_CAPACITY, keep_alive_seconds,
};
use crate::{Broker, Protocol, reason};
use fieldgate_model::Qos;
use fieldgate_model::payload::ResponseTarget;

/// The broker keeps a persistent session for ever.
const NEVER_EXPIRES: u32 = u32::MAX;

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
    options.set_keep_alive(keep_alive_seconds(settings)).set_connect_timeout(CONNECT_TIMEOUT);
    options.set_clean_start(settings.clean_session).set_request_channel_capacity(REQUEST_CAPACITY);
    options.set_outgoing_inflight_upper_limit(MAX_WINDOW).set_receive_maximum(Some(MAX_WINDOW));
    options.set_max_packet_size(Some(MAX_PACKET)).set_max_request_batch(usize::from(MAX_WINDOW));
    if !settings.clean_session {
        options.set_session_expiry_interval(Some(NEVER_EXPIRES)).set_session_store(NothingInFlight);
    }
    if let Some(will) = opening.will {
        let qos = if will.assured { mqtt::QoS::AtLeastOnce } else { mqtt::QoS::AtMostOnce };
        options.set_last_will(mqtt::LastWill::new(settings.topics.status(), "offline", qos, will.retain, None));
    }
    match (&settings.username, &opening.password) {
        (Some(user), Some(password)) => drop(options.set_credentials(user, password.reveal().to_vec())),
        (Some(user), None) => drop(options.set_username(user)),
        (None, Some(password)) => drop(options.set_password(password.reveal().to_vec())),
        (None, None) => {}
    }
    let unusable = |error| Cause::other(format!("unusable settings: {error}"));
    let (client, inner) =
        mqtt::AsyncClient::builder(options).capacity(REQUEST_CAPACITY).try_build().map_err(unusable)?;
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
        mqtt::Packet::ConnAck(connack) => Some(Event::Connected(connected(&connack))),
        mqtt::Packet::Publish(publish) => arrived(publish).map(Event::Publish),
        _ => None,
    }
}

fn connected(connack: &mqtt::ConnAck) -> Connected {
    let property = connack.properties.as_ref();
    Connected {
        protocol: Protocol::V5,
        session_present: connack.session_present,
        receive_maximum: property.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
        maximum_packet_size: property.and_then(|p| p.max_packet_size).unwrap_or(u32::MAX),
        maximum_qos: match property.and_then(|p| p.max_qos) {
            Some(0) => Qos::AtMostOnce,
            Some(1) => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        },
        retain_available: property.and_then(|p| p.retain_available) != Some(0),
        server_keep_alive: property
            .and_then(|p| p.server_keep_alive)
            .map(|seconds| Duration::from_secs(u64::from(seconds))),
        wildcards: property.and_then(|p| p.wildcard_subscription_available) != Some(0),
    }
}

/// Nothing when the topic is not UTF-8, which no topic of ours is.
fn arrived(publish: mqtt::Publish) -> Option<Arrived> {
    let topic = String::from_utf8(publish.topic.to_vec()).ok()?;
    let properties = publish.properties.unwrap_or_default();
    let correlation = properties.correlation_data.map(|bytes| bytes.to_vec());
    Some(Arrived {
        topic,
        payload: publish.payload,
        retain: publish.retain,
        expired: properties.message_expiry_interval == Some(0),
        nonce: properties.user_properties.into_iter().find(|(name, _)| name == NONCE).map(|(_, value)| value),
        response: properties.response_topic.map(|topic| ResponseTarget { topic, correlation }),
    })
}

impl Client {
    pub(super) fn publish(&self, publication: Publication) -> Pending<PublishOutcome> {
        let topic = publication.topic.clone();
        let qos = match publication.qos {
            Qos::AtMostOnce => mqtt::QoS::AtMostOnce,
            Qos::AtLeastOnce => mqtt::QoS::AtLeastOnce,
            Qos::ExactlyOnce => mqtt::QoS::ExactlyOnce,
        };
        let mut options = mqtt::PublishOptions::new(qos).retain(publication.retain);
        if publication.correlation.is_some() || publication.nonce.is_some() {
            let user_properties = publication.nonce.map(|nonce| (NONCE.to_owned(), nonce)).into_iter().collect();
            let correlation_data = publication.correlation.map(Bytes::from);
            options = options.properties(mqtt::PublishProperties {
                correlation_data,
                user_properties,
                ..mqtt::PublishProperties::default()
            });
        }
        match self.0.try_publish_tracked(publication.topic, publication.payload, options) {
            Ok(notice) => Box::pin(async move { outcome(notice.wait_async().await) }),
            Err(mqtt::ClientError::InvalidRequest(_)) => {
                Box::pin(std::future::ready(PublishOutcome::Refused(format!("{topic:?} is not a topic"))))
            }
            Err(_) => Box::pin(std::future::ready(PublishOutcome::Lost)),
        }
    }

    pub(super) fn subscribe(&self, filters: Vec<Filter>) -> Pending<Grant> {
        let names: Vec<String> = filters.iter().map(|filter| filter.topic.clone()).collect();
        let wanted = filters.into_iter().map(|filter| mqtt::SubscribeFilter {
            path: filter.topic,
            qos: mqtt::QoS::AtLeastOnce,
            nolocal: filter.no_local,
            preserve_retain: filter.retain_as_published,
            retain_forward_rule: if filter.send_retained {
                mqtt::RetainForwardRule::OnEverySubscribe
            } else {
                mqtt::RetainForwardRule::Never
            },
        });
        match self.0.try_subscribe_many_tracked(wanted) {
            Ok(notice) => Box::pin(async move {
                match notice.wait_async().await {
                    Ok(suback) => granted(&names, &suback.return_codes),
                    Err(_) => Grant::Lost,
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

fn outcome(result: Result<mqtt::PublishResult, mqtt::PublishNoticeError>) -> PublishOutcome {
    let judge = |code: u8| match code {
        0..0x80 => PublishOutcome::Acknowledged,
        // The payload does not match the format that the broker is configured to expect there; it will be the same next time.
        0x99 => PublishOutcome::Unacceptable(reason::v5(code)),
        _ => PublishOutcome::Refused(reason::v5(code)),
    };
    match result {
        Ok(mqtt::PublishResult::Qos0Flushed) => PublishOutcome::Acknowledged,
        Ok(mqtt::PublishResult::Qos1(ack)) => judge(ack.reason as u8),
        Ok(mqtt::PublishResult::Qos2Completed(done)) => judge(done.reason as u8),
        Ok(mqtt::PublishResult::Qos2PubRecRejected(received)) => judge(received.reason as u8),
        Err(mqtt::PublishNoticeError::V5PubAck(code)) => judge(code as u8),
        Err(mqtt::PublishNoticeError::V5PubRec(code)) => judge(code as u8),
        Err(mqtt::PublishNoticeError::V5PubComp(code)) => judge(code as u8),
        Err(mqtt::PublishNoticeError::RetainNotSupported) => PublishOutcome::Refused(reason::v5(0x9A)),
        Err(_) => PublishOutcome::Lost,
    }
}

fn granted(names: &[String], codes: &[mqtt::SubscribeReasonCode]) -> Grant {
    use mqtt::SubscribeReasonCode as Code;
    for (name, code) in names.iter().zip(codes) {
        let code = match code {
            Code::Success(_) => continue,
            Code::Failure | Code::Unspecified => 0x80,
            Code::ImplementationSpecific => 0x83,
            Code::NotAuthorized => 0x87,
            Code::TopicFilterInvalid => 0x8F,
            Code::PkidInUse => 0x91,
            Code::QuotaExceeded => 0x97,
            Code::SharedSubscriptionsNotSupported => 0x9E,
            Code::SubscriptionIdNotSupported => 0xA1,
            Code::WildcardSubscriptionsNotSupported => 0xA2,
        };
        return Grant::Refused(format!("{name}: {}", reason::v5(code)));
    }
    Grant::Granted
}

fn cause(broker: &Broker, error: &mqtt::ConnectionError) -> Cause {
    match error {
        mqtt::ConnectionError::ConnectionRefused(code) => refused(connect_code(*code)),
        mqtt::ConnectionError::MqttState(mqtt::StateError::ConnFail { reason }) => refused(connect_code(*reason)),
        mqtt::ConnectionError::MqttState(mqtt::StateError::ServerDisconnect { reason_code, reason_string }) => {
            let code = *reason_code as u8;
            let said = reason_string.as_ref().map(|text| format!(" ({text:?})")).unwrap_or_default();
            let kind = if code == 0x8E { CauseKind::TakenOver } else { CauseKind::Disconnected(code) };
            Cause { words: format!("the broker disconnected us: {}{said}", reason::v5(code)), kind }
        }
        mqtt::ConnectionError::MqttState(mqtt::StateError::AwaitPingResp) => {
            Cause::other("the broker did not answer a ping within the keep-alive")
        }
        mqtt::ConnectionError::MqttState(mqtt::StateError::ConnectionAborted) => closed(""),
        mqtt::ConnectionError::Timeout(_) => Cause::other(describe_timeout(broker)),
        mqtt::ConnectionError::RequestsDone => Cause::other("disconnected orderly"),
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
        0x84 => CauseKind::WrongProtocol,
        0x85 | 0x86 | 0x87 | 0x8C => CauseKind::Refused,
        0x9A => CauseKind::WillRetain,
        0x9B => CauseKind::WillQos,
        _ => CauseKind::Other,
    };
    Cause { words: format!("connection refused: {}", reason::v5(code)), kind }
}

/// The code of MQTT 5, table 3-1; the library has those of 3.1.1 in the same type.
fn connect_code(code: mqtt::ConnectReturnCode) -> u8 {
    use mqtt::ConnectReturnCode as Code;
    match code {
        Code::Success => 0x00,
        Code::UnspecifiedError => 0x80,
        Code::MalformedPacket => 0x81,
        Code::ProtocolError => 0x82,
        Code::ImplementationSpecificError => 0x83,
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => 0x84,
        Code::ClientIdentifierNotValid | Code::BadClientId => 0x85,
        Code::BadUserNamePassword => 0x86,
        Code::NotAuthorized => 0x87,
        Code::ServerUnavailable | Code::ServiceUnavailable => 0x88,
        Code::ServerBusy => 0x89,
        Code::Banned => 0x8A,
        Code::BadAuthenticationMethod => 0x8C,
        Code::TopicNameInvalid => 0x90,
        Code::PacketTooLarge => 0x95,
        Code::QuotaExceeded => 0x97,
        Code::PayloadFormatInvalid => 0x99,
        Code::RetainNotSupported => 0x9A,
        Code::QoSNotSupported => 0x9B,
        Code::UseAnotherServer => 0x9C,
        Code::ServerMoved => 0x9D,
        Code::ConnectionRateExceeded => 0x9F,
    }
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
            clean_start: false,
            session_expiry_interval: Some(NEVER_EXPIRES),
            outgoing_inflight_upper_limit: Some(MAX_WINDOW),
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
    use crate::testing::settings;

    #[test]
    fn a_refusal_that_only_a_person_can_end_is_distinguished_from_one_that_may_pass() {
        use mqtt::ConnectReturnCode as Code;
        let broker = settings(Protocol::V5).brokers.remove(0);
        let refused = |code| cause(&broker, &mqtt::ConnectionError::ConnectionRefused(code));
        for code in [
            Code::ClientIdentifierNotValid,
            Code::BadUserNamePassword,
            Code::NotAuthorized,
            Code::BadAuthenticationMethod,
        ] {
            assert_eq!(refused(code).kind, CauseKind::Refused, "{code:?}");
        }
        for code in [Code::ServerUnavailable, Code::ServerBusy, Code::QuotaExceeded, Code::ConnectionRateExceeded] {
            assert_eq!(refused(code).kind, CauseKind::Other, "{code:?}");
        }
        assert_eq!(refused(Code::UnsupportedProtocolVersion).kind, CauseKind::WrongProtocol);
        assert_eq!(refused(Code::RetainNotSupported).kind, CauseKind::WillRetain);
        assert_eq!(refused(Code::QoSNotSupported).kind, CauseKind::WillQos);
        assert!(refused(Code::NotAuthorized).words.starts_with("connection refused: not authorized (0x87)"));
    }

    /// A property that is not there has the default of MQTT 5, 3.2.2.3.
    #[test]
    fn what_a_broker_does_not_offer_is_known_and_what_it_does_not_mention_is_offered() {
        let nothing = mqtt::ConnAckProperties {
            session_expiry_interval: None,
            receive_max: None,
            max_qos: None,
            retain_available: None,
            max_packet_size: None,
            assigned_client_identifier: None,
            topic_alias_max: None,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: None,
            subscription_identifiers_available: None,
            shared_subscription_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        };
        let offer = |properties| {
            connected(&mqtt::ConnAck { session_present: false, code: mqtt::ConnectReturnCode::Success, properties })
        };
        let all = crate::testing::connected(Protocol::V5);
        assert_eq!([offer(None), offer(Some(nothing.clone()))], [all.clone(), all.clone()]);
        let qos = |max_qos| offer(Some(mqtt::ConnAckProperties { max_qos, ..nothing.clone() })).maximum_qos;
        assert_eq!([qos(Some(0)), qos(Some(1)), qos(None)], [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
        let less = mqtt::ConnAckProperties {
            receive_max: Some(7),
            retain_available: Some(0),
            max_packet_size: Some(1000),
            wildcard_subscription_available: Some(0),
            server_keep_alive: Some(20),
            ..nothing
        };
        let expected = Connected {
            receive_maximum: 7,
            maximum_packet_size: 1000,
            retain_available: false,
            server_keep_alive: Some(Duration::from_secs(20)),
            wildcards: false,
            ..all
        };
        assert_eq!(offer(Some(less)), expected);
    }

    #[test]
    fn a_code_below_0x80_is_success_and_one_that_the_payload_caused_will_come_again() {
        let acknowledged = |reason| outcome(Err(mqtt::PublishNoticeError::V5PubAck(reason)));
        use mqtt::PubAckReason as Reason;
        assert_eq!(acknowledged(Reason::NoMatchingSubscribers), PublishOutcome::Acknowledged);
        assert!(matches!(acknowledged(Reason::NotAuthorized), PublishOutcome::Refused(_)));
        assert!(matches!(acknowledged(Reason::PayloadFormatInvalid), PublishOutcome::Unacceptable(_)));
    }

    #[test]
    fn a_take_over_is_distinguished_from_other_reasons_for_which_the_broker_disconnects_us() {
        let broker = settings(Protocol::V5).brokers.remove(0);
        let disconnected = |reason_code| {
            let said = mqtt::StateError::ServerDisconnect { reason_code, reason_string: Some("bye".into()) };
            cause(&broker, &mqtt::ConnectionError::MqttState(said))
        };
        let taken_over = disconnected(mqtt::DisconnectReasonCode::SessionTakenOver);
        assert_eq!((taken_over.kind, taken_over.words.ends_with("(\"bye\")")), (CauseKind::TakenOver, true));
        assert_eq!(disconnected(mqtt::DisconnectReasonCode::NotAuthorized).kind, CauseKind::Disconnected(0x87));
    }
}
