//! What the program says and does when a user calls it: `check`, `doctor`, `watch`, `export`, `migrate` and the like. One program for all
//! of it, for to link the whole of Fieldgate once more for each file takes longer than most of them run. A file alone:
//! `cargo test --test command_line doctor::`.

use proptest::prelude::ProptestConfig;

mod common;

#[path = "chips.rs"]
mod chips;
#[path = "cli.rs"]
mod cli;
#[path = "config_planted.rs"]
mod config_planted;
#[path = "config_report.rs"]
mod config_report;
#[path = "demo.rs"]
mod demo;
#[path = "doctor.rs"]
mod doctor;
#[path = "export.rs"]
mod export;
#[path = "migrate.rs"]
mod migrate;
#[path = "replay.rs"]
mod replay;
#[path = "tls_check.rs"]
mod tls_check;
#[path = "watch.rs"]
mod watch;

/// So many random cases every day, and as many as `PROPTEST_CASES` says in a long run.
fn cases(everyday: u32) -> ProptestConfig {
    let usual = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let is_long = std::env::var_os("PROPTEST_CASES").is_some();
    if is_long { usual } else { ProptestConfig { cases: everyday, ..usual } }
}
