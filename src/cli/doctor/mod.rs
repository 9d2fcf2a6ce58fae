//! `fieldgate doctor`: what is wrong on this board, the cause before what follows from it, each with a line that mends it.
//!
//! Facts are gathered first ([`situation::Situation`]) and judged afterwards ([`table::CHECKS`]), so that each judgement can be tried
//! on a described situation. Nothing is changed and no chip is spoken to: it may run beside the service. At the broker it is
//! a client of its own; what it publishes there is not retained. Each step has its time, together a minute and a half.

mod account;
mod board;
mod broker;
mod buses;
pub mod check;
mod configuration;
mod gateway;
mod page;
pub mod report;
pub mod situation;
mod storage;
pub mod table;
mod unit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::cli;
use crate::config;
use fieldgate_bus::Bus as _;
use fieldgate_bus::sysfs::HostBus;
use fieldgate_clock as clock;

use report::Report;
use situation::Situation;

/// How long systemd and the disk may take for an answer, each.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the system is that is looked at.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where its `/dev`, `/sys`, `/proc`, `/etc`, `/run` and `/boot` are.
    pub root: PathBuf,
    /// The program that knows of its services.
    pub systemctl: PathBuf,
}

impl Default for Places {
    /// This machine.
    fn default() -> Self {
        Self { root: "/".into(), systemctl: "systemctl".into() }
    }
}

/// Examines this machine and prints what was found; exit code 1 if something is wrong, a configuration that cannot run included.
pub fn run(path: &Path, json: bool) -> ExitCode {
    let report = match examine(path, &Places::default()) {
        Ok(report) => report,
        Err(error) => return cli::fail(&format!("the runtime could not be started: {error}")),
    };
    let code = if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    cli::put(&if json { format!("{:#}\n", report.json()) } else { report.text() }, code)
}

/// Examines the system at `places` with the configuration at `path`.
///
/// # Errors
/// The system gives no runtime; report it to the user.
pub fn examine(path: &Path, places: &Places) -> std::io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let situation = gather(path, places, &runtime);
    // A name look-up may still hang in a thread of the runtime; it is not waited for.
    runtime.shutdown_background();
    Ok(Report::of(&situation))
}

fn gather(path: &Path, places: &Places, runtime: &tokio::runtime::Runtime) -> Situation {
    let root = &places.root;
    let loaded = config::load_in_force(path);
    let host = HostBus::at(root).files().expect("the host has files");
    let files = host.as_ref();
    let unit = unit::gather(root, &places.systemctl);
    let board = board::gather(files, root);
    let config = loaded.as_ref().ok().map(|in_force| &in_force.loaded.config);
    let storage = config.and_then(|config| {
        let folder = config.spool.path.clone();
        within(move || storage::gather(&folder))
    });
    Situation {
        path: path.to_owned(),
        configuration: configuration::gather(path, &loaded),
        clock: clock::status_below(root),
        account: account::gather(root, &unit),
        buses: config.map(|config| buses::gather(config, files, root, &board)),
        bound: config.map(|config| buses::bound(config, files)).unwrap_or_default(),
        lines: config.filter(|_| root == Path::new("/")).map_or(Ok(Vec::new()), buses::lines_in_use),
        page: config.and_then(|config| config.http.as_ref()).map(|http| page::gather(http.listen)),
        is_root: rustix::process::geteuid().is_root(),
        brokers: config.map(|config| runtime.block_on(broker::gather(&config.link, root))),
        base_topic: config.map_or_else(String::new, |config| config.topics.base().to_owned()),
        board,
        storage,
        unit,
    }
}

/// What `look` finds, if it does so in time. Its thread is left behind where the kernel keeps it waiting: the program ends soon.
fn within<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, found) = mpsc::sync_channel(1);
    let looker = thread::Builder::new().name("doctor".into());
    // Where nobody waits any more, what was found is of no use.
    let started = looker.spawn(move || sender.send(look()).unwrap_or_default());
    started.ok().and_then(|_| found.recv_timeout(PATIENCE).ok())
}
