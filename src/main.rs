//! The `fieldgate` program: which command runs, how much it logs, and its exit code.

use std::process::ExitCode;

use clap::Parser;
use fieldgate::cli;
use fieldgate::cli::arguments::{Arguments, Command};
use fieldgate::cli::log;
use fieldgate::cli::scan::Form;

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // `safe-state` belongs to the service's end.
    let is_service = matches!(command, Command::Run(_) | Command::Demo { .. } | Command::SafeState(_));
    let code = run(command);
    log::flush(is_service);
    code
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Run(file) => {
            log::start("info");
            cli::run::run(&file.config)
        }
        Command::Check { config, output } => cli::check::run(&config.config, output.json),
        Command::Demo { port, elsewhere } => {
            log::start("error");
            cli::demo::run(port, elsewhere)
        }
        Command::Doctor { config, output } => cli::doctor::run(&config.config, output.json),
        Command::Drivers { name, output } => cli::drivers::run(name.as_deref(), output.json),
        Command::Export(exported) => cli::export::run(exported),
        Command::Filters { name, output } => cli::filters::run(name.as_deref(), output.json),
        Command::Forget { config, output } => cli::forget::run(&config.config, output.json),
        Command::Migrate { file, plain } => cli::migrate::run(&file, plain),
        Command::Read { sensor, config, output } => {
            log::start("warn");
            cli::read::run(&sensor, &config.config, output.json)
        }
        Command::Scan { yaml, output } => {
            let plain = if output.json { Form::Json } else { Form::Text };
            cli::scan::run(if yaml { Form::Yaml } else { plain })
        }
        Command::Rules { config, replay } => cli::rules::run(&config.config, replay.as_deref()),
        Command::SafeState(file) => {
            log::start("info");
            cli::safe_state::run(&file.config)
        }
        Command::Schema => cli::schema::run(),
        Command::Watch(watched) => cli::watch::run(watched),
    }
}
