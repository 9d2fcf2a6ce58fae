//! `fieldgate migrate`: a configuration of mqtt-io 2 becomes one of ours, on standard output.
//!
//! Every key of mqtt-io stands in a table (`keys.rs`, `modules.rs`) with what it becomes, or why it is not carried; what is written in
//! the file and not carried is named at the end of what is printed. Values come from a file of somebody else's: what has the wrong kind is
//! a problem at its place, and then nothing is printed. Secrets are never copied.

mod chips;
mod gpio;
mod inputs;
pub mod keys;
pub mod modules;
mod mqtt;
mod outputs;
mod read;
mod sensors;
mod state;
pub mod table;
mod write;

use std::path::Path;
use std::process::ExitCode;

use crate::cli::{self, EXIT_CONFIG};
use crate::config::foreign::Foreign;
use crate::config::{self, ConfigError};
use read::{Reader, Section};
use state::{Migration, NO_TOPIC};

/// What the file begins with.
const HEAD: [&str; 2] = [
    "Made by `fieldgate migrate` of a configuration of mqtt-io. What was not carried stands at the end, with the reason.",
    "While mqtt-io runs, take `actuators:` out: at its start Fieldgate drives every output to its safe state.",
];

const PLAIN: &str = "Made with --plain: values are published as bare text as well, below the base topic of mqtt-io, but on topics of other \
    names, which are listed at the end. Stop mqtt-io first: both would publish their status.";

const OUTPUTS: &str = "safe_after: never keeps an output as it is while the broker is away, as mqtt-io does. Without it an output \
    goes to its safe state after 30s.";

/// Prints what the file at `path` becomes.
pub fn run(path: &Path, plain: bool) -> ExitCode {
    let text = match Foreign::read(path).and_then(|file| convert(&file, plain)) {
        Ok(text) => text,
        Err(error) => return cli::refuse(&error),
    };
    let printed = cli::put(&text, ExitCode::SUCCESS);
    // What mqtt-io let pass, such as one line for two things, is found by our own check; files that are named start where it stood.
    match config::load_text(&text, path) {
        Ok(_) => printed,
        Err(error) => {
            cli::print_message("error: `fieldgate check` will refuse what was printed; its lines are meant here:\n");
            cli::print_message(&config::report::render(Path::new("printed"), &error.problems, cli::colour()));
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// What `text` becomes, which is a configuration of mqtt-io as if it stood at `path`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn migrate(text: &str, path: &Path, plain: bool) -> Result<String, ConfigError> {
    convert(&Foreign::of_text(text, path)?, plain)
}

fn convert(file: &Foreign, plain: bool) -> Result<String, ConfigError> {
    let mut migration = Migration::new(Reader::new(file), plain);
    let root = migration.reader.root();
    migration.leave_keys(&root, "", &[keys::of("")], None);
    migration.mqtt(&root);
    let modules = migration.gpio_modules(&root);
    migration.digital_inputs(&root, &modules);
    migration.sensors(&root);
    migration.digital_outputs(&root, &modules);
    migration.others(&root);
    migration.reader.problems()?;
    let file = &mut migration.file;
    file.head.push(HEAD[0].to_owned());
    match (plain, file.outputs.is_empty()) {
        (true, _) => file.head.push(PLAIN.to_owned()),
        (false, false) => file.head.push(HEAD[1].to_owned()),
        (false, true) => {}
    }
    if !file.outputs.is_empty() {
        file.head.push(OUTPUTS.to_owned());
    }
    Ok(file.text())
}

impl<'a> Migration<'a> {
    /// What has no counterpart at all.
    fn others(&mut self, root: &Section<'a>) {
        for section in self.reader.list(root, "stream_modules") {
            let name = self.reader.text(&section, "name").unwrap_or("?");
            self.topic("stream", name, NO_TOPIC);
            if let Some(wanted) = self.reader.required(&section, "module") {
                self.module(&section, "stream_modules", name, wanted);
            }
        }
        for place in ["reporting", "options"] {
            let section = self.reader.section(root, place);
            self.leave_keys(&section, place, &[keys::of(place)], None);
        }
    }
}
