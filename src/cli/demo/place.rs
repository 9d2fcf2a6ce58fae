//! Where the demo publishes: on a broker of its own, or on one that is there already and that Home Assistant uses. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cli::arguments::Elsewhere;
use crate::config::Config;
use fieldgate_link::{Broker, LinkState, LinkStatus, ProtocolChoice, SecretSource, Transport};

/// What switches the announcement on. The names of its entities follow from that of the gateway.
const ANNOUNCED: &str = "home_assistant: { name: Greenhouse }\n";

/// The broker that the demo publishes to.
#[derive(Debug)]
pub(super) enum Place {
    /// The demo's own, on this port of loopback.
    Embedded(u16),
    /// One that is there already.
    Given {
        /// The address, as given on the command line.
        broker: Broker,
        /// The user there and the file with the password.
        user: Option<(String, PathBuf)>,
    },
}

impl Place {
    /// The broker that is named, if one is.
    pub(super) fn given(elsewhere: Elsewhere) -> Option<Self> {
        let user = elsewhere.username.zip(elsewhere.password_file);
        elsewhere.home_assistant.map(|broker| Self::Given { broker, user })
    }

    /// The configuration of the greenhouse for this broker.
    pub(super) fn greenhouse(&self, template: &str, folder: &Path) -> String {
        let port = match self {
            Self::Embedded(port) => *port,
            // `applied_to` puts the whole address in its place.
            Self::Given { broker, .. } => broker.port,
        };
        let text = template.replace("@PORT@", &port.to_string()).replace("@FOLDER@", &folder.to_string_lossy());
        match self {
            Self::Embedded(_) => text,
            Self::Given { .. } => text + ANNOUNCED,
        }
    }

    /// Points the configuration at this broker.
    pub(super) fn applied_to(&self, mut config: Config) -> Config {
        if let Self::Given { broker, user } = self {
            let link = &mut config.link;
            link.brokers = vec![broker.clone()];
            link.protocol = ProtocolChoice::Auto;
            link.leaves_nothing = true;
            if let Some((name, file)) = user {
                (link.username, link.password) = (Some(name.clone()), Some(SecretSource::File(file.clone())));
            }
        }
        config
    }

    /// What Mosquitto's clients need to reach it; nothing where they cannot.
    pub(super) fn client_options(&self) -> Option<String> {
        let (broker, user) = match self {
            Self::Embedded(port) => return Some(format!("-p {port}")),
            Self::Given { broker, user } => (broker, user),
        };
        let user = user.as_ref().map_or_else(String::new, |(name, file)| {
            format!(" -u {} -P \"$(cat {})\"", quoted(name), quoted(&file.to_string_lossy()))
        });
        let place = format!("-h {} -p {}", quoted(&broker.host), broker.port);
        match broker.transport {
            Transport::Tcp => Some(place + &user),
            Transport::Tls => Some(format!("{place} --tls-use-os-certs{user}")),
            Transport::Unix => Some(format!("--unix {}{user}", quoted(&broker.path))),
            Transport::Ws | Transport::Wss => None,
        }
    }

    /// What there is to say of the link: nothing of the embedded broker's, which is always there.
    pub(super) fn link(&self, status: &LinkStatus) -> Option<String> {
        match (self, status.state) {
            (Self::Embedded(_), _) => None,
            (Self::Given { .. }, LinkState::Up) => {
                Some("up: the greenhouse is announced to Home Assistant, and removed again at the end (Ctrl-C)".into())
            }
            (Self::Given { .. }, LinkState::Connecting | LinkState::Down) => Some(match &status.last_error {
                Some(error) => format!("down: {error}"),
                None => "connecting".into(),
            }),
        }
    }

    /// What is said at the end of what is on the broker, by the link's state before.
    pub(super) fn farewell(&self, link: LinkState) -> &'static str {
        match (self, link) {
            (Self::Embedded(_), _) => "",
            (Self::Given { .. }, LinkState::Up) => ", and the greenhouse is removed from the broker",
            (Self::Given { .. }, LinkState::Connecting | LinkState::Down) => {
                "; the broker was not connected, so what it has of the greenhouse stays: \
                 start the demo again and end it while the link is up"
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(port) => write!(f, "mqtt://127.0.0.1:{port} (embedded)"),
            Self::Given { broker, .. } => broker.fmt(f),
        }
    }
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn given(address: &str, user: Option<(&str, &str)>) -> Place {
        let user = user.map(|(name, file)| (name.to_owned(), PathBuf::from(file)));
        Place::Given { broker: config::broker_address(address).unwrap(), user }
    }

    #[test]
    fn the_lines_to_copy_reach_the_same_broker() {
        let check = |place: Place, options: Option<&str>| assert_eq!(place.client_options().as_deref(), options);
        check(Place::Embedded(1884), Some("-p 1884"));
        check(given("mqtt://ha.lan", None), Some("-h ha.lan -p 1883"));
        check(given("mqtt://[2001:db8::1]:1", None), Some("-h 2001:db8::1 -p 1"));
        check(
            given("mqtt://ha.lan", Some(("p i", "/tmp/it's"))),
            Some(r#"-h ha.lan -p 1883 -u 'p i' -P "$(cat '/tmp/it'\''s')""#),
        );
        check(given("mqtts://ha.lan", None), Some("-h ha.lan -p 8883 --tls-use-os-certs"));
        check(given("unix:///run/m.sock", None), Some("--unix /run/m.sock"));
        check(given("ws://ha.lan", None), None);
    }

    #[test]
    fn only_a_given_broker_is_announced_to_and_cleared() {
        for (place, announced) in [(Place::Embedded(1), false), (given("mqtt://ha.lan:2", Some(("pi", "f"))), true)] {
            let text = place.greenhouse(include_str!("../../../config/demo.yaml"), Path::new("/tmp/x"));
            let config = place.applied_to(config::load_text(&text, Path::new("demo.yaml")).unwrap().config);
            assert_eq!((config.home_assistant.is_some(), config.link.leaves_nothing), (announced, announced));
            assert_eq!(config.link.username.is_some(), announced);
            assert_eq!(config.link.brokers[0].port, if announced { 2 } else { 1 });
        }
    }
}
