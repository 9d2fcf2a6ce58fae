//! A visit to a broker, step by step, that finds where the way ends: for `fieldgate doctor`.
//!
//! It goes beside the service's own connection: with an identifier of its own, without a will, and nothing that it publishes is
//! retained. The way is dialled twice, once to see how far it goes and once by the client that logs in. Each step has its time.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

use super::guest::{self, NoAnswer};
use super::secrets::with_remedy;
use super::session::{
    Cause, CauseKind, Connected, Dialer, Event, Filter, Grant, Pending, Publication, PublishOutcome, Session, io_cause,
};
use super::supervisor::{Files, FilesError, is_encrypted};
use super::{Broker, Protocol, Settings, Transport};
use fieldgate_model::Qos;

/// How long a name, a port, TLS and a websocket may take, each.
const STEP_WITHIN: Duration = Duration::from_secs(5);

/// How long the broker may take to answer a request.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a publication may take to come back once the broker has acknowledged it.
const RETURN: Duration = Duration::from_secs(3);

/// How long what gateways say is listened to.
const LISTENING: Duration = Duration::from_secs(5);

/// A step on the way, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Password and certificates are read.
    Files,
    /// The name becomes an address.
    Name,
    /// Somebody listens at the port.
    Port,
    /// Each side knows the other's certificate.
    Tls,
    /// The path is one of websockets.
    Websocket,
    /// The broker takes user, password and protocol.
    Login,
    /// A publication comes back.
    Publish,
}

/// Where the way ended.
#[derive(Debug)]
pub struct Failure {
    /// The step that could not be taken.
    pub step: Step,
    /// Why.
    pub error: VisitError,
}

/// Why a step could not be taken, with the remedy as far as the program knows one.
#[derive(Debug, Error)]
pub enum VisitError {
    /// Password or certificates.
    #[error("{}", with_remedy(.0, &.0.remedy()))]
    Files(FilesError),
    /// The network, TLS or the other side, in words.
    #[error("{0}")]
    NoWay(String),
    /// The broker refuses user, password or identifier; in its words.
    #[error("{0}")]
    Refused(String),
    /// It took too long.
    #[error("{who} did not answer within {} s", within.as_secs())]
    Late {
        /// Who was asked, in words.
        who: String,
        /// For how long.
        within: Duration,
    },
    /// The broker took us, and then gave no answer.
    #[error("{topic} could not be used: {words}")]
    Unanswered {
        /// What was subscribed to, and published on.
        topic: String,
        /// What happened in place of the answer.
        words: String,
    },
    /// The broker does not let the user subscribe.
    #[error("the broker refuses the subscription to {topic}: {words}")]
    SubscriptionRefused {
        /// What was subscribed to.
        topic: String,
        /// In the broker's words.
        words: String,
    },
    /// The broker does not let the user publish.
    #[error("the broker refuses what is published on {topic}: {words}")]
    PublicationRefused {
        /// What was published on.
        topic: String,
        /// In the broker's words.
        words: String,
    },
    /// The broker says that all is well, and it is not.
    #[error(
        "the broker acknowledged what was published on {topic}, and it did not come back: the access list does not let \
         {user} write to and read from {base}/#"
    )]
    NotReturned {
        /// What was published on.
        topic: String,
        /// Who we are, in words.
        user: String,
        /// The base topic.
        base: String,
    },
}

/// What a visit has found.
#[derive(Debug)]
pub struct Visit {
    /// `mqtt://host:port`.
    pub broker: String,
    /// Where the way ended; nothing where it led to the end.
    pub failure: Option<Failure>,
    /// By which generation of MQTT we were accepted.
    pub protocol: Option<Protocol>,
    /// What gateways say of themselves on `B/status`, `B/health` and `B/sensors/+/status`: the newest of each topic.
    pub heard: BTreeMap<String, Bytes>,
}

/// Goes to `broker`, up to the step `last` at most. Credentials are in the folder `credentials`.
pub async fn visit(settings: &Settings, broker: &Broker, credentials: Option<PathBuf>, last: Step) -> Visit {
    let mut visit = Visit { broker: broker.to_string(), failure: None, protocol: None, heard: BTreeMap::new() };
    let way = Way { settings, broker, credentials, last };
    visit.failure = way.walk(&mut visit).await.err();
    visit
}

struct Way<'a> {
    settings: &'a Settings,
    broker: &'a Broker,
    credentials: Option<PathBuf>,
    last: Step,
}

impl Way<'_> {
    async fn walk(&self, visit: &mut Visit) -> Result<(), Failure> {
        let tls = if self.last < Step::Tls { None } else { self.files().await?.1.map(|tls| tls.config) };
        let dialer = Dialer { broker: self.broker.clone(), tls, bind_address: self.settings.bind_address };
        self.dial(&dialer).await?;
        if self.last < Step::Login {
            return Ok(());
        }
        let login = guest::connect(self.settings, self.broker, "doctor", self.credentials.clone());
        let refused = |cause: Cause| match cause.kind {
            CauseKind::Refused => VisitError::Refused(cause.words),
            _ => VisitError::NoWay(cause.words),
        };
        let mut open = login.await.map_err(|cause| Failure { step: Step::Login, error: refused(cause) })?;
        visit.protocol = Some(open.connected.protocol);
        let published = self.publish(&mut open.session, &open.connected).await;
        if published.is_ok() {
            // What gateways say is an extra: a broker need not let us hear it.
            let heard = self.listen(&mut open.session, &open.connected, &mut visit.heard);
            let _unheard = timeout(LISTENING, heard).await;
        }
        guest::leave(open.session).await;
        published.map_err(|error| Failure { step: Step::Publish, error })
    }

    /// Password and certificates, the password only where it is of use.
    async fn files(&self) -> Result<Files, Failure> {
        let mut settings = self.settings.clone();
        if self.last < Step::Login {
            settings.password = None;
        }
        let first = settings.protocol.first();
        let attempt = guest::attempt(&settings, self.broker, first, "doctor", self.credentials.clone());
        let read = attempt.read_files().await;
        let unusable = |error| Failure { step: Step::Files, error: VisitError::Files(error) };
        read.map(|(files, _)| files).map_err(unusable)
    }

    async fn dial(&self, dialer: &Dialer) -> Result<(), Failure> {
        let transport = self.broker.transport;
        if transport == Transport::Unix {
            return self.within(Step::Port, dialer.local()).await.map(drop);
        }
        let addresses = self.within(Step::Name, dialer.resolve()).await?;
        let tcp = self.within(Step::Port, dialer.tcp(addresses)).await?;
        if self.last < Step::Tls || !is_encrypted(self.broker) && transport != Transport::Ws {
            return Ok(());
        }
        let stream = self.within(Step::Tls, dialer.encrypt(tcp)).await?;
        if self.last >= Step::Websocket {
            self.within(Step::Websocket, dialer.wrap(stream)).await?;
        }
        Ok(())
    }

    async fn within<T>(&self, step: Step, done: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
        let error = match timeout(STEP_WITHIN, done).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => VisitError::NoWay(io_cause(self.broker, &error).words),
            Err(_) => {
                let who = if step == Step::Name { "the name server".to_owned() } else { self.broker.place() };
                VisitError::Late { who, within: STEP_WITHIN }
            }
        };
        Err(Failure { step, error })
    }

    /// Publishes on a topic of ours and waits for it to come back.
    async fn publish(&self, session: &mut Session, connected: &Connected) -> Result<(), VisitError> {
        let topic = self.settings.topics.doctor();
        let unanswered = |words: String| VisitError::Unanswered { topic: topic.clone(), words };
        let closed = || unanswered("the broker closed the connection".to_owned());
        let ended = |error: NoAnswer| unanswered(error.to_string());
        let filter = Filter { topic: topic.clone(), retain_as_published: false, send_retained: false, no_local: false };
        let subscribed = session.subscribe(vec![filter]);
        match answer(session, subscribed).await.map_err(ended)? {
            Grant::Granted => {}
            Grant::Refused(words) => return Err(VisitError::SubscriptionRefused { topic: topic.clone(), words }),
            Grant::Lost => return Err(closed()),
        }
        let (nonce, published) = self.send(session, connected);
        let mut back = false;
        let outcome = answer_and(session, published, |arrived, payload| {
            back |= arrived == topic && payload == nonce.as_bytes();
        });
        match outcome.await.map_err(ended)? {
            PublishOutcome::Acknowledged => {}
            PublishOutcome::Refused(words) | PublishOutcome::Unacceptable(words) => {
                return Err(VisitError::PublicationRefused { topic: topic.clone(), words });
            }
            PublishOutcome::Lost => return Err(closed()),
        }
        if back || self.comes_back(session, &nonce, |_, _| {}).await.map_err(ended)? {
            return Ok(());
        }
        let user =
            self.settings.username.as_deref().map_or("a client without a user".into(), |user| format!("user {user}"));
        Err(VisitError::NotReturned { topic, user, base: self.settings.topics.base().to_string() })
    }

    /// Collects what gateways say of themselves. What comes before our own message that is sent behind is all that is retained.
    async fn listen(
        &self,
        session: &mut Session,
        connected: &Connected,
        heard: &mut BTreeMap<String, Bytes>,
    ) -> Result<(), NoAnswer> {
        let topics = &self.settings.topics;
        let mut take = |topic: &str, payload: &[u8]| {
            if topic != topics.doctor() {
                heard.insert(topic.to_owned(), Bytes::copy_from_slice(payload));
            }
        };
        for topic in [topics.status(), topics.health(), topics.sensor_status_filter()] {
            let filter = Filter { topic, retain_as_published: false, send_retained: true, no_local: false };
            let subscribed = session.subscribe(vec![filter]);
            answer_and(session, subscribed, &mut take).await?;
        }
        let (nonce, published) = self.send(session, connected);
        answer_and(session, published, &mut take).await?;
        self.comes_back(session, &nonce, &mut take).await?;
        Ok(())
    }

    /// Publishes something that nobody else does.
    fn send(&self, session: &Session, connected: &Connected) -> (String, Pending<PublishOutcome>) {
        let nonce = format!("fieldgate doctor {:016x}", fastrand::u64(..));
        let qos = if connected.maximum_qos == Qos::AtMostOnce { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let published = session.publish(Publication::plain(self.settings.topics.doctor(), nonce.clone(), qos, false));
        (nonce, published)
    }

    /// Whether it does, in the time that it has.
    async fn comes_back(
        &self,
        session: &mut Session,
        nonce: &str,
        mut take: impl FnMut(&str, &[u8]),
    ) -> Result<bool, NoAnswer> {
        let deadline = Instant::now() + RETURN;
        while let Ok(event) = timeout_at(deadline, session.next()).await {
            match event {
                Event::Publish(arrived) if arrived.payload == nonce.as_bytes() => return Ok(true),
                Event::Publish(arrived) => take(&arrived.topic, &arrived.payload),
                Event::Connected(_) => {}
                Event::Ended(cause) => return Err(NoAnswer::Ended(cause)),
            }
        }
        Ok(false)
    }
}

/// The broker's answer; what arrives meanwhile is nobody's.
async fn answer<T>(session: &mut Session, pending: Pending<T>) -> Result<T, NoAnswer> {
    answer_and(session, pending, |_, _| {}).await
}

/// The broker's answer; `take` gets what arrives meanwhile.
async fn answer_and<T>(
    session: &mut Session,
    mut pending: Pending<T>,
    mut take: impl FnMut(&str, &[u8]),
) -> Result<T, NoAnswer> {
    let deadline = Instant::now() + ANSWER;
    loop {
        tokio::select! {
            answer = &mut pending => return Ok(answer),
            event = session.next() => match event {
                Event::Publish(arrived) => take(&arrived.topic, &arrived.payload),
                Event::Connected(_) => {}
                Event::Ended(cause) => return Err(NoAnswer::Ended(cause)),
            },
            () = tokio::time::sleep_until(deadline) => return Err(NoAnswer::Late(ANSWER)),
        }
    }
}
