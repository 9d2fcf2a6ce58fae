//! gpio-pulse: a gate opener, a door strike or a bell on a GPIO line, on for a fixed time and then off by itself.
//!
//! The line is that of [`gpio-output`](crate::gpio_output). The time is kept by the guard over the output, not here:
//! it counts from the command, also while the link, the disk and every sensor are dead, and nothing makes it longer.

use std::time::Duration;

use crate::gpio_output::{ACTIVE_LOW, GpioOutput, LINE, line};
use crate::{BusNeed, DriverSpec, Proof, Role};
use fieldgate_bus::Bus;
use fieldgate_model::{Field, Kind, Need, OutputKind, Pace};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "gpio-pulse",
    summary: "a gate opener, a door strike or a bell on a GPIO line: on for a moment, then off by itself",
    page: "\
Wiring: a line drives a few milliamperes at 3.3 V; put a transistor or a relay
board on it. Gate openers have a contact for a push button: the relay's
contact goes beside it.

on begins a pulse, which ends by itself after duration; another on meanwhile
is answered with busy, so that a nervous finger does not open, stop and close
a gate. off ends a pulse early. The safe state is off. min_off keeps the next
pulse away for a while, switches_per_hour bounds how many there are.

After a crash the line may be left on until systemd has run `fieldgate
safe-state`, some tenths of a second later. What must never be on for longer
than a moment, such as the coil of some door strikes, needs a relay with a
timer of its own.

What is said about lines, resistors and expanders under `fieldgate drivers
gpio-output` applies here too.",
    bus: BusNeed::Gpio,
    settings: &[LINE, ACTIVE_LOW, DURATION],
    claims: line,
    wrong: |_| None,
    role: Role::Actuator {
        kind: |_| OutputKind::Pulse,
        pace: |settings| Pace::Pulse(settings.duration("duration")),
        build: |bus: &mut dyn Bus, settings, value| Ok(Box::new(GpioOutput::claim(bus, settings, value)?)),
    },
    example: "\
gate:
  driver: gpio-pulse
  bus: header
  settings: { line: GPIO23, active_low: true, duration: 500ms }
  safe_state: \"off\"",
    identity: None,
    chip: None,
    proofs: &[Proof::Kernel("pinctrl-bcm2835")],
};

/// Shorter is less than many relays need to close, longer is no pulse.
const DURATION: Field = Field {
    name: "duration",
    kind: Kind::Duration { min: Duration::from_millis(10), max: Duration::from_secs(10) },
    need: Need::Default("500ms"),
    doc: "how long it is on",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::settings;
    use fieldgate_bus::Claim;
    use fieldgate_bus::sim::SimBus;
    use fieldgate_model::OutputValue;

    #[test]
    fn a_pulse_has_its_duration_and_takes_no_other_word() {
        let given = settings(&SPEC, &[("line", "GPIO23"), ("duration", "250ms")]);
        let Role::Actuator { kind, pace, build, .. } = &SPEC.role else { panic!("an actuator") };
        assert_eq!((kind(&given), pace(&given)), (OutputKind::Pulse, Pace::Pulse(Duration::from_millis(250))));
        assert_eq!((SPEC.claims)(&given), [Claim::Line("GPIO23".into())]);
        let mut bus = SimBus::open(None, crate::chip).unwrap();
        let mut gate = build(&mut bus, &given, OutputValue::Switch(false)).unwrap();
        for on in [true, false] {
            gate.apply(OutputValue::Switch(on)).unwrap();
            assert_eq!(gate.read_back().unwrap(), Some(OutputValue::Switch(on)));
        }
        assert!(gate.apply(OutputValue::Percent(1.0)).is_err());
    }
}
