//! Fieldgate connects the sensors and relays of a Linux board to an MQTT broker. This is the program; what can be used alone is a crate.
//!
//! ```text
//!  sensors ── worker (a thread per bus) ── recorder ── spool (SQLite) ── link ── broker
//!  outputs ──┘   ▲       │ samples            ▲                           │
//!                │       ▼                    │ replies                   │ commands, requests
//!                │     signals ── rules       │                           │
//!                └── safety, orders ─── commands, requests ◄──────────────┘
//! ```
//!
//! The crates: [`fieldgate_model`] (the words), [`fieldgate_clock`], [`fieldgate_bus`] and [`fieldgate_drivers`] (the hardware),
//! [`fieldgate_filters`] (from a sample to a reading), [`fieldgate_formula`] and [`fieldgate_rules`] (what is computed and decided on the
//! board), [`fieldgate_safety`] (what an output may do), [`fieldgate_spool`] (what waits) and [`fieldgate_link`] (the connection).
//!
//! Reading order here: [`worker`] (a bus's thread), [`recorder`] (the way of a reading), [`commands`] (the way of a command), [`rules`] and
//! [`requests`] (what else gives orders), [`gateway`] (how all of it is joined), [`config`] (where it is read from) and [`cli`] (how it is
//! called). [`views`], [`history`] and [`curves`] keep what is newest for [`http`], [`metrics`] and [`home_assistant`].

pub mod cli;
pub mod commands;
pub mod config;
pub mod curves;
pub mod deadlines;
pub mod gateway;
pub mod health;
pub mod history;
pub mod home_assistant;
pub mod http;
pub mod last_good;
pub mod log_lines;
pub mod metrics;
pub mod outlet;
pub mod plain;
pub mod recorder;
pub mod requests;
pub mod roster;
pub mod rules;
pub mod shutdown;
pub mod systemd;
pub mod variables;
pub mod views;
pub mod worker;
