//! `mqtt:` and what it has to do with Home Assistant.

use super::keys;
use super::read::Section;
use super::state::{Migration, seconds};
use super::write::{comment, inline, quoted, shown};
use crate::config;
use fieldgate_model::topic;

/// The longest keep-alive that is taken, in seconds: 18 hours.
const LONGEST_KEEP_ALIVE: f64 = 64_800.0;

/// The longest wait for a new connection where nothing else is said, in seconds.
const LONGEST_WAIT: f64 = 60.0;

/// A day in seconds.
const DAY: i64 = 86_400;

const PASSWORD: &str =
    "The password is not written here; type it into this, then Return and Ctrl-D, and restart the service:";
const PASSWORD_COMMAND: &str = "sudo sh -c 'umask 077; cat >/etc/fieldgate/credentials/mqtt-password'";
const KEY: &str = "The key goes into a folder that only root reads:";

impl<'a> Migration<'a> {
    /// Writes `mqtt:` and `home_assistant:`.
    pub(super) fn mqtt(&mut self, root: &Section<'a>) {
        if root.node("mqtt").is_none() {
            let hint =
                "mqtt-io takes the broker from MQTT_IO_HOST where it is left out; write it here: mqtt: { host: … }";
            self.reader.wrong(&root.span("mqtt"), "mqtt is missing", hint);
            return;
        }
        let mqtt = self.reader.section(root, "mqtt");
        self.leave_keys(&mqtt, "mqtt", &[keys::of("mqtt")], None);
        let prefix = self.reader.text(&mqtt, "topic_prefix").unwrap_or("");
        self.prefix = prefix.trim_end_matches('/').to_owned();
        let status = self.reader.text(&mqtt, "status_topic").unwrap_or("status");
        let old = format!("{}/{}", shown(&self.prefix), shown(status));
        self.file.topics.push((old, "B/status, online or offline".to_owned()));
        let tls = self.tls(&mqtt);
        self.broker(&mqtt, tls.is_some());
        self.user(&mqtt);
        if let Some(tls) = tls.filter(|tls| !tls.is_empty()) {
            if let Some(path) = self.reader.section(&mqtt, "tls").node("keyfile").and_then(|node| node.scalar_text()) {
                comment(&mut self.file.mqtt, "  ", KEY);
                let command = format!("sudo install -m 600 {} /etc/fieldgate/credentials/mqtt-key", for_shell(path));
                self.file.mqtt.push_str(&format!("  #   {command}\n"));
            }
            self.line("tls", &inline(&tls));
        }
        self.base_topic(&mqtt);
        self.session(&mqtt);
        self.home_assistant(&mqtt);
    }

    fn line(&mut self, key: &str, value: &str) {
        self.file.mqtt.push_str(&format!("  {key}: {value}\n"));
    }

    fn broker(&mut self, mqtt: &Section<'a>, is_encrypted: bool) {
        let port = self.reader.integer(mqtt, "port", 1, 65_535).unwrap_or(1883);
        let Some(host) = self.reader.required(mqtt, "host") else { return };
        let scheme = if is_encrypted { "mqtts" } else { "mqtt" };
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = format!("{scheme}://{host}:{port}");
        if let Err(words) = config::broker_address(&url) {
            self.reader.wrong(&mqtt.span("host"), &format!("host: {words}"), "");
        }
        self.line("broker", &quoted(&url));
    }

    fn user(&mut self, mqtt: &Section<'a>) {
        if let Some(user) = self.reader.text(mqtt, "user") {
            self.line("username", &quoted(user));
        }
        if self.reader.text(mqtt, "password").is_some() {
            comment(&mut self.file.mqtt, "  ", PASSWORD);
            self.file.mqtt.push_str(&format!("  #   {PASSWORD_COMMAND}\n"));
            self.line("password_credential", "mqtt-password");
        }
    }

    /// The keys of `tls:`, if it is enabled.
    fn tls(&mut self, mqtt: &Section<'a>) -> Option<Vec<(&'static str, String)>> {
        mqtt.node("tls")?;
        let tls = self.reader.section(mqtt, "tls");
        self.leave_keys(&tls, "mqtt.tls", &[keys::of("mqtt.tls")], None);
        let [authority, certificate, key] =
            ["ca_certs", "certfile", "keyfile"].map(|name| self.reader.text(&tls, name).map(str::to_owned));
        if !self.reader.flag(&tls, "enabled").unwrap_or(false) {
            return None;
        }
        let mut keys = Vec::new();
        keys.extend(authority.map(|path| ("ca_file", quoted(&path))));
        keys.extend(certificate.map(|path| ("cert_file", quoted(&path))));
        keys.extend(key.map(|_| ("key_credential", "mqtt-key".to_owned())));
        Some(keys)
    }

    fn base_topic(&mut self, mqtt: &Section<'a>) {
        if !self.plain {
            return;
        }
        match topic::check_base(&self.prefix) {
            Ok(()) => self.line("base_topic", &quoted(&self.prefix.clone())),
            Err(_) if mqtt.node("topic_prefix").is_none() => {
                let why = "mqtt-io's topics begin with / where it is left out, which no base topic can";
                self.file.leave("mqtt.topic_prefix", why, None);
            }
            Err(words) => self.file.leave("mqtt.topic_prefix", &words, None),
        }
        self.line("plain", "true");
    }

    fn session(&mut self, mqtt: &Section<'a>) {
        if let Some(is_clean) = self.reader.flag(mqtt, "clean_session") {
            self.line("clean_session", if is_clean { "true" } else { "false" });
        }
        if self.reader.text(mqtt, "protocol") == Some("3.1.1") {
            self.line("protocol", "3.1.1");
        }
        if let Some(every) = self.reader.integer(mqtt, "keepalive", 1, i64::MAX) {
            if every as f64 > LONGEST_KEEP_ALIVE {
                self.file.leave("mqtt.keepalive", "18h is the longest here", None);
            }
            self.line("keep_alive", &seconds((every as f64).min(LONGEST_KEEP_ALIVE)));
        }
        if let Some(wait) = self.reader.integer(mqtt, "reconnect_delay", 1, DAY) {
            let wait = wait as f64;
            let keys = [("min", seconds(wait)), ("max", seconds(wait.max(LONGEST_WAIT)))];
            self.line("reconnect", &inline(&keys));
        }
    }

    fn home_assistant(&mut self, mqtt: &Section<'a>) {
        if mqtt.node("ha_discovery").is_none() {
            return;
        }
        let discovery = self.reader.section(mqtt, "ha_discovery");
        self.leave_keys(&discovery, "mqtt.ha_discovery", &[keys::of("mqtt.ha_discovery")], None);
        let prefix = self.reader.text(&discovery, "prefix").map(|prefix| prefix.trim_end_matches('/'));
        let name = self.reader.text(&discovery, "name").unwrap_or("MQTT IO");
        if !self.reader.flag(&discovery, "enabled").unwrap_or(false) {
            return;
        }
        let mut keys = vec![("name", quoted(name))];
        keys.extend(prefix.map(|prefix| ("prefix", quoted(prefix))));
        (self.announced, self.file.home_assistant) = (true, Some(inline(&keys)));
    }
}

/// A path as it may stand in a command that is copied; a word for it where a shell would see more in it than a path.
fn for_shell(path: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    if path.chars().all(is_plain) && !path.starts_with('-') { path } else { "KEYFILE" }
}
