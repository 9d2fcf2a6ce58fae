//! A real Mosquitto on loopback that a test can stop, kill, freeze and start again.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::certificates::Certificates;
use super::client::Endpoint;
use super::{SOON, free_port, missing, send_signal, wait_for, wait_until};

/// What the broker is to offer.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// User and password; without one everybody may connect.
    pub user: Option<(String, String)>,
    /// The lines of an ACL file.
    pub acl: Option<String>,
    /// Keeps retained messages and sessions over an orderly stop.
    pub persistence: bool,
    /// Listeners with TLS as well.
    pub tls: bool,
    /// Clients must show a certificate on the listeners with TLS.
    pub client_certificates: bool,
    /// Listeners for websockets as well.
    pub websockets: bool,
    /// More lines for the configuration, as they are: for the whole broker, for its plain listener, or listeners of their own.
    pub extra: String,
}

/// The broker and its folder.
pub struct Mosquitto {
    pub port: u16,
    /// Only with `tls`.
    pub tls_port: u16,
    /// Only with `websockets`.
    pub ws_port: u16,
    /// Only with both.
    pub wss_port: u16,
    /// Only with `tls`.
    pub certificates: Option<Certificates>,
    options: Options,
    folder: TempDir,
    child: Option<Child>,
    starts: usize,
}

/// Somebody else may take a port between our looking and Mosquitto's binding; then other ports are tried.
const PORT_ATTEMPTS: usize = 5;

/// What Mosquitto says when every listener is open.
pub const RUNNING: &str = " running";

impl Mosquitto {
    /// A broker for everybody.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// A broker for everybody, with more lines for its configuration.
    pub fn with_lines(extra: &str) -> Self {
        Self::with(Options { extra: extra.to_owned(), ..Options::default() })
    }

    /// A broker with these options, accepting connections.
    pub fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = options.tls.then(|| Certificates::make(folder.path()));
        let mut broker = Self {
            port: 0,
            tls_port: 0,
            ws_port: 0,
            wss_port: 0,
            certificates,
            options,
            folder,
            child: None,
            starts: 0,
        };
        broker.write_passwords();
        for _ in 0..PORT_ATTEMPTS {
            for port in [&mut broker.port, &mut broker.tls_port, &mut broker.ws_port, &mut broker.wss_port] {
                *port = free_port();
            }
            broker.write_configuration();
            if broker.try_start() {
                return broker;
            }
        }
        panic!("Mosquitto does not start:\n{}", broker.log());
    }

    /// Starts it on the same ports after `stop` or `kill9`.
    pub fn start_again(&mut self) {
        assert!(self.try_start(), "Mosquitto does not start:\n{}", self.log());
    }

    /// Whether it is up; its own word counts, for on the port somebody else may answer.
    fn try_start(&mut self) -> bool {
        assert!(self.child.is_none(), "the broker runs already");
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(missing("/usr/sbin/mosquitto", "mosquitto"));
        let child = self.child.insert(child);
        let file = self.folder.path().join("log");
        let up = wait_for("Mosquitto to start", SOON, || {
            let log = fs::read_to_string(&file).unwrap_or_default();
            if log.matches(RUNNING).count() > self.starts {
                Some(true)
            } else {
                child.try_wait().unwrap().map(|_| false)
            }
        });
        if up {
            self.starts += 1;
        } else {
            self.child = None;
        }
        up
    }

    /// An orderly stop; it disconnects its clients and saves what it keeps.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("the broker does not run");
        // Between its word that it runs and its first turn it forgets a signal.
        wait_for("Mosquitto to stop", SOON, || {
            send_signal(&child, Signal::TERM);
            child.try_wait().unwrap()
        });
    }

    /// Ends it at once.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("the broker does not run");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Connections stay open, and nothing is answered any more.
    pub fn freeze(&self) {
        send_signal(self.child.as_ref().expect("the broker does not run"), Signal::STOP);
    }

    /// Goes on after `freeze`.
    pub fn thaw(&self) {
        send_signal(self.child.as_ref().expect("the broker does not run"), Signal::CONT);
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until it has said this.
    pub fn wait_log(&self, text: &str, timeout: Duration) {
        wait_until(&format!("{text:?} in Mosquitto's log"), timeout, || self.log().contains(text));
    }

    /// `mqtt://127.0.0.1:PORT`, as in a configuration.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Where clients reach it without TLS.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { port: self.port, user: self.options.user.clone(), ..Endpoint::default() }
    }

    /// Where clients reach it with TLS.
    pub fn tls_endpoint(&self) -> Endpoint {
        Endpoint { port: self.tls_port, certificates: self.certificates.clone(), ..self.endpoint() }
    }

    fn ports(&self) -> Vec<u16> {
        let Options { tls, websockets, .. } = self.options;
        let all =
            [(self.port, true), (self.tls_port, tls), (self.ws_port, websockets), (self.wss_port, tls && websockets)];
        all.into_iter().filter_map(|(port, wanted)| wanted.then_some(port)).collect()
    }

    fn write_passwords(&self) {
        let Some((user, password)) = &self.options.user else { return };
        let file = self.folder.path().join("passwords");
        let status = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(file).args([user, password]).status();
        assert!(status.is_ok_and(|status| status.success()), "mosquitto_passwd failed: apt install mosquitto");
    }

    fn write_configuration(&self) {
        let folder = self.folder.path().display();
        let mut text = String::from("user root\nset_tcp_nodelay true\nlog_dest stderr\nconnection_messages true\n");
        match &self.options.user {
            None => text.push_str("allow_anonymous true\n"),
            Some(_) => writeln!(text, "allow_anonymous false\npassword_file {folder}/passwords").unwrap(),
        }
        if let Some(acl) = &self.options.acl {
            fs::write(self.folder.path().join("acl"), acl).unwrap();
            writeln!(text, "acl_file {folder}/acl").unwrap();
        }
        if self.options.persistence {
            writeln!(text, "persistence true\npersistence_location {folder}/").unwrap();
        }
        for port in self.ports() {
            writeln!(text, "listener {port} 127.0.0.1").unwrap();
            if port == self.ws_port || port == self.wss_port {
                text.push_str("protocol websockets\n");
            }
            if port == self.tls_port || port == self.wss_port {
                text.push_str(&self.tls_lines());
            }
            if port == self.port {
                writeln!(text, "{}", self.options.extra).unwrap();
            }
        }
        fs::write(self.folder.path().join("mosquitto.conf"), text).unwrap();
    }

    fn tls_lines(&self) -> String {
        let files = self.certificates.as_ref().expect("made at the start");
        let (ca, cert, key) = (files.ca.display(), files.server_cert.display(), files.server_key.display());
        let required = self.options.client_certificates;
        format!("cafile {ca}\ncertfile {cert}\nkeyfile {key}\nrequire_certificate {required}\n")
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself, which is no reason to fail here.
            child.kill().ok();
            child.wait().ok();
        }
    }
}
