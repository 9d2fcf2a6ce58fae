//! The command line: what the program can be asked to do. The manual pages and the completions of the shells are made of it.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Parser, Subcommand};

use crate::cli::since;
use crate::config;
use fieldgate_link::Broker;
use fieldgate_model::topic;

/// Sensors and relays of a Linux board on MQTT.
///
/// Exit codes: 0 done, 1 failed at run time, 2 usage, 78 configuration.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Arguments {
    /// The subcommand with its options.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service
    Run(ConfigFile),
    /// Report every problem of a configuration, or what it will publish and subscribe
    Check {
        /// The file to read, from `--config`; by default the one of the package.
        #[command(flatten)]
        config: ConfigFile,
        /// Whether the result is printed for people or as JSON.
        #[command(flatten)]
        output: Output,
    },
    /// Run a simulated greenhouse with its own broker: no hardware, no file
    ///
    /// Run a simulated greenhouse with its own broker: no hardware, no file. Only a program built in a clone of the sources has
    /// it; the packages leave it out.
    Demo {
        /// The broker's port on loopback; the next free one is taken if it is in use
        #[arg(long, default_value_t = 1883, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
        /// Where else than on a broker of its own.
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Find what is wrong on this board and on the way to the broker, with a line that mends it
    ///
    /// Find what is wrong: configuration, board, buses, groups, clock, disk, spool, unit, and the way to each broker up to a publication
    /// that comes back. Nothing is changed, and the service may run. Exit code 1 if something is wrong.
    Doctor {
        /// The file to read, from `--config`; by default the one of the package.
        #[command(flatten)]
        config: ConfigFile,
        /// Whether the result is printed for people or as JSON.
        #[command(flatten)]
        output: Output,
    },
    /// List the drivers, or show one driver's page
    Drivers {
        /// The driver to show
        name: Option<String>,
        /// Whether the result is printed for people or as JSON.
        #[command(flatten)]
        output: Output,
    },
    /// Print the readings that wait in the spool, for a board that never saw a network
    ///
    /// Print the readings that wait in the spool, for a board that never saw a network: one JSON object a line, as they would be
    /// published, or CSV. The spool is not changed, and the service may go on running; what it read in the last `commit_every` is not on
    /// the disk yet.
    Export(Exported),
    /// List the filters, or show one filter's page
    Filters {
        /// The filter to show
        name: Option<String>,
        /// Whether the result is printed for people or as JSON.
        #[command(flatten)]
        output: Output,
    },
    /// Clear what this gateway left at the broker, and in Home Assistant, when it is not to come back
    ///
    /// Clear what this gateway left at the broker, and in Home Assistant, when it is not to come back: status, health, states, plain
    /// topics and announcements. Stop the service first.
    Forget {
        /// The file to read, from `--config`; by default the one of the package.
        #[command(flatten)]
        config: ConfigFile,
        /// Whether the result is printed for people or as JSON.
        #[command(flatten)]
        output: Output,
    },
    /// Print the configuration that one of mqtt-io 2 becomes, with comments on what could not be carried
    Migrate {
        /// The configuration of mqtt-io
        file: PathBuf,
        /// Publish bare text below mqtt-io's own prefix, for when mqtt-io has been stopped
        #[arg(long)]
        plain: bool,
    },
    /// Sample one sensor once and print it, for checking the wiring
    Read {
        /// The sensor's name in the configuration
        sensor: String,
        /// The file to read, from `--config`; by default the one of the package.
        #[command(flatten)]
        config: ConfigFile,
        /// Whether the result is printed for people or as JSON.
        #[command(flatten)]
        output: Output,
    },
    /// List what this board has: buses, the chips on them, lines, kernel sensors, and what is switched off
    Scan {
        /// Print a configuration to paste
        #[arg(long, conflicts_with = "json")]
        yaml: bool,
        /// Whether the result is printed for people or as JSON.
        #[command(flatten)]
        output: Output,
    },
    /// Print the rules in words, or what they would have done with recorded readings
    Rules {
        /// The file to read, from `--config`; by default the one of the package.
        #[command(flatten)]
        config: ConfigFile,
        /// Recorded readings, one JSON object a line; they are replayed in virtual time
        #[arg(long, value_name = "READINGS")]
        replay: Option<PathBuf>,
    },
    /// Drive every output to its safe state and end
    SafeState(ConfigFile),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Follow a running gateway in the terminal: its sensors, outputs and alarms
    ///
    /// Follow a running gateway in the terminal: its sensors, outputs and alarms. Into a pipe it prints a line for everything that comes.
    /// It only subscribes, and reaches the broker as the gateway's configuration says, or from elsewhere by `--broker` and `--base-topic`.
    Watch(Watched),
}

/// Which gateway.
#[derive(Debug, clap::Args)]
pub struct Watched {
    /// The broker, in place of the configuration's, such as mqtt://broker.lan
    #[arg(long, value_name = "BROKER", value_parser = config::broker_address, requires = "base_topic", conflicts_with = "config")]
    pub broker: Option<Broker>,
    /// The topic below which the gateway publishes there, such as fieldgate/shed
    #[arg(long, value_name = "B", value_parser = base_topic, requires = "broker")]
    pub base_topic: Option<String>,
    /// The user at that broker
    #[arg(long, requires = "broker", requires = "password_file")]
    pub username: Option<String>,
    /// The file with that user's password
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
    /// Who may sign that broker's certificate, with mqtts:// and wss://; otherwise whom this system trusts
    #[arg(long, value_name = "FILE", requires = "broker")]
    pub ca_file: Option<PathBuf>,
    /// The file to read, from `--config`; by default the one of the package.
    #[command(flatten)]
    pub config: ConfigFile,
}

fn base_topic(text: &str) -> Result<String, String> {
    topic::check_base(text).map(|()| text.to_owned())
}

/// The demo on a broker that is there already.
#[derive(Debug, clap::Args)]
pub struct Elsewhere {
    /// Announce the greenhouse to Home Assistant, on the broker that it uses, in place of a broker of its own; at the end everything is
    /// removed there
    #[arg(long, value_name = "BROKER", value_parser = config::broker_address, conflicts_with = "port")]
    pub home_assistant: Option<Broker>,
    /// The user at that broker
    #[arg(long, requires = "home_assistant", requires = "password_file")]
    pub username: Option<String>,
    /// The file with that user's password
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
}

/// What of the spool, and how.
#[derive(Debug, clap::Args)]
pub struct Exported {
    /// Only readings taken since then, such as 2026-11-22T10:00:00Z (UTC) or 2h ago; those from before the clock was set come in any case
    #[arg(long, value_name = "T", value_parser = since::parse)]
    pub since: Option<SystemTime>,
    /// Print CSV, a row for each measurement: time, sensor, measurement, value, unit, run, seq, clock
    #[arg(long)]
    pub csv: bool,
    /// Print answers to commands, what rules published and loss records as well
    #[arg(long, conflicts_with = "csv")]
    pub all: bool,
    /// The spool's folder, or a file of it that was set aside, in place of the configuration's
    #[arg(long, value_name = "PATH")]
    pub spool: Option<PathBuf>,
    /// The file to read, from `--config`; by default the one of the package.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Which file.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(long, value_name = "F", default_value = config::DEFAULT_PATH)]
    pub config: PathBuf,
}

/// In which form.
#[derive(Debug, clap::Args)]
pub struct Output {
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}
