//! The expression language of derived sensors and rules; for now, its functions of the weather.

pub mod weather;
