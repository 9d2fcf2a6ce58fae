//! The spool and its disk: full, read-only, damaged, newer, in the way, and in use by two.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fieldgate::cli::doctor::check::Verdict;

use super::bench::{Bench, config, verdict};
use super::mount::Mount;
use crate::common::client::Client;
use crate::common::gateway::Gateway;
use crate::common::mosquitto::Mosquitto;
use crate::common::{SOON, free_port, wait_until};

const TIDE: &str = "sensors: { tide: { driver: waveform, every: 100ms } }\n";

/// A spool with readings that nobody has taken.
fn filled(folder: &Path) {
    let text = config("mqtt://127.0.0.1:9", "", TIDE).replace("path: spool }", "path: spool, commit_every: 0s }");
    let mut gateway = Gateway::with_env(folder, &text, &[("RUST_LOG", "info,fieldgate::recorder=debug")]);
    gateway.wait_log("sensor=tide seq=3", SOON);
    gateway.stop(SOON);
    // The service's user of the bench may all.
    fs::set_permissions(folder.join("spool"), fs::Permissions::from_mode(0o777)).unwrap();
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("LEFT OUT: this test mounts a disk, which needs root");
    }
    root
}

#[test]
fn a_full_disk_is_found() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let disk = Mount::tmpfs(bench.folder.path(), "size=1m,mode=777");
    fs::write(disk.at.join("something"), vec![0; 900 * 1024]).unwrap();
    bench.finds("disk-full", "is full");
}

#[test]
fn a_disk_without_inodes_is_full_too() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let disk = Mount::tmpfs(bench.folder.path(), "size=2m,nr_inodes=3,mode=777");
    (0..2).for_each(|n| fs::write(disk.at.join(n.to_string()), "").unwrap());
    bench.finds("disk-full", "no inodes");
}

#[test]
fn a_disk_that_is_read_only_is_found() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let disk = Mount::tmpfs(bench.folder.path(), "size=8m,mode=777");
    disk.remount("ro");
    bench.finds("disk-read-only", "read-only");
}

#[test]
fn a_folder_that_is_a_file_or_not_the_services_is_found() {
    let bench = Bench::new();
    fs::write(bench.folder.path().join("spool"), "").unwrap();
    // The check of the configuration knows that by itself.
    bench.finds("configuration-broken", "is a file");
    let bench = Bench::new();
    fs::create_dir(bench.folder.path().join("spool")).unwrap();
    fs::set_permissions(bench.folder.path().join("spool"), fs::Permissions::from_mode(0o700)).unwrap();
    let report = bench.finds("spool-folder", "may not be written by fieldgate");
    assert!(report.findings().next().unwrap().remedy.starts_with("sudo install -d -m 750 -o fieldgate"));
}

#[test]
fn what_waits_in_a_sound_spool_is_counted_and_nothing_changes() {
    let bench = Bench::new();
    filled(bench.folder.path());
    let file = bench.folder.path().join("spool/spool.db");
    let before = fs::read(&file).unwrap();
    let report = bench.examine();
    let Verdict::Good(words) = verdict(&report, "spool") else { panic!("{}", report.text()) };
    let count: u64 = words.split(' ').next().unwrap().parse().unwrap();
    assert!(count > 0, "{words}");
    assert!(fs::read(&file).unwrap() == before && !file.with_extension("db-shm").exists());
}

#[test]
fn a_damaged_spool_is_found() {
    let bench = Bench::new();
    filled(bench.folder.path());
    let file = OpenOptions::new().write(true).open(bench.folder.path().join("spool/spool.db")).unwrap();
    file.write_all_at(&[0xa5; 4096], 4096).unwrap();
    bench.finds("spool-damaged", "cannot be read");
}

#[test]
fn a_spool_of_a_newer_version_is_not_called_damaged() {
    let bench = Bench::new();
    filled(bench.folder.path());
    let file = OpenOptions::new().write(true).open(bench.folder.path().join("spool/spool.db")).unwrap();
    file.write_all_at(&99u32.to_be_bytes(), 60).unwrap();
    bench.finds("spool-newer", "written by a newer version");
}

#[test]
fn a_spool_that_was_set_aside_before_is_named() {
    let bench = Bench::new();
    filled(bench.folder.path());
    fs::write(bench.folder.path().join("spool/spool.db.damaged-1795341600"), "").unwrap();
    bench.finds("spool-set-aside", "spool.db.damaged-1795341600");
}

#[test]
fn a_second_instance_is_found_before_the_service_that_it_keeps_from_starting() {
    let bench = Bench::new();
    let gateway = Gateway::start(bench.folder.path(), &format!("{}{TIDE}", bench.config));
    gateway.wait_log("Connected", SOON);
    fs::set_permissions(bench.folder.path().join("spool"), fs::Permissions::from_mode(0o777)).unwrap();
    bench.unit(&[
        ("ActiveState", "activating"),
        ("SubState", "auto-restart"),
        ("MainPID", "0"),
        ("Result", "exit-code"),
    ]);
    let report = bench.finds("two-instances", &format!("in use by process {}", gateway.pid()));
    assert_eq!(report.findings().next().unwrap().remedy, format!("sudo kill {}", gateway.pid()));
    assert!(report.findings().any(|finding| finding.cause == "unit-failed"));
}

#[test]
fn the_service_itself_is_not_a_second_instance() {
    let broker = Mosquitto::start();
    let bench = Bench::at(&broker.url());
    let port = free_port();
    let page = format!("http: {{ listen: 127.0.0.1:{port} }}\n");
    let mut gateway = Gateway::start(bench.folder.path(), &format!("{}{TIDE}{page}", bench.config));
    // What the examination reads, the broker has.
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    client.wait_json("b/t/sensors/tide/status", |status| status["status"] == "ok", SOON);
    client.wait_json("b/t/health", |health| health["link"]["state"] == "up", SOON);
    let is_served = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    wait_until("the page", SOON, is_served);
    fs::set_permissions(bench.folder.path().join("spool"), fs::Permissions::from_mode(0o777)).unwrap();
    bench.unit(&[("MainPID", &gateway.pid().to_string())]);
    let report = bench.examine_as_it_is();
    assert!(report.is_good(), "{}", report.text());
    assert!(matches!(verdict(&report, "sensors"), Verdict::Good(words) if words.starts_with('1')), "{}", report.text());
    assert!(matches!(verdict(&report, "page"), Verdict::Good(_)), "{}", report.text());
    gateway.stop(SOON);
}
