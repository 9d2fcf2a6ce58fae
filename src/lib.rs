//! Fieldgate turns a Linux board with sensors and relays into a well-behaved MQTT citizen.
//!
//! (reading order and picture: being written)

pub mod bus;
pub mod clock;
pub mod config;
pub mod drivers;
pub mod link;
pub mod model;
pub mod pulse;
pub mod spool;
pub mod worker;
