//! The keys of mqtt-io 2.7 that all its modules have in common, one line each. Those of single modules are in `modules.rs`.

use super::table::{Key, Part, carried, left};

/// What becomes of a key of `ha_discovery` that is not in the table: mqtt-io hands any to Home Assistant.
pub const ANY_DISCOVERY: &str =
    "class, unit and icon follow from the measurement; change them in Home Assistant, on the entity";

/// Every section with its keys.
pub static PARTS: &[Part] = &[
    Part { place: "", keys: TOP },
    Part { place: "mqtt", keys: MQTT },
    Part { place: "mqtt.tls", keys: TLS },
    Part { place: "mqtt.ha_discovery", keys: DISCOVERY },
    Part { place: "gpio_modules", keys: GPIO_MODULES },
    Part { place: "sensor_modules", keys: SENSOR_MODULES },
    Part { place: "stream_modules", keys: STREAM_MODULES },
    Part { place: "digital_inputs", keys: DIGITAL_INPUTS },
    Part { place: "digital_inputs.ha_discovery", keys: INPUT_DISCOVERY },
    Part { place: "digital_outputs", keys: DIGITAL_OUTPUTS },
    Part { place: "digital_outputs.ha_discovery", keys: OUTPUT_DISCOVERY },
    Part { place: "sensor_inputs", keys: SENSOR_INPUTS },
    Part { place: "sensor_inputs.ha_discovery", keys: SENSOR_DISCOVERY },
    Part { place: "reporting", keys: REPORTING },
    Part { place: "options", keys: OPTIONS },
];

const CLEANUP: Key =
    left("cleanup", "a line is always released at the end; docs/buses.md says what an output does then");

static TOP: &[Key] = &[
    carried("mqtt", "`mqtt:`"),
    carried("gpio_modules", "`buses:`"),
    carried("sensor_modules", "`sensors:`, one for each chip"),
    left("stream_modules", "there are no streams of raw bytes; let mqtt-io go on with these alone"),
    carried("digital_inputs", "`sensors:` with `driver: gpio-input`"),
    carried("digital_outputs", "`actuators:` with `driver: gpio-output`"),
    carried("sensor_inputs", "measurements of the sensor that its module has become"),
    left("logging", "the log goes to the journal; RUST_LOG sets how detailed it is, docs/service.md says how"),
    carried("reporting", "key by key"),
    carried("options", "key by key"),
];

static MQTT: &[Key] = &[
    carried("host", "`broker`"),
    carried("port", "`broker`"),
    carried("user", "`username`"),
    carried("password", "`password_credential`: the password itself goes into a file that only root reads"),
    left("client_id", "two clients of one id throw each other out, so while mqtt-io runs it must be another"),
    carried("topic_prefix", "`base_topic` with `--plain`; without it the default, so that both can run"),
    carried("clean_session", "`clean_session`"),
    carried("protocol", "`protocol`; 3.1, which is not spoken here, becomes the default"),
    carried("keepalive", "`keep_alive`, 18h at most"),
    left("status_topic", "it is called status, below the base topic"),
    left("status_payload_running", "the status says online"),
    left("status_payload_stopped", "the status says offline"),
    left("status_payload_dead", "the status says offline"),
    left("client_module", "there is one client"),
    carried("ha_discovery", "`home_assistant:`, if enabled"),
    carried("tls", "`mqtts://` and `tls:`, if enabled"),
    carried("reconnect_delay", "`reconnect.min`"),
    left("reconnect_count", "it never gives up"),
];

static TLS: &[Key] = &[
    carried("enabled", "`mqtts://` in `broker`"),
    carried("ca_certs", "`ca_file`"),
    carried("certfile", "`cert_file`"),
    carried("keyfile", "`key_credential`: the key goes into a folder that only root reads"),
    left("cert_reqs", "the certificate is always verified; one of your own is trusted by ca_certs, here ca_file"),
    left("tls_version", "TLS 1.2 or 1.3, whichever the broker speaks"),
    left("ciphers", "the TLS library chooses them"),
    left("insecure", "the name in the certificate is always verified; write in `broker` the name that it has"),
];

static DISCOVERY: &[Key] = &[
    carried("enabled", "`home_assistant:` is there"),
    carried("prefix", "`home_assistant.prefix`"),
    carried("name", "`home_assistant.name`"),
];

static GPIO_MODULES: &[Key] =
    &[carried("name", "the name of the bus"), carried("module", "`type` of the bus"), CLEANUP];

static SENSOR_MODULES: &[Key] = &[
    carried("name", "the name of the sensor, where it has several measurements"),
    carried("module", "`driver`"),
    CLEANUP,
];

const NO_STREAM: &str = "there are no streams of raw bytes";

static STREAM_MODULES: &[Key] = &[
    left("name", NO_STREAM),
    left("module", NO_STREAM),
    left("cleanup", NO_STREAM),
    left("retain", NO_STREAM),
    left("read_interval", NO_STREAM),
    left("retry_interval", NO_STREAM),
    left("read", NO_STREAM),
    left("write", NO_STREAM),
];

const PAYLOADS: &str = "readings are JSON with true and false; as bare text (--plain) true and false too";
const STATES: &str = "states are on and off, and commands take ON and OFF in upper case as well";

static DIGITAL_INPUTS: &[Key] = &[
    carried("name", "the name of the sensor"),
    carried("module", "`bus`"),
    carried("pin", "`line`"),
    left("on_payload", PAYLOADS),
    left("off_payload", PAYLOADS),
    carried("inverted", "`active_low`"),
    carried("pullup", "`bias: pull-up`"),
    carried("pulldown", "`bias: pull-down`, which expanders do not have"),
    carried("interrupt", "nothing to write: every change of either edge is reported at once"),
    carried("interrupt_for", "`interrupt` of the expander's bus, whose inputs it names"),
    carried("bouncetime", "`debounce`, 50ms at most; 20ms where it is left out"),
    carried("retain", "`retain`"),
    carried("poll_interval", "`every` of an expander's bus; elsewhere the kernel reports each change"),
    left("poll_when_interrupt_for", "an expander with an interrupt line is read once a second besides"),
    carried("ha_discovery", "`home_assistant:` of the sensor, if discovery is enabled"),
];

static INPUT_DISCOVERY: &[Key] =
    &[carried("name", "`name`"), left("component", "an input is a binary_sensor, and a click an event")];

static DIGITAL_OUTPUTS: &[Key] = &[
    carried("name", "the name of the output"),
    carried("module", "`bus`"),
    carried("pin", "`line`"),
    left("on_payload", STATES),
    left("off_payload", STATES),
    carried("inverted", "`active_low`"),
    carried("timed_set_ms", "`max_on`, where the safe state is off; an off that ends by itself is not carried"),
    carried("initial", "`safe_state`, which is also taken at the end; off where it is left out"),
    left("publish_initial", "what an output does is always published at the start"),
    left("retain", "states are always retained"),
    carried("ha_discovery", "`home_assistant:` of the output, if discovery is enabled"),
];

static OUTPUT_DISCOVERY: &[Key] = &[
    carried("name", "`name`"),
    carried("component", "`as`: light, fan, valve, siren or lock; a switch if it is another"),
];

static SENSOR_INPUTS: &[Key] = &[
    carried("name", "the name of the sensor, or where the chip has several the name in Home Assistant"),
    carried("module", "the sensor that the module has become"),
    carried("retain", "`retain` of the sensor, for all its measurements"),
    carried("interval", "`every`, the shortest of a chip's inputs"),
    carried("digits", "the filter `round`; where it is left out, the decimals that the chip means"),
    carried("ha_discovery", "`home_assistant:` of the measurement, if discovery is enabled"),
];

static SENSOR_DISCOVERY: &[Key] = &[
    carried("name", "`name` of the measurement"),
    left("component", "a number is a sensor"),
    left("expire_after", "a value expires after three periods, or is retained and has a status"),
];

static REPORTING: &[Key] =
    &[left("enabled", "nothing is reported to anybody"), left("issue_id", "nothing is reported to anybody")];

static OPTIONS: &[Key] = &[left("install_requirements", "there is nothing to install: all drivers are in the program")];

/// The keys of the section at `place`.
pub fn of(place: &str) -> &'static [Key] {
    PARTS.iter().find(|part| part.place == place).map_or(&[], |part| part.keys)
}
