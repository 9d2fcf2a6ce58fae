//! Row H7: the folder of the spool is not there: its disk is not mounted, it lies below a file, it is a loop of links, or it is
//! forbidden.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::common::gateway::{Gateway, command_under};
use crate::common::quick::{FAST, LONG, READINGS_IN_LOG, config, folder, taken, wait_taken};
use crate::common::{SOON, wait_until};
use crate::moody::{Mood, MoodyBroker};
use crate::suite::report;

/// `spool` in the folder of the configuration, what stands behind it in `spool.path`, and what is said of it.
type Case = (fn(&Path), &'static str, &'static str);

fn dangling(folder: &Path) {
    symlink(folder.join("disk"), folder.join("spool")).unwrap();
}

fn file(folder: &Path) {
    fs::write(folder.join("spool"), "").unwrap();
}

fn circle(folder: &Path) {
    symlink(folder.join("spool"), folder.join("spool")).unwrap();
}

/// A mount point that is the administrator's, and not mounted.
fn forbidden(folder: &Path) {
    let path = folder.join("spool");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
}

/// Takes the rights from root that open any folder.
const WITHOUT_ROOTS_RIGHTS: [&str; 2] = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];

const CASES: [Case; 6] = [
    (forbidden, "", "is its disk mounted, and whose is it?"),
    (forbidden, "/fieldgate", "Permission denied"),
    (dangling, "", "is its disk mounted?"),
    (dangling, "/fieldgate", "is its disk mounted?"),
    (file, "/fieldgate", "lies below a file"),
    (circle, "/fieldgate", "leads back to itself"),
];

fn live_without((make, below, words): Case) {
    let folder = folder();
    make(folder.path());
    let broker = MoodyBroker::new(Mood::Acknowledges);
    let text = config(&broker.url(), "", below, FAST);
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() { &WITHOUT_ROOTS_RIGHTS } else { &[] };
    let mut gateway = Gateway::under(wrapper, folder.path(), &text, &READINGS_IN_LOG);
    let checked = command_under(wrapper, folder.path(), &["check", "--config", "fieldgate.yaml"], SOON);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && said.contains("warning: ") && said.contains(words), "{said}");
    wait_taken(&gateway, 20);
    let error = broker.health(&gateway)["spool"]["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains(words), "{error:?}");
    assert!(gateway.log().contains("The spool cannot use its disk; messages stay in memory"), "{}", gateway.log());
    // The disk comes.
    let place = folder.path().join("spool");
    if place.is_dir() {
        fs::set_permissions(&place, Permissions::from_mode(0o700)).unwrap();
    } else if place.read_link().is_ok_and(|target| target.ends_with("disk")) {
        fs::create_dir(folder.path().join("disk")).unwrap();
    } else {
        fs::remove_file(&place).unwrap();
    }
    gateway.wait_log("The spool can be written again.", LONG);
    wait_until("health without an error", LONG, || broker.health(&gateway)["spool"]["error"].is_null());
    let file = folder.path().join(format!("spool{below}/spool.db"));
    assert!(file.exists(), "{} was not made", file.display());
    let last = taken(&gateway);
    wait_taken(&gateway, last + 20);
    broker.wait_drained(&gateway, LONG);
    gateway.stop(SOON);
    let account = broker.account("n");
    account.check_whole();
    assert!(account.runs.len() == 1 && account.reported(&account.runs[0]) == 0, "nothing was lost meanwhile");
}

#[test]
fn h7_a_spool_whose_folder_is_not_there_runs_from_memory_and_takes_the_disk_when_it_comes() {
    CASES.into_iter().for_each(live_without);
    report(
        "H7",
        "spool folder behind a dangling link, below a file, a loop of links, forbidden; made usable later",
        "started each time, `check` warned, health said why; nothing lost; the folder was in use at the next attempt",
    );
}
