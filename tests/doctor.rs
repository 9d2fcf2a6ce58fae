//! `fieldgate doctor` in broken situations that are made on purpose: the right cause comes first in each.
//!
//! The board is a folder with the files that the kernel and the system would show; spool, disk, broker and service are real. Tests
//! that mount a disk need root, and say so where there is none.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a test that needs root says so where it is left out")]

#[path = "faults/disk/mount.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used here")]
mod mount;

#[path = "doctor/bench.rs"]
mod bench;
#[path = "doctor/board.rs"]
mod board;
#[path = "doctor/broker.rs"]
mod broker;
#[path = "doctor/described.rs"]
mod described;
#[path = "doctor/page.rs"]
mod page;
#[path = "doctor/service.rs"]
mod service;
#[path = "doctor/storage.rs"]
mod storage;
