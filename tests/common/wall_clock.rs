//! A wall clock that only the program under test sees, by libfaketime; the monotonic clocks stay as they are.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The program's wall clock.
pub struct WallClock {
    library: PathBuf,
    file: PathBuf,
    /// Gone with the clock.
    _folder: TempDir,
}

/// Where Debian puts the library, if it is installed.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let places = folders.chain([PathBuf::from("/usr/lib")]).map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    places.into_iter().find(|place| place.exists())
}

impl WallClock {
    /// A clock that is so many seconds beside the true time; `None` where libfaketime is not installed.
    pub fn beside(seconds: i64) -> Option<Self> {
        let (library, folder) = (library()?, tempfile::tempdir().unwrap());
        let clock = Self { library, file: folder.path().join("wall-clock"), _folder: folder };
        clock.set(seconds);
        Some(clock)
    }

    /// Sets it so many seconds beside the true time.
    pub fn set(&self, seconds: i64) {
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{seconds:+}\n")).unwrap();
        fs::rename(next, &self.file).unwrap();
    }

    /// What the program must be started with.
    pub fn environment(&self) -> [(&'static str, &str); 6] {
        [
            ("LD_PRELOAD", text(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file)),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_DONT_RESET", "1"),
            ("NO_FAKE_STAT", "1"),
        ]
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
