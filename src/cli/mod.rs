//! What the commands do: one file per command that is more than a call. Parsing the command line is `main.rs`'s part.
//!
//! Results go to standard output, messages to standard error.

pub mod check;
pub mod schema;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// The exit code of a configuration that cannot run, `EX_CONFIG` of sysexits(3).
pub const EXIT_CONFIG: u8 = 78;

/// Writes a command's result. A reader that went away (`| head`) is a failure at run time, not a panic.
fn put(text: &str, good: ExitCode) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => good,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes a message.
fn tell(text: &str) {
    // When not even standard error can be written to, there is nobody left to tell.
    let _unheard = io::stderr().lock().write_all(text.as_bytes());
}

/// Whether messages may be coloured.
fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
