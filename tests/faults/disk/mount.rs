//! A file system for a spool, which can be cut off, taken away and brought back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every test here needs.
pub(crate) const TOOLS: [&str; 4] = ["mount", "umount", "mkfs.ext4", "losetup"];

/// Mounted at `spool` in the folder of a configuration; taken away with it.
pub(crate) struct Mount {
    pub(crate) at: PathBuf,
    source: PathBuf,
    options: String,
    kind: &'static str,
}

impl Mount {
    /// An ext4 of this size in a file.
    pub(crate) fn ext4(folder: &Path, size: u64) -> Self {
        let source = folder.join("disk.img");
        fs::File::create(&source).unwrap().set_len(size).unwrap();
        // Everything is written now, so that the kernel does not do it beside the test.
        let eager = "lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-E", eager, source.to_str().unwrap()]);
        Self::place(folder, source, "loop".to_owned(), "ext4")
    }

    /// Memory that behaves as a small disk.
    pub(crate) fn tmpfs(folder: &Path, options: &str) -> Self {
        Self::place(folder, "tmpfs".into(), options.to_owned(), "tmpfs")
    }

    fn place(folder: &Path, source: PathBuf, options: String, kind: &'static str) -> Self {
        let at = folder.join("spool");
        fs::create_dir(&at).unwrap();
        let mount = Self { at, source, options, kind };
        mount.mount();
        mount
    }

    pub(crate) fn mount(&self) {
        self.mount_with(&self.options);
    }

    fn mount_with(&self, options: &str) {
        let (source, at) = (self.source.to_str().unwrap(), self.at.to_str().unwrap());
        run("mount", &["-t", self.kind, "-o", options, source, at]);
    }

    /// Taken away in order; nobody may use it.
    pub(crate) fn unmount(&self) {
        run("umount", &[self.at.to_str().unwrap()]);
    }

    /// From now on nothing reaches the disk any more, and what was not asked to be there is not.
    pub(crate) fn cut(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", self.at.to_str().unwrap()]);
    }

    /// A writer waits until [`Mount::thaw`].
    pub(crate) fn freeze(&self) {
        run("fsfreeze", &["--freeze", self.at.to_str().unwrap()]);
    }

    /// Writing goes on; of one that is not frozen nothing changes.
    pub(crate) fn thaw(&self) {
        let at = self.at.to_str().unwrap();
        Command::new("/usr/sbin/fsfreeze").args(["--unfreeze", at]).output().ok();
    }

    /// `ro`, `rw` or a new size, while it is in use.
    pub(crate) fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), self.at.to_str().unwrap()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A failed test may have it unmounted already, or a program that has not ended may hold it: then it goes with that.
        let at = self.at.to_str().unwrap();
        Command::new("umount").args(["-q", "-l", at]).status().ok();
    }
}

/// Bytes that the files of a folder take up on the disk; none before it is there. A file may go while they are counted.
pub(crate) fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.file_name() != "lost+found");
    files.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}

fn run(program: &str, arguments: &[&str]) {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(program).env("PATH", path).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
