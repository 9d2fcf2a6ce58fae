//! The fault suite: every fault of ../shared/faults.md that threatens readings, made to happen, with its oracle.
//!
//! The oracle behind every row: readings received + readings told on `B/loss` = readings taken, exactly, and in order. Each
//! test is named after its row (`n1_…`, `p2_…`) and ends with a line that says how often the fault was tried and what
//! happened; `docs/reliability.md` holds those of a whole run.
//!
//! `FIELDGATE_FAULTS` says how much: `short` (the default, with every run of the tests), `sample` (CI besides) or `long`
//! (the full numbers; `sh deploy/test.sh --long`). `FIELDGATE_SEED` repeats a run whose seed was printed, and
//! `FIELDGATE_PROGRAM` puts another build under test: `broken.sh` does that to see that the suite can fail.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and it polls with a deadline")]
#![allow(clippy::print_stderr, reason = "a fault says its seed and what happened")]

#[path = "../common/mod.rs"]
mod common;

mod broker;
mod clock;
mod corruption;
mod disk;
mod killed;
mod ledger;
mod lives;
mod network;
mod process;
mod sensors;
#[allow(dead_code, reason = "its rows come one by one")]
mod suite;
mod tracer;
