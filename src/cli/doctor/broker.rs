//! The way to each broker: files, name, port, TLS, websocket, login, and a publication that comes back.
//!
//! A step is not tried where one before it failed, so the first that is wrong is the cause.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::cli::doctor::buses::below;
use crate::cli::doctor::check::{Check, Finding, NO_CONFIGURATION, Verdict, quoted};
use crate::cli::doctor::situation::{BrokerFacts, Situation};
use fieldgate_link::secrets::{CREDENTIALS, FileError, credentials_folder};
use fieldgate_link::{
    self as link, Broker, Failure, FilesError, SecretSource, Settings, Step, Transport, Visit, VisitError,
};

/// Whether the files with password and certificates can be read.
pub(super) const FILES: Check = Check {
    id: "broker-files",
    title: "password and certificates",
    causes: &["broker-files"],
    judge: |situation| judge(situation, Step::Files),
};

/// Whether the broker's name has an address.
pub(super) const NAME: Check = Check {
    id: "broker-name",
    title: "the broker's name",
    causes: &["broker-name"],
    judge: |situation| judge(situation, Step::Name),
};

/// Whether a program listens on the broker's port.
pub(super) const PORT: Check = Check {
    id: "broker-port",
    title: "the broker's port",
    causes: &["broker-port"],
    judge: |situation| judge(situation, Step::Port),
};

/// Whether both sides accept the other's certificates.
pub(super) const TLS: Check = Check {
    id: "broker-tls",
    title: "TLS with the broker",
    causes: &["broker-tls"],
    judge: |situation| judge(situation, Step::Tls),
};

/// Whether the broker takes websockets on the path that is configured.
pub(super) const WEBSOCKET: Check = Check {
    id: "broker-websocket",
    title: "the websocket to the broker",
    causes: &["broker-websocket"],
    judge: |situation| judge(situation, Step::Websocket),
};

/// Whether the broker takes user, password and protocol.
pub(super) const LOGIN: Check = Check {
    id: "broker-login",
    title: "the login at the broker",
    causes: &["broker-login", "broker-no-answer"],
    judge: |situation| judge(situation, Step::Login),
};

/// Whether a message that is published comes back, so that the user may publish and subscribe.
pub(super) const PUBLISH: Check = Check {
    id: "broker-publish",
    title: "a publication that comes back",
    causes: &["topic-forbidden"],
    judge: |situation| judge(situation, Step::Publish),
};

/// Longest visit to one broker; those of a list are visited at the same time.
const LONGEST: Duration = Duration::from_secs(60);

fn judge(situation: &Situation, step: Step) -> Verdict {
    let Some(brokers) = &situation.brokers else { return Verdict::not_checked(NO_CONFIGURATION) };
    let concerned: Vec<_> = brokers.iter().filter(|broker| has(broker, step)).collect();
    let failed = |broker: &&BrokerFacts| {
        let failure = broker.visit.failure.as_ref().filter(|failure| failure.step == step)?;
        Some(finding(situation, broker, failure))
    };
    let findings: Vec<_> = concerned.iter().filter_map(failed).collect();
    let is_past = |broker: &&&BrokerFacts| {
        broker.last >= step && broker.visit.failure.as_ref().is_none_or(|failure| failure.step > step)
    };
    let good: Vec<_> = concerned.iter().filter(is_past).map(|broker| broker.visit.broker.as_str()).collect();
    if !findings.is_empty() || !good.is_empty() {
        return Verdict::of(findings, good.join(", "));
    }
    Verdict::not_checked(match concerned.first() {
        None => "no broker of the configuration needs it".into(),
        Some(broker) if broker.last < step => {
            let file = quoted(&situation.path.to_string_lossy());
            format!("a credential is needed, which only root may read: sudo fieldgate doctor --config {file}")
        }
        Some(_) => "an earlier step was not possible".to_owned(),
    })
}

/// Whether there is such a step on the way to this broker.
fn has(broker: &BrokerFacts, step: Step) -> bool {
    match step {
        Step::Name => broker.transport != Transport::Unix,
        Step::Tls => matches!(broker.transport, Transport::Tls | Transport::Wss),
        Step::Websocket => matches!(broker.transport, Transport::Ws | Transport::Wss),
        Step::Files | Step::Port | Step::Login | Step::Publish => true,
    }
}

fn finding(situation: &Situation, broker: &BrokerFacts, failure: &Failure) -> Finding {
    let (host, port) = (quoted(&broker.host), broker.port);
    let user = quoted(broker.user.as_deref().unwrap_or("fieldgate"));
    let is_here =
        broker.transport == Transport::Unix || ["localhost", "127.0.0.1", "::1"].contains(&broker.host.as_str());
    let is_refused = matches!(failure.error, VisitError::Refused(_));
    let (cause, remedy) = match failure.step {
        Step::Files if is_missing(broker, failure) => {
            let file = quoted(&format!("{CREDENTIALS}/{}", broker.credential.as_deref().unwrap_or_default()));
            (
                "broker-files",
                format!(
                    "sudo sh -c {} && sudo systemctl restart fieldgate",
                    quoted(&format!("umask 077; cat >{file}"))
                ),
            )
        }
        Step::Files => {
            ("broker-files", format!("fieldgate check --config {}", quoted(&situation.path.to_string_lossy())))
        }
        Step::Name => ("broker-name", format!("getent hosts {host}")),
        Step::Port if is_here => ("broker-port", "sudo systemctl enable --now mosquitto".into()),
        Step::Port => ("broker-port", format!("ssh {host} sudo ss -ltnp 'sport = :{port}'")),
        Step::Tls => {
            ("broker-tls", format!("openssl s_client -connect {host}:{port} -servername {host} -showcerts </dev/null"))
        }
        Step::Websocket => ("broker-websocket", "grep -rn -A2 listener /etc/mosquitto/".into()),
        Step::Login if !is_refused && is_here => {
            ("broker-no-answer", "sudo journalctl -u mosquitto -n 30 --no-pager".into())
        }
        Step::Login if !is_refused => {
            ("broker-no-answer", format!("ssh {host} sudo journalctl -u mosquitto -n 30 --no-pager"))
        }
        Step::Login => (
            "broker-login",
            format!("sudo mosquitto_passwd /etc/mosquitto/passwd {user} && sudo systemctl restart mosquitto"),
        ),
        Step::Publish => {
            let rule = quoted(&format!("topic readwrite {}/#", situation.base_topic));
            let rules = format!("printf '%s\\n' 'user '{user} {rule} | sudo tee -a /etc/mosquitto/acl");
            ("topic-forbidden", format!("{rules} && sudo systemctl restart mosquitto"))
        }
    };
    Finding::new(cause, format!("{}: {}", broker.visit.broker, failure.error), remedy)
}

/// Whether it is the credential with the password that is not there.
fn is_missing(broker: &BrokerFacts, failure: &Failure) -> bool {
    let VisitError::Files(FilesError::Password(error)) = &failure.error else { return false };
    let (FileError::NoCredential { name } | FileError::OutsideService { name }) = error else { return false };
    broker.credential.as_ref() == Some(name)
}

/// Goes to every broker. The system that the configuration belongs to lies below `root`.
pub(super) async fn gather(settings: &Settings, root: &Path) -> Vec<BrokerFacts> {
    let credentials = credentials_folder().or_else(|| of_service(root));
    join_all(settings.brokers.iter().map(|broker| visit(settings, broker, credentials.clone()))).await
}

/// The folder whose files systemd hands to the service, unless this user may not look into it.
fn of_service(root: &Path) -> Option<PathBuf> {
    let folder = below(root, Path::new(CREDENTIALS));
    let is_denied = folder.read_dir().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    (!is_denied).then_some(folder)
}

async fn visit(settings: &Settings, broker: &Broker, credentials: Option<PathBuf>) -> BrokerFacts {
    let last = last_step(settings, broker, credentials.is_some());
    let visit = match timeout(LONGEST, link::visit(settings, broker, credentials, last)).await {
        Ok(visit) => visit,
        Err(_) => {
            let error = VisitError::Late { who: "the broker".into(), within: LONGEST };
            let failure = Some(Failure { step: last, error });
            Visit { broker: broker.to_string(), failure, protocol: None, heard: Default::default() }
        }
    };
    let (host, port) = (broker.host_without_zone().to_owned(), broker.port);
    let credential = match &settings.password {
        Some(SecretSource::Credential(name)) => Some(name.clone()),
        _ => None,
    };
    let user = settings.username.clone();
    BrokerFacts { visit, last, transport: broker.transport, host, port, user, credential }
}

/// The last step that can be tried: without credentials nobody can log in who needs one.
fn last_step(settings: &Settings, broker: &Broker, has_credentials: bool) -> Step {
    let is_credential = |source: &Option<SecretSource>| matches!(source, Some(SecretSource::Credential(_)));
    let is_encrypted = matches!(broker.transport, Transport::Tls | Transport::Wss);
    match () {
        () if has_credentials => Step::Publish,
        () if is_encrypted && is_credential(&settings.tls.key) => Step::Port,
        () if is_credential(&settings.password) => Step::Websocket,
        () => Step::Publish,
    }
}
