//! The `fieldgate` program: arguments, logging and exit codes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use fieldgate::cli::scan::Form;
use fieldgate::{cli, config};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sensors and relays of a Linux board on MQTT.
///
/// Exit codes: 0 done, 1 failed at run time, 2 usage, 78 configuration.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Run(ConfigFile),
    /// Report every problem of a configuration, or what it will publish and subscribe
    Check {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        output: Output,
    },
    /// Run a simulated greenhouse with its own broker: no hardware, no file
    #[cfg(feature = "demo")]
    Demo {
        /// The broker's port on loopback; the next free one is taken if it is in use
        #[arg(long, default_value_t = 1883, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
    },
    /// List the drivers, or show one driver's page
    Drivers {
        /// The driver to show
        name: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Sample one sensor once and print it, for checking the wiring
    Read {
        /// The sensor's name in the configuration
        sensor: String,
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        output: Output,
    },
    /// List what this board has: buses, the chips on them, lines, kernel sensors, and what is switched off
    Scan {
        /// Print a configuration to paste
        #[arg(long, conflicts_with = "json")]
        yaml: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Drive every output to its safe state and end
    SafeState(ConfigFile),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, value_name = "F", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Output {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

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
