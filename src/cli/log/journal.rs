//! The journal's own protocol, with a field for each field of an event (systemd.io/JOURNAL_NATIVE_PROTOCOL).
//!
//! The crate for this sends from the thread that logs, and blocks it when journald does not read. Here an event becomes a
//! datagram, and an [`Outlet`] sends it. An event is nearer to ten lines than to the 200 kB that a datagram holds: a longer one
//! is refused by the kernel and is lost.

use std::fmt::{Debug, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::outlet::{Outlet, Sink};

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Sends events through an outlet.
pub(super) struct Journal(pub(super) Arc<Outlet>);

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut datagram = Datagram::begin(priority(*metadata.level()));
        datagram.put("TARGET", metadata.target());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            datagram.put("CODE_FILE", file);
            datagram.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut datagram);
        self.0.push(datagram.0);
    }
}

/// A message that is no event.
pub(super) fn message(level: Level, text: &str) -> Vec<u8> {
    let mut datagram = Datagram::begin(priority(level));
    datagram.put("MESSAGE", text);
    datagram.0
}

/// Sends datagrams to journald, if it is there.
///
/// # Errors
/// Nobody listens on `socket`.
pub(super) fn sink(socket: &'static Path) -> io::Result<Sink> {
    let sender = UnixDatagram::unbound()?;
    // journald drops an empty datagram. A socket that is full is there, too.
    sender.set_nonblocking(true)?;
    match sender.send_to(&[], socket) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
        _ => sender.set_nonblocking(false)?,
    }
    Ok(Box::new(move |datagram| {
        // journald may be starting again; what it does not take meanwhile is lost, as with any program's log.
        sender.send_to(datagram, socket).ok();
        Ok(())
    }))
}

/// The priorities of syslog; a note is what a person may want to know, and debugging is split in two.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "5",
        Level::DEBUG => "6",
        Level::TRACE => "7",
    }
}

/// One entry of the journal.
struct Datagram(Vec<u8>);

impl Datagram {
    fn begin(priority: &str) -> Self {
        let mut datagram = Self(Vec::with_capacity(256));
        datagram.put("PRIORITY", priority);
        datagram.put("SYSLOG_IDENTIFIER", "fieldgate");
        datagram
    }

    /// A field by its length, so that its value may be anything.
    fn put(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

impl Visit for Datagram {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.put("MESSAGE", value),
            name => self.put(&field_name(name), value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a String fails only when the value says so itself; what it wrote until then is what there is.
        write!(text, "{value:?}").ok();
        self.record_str(field, &text);
    }
}

/// `sensor` is `F_SENSOR`: capital letters, digits and underscores are allowed, and the journal's own names are not touched.
fn field_name(name: &str) -> String {
    let allowed =
        name.chars().map(|c| if c == '.' { '_' } else { c }).filter(|c| *c == '_' || c.is_ascii_alphanumeric());
    let upper = allowed.map(|c| c.to_ascii_uppercase()).collect::<String>();
    format!("F_{}", upper.trim_start_matches('_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tracing_subscriber::layer::SubscriberExt;

    /// The fields of a datagram, in order.
    fn fields(mut rest: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            let (length, tail) = rest[end + 1..].split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            fields.push((name, String::from_utf8(tail[..length].to_vec()).unwrap()));
            rest = tail[length..].strip_prefix(b"\n").unwrap();
        }
        assert!(rest.is_empty());
        fields
    }

    fn listen() -> (tempfile::TempDir, UnixDatagram, &'static Path) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        (folder, socket, Box::leak(path.into_boxed_path()))
    }

    fn receive(socket: &UnixDatagram) -> Vec<(String, String)> {
        let mut buffer = vec![0; 65536];
        let length = socket.recv(&mut buffer).unwrap();
        fields(&buffer[..length])
    }

    #[test]
    fn an_event_arrives_with_its_fields() {
        let (_folder, socket, path) = listen();
        let outlet = Outlet::new("log", |_| (), sink(path).unwrap());
        assert_eq!(receive(&socket), [], "the question whether it is there");
        let subscriber = tracing_subscriber::registry().with(Journal(Arc::new(outlet)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(sensor = %"air", link.port = 1883, text = "two\nlines", "Sensor {}.", "gone");
        });
        let fields = receive(&socket);
        for (name, value) in [
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "fieldgate"),
            ("TARGET", module_path!()),
            ("CODE_FILE", file!()),
            ("MESSAGE", "Sensor gone."),
            ("F_SENSOR", "air"),
            ("F_LINK_PORT", "1883"),
            ("F_TEXT", "two\nlines"),
        ] {
            assert!(fields.contains(&(name.into(), value.into())), "{name}: {fields:?}");
        }
        assert_eq!(fields.len(), 9, "with CODE_LINE: {fields:?}");
    }

    #[test]
    fn a_full_socket_is_there_and_a_missing_one_is_not() {
        let (folder, socket, path) = listen();
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        while filler.send_to(b"x", path).is_ok() {}
        let outlet = Outlet::new("log", |_| (), sink(path).unwrap());
        outlet.push(message(Level::ERROR, "late"));
        outlet.flush(Duration::from_millis(10));
        assert!(!outlet.is_idle(), "it waits in the thread");
        let mut late = std::iter::repeat_with(|| {
            let mut buffer = vec![0; 65536];
            let length = socket.recv(&mut buffer).unwrap();
            buffer.truncate(length);
            buffer
        });
        let late = late.find(|datagram| datagram != b"x").unwrap();
        assert!(fields(&late).contains(&("MESSAGE".into(), "late".into())));
        drop(folder);
        assert!(sink(path).is_err());
    }

    #[test]
    fn names_are_those_that_the_journal_takes() {
        assert_eq!(field_name("error"), "F_ERROR");
        assert_eq!(field_name("_link.state-9"), "F_LINK_STATE9");
    }
}
