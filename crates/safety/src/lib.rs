//! What an output may do now, and by what steps it gets there. Pure: time is an argument, nothing is driven from here.
//!
//! [`Machine`] is the one way in: commands, time, what the hardware was seen to do and what failed go in, what must be driven,
//! answered, published and logged comes out. Inside, the guard decides whether and when, the motion by what values, and the
//! interlocks, which all machines share, who may be on beside whom. Rules:
//!
//! - No limit refuses what leads towards the safe state: that is carried out as soon as the limit allows. A command that leads
//!   away from it and comes too early is rejected.
//! - A trip (a lost link, `max_on`, an interlock, start and stop) waits for no minimum time and for no ramp.
//! - There is one timer per output: a new command replaces whatever an older one had set.
//! - An output is off when its action is off, nothing moves and the hardware was seen off. Only then do its partners get the
//!   interlock, and `max_on` ends.
//!
//! Times are on the boot clock, which nobody sets and which goes on while the board sleeps.

mod guard;
mod interlock;
mod limits;
mod machine;
mod motion;

pub use interlock::{InterlockHandle, Pair, SharedInterlocks};
pub use limits::Limits;
pub use machine::{Applied, Done, Effect, LogLine, Machine, RuleOrder, State};
