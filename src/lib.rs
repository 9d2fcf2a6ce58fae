//! Fieldgate turns a Linux board with sensors and relays into a well-behaved MQTT citizen.
//!
//! ```text
//!  sensors ── worker (a thread per bus) ── recorder ── spool (SQLite) ── link ── broker
//!  outputs ──┘      ▲                        ▲                            │
//!                   └── safety, orders ── commands ◄──────────────────────┘
//! ```
//!
//! Reading order: [`model`] (the words), [`drivers`] and [`bus`] (the hardware), [`worker`] (a bus's thread), [`recorder`],
//! [`spool`] and [`link`] (the way of a reading), [`commands`] and [`safety`] (the way of a command), [`gateway`] (how all
//! of it is joined), [`config`] (where it is read from) and [`cli`] (how it is called).

pub mod board;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod deadlines;
pub mod drivers;
pub mod gateway;
pub mod health;
pub mod last_good;
pub mod link;
pub mod model;
pub mod outlet;
pub mod pulse;
pub mod recorder;
pub mod roster;
pub mod safety;
pub mod shutdown;
pub mod spool;
pub mod systemd;
pub mod worker;
