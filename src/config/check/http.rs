//! `http:` and `metrics:`: who may look, and that nobody else can by mistake.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::check::Checker;
use crate::config::check::section::Section;
use crate::config::raw;
use crate::config::tree::Span;
use crate::{http, metrics};
use fieldgate_link::secrets;
use fieldgate_model::Setting;

/// `RuntimeDirectory=` of systemd/fieldgate.service.
const OF_THE_SERVICE: &str = "/run/fieldgate";

impl<'a> Checker<'a> {
    pub(super) fn http(&mut self, top: &Section<'a>) -> Option<http::Settings> {
        if !top.has("http") {
            return None;
        }
        let own = self.sub(top, "http", raw::HTTP);
        let listen = self.listen(&own);
        let password = self.secret(&own, "password_file", "password_credential");
        if let Some((source, key)) = &password {
            match secrets::password(source, secrets::credentials_folder().as_deref()) {
                Ok(password) if password.reveal().is_empty() => {
                    self.error(&own.span(key), format!("{key}: the password is empty"), "");
                }
                Ok(_) => {}
                Err(error) => self.unusable(key, &own.span(key), &error),
            }
        }
        let is_open = own.flag("open").unwrap_or(false);
        let has_key = own.has("password_file") || own.has("password_credential");
        if is_open && has_key {
            self.error(
                &own.key("open"),
                "open: true says that no password is asked for, and there is one",
                "leave one of them out",
            );
        }
        let listen = listen?;
        let is_loopback = listen.ip().is_loopback();
        let is_meant = ["password_file", "password_credential"].iter().any(|key| own.is_meant(key));
        if !is_loopback && !is_meant && !is_open && !own.is_misspelt("open") {
            let what = format!("others than this board can reach {}, and no password is asked for", listen.ip());
            let hint = "add `password_credential:` or `password_file:`, listen on 127.0.0.1, or write `open: true`";
            self.error(&own.span("listen"), what, hint);
        }
        if !is_loopback && has_key {
            let what = "the password is sent in plain text";
            self.warning(
                &own.span("listen"),
                what,
                "on a network that others use, put a proxy with TLS in front of 127.0.0.1",
            );
        }
        let control = own.flag("control").unwrap_or(false);
        if control && is_open && !is_loopback {
            let what = "whoever reaches this address can switch every output";
            self.warning(&own.key("control"), what, "ask for a password instead of `open: true`");
        }
        Some(http::Settings { listen, password: password.map(|(source, _)| source), control, names: self.names(&own) })
    }

    fn listen(&mut self, own: &Section<'a>) -> Option<SocketAddr> {
        let text = own.text("listen")?;
        match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let hint = "write an IP address and a port: 127.0.0.1:8080, 0.0.0.0:8080 for all, [::1]:8080";
                self.error(&own.span("listen"), format!("{text:?} is not an address to listen on"), hint);
                None
            }
        }
    }

    /// In lower case and without a dot at the end.
    fn names(&mut self, own: &Section<'a>) -> Vec<String> {
        let host = self.machine.host.to_ascii_lowercase();
        let first = host.split('.').next().unwrap_or_default().to_owned();
        let mut names = vec![format!("{first}.local"), first, host];
        if let Some(Setting::List(written)) = own.get("hosts") {
            for name in written.clone() {
                let Setting::Text(name) = name else { continue };
                let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if name.is_empty() || !name.chars().all(is_name) {
                    let hint = "write the name alone, such as shed.example, without http:// and without a port";
                    self.error(&own.span("hosts"), format!("{name:?} is not a host's name"), hint);
                }
                names.push(name.trim_end_matches('.').to_ascii_lowercase());
            }
        }
        names.retain(|name| !name.is_empty() && name != ".local");
        names
    }

    pub(super) fn metrics(&mut self, top: &Section<'a>) -> Option<metrics::textfile::Settings> {
        if !top.has("metrics") {
            return None;
        }
        let own = self.sub(top, "metrics", raw::METRICS);
        let path = PathBuf::from(own.text("textfile")?);
        if path.extension().is_none_or(|extension| extension != "prom") {
            self.error(&own.span("textfile"), "node-exporter reads files called *.prom only", "call it fieldgate.prom");
        } else {
            self.textfile_folder(&own.span("textfile"), path.parent().unwrap_or(Path::new("/")));
        }
        Some(metrics::textfile::Settings { path })
    }

    fn textfile_folder(&mut self, span: &Span, folder: &Path) {
        // A name alone is where the program runs.
        if folder.as_os_str().is_empty() || folder.is_dir() {
            return;
        }
        if folder == Path::new(OF_THE_SERVICE) {
            self.note(span, "this folder is there while the service runs: systemd makes it", "");
        } else {
            let hint = "make it, and let the service write there (docs/http.md)";
            self.warning(span, "there is no such folder yet", hint);
        }
    }
}
