//! How much is tried, by which seed, and how it is reported.

use std::io::Write;

use rustix::process::geteuid;

use crate::common::pace::share_held_up;

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// With every run of the tests: two minutes for all rows.
    Short,
    /// A part of the full numbers, for CI.
    Sample,
    /// The full numbers.
    Long,
}

/// As `FIELDGATE_FAULTS` asks.
pub(crate) fn scale() -> Scale {
    match std::env::var("FIELDGATE_FAULTS").as_deref() {
        Err(_) | Ok("" | "short") => Scale::Short,
        Ok("sample") => Scale::Sample,
        Ok("long") => Scale::Long,
        Ok(other) => panic!("FIELDGATE_FAULTS is short, sample or long, not {other:?}"),
    }
}

/// One of three numbers, by the scale.
pub(crate) fn times<T>(short: T, sample: T, long: T) -> T {
    match scale() {
        Scale::Short => short,
        Scale::Sample => sample,
        Scale::Long => long,
    }
}

/// Chance that can be repeated: the seed of this run is printed, and `FIELDGATE_SEED` sets it. Each row has its own stream.
pub(crate) fn chance(row: &str) -> fastrand::Rng {
    let seed = crate::common::seed();
    eprintln!("fault {row}: FIELDGATE_SEED={seed}");
    let own = row.bytes().fold(seed, |seed, byte| seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    fastrand::Rng::with_seed(own)
}

/// Tries several at once that mostly wait.
pub(crate) fn together(parts: &[fn()]) {
    std::thread::scope(|scope| {
        let running: Vec<_> = parts.iter().map(|part| scope.spawn(part)).collect();
        // Each has printed its own panic.
        let failed = running.into_iter().filter_map(|part| part.join().err()).count();
        assert_eq!(failed, 0, "of {} parts", parts.len());
    });
}

/// Says what was tried and what happened, also into the file that `FIELDGATE_FAULTS_REPORT` names.
pub(crate) fn report(row: &str, tried: &str, happened: &str) {
    // What does not count against the program must be known to whoever reads the figures.
    let share = share_held_up();
    let busy = if share < 0.02 {
        String::new()
    } else {
        format!(" (the machine held up everybody for {:.0} % of the time)", share * 100.0)
    };
    let line = format!("| {row} | {tried} | {happened}{busy} |");
    eprintln!("fault {line}");
    if let Ok(path) = std::env::var("FIELDGATE_FAULTS_REPORT") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Says loudly that something could not be tried. CI has everything, so there it is a failure.
pub(crate) fn left_out(what: &str, why: &str) {
    eprintln!("LEFT OUT: {what}: {why}");
    assert!(std::env::var_os("CI").is_none(), "{what} cannot be left out in CI: {why}");
}

/// Whether `what` may be tried: it needs root and these programs.
pub(crate) fn may(what: &str, programs: &[&str]) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let is_there = |program: &str| path.split(':').any(|folder| std::path::Path::new(folder).join(program).exists());
    let missing: Vec<_> = programs.iter().filter(|program| !is_there(program)).collect();
    if !geteuid().is_root() {
        left_out(what, "it needs root");
    } else if !missing.is_empty() {
        left_out(what, &format!("these programs are not installed: {missing:?}"));
    } else {
        return true;
    }
    false
}
