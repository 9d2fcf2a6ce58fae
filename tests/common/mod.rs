//! What the tests of the whole program stand on: a real Mosquitto, independent clients, the compiled program, the state
//! file of a simulated bus, and a broker that misbehaves as scripted.
//!
//! Everything listens on loopback, lives in a temporary folder, waits with a deadline and ends what it started by its
//! own process id.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of this")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and it polls with a deadline")]
#![allow(clippy::print_stderr, reason = "a failing test shows what the program said")]

pub mod account;
pub mod bench;
pub mod certificates;
pub mod client;
pub mod gateway;
pub mod http;
pub mod late;
pub mod ledger;
pub mod mosquitto;
pub mod namespace;
pub mod notify;
pub mod pace;
pub mod ports;
pub mod python;
pub mod quick;
pub mod relay;
pub mod running;
pub mod scripted;
pub mod sim_file;
pub mod tank;
pub mod unread;
pub mod wall_clock;
pub mod watch;
pub mod wire;

use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Child;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub use ports::free_port;

/// Long enough for a loaded machine; a test that waits this long has failed.
pub const SOON: Duration = Duration::from_secs(10);

/// Where this run's chance begins: `FIELDGATE_SEED`, or one that the caller prints.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match std::env::var("FIELDGATE_SEED") {
        Ok(seed) => seed.parse().expect("FIELDGATE_SEED is a number"),
        Err(_) => fastrand::u64(..1_000_000),
    })
}

/// Between two looks at what is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Writes a file that only its owner can read, as a password or key must be.
pub fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Does something beside `watch`, which is told to end when that is done or has failed: a scope waits for its threads, and would
/// wait for ever for one that nobody tells.
pub fn beside<W: Send, T>(watch: impl FnOnce(&AtomicBool) -> W + Send, act: impl FnOnce() -> T) -> (W, T) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(&is_over));
        let done = catch_unwind(AssertUnwindSafe(act));
        is_over.store(true, Ordering::Relaxed);
        let watched = watch.join();
        // What failed first explains the other.
        let done = done.unwrap_or_else(|panic| resume_unwind(panic));
        (watched.unwrap_or_else(|panic| resume_unwind(panic)), done)
    })
}

/// Polls until there is something, or panics naming what was awaited. Time for which the machine held up everybody does not count.
pub fn wait_for<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    pace::watch();
    let began = Instant::now();
    std::thread::sleep(late::chance());
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < timeout + pace::taken_since(began), "waited {timeout:?} in vain for {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Polls until it is so, or panics naming what was awaited.
pub fn wait_until(what: &str, timeout: Duration, mut look: impl FnMut() -> bool) {
    wait_for(what, timeout, || look().then_some(()));
}

/// Sends a signal to a child that we have not reaped yet.
pub fn send_signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Starts a program that must be installed, or says what to install.
pub fn missing(program: &str, package: &str) -> impl FnOnce(std::io::Error) -> Child {
    let text = format!("cannot start {program}: these tests need it; install it with: apt install {package}");
    move |error| panic!("{text} ({error})")
}
