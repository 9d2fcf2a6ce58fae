//! Rows P: a program that is killed, stopped, reloaded and started twice.
