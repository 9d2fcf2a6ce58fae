//! What stands for the demo in a program that was built without it.

use std::process::ExitCode;

use super::arguments::Elsewhere;

/// Says where the demo is.
pub fn run(_: u16, _: Elsewhere) -> ExitCode {
    super::fail(
        "the demo is not in this program, as in no package; in a clone of the sources: cargo run --release -- demo",
    )
}
