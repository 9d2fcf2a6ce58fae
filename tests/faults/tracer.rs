//! strace, which makes system calls of the program fail, late or deadly.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::common::gateway::Gateway;
use crate::common::{SOON, missing, send_signal, wait_until};

/// `-P` for each file of a spool, so that nothing else is touched.
pub(crate) fn spool_files(spool: &Path) -> Vec<String> {
    let paths = ["spool.db", "spool.db-wal", "spool.db-journal", "spool.db.reserve"].map(|name| spool.join(name));
    paths.into_iter().flat_map(|path| ["-P".to_owned(), path.to_str().unwrap().to_owned()]).collect()
}

/// For [`Gateway::under`]: the program itself stays our child. Nothing is printed but into `log`.
pub(crate) fn wrapper<'a>(log: &'a Path, arguments: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["strace", "-D", "-f", "-o", log.to_str().unwrap()];
    words.extend(arguments);
    words
}

/// An strace that meddles with a running program until it is dropped.
pub(crate) struct Tracer(Child);

impl Tracer {
    /// Returns when it has begun.
    pub(crate) fn attach(gateway: &Gateway, log: &Path, arguments: &[String]) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &gateway.pid().to_string(), "-o"]).arg(log).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let tracer = Self(command.spawn().unwrap_or_else(missing("strace", "strace")));
        wait_until("strace to hold every thread", SOON, || is_traced(gateway.pid()));
        tracer
    }
}

fn is_traced(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
    tasks.flatten().all(|task| !status(task).contains("TracerPid:\t0\n"))
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It lets the program go unharmed; killed, it might leave it stopped.
        send_signal(&self.0, Signal::INT);
        self.0.wait().ok();
    }
}
