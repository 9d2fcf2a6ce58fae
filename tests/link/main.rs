//! The link against a real Mosquitto, which each test starts on a free port, and against listeners that misbehave.

#![expect(clippy::unwrap_used, reason = "a test may unwrap; clippy does not know that its helpers belong to it")]

#[path = "../common/certificates.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test program uses a part of this")]
mod certificates;
mod commands;
mod delivery;
mod expiry;
mod faults;
mod harness;
mod refusals;
mod tls;
