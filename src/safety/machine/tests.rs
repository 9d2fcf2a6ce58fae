//! The machine as a whole; the rules of the guard and the ways of the motion have tests of their own.

mod lives;
mod rig;
