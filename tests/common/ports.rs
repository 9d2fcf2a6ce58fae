//! Ports of loopback for brokers that come and go.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use super::{SOON, wait_for};

/// Below the ports that the kernel gives to outgoing connections, so that a stopped broker finds its port free again.
const PORTS: std::ops::Range<u16> = 18_000..31_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// What keeps the ports that were given out, until this program ends.
static KEPT: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// A loopback port on which nothing listens, and which nobody else is given as long as this program runs.
pub fn free_port() -> u16 {
    let own = (std::process::id() as u16).wrapping_mul(61);
    wait_for("a free port", SOON, || {
        let next = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(own);
        let port = PORTS.start + next % (PORTS.end - PORTS.start);
        let socket = claim(port).ok()?;
        KEPT.lock().unwrap().push(socket);
        Some(port)
    })
}

/// Such a port and the one behind it, for a program that takes the next if the first is taken.
pub fn free_neighbours() -> [u16; 2] {
    wait_for("two free ports in a row", SOON, || {
        let port = free_port();
        let next = claim(port + 1).ok()?;
        KEPT.lock().unwrap().push(next);
        Some([port, port + 1])
    })
}

/// Whether this port could be given to somebody.
pub fn is_free(port: u16) -> bool {
    claim(port).is_ok()
}

/// Binds the port without listening: a connection is refused, a broker can listen (its socket, like this one, shares the address
/// with one that does not listen), and a second claim, by whatever program, fails.
fn claim(port: u16) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}

/// Listens on a port of its own.
pub fn listen() -> TcpListener {
    listen_on(free_port())
}

/// Listens where somebody listened before. A program that another test starts at this moment has a copy of the old socket until
/// it has become that program; the port is not free before.
pub fn listen_on(port: u16) -> TcpListener {
    wait_for("a port that was just given up", SOON, || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
}
