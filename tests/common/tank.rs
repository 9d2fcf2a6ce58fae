//! What tests of rules stand on: a tank with a thermometer, two outputs, and rules that go round in a circle.

/// A thermometer at 0x49, `heater` on GPIO22 and `other` on GPIO23. A sample is good for three periods: a machine that stops the program for
/// so long makes the temperature unknown to rules.
pub const DEVICES: &str = "buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  tank: { driver: tmp102, bus: bench, every: 200ms, settings: { address: 0x49 } }
actuators:
  heater: { driver: gpio-output, bus: bench, settings: { line: GPIO22 }, safe_state: \"off\", safe_after: 1s }
  other: { driver: gpio-output, bus: bench, settings: { line: GPIO23 }, safe_state: \"off\", safe_after: 1s }
";

const MIRROR: &str =
    "  mirror: { driver: formula, every: 1h, settings: { on: { formula: \"if(heater.value == 'on', 1, 0)\" } } }\n";

/// Rules that go round in a circle, over [`circle_devices`].
pub const CIRCLE: &str = "rules:
  one: { when: other.value == \"off\", set: { heater: on } }
  two: { when: mirror.on > 0, set: { other: on } }
";

/// The devices with a computed sensor in the circle: rules that look at each other's outputs themselves are an error of the configuration.
pub fn circle_devices() -> String {
    DEVICES.replace("actuators:\n", &format!("{MIRROR}actuators:\n"))
}
