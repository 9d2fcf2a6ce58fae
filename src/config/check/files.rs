//! What `mqtt:` names outside the configuration: password, certificates and keys.
//!
//! They are read as the link will read them, so that what would keep it from connecting is found here. What has expired is a
//! warning, not an error: a board that starts the day after must still measure and hold its outputs.

use std::path::PathBuf;

use crate::config::check::section::Section;
use crate::config::check::{Checker, broker};
use crate::config::raw;
use crate::config::tree::Span;
use fieldgate_clock as clock;
use fieldgate_link::secrets::{self, FileError, SecretSource};
use fieldgate_link::tls::{self, Part};
use fieldgate_link::{Broker, Protocol, ProtocolChoice, TlsSettings, Transport};

impl<'a> Checker<'a> {
    pub(super) fn password(
        &mut self,
        mqtt: &Section<'a>,
        protocol: ProtocolChoice,
        brokers: &[Broker],
    ) -> Option<SecretSource> {
        let (source, key) = self.secret(mqtt, "password_file", "password_credential")?;
        let (name, key, value) = (key, mqtt.key(key), mqtt.span(key));
        match secrets::password(&source, secrets::credentials_folder().as_deref()) {
            Ok(password) => {
                for odd in secrets::oddities(&password) {
                    let hint = "one newline at the end is not part of it; everything else is sent as it stands";
                    self.warning(&value, format!("{name}: {odd}"), hint);
                }
                if let Some(error) = secrets::sheltered(&source) {
                    let what = format!("password_file: {error}, and only its folder keeps them out");
                    self.warning(&value, what, error.remedy());
                }
            }
            Err(error) => self.unusable(name, &value, &error),
        }
        if !mqtt.is_meant("username") {
            let hint = "add `username:`";
            match protocol {
                ProtocolChoice::Only(Protocol::V5) => {}
                ProtocolChoice::Only(Protocol::V4) => {
                    self.error(&key, "MQTT 3.1.1 has no password without a user name", hint);
                }
                ProtocolChoice::Auto => {
                    let what = "a broker that knows MQTT 3.1.1 only takes no password without a user name";
                    self.note(&key, what, hint);
                }
            }
        }
        let open = |b: &&Broker| !is_encrypted(b) && !broker::is_local(b);
        let open: Vec<_> = brokers.iter().filter(open).map(|broker| broker.host.as_str()).collect();
        if !open.is_empty() {
            let what = format!("the password is sent to {} in plain text", open.join(" and "));
            self.warning(&key, what, "use mqtts:// or wss://");
        }
        Some(source)
    }

    /// The file or credential of one of two keys, and that key.
    pub(super) fn secret(
        &mut self,
        section: &Section<'a>,
        file: &'static str,
        credential: &'static str,
    ) -> Option<(SecretSource, &'static str)> {
        let (path, name) = (section.text(file), section.text(credential));
        if path.is_some() && name.is_some() {
            let what = format!("there are both {file} and {credential}");
            self.error(&section.key(credential), what, "leave one of them out");
        }
        let is_no_name = |name: &str| name.is_empty() || name.contains('/') || name == "." || name == "..";
        if name.is_some_and(is_no_name) {
            let hint = "write the name of LoadCredential=, without a path";
            self.error(&section.span(credential), "this cannot be the name of a credential", hint);
        }
        let name = name.filter(|name| !is_no_name(name));
        let path = path.map(|path| (SecretSource::File(PathBuf::from(path)), file));
        path.or_else(|| Some((SecretSource::Credential(name?.to_owned()), credential)))
    }

    /// A secret that cannot be read. A credential is there in the service only, which is no mistake of the file.
    pub(super) fn unusable(&mut self, key: &str, span: &Span, error: &FileError) {
        match error {
            FileError::OutsideService { name } => {
                let words = format!("{key}: {name:?} can be looked up inside the service only");
                self.note(span, words, "");
            }
            _ => self.error(span, format!("{key}: {error}"), error.remedy()),
        }
    }

    pub(super) fn tls(&mut self, mqtt: &Section<'a>, brokers: &[Broker]) -> TlsSettings {
        let tls = self.sub(mqtt, "tls", raw::TLS);
        if mqtt.has("tls") && !brokers.is_empty() && !brokers.iter().any(is_encrypted) {
            self.error(&mqtt.key("tls"), "no broker is reached by TLS", "use mqtts:// or wss://, or leave tls out");
        }
        let path = |name: &str| tls.text(name).map(PathBuf::from);
        let key = self.secret(&tls, "key_file", "key_credential");
        let settings = TlsSettings {
            ca_file: path("ca_file"),
            cert_file: path("cert_file"),
            key: key.as_ref().map(|(source, _)| source.clone()),
        };
        match (tls.has("cert_file"), &key) {
            (true, None) if !tls.is_meant("key_file") && !tls.is_meant("key_credential") => {
                self.error(&tls.key("cert_file"), "cert_file needs key_file or key_credential", "");
            }
            (false, Some((_, name))) if !tls.is_meant("cert_file") => {
                self.error(&tls.key(name), format!("{name} needs cert_file"), "")
            }
            _ => {}
        }
        self.certificates(&tls, &settings, key.map_or("key_file", |(_, name)| name));
        settings
    }

    fn certificates(&mut self, tls: &Section<'a>, settings: &TlsSettings, key: &'static str) {
        let name = |part| match part {
            Part::Authority => "ca_file",
            Part::Certificate => "cert_file",
            Part::Key => key,
        };
        let folder = secrets::credentials_folder();
        let found = tls::inspect(settings, folder.as_deref(), clock::now());
        for (part, error) in found.errors {
            let span = tls.span(name(part));
            match error {
                tls::TlsError::File(error) => self.unusable(name(part), &span, &error),
                error => self.error(&span, format!("{}: {error}", name(part)), error.remedy()),
            }
        }
        for (part, words) in found.notices {
            self.warning(&tls.span(name(part)), words, "renew it");
        }
    }
}

fn is_encrypted(broker: &Broker) -> bool {
    matches!(broker.transport, Transport::Tls | Transport::Wss)
}
