//! gpio-cover: a blind, a shutter, an awning or a motor valve with two relays on two GPIO lines, one for each way.
//!
//! Promises: the two relays are never on together. The one is driven on only after the other has been driven off and has read
//! off; where it does not, both are driven off, and that is an error. How long the motor runs, where the cover is and how
//! long the motor rests before it turns is not known here but to the thread that drives it, by [`Pace::Travel`].

use std::time::Duration;

use crate::gpio_output::ACTIVE_LOW;
use crate::{Actuator, BusNeed, DriverError, DriverSpec, Proof, Role};
use fieldgate_bus::{Bus, BusError, Claim, OutputLine, OutputRequest};
use fieldgate_model::{Field, Kind, Need, OutputKind, OutputValue, Pace, Settings, Travel};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "gpio-cover",
    summary: "a blind, a shutter, an awning or a motor valve with two relays: open, close, stop, 0 to 100 percent",
    page: "\
Wiring: one relay switches the motor to open, another one to close. The lines
drive relay boards or transistors, no motors. Wire the relays so that they
exclude each other: the supply of the one through the resting contact of the
other. This driver never has both on, drives one only after the other has read
off, and lets the motor rest for `pause` before it turns; but a relay whose
contact is welded shut is not seen from here.

Measure opening and closing with a watch: how long the motor really takes from
end to end. Positions are computed from these times. Towards an end the motor
runs longer by overrun, until its end switches stop it, so that the position
is surely known there; a motor without end switches needs overrun: 0s, or it
works against its stop.

After a start the position is unknown until an end was reached. A position
that is asked for before is reached by way of the nearer end. calibrate closes
it for the whole time, whatever was believed before.

The safe state is stop, open or close. stop is right for most: at the end of
the program the motor always stops, for nobody would be there to stop it
later. open or close is taken at start and when the link was lost for
safe_after. After a crash the motor runs on until systemd has run `fieldgate
safe-state`, some tenths of a second later; the end switches work meanwhile.

With a relay for power and another one for the direction this driver must not
be used: there, both may be on. What is said about lines, resistors and
expanders under `fieldgate drivers gpio-output` applies here too.",
    bus: BusNeed::Gpio,
    settings: &[
        Field {
            name: "open_line",
            kind: Kind::Line,
            need: Need::Required,
            doc: "the line of the relay that opens: a name such as GPIO5, or a number",
        },
        Field { name: "close_line", kind: Kind::Line, need: Need::Required, doc: "the line of the relay that closes" },
        ACTIVE_LOW,
        Field { name: "opening", kind: TRAVEL, need: Need::Required, doc: "how long it takes from closed to open" },
        Field { name: "closing", kind: TRAVEL, need: Need::Required, doc: "how long it takes from open to closed" },
        Field {
            name: "overrun",
            kind: Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(60) },
            need: Need::Default("2s"),
            doc: "how much longer the motor runs towards an end",
        },
        Field {
            name: "pause",
            // A relay takes up to 20 ms to let go.
            kind: Kind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(10) },
            need: Need::Default("500ms"),
            doc: "how long the motor rests before it turns the other way",
        },
    ],
    claims: |settings| ["open_line", "close_line"].map(|line| Claim::Line(settings.text(line).to_owned())).into(),
    wrong: |_| None,
    role: Role::Actuator {
        kind: |_| OutputKind::Cover,
        pace: |settings| Pace::Travel {
            opening: settings.duration("opening"),
            closing: settings.duration("closing"),
            overrun: settings.duration("overrun"),
            pause: settings.duration("pause"),
        },
        build: |bus: &mut dyn Bus, settings, value| Ok(Box::new(GpioCover::claim(bus, settings, value)?)),
    },
    example: "\
blind:
  driver: gpio-cover
  bus: header
  settings: { open_line: GPIO5, close_line: GPIO6, active_low: true, opening: 32s, closing: 30s }
  safe_state: stop",
    identity: None,
    chip: None,
    proofs: &[Proof::Kernel("pinctrl-bcm2835")],
};

/// From a small valve to a large awning.
const TRAVEL: Kind = Kind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(1800) };

/// The relay of one direction.
struct Relay {
    name: String,
    line: Box<dyn OutputLine>,
}

impl Relay {
    /// Off from the first moment.
    fn claim(bus: &mut dyn Bus, settings: &Settings, key: &str) -> Result<Self, BusError> {
        let (name, active_low) = (settings.text(key).to_owned(), settings.flag("active_low"));
        let request = OutputRequest { line: name.clone(), active_low, active: false };
        Ok(Self { line: bus.output(&request)?, name })
    }

    /// Returns only when it reads off.
    fn off(&mut self) -> Result<(), DriverError> {
        self.line.set(false)?;
        if self.line.is_active()? { Err(DriverError::StaysOn { line: self.name.clone() }) } else { Ok(()) }
    }
}

struct GpioCover {
    open: Relay,
    close: Relay,
}

impl GpioCover {
    fn claim(bus: &mut dyn Bus, settings: &Settings, value: OutputValue) -> Result<Self, DriverError> {
        // The one is driven off also where the other cannot be claimed.
        let [open, close] = ["open_line", "close_line"].map(|key| Relay::claim(bus, settings, key));
        let mut cover = Self { open: open?, close: close? };
        cover.apply(value)?;
        Ok(cover)
    }

    fn travel(&mut self, travel: Travel) -> Result<(), DriverError> {
        let (other, own) = match travel {
            Travel::Opening => (&mut self.close, &mut self.open),
            Travel::Closing => (&mut self.open, &mut self.close),
            Travel::Stopped => return self.stop(),
        };
        other.off()?;
        Ok(own.line.set(true)?)
    }

    fn relays(&mut self) -> Result<(bool, bool), BusError> {
        Ok((self.open.line.is_active()?, self.close.line.is_active()?))
    }

    /// Each is tried, whatever becomes of the other.
    fn stop(&mut self) -> Result<(), DriverError> {
        let (open, close) = (self.open.off(), self.close.off());
        open.and(close)
    }
}

impl Actuator for GpioCover {
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError> {
        let OutputValue::Cover { travel, .. } = value else { return Err(DriverError::Foreign(value)) };
        let outcome = self.travel(travel);
        if outcome.is_err() {
            // What went wrong is reported; this is the best that can be done about it.
            self.stop().ok();
        }
        outcome
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        let travel = match self.relays() {
            Ok((false, false)) => Travel::Stopped,
            Ok((true, false)) => Travel::Opening,
            Ok((false, true)) => Travel::Closing,
            Ok((true, true)) => {
                self.stop()?;
                return Err(DriverError::BothOn(self.open.name.clone(), self.close.name.clone()));
            }
            Err(e) => {
                self.stop().ok();
                return Err(e.into());
            }
        };
        Ok(Some(OutputValue::Cover { travel, position: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::settings;
    use fieldgate_bus::expander;
    use fieldgate_bus::expander::{Expander, Model};
    use fieldgate_bus::sim::SimBus;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    const TRAVELS: [Travel; 3] = [Travel::Stopped, Travel::Opening, Travel::Closing];

    fn cover(travel: Travel) -> OutputValue {
        OutputValue::Cover { travel, position: None }
    }

    fn blind(open: &str, close: &str, active_low: bool) -> Settings {
        let active_low = active_low.to_string();
        let given = [("open_line", open), ("close_line", close), ("opening", "10s"), ("closing", "8s")];
        settings(&SPEC, &[&given[..], &[("active_low", active_low.as_str())]].concat())
    }

    /// What the two relays really do, and what goes wrong with the lines: one byte a use, round and round.
    #[derive(Default)]
    struct Wires {
        on: [bool; 2],
        faults: Vec<u8>,
        used: usize,
    }

    impl Wires {
        fn fault(&mut self) -> u8 {
            self.used += 1;
            self.faults.get(self.used % self.faults.len().max(1)).copied().unwrap_or(u8::MAX)
        }

        fn drive(&mut self, relay: usize, active: bool) -> Result<(), BusError> {
            let fault = self.fault();
            // Refused; carried out and then refused; taken and not carried out.
            if !matches!(fault, 0..20 | 40..60) {
                self.on[relay] = active;
                assert_ne!(self.on, [true, true], "both relays are on");
            }
            if fault < 40 { Err(broken()) } else { Ok(()) }
        }
    }

    fn broken() -> BusError {
        BusError::NoAcknowledge { address: 0x20 }
    }

    struct Line(Rc<RefCell<Wires>>, usize);

    impl OutputLine for Line {
        fn set(&mut self, active: bool) -> Result<(), BusError> {
            self.0.borrow_mut().drive(self.1, active)
        }

        fn is_active(&mut self) -> Result<bool, BusError> {
            let mut wires = self.0.borrow_mut();
            if wires.fault() < 20 { Err(broken()) } else { Ok(wires.on[self.1]) }
        }
    }

    struct Board(Rc<RefCell<Wires>>);

    impl Bus for Board {
        fn describe(&self) -> String {
            "board".into()
        }

        fn output(&mut self, request: &OutputRequest) -> Result<Box<dyn OutputLine>, BusError> {
            let relay = usize::from(request.line == "CLOSE");
            self.0.borrow_mut().drive(relay, request.active)?;
            Ok(Box::new(Line(Rc::clone(&self.0), relay)))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn never_both_relays_are_on_whatever_fails(
            faults in proptest::collection::vec(any::<u8>(), 1..60),
            orders in proptest::collection::vec(proptest::sample::select(TRAVELS.to_vec()), 1..40),
        ) {
            let wires = Rc::new(RefCell::new(Wires { faults, ..Wires::default() }));
            let given = blind("OPEN", "CLOSE", false);
            let mut device: Option<GpioCover> = None;
            for travel in orders {
                // As the worker does it: what failed is built again.
                let built = match device.take() {
                    Some(built) => Ok(built),
                    None => GpioCover::claim(&mut Board(Rc::clone(&wires)), &given, cover(travel)),
                };
                let Ok(mut built) = built else { continue };
                let outcome = built.apply(cover(travel)).and_then(|()| built.read_back());
                let on = wires.borrow().on;
                if let Ok(Some(OutputValue::Cover { travel: read, .. })) = outcome {
                    prop_assert_eq!([read == Travel::Opening, read == Travel::Closing], on, "what is reported is true");
                    device = Some(built);
                }
            }
        }
    }

    #[test]
    fn a_relay_that_stays_on_keeps_the_other_one_off() {
        let wires = Rc::new(RefCell::new(Wires::default()));
        let given = blind("OPEN", "CLOSE", false);
        let mut blind = GpioCover::claim(&mut Board(Rc::clone(&wires)), &given, cover(Travel::Opening)).unwrap();
        assert_eq!(wires.borrow().on, [true, false]);
        wires.borrow_mut().faults = vec![50, 255];
        wires.borrow_mut().used = 1;
        let error = blind.apply(cover(Travel::Closing)).unwrap_err();
        assert_eq!(error.to_string(), "line OPEN reads on although it is driven off");
        assert!(!wires.borrow().on[1]);
    }

    #[test]
    fn both_on_is_an_error_and_is_ended() {
        let wires = Rc::new(RefCell::new(Wires::default()));
        let given = blind("OPEN", "CLOSE", false);
        let mut blind = GpioCover::claim(&mut Board(Rc::clone(&wires)), &given, cover(Travel::Stopped)).unwrap();
        wires.borrow_mut().on = [true, true];
        let error = blind.read_back().unwrap_err();
        assert_eq!(error.to_string(), "lines OPEN and CLOSE read on together, and were driven off");
        assert_eq!(wires.borrow().on, [false, false]);
    }

    fn goes_each_way(bus: &mut dyn Bus, given: &Settings) {
        let mut blind = GpioCover::claim(bus, given, cover(Travel::Stopped)).unwrap();
        for travel in [Travel::Opening, Travel::Closing, Travel::Opening, Travel::Stopped, Travel::Closing] {
            blind.apply(cover(travel)).unwrap();
            assert_eq!(blind.read_back().unwrap(), Some(cover(travel)));
        }
        assert!(matches!(blind.apply(OutputValue::Switch(true)), Err(DriverError::Foreign(_))));
        drop(blind);
        // The next program that claims them finds them off.
        assert_eq!(GpioCover::claim(bus, given, cover(Travel::Stopped)).unwrap().relays().unwrap(), (false, false));
    }

    #[test]
    fn it_goes_each_way_on_lines_and_on_the_pins_of_expanders() {
        let mut wires = SimBus::open(None, crate::chip).unwrap();
        goes_each_way(&mut wires, &blind("GPIO5", "GPIO6", true));
        goes_each_way(&mut wires, &blind("GPIO7", "GPIO8", false));
        for (model, address, open, close) in [
            (Model::Pcf8574, 0x20, "P0", "P7"),
            (Model::Mcp23008, 0x21, "GP3", "GP4"),
            (Model::Mcp23017, 0x22, "GPA0", "GPB7"),
        ] {
            wires.expect(model.name(), &[Claim::Address(address)]);
            let at = expander::Settings { model, address, every: None, interrupt: None };
            let mut pins = Expander::open(&at, &mut wires, crate::chip).unwrap();
            goes_each_way(&mut pins, &blind(open, close, true));
        }
    }

    #[test]
    fn it_travels_as_its_settings_say_and_claims_both_lines() {
        let given = blind("GPIO5", "6", false);
        let Role::Actuator { kind, pace, .. } = &SPEC.role else { panic!("an actuator") };
        let seconds = Duration::from_secs;
        let (opening, closing, overrun, pause) = (seconds(10), seconds(8), seconds(2), Duration::from_millis(500));
        assert_eq!(
            (kind(&given), pace(&given)),
            (OutputKind::Cover, Pace::Travel { opening, closing, overrun, pause })
        );
        assert_eq!((SPEC.claims)(&given), [Claim::Line("GPIO5".into()), Claim::Line("6".into())]);
    }
}
