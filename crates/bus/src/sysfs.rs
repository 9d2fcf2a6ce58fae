//! The machine itself: files that the kernel makes up when they are read.
//!
//! Nothing is written here and nothing is kept: each read opens the file again, because devices come and go. Errors keep the
//! kernel's errno, since drivers below hwmon and IIO speak by it (`ENODEV`, `EIO`, `EAGAIN`).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::{Bus, BusError, ClaimKind, Files};

/// The most that is read of one file: sysfs gives a page, and the files of procfs that are of use are shorter than this.
const MAX_BYTES: u64 = 64 * 1024;

/// How much of a wrong content an error shows, in characters.
const MAX_SHOWN: usize = 40;

/// A device that the kernel drives, by its name there: `28-00000a1b2c3d`, `dht11@4`; after a blank, which part of it.
pub static DEVICE: ClaimKind =
    ClaimKind { name: "device", fails_alone: true, simulated: |which| which.split(' ').next().map(str::to_owned) };

/// The bus of drivers that need none.
#[derive(Debug)]
pub struct HostBus {
    files: Rc<HostFiles>,
}

impl HostBus {
    /// This machine.
    pub fn new() -> Self {
        Self::at("/")
    }

    /// A tree of files in place of the machine's.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { files: Rc::new(HostFiles { root: root.into() }) }
    }
}

impl Default for HostBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus for HostBus {
    fn describe(&self) -> String {
        "this machine".into()
    }

    fn files(&mut self) -> Result<Rc<dyn Files>, BusError> {
        Ok(Rc::<HostFiles>::clone(&self.files))
    }
}

/// The files below a root.
#[derive(Debug)]
struct HostFiles {
    root: PathBuf,
}

impl HostFiles {
    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Files for HostFiles {
    fn read(&self, path: &str) -> Result<String, BusError> {
        let bytes = read_some(&self.path(path)).map_err(|e| failed("reading", path, e))?;
        let wrong =
            |found: &str, expected| BusError::Format { path: path.to_owned(), found: found.to_owned(), expected };
        if bytes.len() as u64 > MAX_BYTES {
            return Err(wrong("more than that", "a text of at most 64 KiB"));
        }
        match String::from_utf8(bytes) {
            // Files of the device tree end with a NUL.
            Ok(text) => Ok(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()),
            Err(e) => Err(wrong(&shown(&String::from_utf8_lossy(e.as_bytes())), "text")),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, BusError> {
        match names(&self.path(path)) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
            names => names.map_err(|e| failed("listing", path, e)),
        }
    }

    fn disk_used(&self, path: &str) -> Result<f64, BusError> {
        let place = self.path(path);
        let space = rustix::fs::statvfs(&place).map_err(|e| failed("asking for the space of", path, e.into()))?;
        // As df(1) counts: what only root may still fill is neither used nor free.
        let used = space.f_blocks.saturating_sub(space.f_bfree);
        let whole = used.saturating_add(space.f_bavail);
        if whole == 0 {
            let (path, found) = (path.to_owned(), "no blocks".to_owned());
            return Err(BusError::Format { path, found, expected: "a file system with room" });
        }
        Ok(100.0 * used as f64 / whole as f64)
    }
}

fn read_some(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        // The kernel makes no other names; one made otherwise cannot be meant by a configuration in UTF-8.
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

fn failed(doing: &str, path: &str, source: io::Error) -> BusError {
    BusError::Io { what: format!("{doing} {path}"), source }
}

/// The beginning of a wrong content, for an error.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, Rc<dyn Files>) {
        let root = tempfile::tempdir().unwrap();
        let files = HostBus::at(root.path()).files().unwrap();
        (root, files)
    }

    #[test]
    fn a_file_is_read_whole_and_trimmed() {
        let (root, files) = files();
        fs::write(root.path().join("temp"), "48312\n").unwrap();
        fs::write(root.path().join("model"), "Raspberry Pi 5\0").unwrap();
        assert_eq!(files.read("/temp").unwrap(), "48312");
        assert_eq!(files.read("/model").unwrap(), "Raspberry Pi 5");
    }

    #[test]
    fn a_missing_file_keeps_its_errno_and_its_name() {
        let (_root, files) = files();
        let error = files.read("/sys/nothing").unwrap_err();
        assert!(matches!(&error, BusError::Io { source, .. } if source.raw_os_error() == Some(2)), "{error:?}");
        assert_eq!(error.to_string(), "reading /sys/nothing failed");
    }

    #[test]
    fn what_is_no_text_or_too_long_is_refused() {
        let (root, files) = files();
        fs::write(root.path().join("binary"), [0xff; 200]).unwrap();
        fs::write(root.path().join("long"), vec![b'x'; 64 * 1024 + 1]).unwrap();
        for path in ["binary", "long"] {
            let error = files.read(path).unwrap_err();
            assert!(matches!(&error, BusError::Format { found, .. } if found.chars().count() <= 41), "{error:?}");
        }
    }

    #[test]
    fn a_folder_is_listed_in_order_and_is_empty_when_it_is_not_there() {
        let (root, files) = files();
        for name in ["b", "a", "c"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        assert_eq!(files.list("/").unwrap(), ["a", "b", "c"]);
        assert!(files.list("/sys/class/hwmon").unwrap().is_empty());
    }

    #[test]
    fn the_used_part_of_a_file_system_is_a_percentage() {
        let (_root, files) = files();
        let used = files.disk_used("/").unwrap();
        assert!((0.0..=100.0).contains(&used), "{used}");
        assert!(matches!(files.disk_used("/not/there"), Err(BusError::Io { .. })));
    }
}
