//! The socket on which systemd would listen.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::late::Late;
use super::wait_for;

/// A datagram, with the time when it came.
pub type Notice = (Instant, String);

/// Collects what the program reports to systemd; the thread ends with the test program.
pub struct NotifySocket {
    pub path: PathBuf,
    notices: Arc<Mutex<(Vec<Notice>, Late<Notice>)>>,
}

impl NotifySocket {
    /// Listens in this folder.
    pub fn listen(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notices: Arc<Mutex<(Vec<Notice>, Late<Notice>)>> = Arc::new(Mutex::new(<_>::default()));
        let ear = Arc::clone(&notices);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(size) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
                let (seen, late) = &mut *ear.lock().unwrap();
                seen.extend(late.take("notices", (Instant::now(), text)));
            }
        });
        Self { path, notices }
    }

    /// For the program's environment.
    pub fn variable(&self) -> (&str, &str) {
        ("NOTIFY_SOCKET", self.path.to_str().unwrap())
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<Notice> {
        let (seen, late) = &mut *self.notices.lock().unwrap();
        seen.append(&mut late.seen());
        seen.clone()
    }

    /// Waits for the first datagram with this line, not looking at the first `skip` datagrams, and returns its place.
    pub fn wait(&self, line: &str, skip: usize, timeout: Duration) -> usize {
        let has = |(_, text): &Notice| text.lines().any(|known| known.starts_with(line));
        wait_for(&format!("{line:?} for systemd"), timeout, || {
            self.all().iter().enumerate().skip(skip).find(|(_, notice)| has(notice)).map(|(place, _)| place)
        })
    }
}
