//! The `fieldgate` program: which command runs, logging and exit codes.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;
use fieldgate::cli;
use fieldgate::cli::arguments::{Arguments, Command};
use fieldgate::cli::scan::Form;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Run(file) => {
            log("info");
            cli::run::run(&file.config)
        }
        Command::Check { config, output } => cli::check::run(&config.config, output.json),
        #[cfg(feature = "demo")]
        Command::Demo { port } => {
            log("error");
            cli::demo::run(port)
        }
        Command::Drivers { name, output } => cli::drivers::run(name.as_deref(), output.json),
        Command::Read { sensor, config, output } => {
            log("warn");
            cli::read::run(&sensor, &config.config, output.json)
        }
        Command::Scan { yaml, output } => {
            let plain = if output.json { Form::Json } else { Form::Text };
            cli::scan::run(if yaml { Form::Yaml } else { plain })
        }
        Command::SafeState(file) => {
            log("info");
            cli::safe_state::run(&file.config)
        }
        Command::Schema => cli::schema::run(),
    }
}

/// Logs to the journal when systemd has connected stderr to it, else as lines to stderr. `RUST_LOG` overrides `level`:
/// a level, or targets with levels such as `info,fieldgate::link=debug`.
fn log(level: &str) {
    let quiet = format!("{level},rumqttc_v5=off,rumqttc_v4=off,rumqttc=off,rumqttd=off,rustls=error");
    let asked = std::env::var("RUST_LOG").unwrap_or(quiet.clone());
    // Plain targets instead of `EnvFilter`, which brings an engine for regular expressions along.
    let filter = Targets::from_str(&asked).or_else(|_| Targets::from_str(&quiet)).unwrap_or_default();
    let journal = cli::is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref())
        .then(tracing_journald::layer)
        .and_then(Result::ok)
        .map(|layer| layer.with_syslog_identifier("fieldgate".into()));
    let lines = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(cli::colour())
            .with_target(false)
            .boxed()
    });
    tracing_subscriber::registry().with(filter).with(journal).with(lines).init();
}
