//! Outputs that nobody reads: a full pipe, a stopped terminal, a full socket.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What a full queue is full of.
const FILLING: &[u8] = b"filling\n";

/// A stream that takes nothing more, and its other end.
pub fn full_stream() -> (OwnedFd, UnixStream) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.write_all(FILLING).is_ok() {}
    ours.set_nonblocking(false).unwrap();
    (ours.into(), theirs)
}

/// A terminal, and the side of the person before it.
pub fn terminal() -> (File, File) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
    let no_controlling_terminal = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
    let terminal = File::options().read(true).write(true).custom_flags(no_controlling_terminal).open(name).unwrap();
    (terminal, File::from(person))
}

/// Both ends of a terminal whose person has pressed Ctrl-S.
pub fn stopped_terminal() -> (File, File) {
    let (terminal, mut person) = self::terminal();
    person.write_all(b"\x13").unwrap();
    (terminal, person)
}

/// A socket for datagrams that takes nothing more.
pub fn full_socket(path: &Path) -> UnixDatagram {
    let (socket, filler) = (UnixDatagram::bind(path).unwrap(), UnixDatagram::unbound().unwrap());
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(FILLING, path).is_ok() {}
    socket
}
