//! What may be written: the configuration key for key.
//!
//! These tables and those of drivers and buses are the single source for the check and for the JSON Schema. What is more than one
//! key's business (a password without a user name, two devices on one line) is in `check/`.

mod buses;
mod home_assistant;
mod http;
mod requests;
mod rules;
mod variables;

use std::time::Duration;

use crate::deadlines::LONGEST_DEAD_TIME;
use fieldgate_filters::Aggregate;
use fieldgate_model::{Field, Kind, Need};

pub use buses::{BUS, any_bus, bus};
pub use home_assistant::{HOME_ASSISTANT, SHOWN_MEASUREMENT, SHOWN_OUTPUT, SHOWN_OWN, SHOWN_SENSOR};
pub use http::{HTTP, METRICS};
pub use requests::REQUESTS;
pub use rules::{MANUAL, PUBLICATION, RULE};
pub use variables::VARIABLE;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

const fn field(name: &'static str, kind: Kind, need: Need, doc: &'static str) -> Field {
    Field { name, kind, need, doc }
}

/// The top level. `buses`, `sensors`, `actuators` and `variables` map the user's own names to sections.
/// `include` and `templates` are gone before the check begins (`parts/`).
pub static ROOT: &[Field] = &[
    field(
        "include",
        Kind::OneOrMany(&Kind::Path),
        Need::Optional,
        "files whose sections are joined with those of this one; * and ? stand for any characters of a file's name",
    ),
    field(
        "templates",
        Kind::DriverSettings,
        Need::Optional,
        "bodies of entries, used by `use:` of an entry; !param NAME stands for what differs",
    ),
    field("gateway", Kind::Section(GATEWAY), Need::Optional, "this gateway"),
    field("mqtt", Kind::Section(MQTT), Need::Required, "the broker and what is said to it"),
    field("spool", Kind::Section(SPOOL), Need::Optional, "where readings wait that the broker has not acknowledged"),
    field(
        "buses",
        Kind::Named(BUS),
        Need::Optional,
        "what sensors and outputs are connected to, by a name of your choice",
    ),
    field("sensors", Kind::Named(SENSOR), Need::Optional, "what is read and published, by a name of your choice"),
    field("actuators", Kind::Named(ACTUATOR), Need::Optional, "what obeys commands, by a name of your choice"),
    field(
        "variables",
        Kind::Named(VARIABLE),
        Need::Optional,
        "what is set by MQTT and used in formulas, by a name of your choice",
    ),
    field("requests", Kind::Section(REQUESTS), Need::Optional, "this key alone lets the gateway be asked by MQTT"),
    field(
        "rules",
        Kind::Named(RULE),
        Need::Optional,
        "what is done without anybody's command, by a name of your choice",
    ),
    field(
        "home_assistant",
        Kind::Section(HOME_ASSISTANT),
        Need::Optional,
        "this key alone makes every sensor and output appear in Home Assistant",
    ),
    field("http", Kind::Section(HTTP), Need::Optional, "the page, metrics and JSON for browsers and Prometheus"),
    field("metrics", Kind::Section(METRICS), Need::Optional, "the same metrics as a file"),
];

/// `gateway:`.
pub static GATEWAY: &[Field] =
    &[field("name", Kind::Name, Need::Optional, "the gateway's name; the host name up to the first dot if left out")];

/// `mqtt:`.
pub static MQTT: &[Field] = &[
    field(
        "broker",
        Kind::OneOrMany(&Kind::Text),
        Need::Required,
        "mqtt://, mqtts://, ws:// or wss:// and a host, without user or password, or unix:// and the path of a socket; a \
         list is tried in its order",
    ),
    field(
        "protocol",
        Kind::Choice(&["auto", "5", "3.1.1"]),
        Need::Default("auto"),
        "the generation of MQTT; auto: 5, or 3.1.1 with a broker that knows no other",
    ),
    field(
        "prefer_first",
        Kind::DurationOrNever { min: SECOND, max: DAY },
        Need::Default("10m"),
        "with a list of brokers: how often the first is looked at while another serves, to go back to it",
    ),
    field(
        "client_id",
        Kind::Text,
        Need::Optional,
        "the client identifier; fieldgate-<name>- and four digits of the machine's identity if left out; \"\" lets chance choose \
         one, and then clean_session must be true",
    ),
    field("clean_session", Kind::Flag, Need::Default("true"), "whether the broker forgets this client when it leaves"),
    field(
        "keep_alive",
        Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(18 * 3600) },
        Need::Default("60s"),
        "how long the line may be silent, in whole seconds, at least 1s",
    ),
    field(
        "bind_address",
        Kind::Text,
        Need::Optional,
        "source address, for boards with several interfaces; the system chooses if left out",
    ),
    field("username", Kind::Text, Need::Optional, "the user's name at the broker"),
    field(
        "password_file",
        Kind::Path,
        Need::Optional,
        "a file with the password; one newline at its end is not part of it",
    ),
    field("password_credential", Kind::Text, Need::Optional, "the name of a systemd credential with the password"),
    field("tls", Kind::Section(TLS), Need::Optional, "certificates for mqtts and wss"),
    field("base_topic", Kind::Text, Need::Optional, "what all topics begin with; fieldgate/<name> if left out"),
    field("qos", Kind::Integer { min: 0, max: 2 }, Need::Default("1"), "how surely readings are to arrive: 0, 1 or 2"),
    field("retain", Kind::Flag, Need::Default("false"), "whether the broker keeps the newest reading of each sensor"),
    field(
        "retain_state",
        Kind::Flag,
        Need::Default("true"),
        "whether the broker keeps status, states, devices and health; false for one that retains nothing",
    ),
    field(
        "plain",
        Kind::Flag,
        Need::Default("false"),
        "whether the newest value of each measurement and the state of each output are also published as bare text, retained",
    ),
    field("reconnect", Kind::Section(RECONNECT), Need::Optional, "how long to wait before a new connection"),
    field(
        "late_after",
        Kind::Duration { min: MS, max: YEAR },
        Need::Default("30s"),
        "from which age on a reading goes to the late topic",
    ),
];

/// `mqtt.tls:`.
pub static TLS: &[Field] = &[
    field(
        "ca_file",
        Kind::Path,
        Need::Optional,
        "who may sign the broker's certificate, PEM; the system's roots if left out",
    ),
    field("cert_file", Kind::Path, Need::Optional, "our own certificate, PEM"),
    field("key_file", Kind::Path, Need::Optional, "the key of our own certificate, PEM; others may not read it"),
    field(
        "key_credential",
        Kind::Text,
        Need::Optional,
        "instead of key_file: the name of a systemd credential with the key",
    ),
];

/// `mqtt.reconnect:`.
pub static RECONNECT: &[Field] = &[
    field("min", Kind::Duration { min: MS, max: DAY }, Need::Default("1s"), "the shortest wait"),
    field("max", Kind::Duration { min: MS, max: DAY }, Need::Default("60s"), "the longest wait"),
];

/// `spool:`.
pub static SPOOL: &[Field] = &[
    field("path", Kind::Path, Need::Default("/var/lib/fieldgate"), "a folder, made if absent"),
    field(
        "max_size",
        Kind::Size { min: 1 << 20, max: 1 << 40 },
        Need::Default("64MiB"),
        "how much of the disk it takes at most",
    ),
    field(
        "commit_every",
        Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(3600) },
        Need::Default("1s"),
        "what is not acknowledged for this long is on disk; 0s: before it is offered to the broker",
    ),
    field(
        "when_full",
        Kind::Choice(&["drop_oldest", "drop_newest"]),
        Need::Default("drop_oldest"),
        "what gives way when max_size is reached",
    ),
];

/// An entry under `sensors:`.
pub static SENSOR: &[Field] = &[
    field("driver", Kind::Text, Need::Required, "which driver; `fieldgate drivers` lists them"),
    field("bus", Kind::Name, Need::Optional, "the bus it is connected to; required but for drivers that need none"),
    field(
        "every",
        Kind::Duration { min: MS, max: YEAR },
        Need::Optional,
        "how often it is read; required but for contacts, pulse counters and computed sensors, which are read each 60s if it is left out",
    ),
    field("qos", Kind::Integer { min: 0, max: 2 }, Need::Optional, "instead of mqtt.qos, which applies if left out"),
    field("retain", Kind::Flag, Need::Optional, "instead of mqtt.retain, which applies if left out"),
    field("settings", Kind::DriverSettings, Need::Optional, "the driver's own keys"),
    field(
        "filters",
        Kind::Filters,
        Need::Optional,
        "what is done to samples: for each measurement a list of filters; `fieldgate filters` lists them",
    ),
    field("report", Kind::Section(REPORT), Need::Optional, "which samples become readings; each of them if left out"),
    field(
        "home_assistant",
        Kind::PerMeasurement { own: SHOWN_SENSOR, each: SHOWN_MEASUREMENT },
        Need::Optional,
        "how it appears in Home Assistant, and below the name of a measurement how that one does",
    ),
];

/// `report:` of a sensor.
pub static REPORT: &[Field] = &[
    field(
        "delta",
        Kind::Deltas,
        Need::Optional,
        "for each measurement, by how much it must have moved since the last reading to make another",
    ),
    field(
        "min_interval",
        Kind::Duration { min: MS, max: YEAR },
        Need::Optional,
        "a change makes no reading sooner than this after the last",
    ),
    field(
        "max_interval",
        Kind::Duration { min: MS, max: YEAR },
        Need::Optional,
        "there is a reading after this time without any change",
    ),
    field(
        "aggregate",
        Kind::OneOrMany(&Kind::Choice(Aggregate::NAMES)),
        Need::Optional,
        "what a reading says of all samples since the last one, the first under the plain name; the newest value if left out",
    ),
];

const LIMIT: Kind = Kind::Duration { min: MS, max: YEAR };

/// An entry under `actuators:`.
pub static ACTUATOR: &[Field] = &[
    field("driver", Kind::Text, Need::Required, "which driver; `fieldgate drivers` lists them"),
    field("bus", Kind::Name, Need::Required, "the bus it is connected to"),
    field(
        "safe_state",
        Kind::State,
        Need::Required,
        "on, off, a number, or stop, open or close; taken at start, at stop, and when the link has been lost for safe_after",
    ),
    field(
        "safe_after",
        Kind::DurationOrNever { min: SECOND, max: YEAR },
        Need::Default("30s"),
        "how long after the broker's last byte the safe state is taken; never keeps the last state",
    ),
    field("max_on", LIMIT, Need::Optional, "on for so long at most, then the safe state, however often on is repeated"),
    field("min_on", LIMIT, Need::Optional, "on for so long at least; a command to go off waits"),
    field(
        "min_off",
        LIMIT,
        Need::Optional,
        "off for so long at least, also after the start; a command to go on is refused",
    ),
    field(
        "switches_per_hour",
        Kind::Integer { min: 1, max: 3600 },
        Need::Optional,
        "commands may switch it away from its safe state so often within an hour",
    ),
    field(
        "interlock",
        Kind::OneOrMany(&Kind::Name),
        Need::Optional,
        "outputs that must not be on beside it, nor it beside them",
    ),
    field(
        "dead_time",
        Kind::Duration { min: Duration::ZERO, max: LONGEST_DEAD_TIME },
        Need::Default("100ms"),
        "rest between the end of one interlocked output and the beginning of another",
    ),
    field(
        "max_age",
        Kind::DurationOrNever { min: SECOND, max: YEAR },
        Need::Default("60s"),
        "a command that was issued longer ago, by its issued_at, is refused",
    ),
    field("settings", Kind::DriverSettings, Need::Optional, "the driver's own keys"),
    field("home_assistant", Kind::Section(SHOWN_OUTPUT), Need::Optional, "how it appears in Home Assistant"),
];
