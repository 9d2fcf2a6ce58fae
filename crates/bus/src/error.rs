//! What can go wrong on a bus.

use std::io;

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use rustix::io::Errno;
use thiserror::Error;

/// What went wrong on a bus. Keeps the kernel's error.
#[derive(Debug, Error)]
pub enum BusError {
    /// The bus itself could not be opened. Try again with back-off; report it to the user once.
    #[error("cannot open {what}{}", remedy(hint))]
    Open {
        /// The device or chip.
        what: String,
        /// What to do about it; may be empty.
        hint: String,
        /// The kernel's answer, with errno.
        #[source]
        source: io::Error,
    },
    /// This kind of bus has no such thing. A matter of the configuration.
    #[error("{bus} has no {what}")]
    Unsupported {
        /// The bus, as [`Bus::describe`](crate::Bus::describe) names it.
        bus: String,
        /// What was asked of it, in words.
        what: String,
    },
    /// No line of that name. A matter of the configuration.
    #[error("{chip} has no line called {line:?}{}", remedy(hint))]
    NoLine {
        /// The GPIO chip, as it is called in errors.
        chip: String,
        /// The line's name or number, as it was asked for.
        line: String,
        /// Near names, or how to list them; may be empty.
        hint: String,
    },
    /// Another program uses the line. Report to the user which.
    #[error("line {line} of {chip} is in use by {holder:?}")]
    LineClaimed {
        /// The GPIO chip, as it is called in errors.
        chip: String,
        /// The line's name or number, as it was asked for.
        line: String,
        /// The consumer's name, as the kernel knows it.
        holder: String,
    },
    /// Nobody answered at this address. Check the wiring; try again.
    #[error("no answer at address {address:#04x}")]
    NoAcknowledge {
        /// The 7-bit address.
        address: u8,
    },
    /// The kernel refused a transfer. Transient more often than not.
    #[error("{what} failed")]
    Io {
        /// The transfer or the file that failed.
        what: String,
        /// The kernel's answer, with errno.
        #[source]
        source: io::Error,
    },
    /// A transfer failed for a reason that is not one chip's: a clock line that is held down, a lost arbitration, an adapter
    /// that gave up or has gone. Transient more often than not.
    #[error("{what} failed")]
    Wires {
        /// The transfer or the file that failed.
        what: String,
        /// The kernel's answer, with errno.
        #[source]
        source: io::Error,
    },
    /// A chip that others sit on has fallen silent or forgotten what was written to it. What was built on it is void: close
    /// it and open it again.
    #[error("{what} {why}")]
    Lost {
        /// The chip that was lost, as [`Bus::describe`](crate::Bus::describe) names it.
        what: String,
        /// What has happened, as far as is known.
        why: String,
    },
    /// Nothing was tried, for a transfer there has just failed slowly. Try again when the back-off of the bus is over.
    #[error("not tried, because the bus has just failed: {why}")]
    BackingOff {
        /// The earlier failure that the back-off follows, in words.
        why: String,
    },
    /// A file had not the form that its documentation promises.
    #[error("{path} says {found:?}, which is not {expected}")]
    Format {
        /// The file's path.
        path: String,
        /// What stood there, shortened.
        found: String,
        /// What the documentation promises to stand there.
        expected: &'static str,
    },
}

impl BusError {
    /// Whether the bus itself has gone, as an adapter on USB does that is unplugged, or a chip that is a bus has been lost. What is
    /// open leads nowhere from then on, and the kernel waits for its end: close everything and open the bus again.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Lost { .. } => true,
            Self::Io { source, .. } | Self::Wires { source, .. } | Self::Open { source, .. } => {
                matches!(Errno::from_io_error(source), Some(Errno::NODEV | Errno::SHUTDOWN))
            }
            _ => false,
        }
    }
}

fn remedy(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(" ({hint})") }
}

impl embedded_hal::i2c::Error for BusError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoAcknowledge { .. } => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            Self::Io { .. } | Self::Wires { .. } => ErrorKind::Bus,
            _ => ErrorKind::Other,
        }
    }
}

/// `io::Error` cannot be cloned; the number says all that the kernel said.
pub(crate) fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
