//! The link against a real Mosquitto, which each test starts on a free port, and against listeners that misbehave.

#![expect(clippy::unwrap_used, reason = "a test may unwrap; clippy does not know that its helpers belong to it")]

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod delivery;
mod dialect;
mod expiry;
mod faults;
mod first;
mod harness;
mod liveness;
mod outputs;
mod refusals;
mod tls;
mod unix;
