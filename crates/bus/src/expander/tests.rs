//! Expanders on the simulated bus, whose state file shows their registers and what is connected to their pins.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::sim::{self, SimBus};
use crate::{Interrupt, Upstream};
use fieldgate_model::Name;

/// A second between two looks, so that each call is a look.
const STEP: Duration = Duration::from_secs(2);

struct ExpanderRig {
    _folder: tempfile::TempDir,
    path: PathBuf,
    model: Model,
}

impl ExpanderRig {
    fn new(model: Model) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("rig.json"), _folder: folder, model }
    }

    fn sim(&self) -> BusSettings {
        sim::at(Some(&self.path))
    }

    fn settings(&self) -> Settings {
        Settings { model: self.model, address: 0x20, every: None, interrupt: None }
    }

    fn open(&self) -> Expander {
        self.try_open(&self.settings()).unwrap()
    }

    fn try_open(&self, settings: &Settings) -> Result<Expander, BusError> {
        Expander::open(settings, &mut SimBus::open(Some(self.path.clone()), |_| None).unwrap(), |_| None)
    }

    fn write(&self, entries: Value) {
        let mut document: Value = serde_json::from_str(&std::fs::read_to_string(&self.path).unwrap()).unwrap();
        for (key, value) in entries.as_object().unwrap() {
            document["chips"]["0x20"][key] = value.clone();
        }
        std::fs::write(&self.path, document.to_string()).unwrap();
    }

    fn register(&self, name: &str) -> u64 {
        let document: Value = serde_json::from_str(&std::fs::read_to_string(&self.path).unwrap()).unwrap();
        document["chips"]["0x20"][name].as_u64().unwrap()
    }
}

fn input(line: &str) -> InputRequest {
    InputRequest { line: line.into(), active_low: false, bias: Bias::AsIs, debounce: Duration::ZERO }
}

fn output(line: &str, active: bool) -> OutputRequest {
    OutputRequest { line: line.into(), active_low: false, active }
}

#[test]
fn the_output_of_a_pcf8574_is_its_latch_and_neighbours_stay() {
    let rig = ExpanderRig::new(Model::Pcf8574);
    let mut bus = rig.open();
    let _low = bus.output(&output("P7", false)).unwrap();
    let mut relay = bus.output(&OutputRequest { active_low: true, ..output("P0", false) }).unwrap();
    assert_eq!(rig.register("latch"), 0x7F);
    relay.set(true).unwrap();
    assert_eq!(rig.register("latch"), 0x7E);
    assert!(relay.is_active().unwrap());
    drop((relay, bus));
    assert_eq!(rig.register("latch"), 0x7E, "the level outlives the program");
    let mut second = rig.open();
    drop(second.output(&OutputRequest { active_low: true, ..output("0", false) }).unwrap());
    assert_eq!(rig.register("latch"), 0x7F, "and a second one disturbs no neighbour");
}

#[test]
fn inputs_of_a_pcf8574_stay_released_whoever_writes_and_whatever_they_read() {
    let rig = ExpanderRig::new(Model::Pcf8574);
    drop(rig.open());
    rig.write(json!({"P4": 0, "P5": 0}));
    let mut bus = rig.open();
    bus.spare_inputs(&["P4".to_owned(), "no such line".to_owned()]);
    let mut relay = bus.output(&output("P0", false)).unwrap();
    assert_eq!(rig.register("latch"), 0xDE, "P5 reads low and is nobody's input: it is left as it seems");
    let mut door = bus.input(&input("P5")).unwrap();
    assert_eq!(rig.register("latch"), 0xFE, "now it is one");
    relay.set(true).unwrap();
    relay.set(false).unwrap();
    assert_eq!(rig.register("latch"), 0xFE);
    rig.write(json!({"P5": 1}));
    assert!(door.is_active().unwrap());
}

#[test]
fn a_load_that_pulls_a_high_output_down_is_reported_and_is_no_loss() {
    let rig = ExpanderRig::new(Model::Pcf8574);
    let mut bus = rig.open();
    let mut relay = bus.output(&output("P0", true)).unwrap();
    rig.write(json!({"P0": 0}));
    assert!(!relay.is_active().unwrap());
    bus.refresh_at(STEP).unwrap();
    relay.set(true).unwrap();
    assert_eq!(rig.register("latch"), 0xFF);
}

#[test]
fn a_pcf8574_pulls_up_and_nothing_else() {
    let rig = ExpanderRig::new(Model::Pcf8574);
    let mut bus = rig.open();
    assert!(bus.input(&InputRequest { bias: Bias::PullUp, ..input("P1") }).is_ok());
    for bias in [Bias::PullDown, Bias::Disabled] {
        let error = bus.input(&InputRequest { bias, ..input("P2") }).err().unwrap().to_string();
        assert!(error.contains("pcf8574 at 0x20") && error.contains("always pulled up, weakly"), "{error}");
    }
}

#[test]
fn an_mcp23017_has_its_level_before_it_drives() {
    let rig = ExpanderRig::new(Model::Mcp23017);
    let mut bus = rig.open();
    let mut valve = bus.output(&output("GPB3", true)).unwrap();
    assert_eq!((rig.register("OLATB"), rig.register("IODIRB")), (0x08, 0xF7));
    assert_eq!((rig.register("OLATA"), rig.register("IODIRA")), (0x00, 0xFF));
    valve.set(false).unwrap();
    assert!(!valve.is_active().unwrap());
    assert_eq!((rig.register("OLATB"), rig.register("IODIRB")), (0x00, 0xF7));
}

/// Notes every byte that is written.
struct Tap(SharedI2c, Rc<RefCell<Vec<Vec<u8>>>>);

impl embedded_hal::i2c::ErrorType for Tap {
    type Error = BusError;
}

impl embedded_hal::i2c::I2c for Tap {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [embedded_hal::i2c::Operation<'_>],
    ) -> Result<(), BusError> {
        if let [embedded_hal::i2c::Operation::Write(bytes)] = operations {
            self.1.borrow_mut().push(bytes.to_vec());
        }
        self.0.transaction(address, operations)
    }
}

#[test]
fn the_order_of_writes_to_an_mcp23017_makes_no_glitch_and_writes_nothing_idle() {
    let mut sim = SimBus::open(None, |_| None).unwrap();
    sim.expect("mcp23017", &[Claim::Address(0x20)]);
    let written = Rc::<RefCell<Vec<Vec<u8>>>>::default();
    let mut port = mcp230xx::Mcp230xx::new(SharedI2c::new(Tap(sim.i2c().unwrap(), Rc::clone(&written))), 0x20, 2);
    port.make_output(0, true).unwrap();
    port.make_output(9, false).unwrap();
    port.drive(0, true).unwrap();
    assert_eq!(*written.borrow(), [[0x14, 1], [0x00, 0xFE], [0x01, 0xFD]]);
}

#[test]
fn an_mcp23017_pulls_its_inputs_up_if_asked_and_never_down() {
    let rig = ExpanderRig::new(Model::Mcp23017);
    let mut bus = rig.open();
    let mut door = bus.input(&InputRequest { bias: Bias::PullUp, ..input("GPA4") }).unwrap();
    assert_eq!((rig.register("GPPUA"), door.is_active().unwrap()), (0x10, true));
    rig.write(json!({"GPA4": 0}));
    assert!(!door.is_active().unwrap());
    drop(door);
    bus.input(&InputRequest { bias: Bias::Disabled, ..input("4") }).unwrap();
    assert_eq!(rig.register("GPPUA"), 0);
    let error = bus.input(&InputRequest { bias: Bias::PullDown, ..input("GPA5") }).err().unwrap().to_string();
    assert!(error.ends_with("has no bias pull-down: it can only pull its inputs up"), "{error}");
}

#[test]
fn a_change_is_an_edge_when_the_inputs_are_looked_at() {
    for (model, line) in [(Model::Pcf8574a, "P3"), (Model::Mcp23008, "GP3"), (Model::Mcp23017, "GPA3")] {
        let rig = ExpanderRig::new(model);
        let mut bus = rig.open();
        let mut door = bus.input(&InputRequest { bias: Bias::PullUp, ..input(line) }).unwrap();
        assert_eq!(bus.refresh_at(STEP).unwrap(), Some(LOOK_EVERY));
        rig.write(json!({ line: 0 }));
        bus.refresh_at(STEP + LOOK_EVERY / 2).unwrap();
        assert!(door.take_edges().unwrap().is_empty(), "not yet");
        bus.refresh_at(STEP + LOOK_EVERY).unwrap();
        let at = Some(STEP + LOOK_EVERY);
        assert_eq!(door.take_edges().unwrap(), [crate::Edge { active: false, at, missed: 0 }]);
        assert!(door.take_edges().unwrap().is_empty() && door.descriptor().is_none());
    }
}

#[test]
fn a_change_must_last_for_the_debounce() {
    let rig = ExpanderRig::new(Model::Pcf8574);
    let mut bus = rig.open();
    let debounce = Duration::from_millis(5);
    let mut door = bus.input(&InputRequest { debounce, ..input("P3") }).unwrap();
    bus.refresh_at(STEP).unwrap();
    rig.write(json!({"P3": 0}));
    assert_eq!(bus.refresh_at(STEP * 2).unwrap(), Some(debounce), "sooner than the next look");
    assert!(door.take_edges().unwrap().is_empty());
    bus.refresh_at(STEP * 2 + debounce).unwrap();
    assert_eq!(door.take_edges().unwrap().len(), 1);
}

#[test]
fn an_interrupt_line_gives_the_time_and_a_pulse_that_is_over_is_not_lost() {
    let rig = ExpanderRig::new(Model::Mcp23017);
    let on = Box::new(Upstream { name: Name::new("rig").unwrap(), settings: rig.sim() });
    let interrupt = Some(Interrupt { on, line: "GPIO4".into() });
    let mut sim = SimBus::open(Some(rig.path.clone()), |_| None).unwrap();
    let mut bus = Expander::open(&Settings { interrupt, ..rig.settings() }, &mut sim, |_| None).unwrap();
    let mut door = bus.input(&input("GPB0")).unwrap();
    assert_eq!((rig.register("GPINTENB"), rig.register("IOCONA")), (1, 0x44), "mirrored, open drain");
    let now = monotonic();
    bus.refresh_at(now).unwrap();
    rig.write(json!({"GPB0": 1}));
    sim.refresh().unwrap();
    bus.refresh_at(now + LOOK_EVERY).unwrap();
    assert!(door.take_edges().unwrap().is_empty(), "without the interrupt nobody looks so soon");
    assert_eq!(door.complete_until(), now + LOOK_EVERY, "what came since has the time of an interrupt not yet heard");
    rig.write(json!({"GPB0": 0}));
    let mut document: Value = serde_json::from_str(&std::fs::read_to_string(&rig.path).unwrap()).unwrap();
    document["inputs"]["GPIO4"] = json!(0);
    std::fs::write(&rig.path, document.to_string()).unwrap();
    let before = monotonic();
    let later = now + LOOK_EVERY * 2;
    bus.refresh_at(later).unwrap();
    let edges = door.take_edges().unwrap();
    assert_eq!(edges.iter().map(|edge| edge.active).collect::<Vec<_>>(), [true, false]);
    assert!(edges[0].at.unwrap() >= before, "the line's own time");
    assert_eq!(edges[1].at, Some(later));
}

#[test]
fn a_chip_that_has_lost_its_supply_is_found_out() {
    for (model, line, reset) in [
        (Model::Pcf8574, "P0", json!({"latch": 255})),
        (Model::Mcp23017, "GPA0", json!({"IODIRA": 255, "OLATA": 0})),
        (Model::Mcp23008, "GP0", json!({"OLAT": 1})),
    ] {
        let rig = ExpanderRig::new(model);
        let mut bus = rig.open();
        let mut relay = bus.output(&output(line, false)).unwrap();
        assert_eq!(bus.refresh_at(STEP).unwrap(), Some(CHECK_EVERY), "nothing else is to be looked at");
        rig.write(reset.clone());
        let error = bus.refresh_at(STEP * 2).unwrap_err();
        assert!(error.is_gone() && error.to_string().contains("is not as it was left"), "{error}");
        assert!(relay.set(true).unwrap_err().is_gone(), "an order finds it as well");
        drop((relay, bus));
        let mut again = rig.open();
        assert!(again.output(&output(line, false)).is_ok());
    }
}

#[test]
fn a_pull_up_that_is_forgotten_is_found_out() {
    let rig = ExpanderRig::new(Model::Mcp23017);
    let mut bus = rig.open();
    let _door = bus.input(&InputRequest { bias: Bias::PullUp, ..input("GPB7") }).unwrap();
    bus.refresh_at(STEP).unwrap();
    rig.write(json!({"GPPUB": 0}));
    assert!(bus.refresh_at(STEP * 2).unwrap_err().is_gone());
}

#[test]
fn one_disturbed_look_is_no_loss_and_three_are() {
    let rig = ExpanderRig::new(Model::Pcf8574);
    let mut bus = rig.open();
    let mut door = bus.input(&input("P1")).unwrap();
    rig.write(json!({"fault": "nak"}));
    assert!(matches!(door.is_active(), Err(BusError::NoAcknowledge { address: 0x20 })));
    for n in 1..GONE_AFTER {
        assert_eq!(bus.refresh_at(STEP * n).unwrap(), Some(LOOK_AGAIN));
    }
    let error = bus.refresh_at(STEP * GONE_AFTER).unwrap_err();
    assert!(error.is_gone() && error.to_string().contains("does not answer: no answer at address 0x20"), "{error}");
    drop((door, bus));
    assert!(matches!(rig.try_open(&rig.settings()), Err(BusError::NoAcknowledge { address: 0x20 })));
}

#[test]
fn lines_are_known_by_name_and_number_and_held_once() {
    let rig = ExpanderRig::new(Model::Mcp23017);
    let mut bus = rig.open();
    let _first = bus.input(&input("gpb0")).unwrap();
    assert!(matches!(bus.output(&output("8", true)), Err(BusError::LineClaimed { .. })));
    let error = bus.input(&input("GPC0")).err().unwrap().to_string();
    assert!(error.ends_with("(its lines are GPA0 to GPB7, or 0 to 15)"), "{error}");
    assert_eq!(Model::ALL.map(|model| model.pin("16")), [None; 4]);
}

#[test]
fn another_order_of_registers_is_refused() {
    let rig = ExpanderRig::new(Model::Mcp23008);
    drop(rig.open());
    let mut sim = SimBus::open(Some(rig.path.clone()), |_| None).unwrap();
    let mut two = mcp230xx::Mcp230xx::new(sim.i2c().unwrap(), 0x20, 2);
    // Where the larger chip has IOCON, the smaller has OLAT and, going around, IODIR.
    assert!(two.probe().unwrap_err().to_string().contains("another chip, or its registers in another order"));
}
