//! Random plans, one after the other, on two threads, against a plain model: after each exactly what the plan names is claimed,
//! nothing was ever claimed twice, and what was the same in both plans was not built again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicU64, atomic::Ordering};

use proptest::prelude::*;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::worker::{ActuatorSettings, BusAlarms, Event, SensorSettings, Trips};
use fieldgate_bus::{self as bus, Bus, BusError};
use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;
use fieldgate_drivers::{Actuator, BusNeed, DriverError, DriverSpec, Role, Sensor};
use fieldgate_model::{
    Action, Measurement, Name, OutputKind, OutputValue, Pace, Qos, Quantity, RunId, Setting, Settings,
};
use fieldgate_safety::{Limits, SharedInterlocks};

/// Who holds which line of a test, and what went wrong with that.
#[derive(Debug, Default)]
struct Lines {
    held: BTreeMap<i64, String>,
    /// Lines that were claimed while somebody held them.
    conflicts: Vec<String>,
    /// How often each device was built.
    built: BTreeMap<String, u32>,
}

/// Drivers are plain functions, so what they claim is looked up by the number of the test.
static TESTS: Mutex<BTreeMap<i64, Lines>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

fn lines<T>(test: i64, look: impl FnOnce(&mut Lines) -> T) -> T {
    look(TESTS.lock().unwrap_or_else(PoisonError::into_inner).entry(test).or_default())
}

/// A line that is held until this is dropped.
struct Held {
    test: i64,
    line: i64,
}

impl Held {
    fn claim(settings: &Settings) -> Result<Self, DriverError> {
        let (test, line, owner) = (settings.integer("test"), settings.integer("line"), settings.text("owner"));
        lines(test, |lines| {
            if let Some(holder) = lines.held.get(&line) {
                lines.conflicts.push(format!("{owner} wants line {line}, which {holder} holds"));
                let (chip, line, holder) = ("the test".to_owned(), line.to_string(), holder.clone());
                return Err(BusError::LineClaimed { chip, line, holder }.into());
            }
            lines.held.insert(line, owner.to_owned());
            *lines.built.entry(owner.to_owned()).or_default() += 1;
            Ok(Self { test, line })
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lines(self.test, |lines| lines.held.remove(&self.line));
    }
}

/// For all that must happen on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(120);

const LEVEL: Quantity = Quantity::new("level", "", 0);

impl Sensor for Held {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        Ok(vec![LEVEL.measured(0.0)])
    }
}

impl Actuator for Held {
    fn apply(&mut self, _value: OutputValue) -> Result<(), DriverError> {
        Ok(())
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(None)
    }
}

const NOBODY: DriverSpec = DriverSpec {
    name: "listens",
    summary: "",
    page: "",
    bus: BusNeed::Gpio,
    settings: &[],
    claims: |_| Vec::new(),
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![LEVEL],
        default_every: None,
        build: |_: &mut dyn Bus, settings| Ok(Box::new(Held::claim(settings)?)),
    },
    example: "",
    identity: None,
    chip: None,
    proofs: &[],
};
static LISTENS: DriverSpec = NOBODY;
static DRIVES: DriverSpec = DriverSpec {
    name: "drives",
    wrong: |_| None,
    role: Role::Actuator {
        kind: |_| OutputKind::Switch,
        pace: |_| Pace::AtOnce,
        build: |_: &mut dyn Bus, settings, _| Ok(Box::new(Held::claim(settings)?)),
    },
    ..NOBODY
};

/// What a plan says of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Device {
    is_output: bool,
    line: i64,
    /// On which of the two threads.
    bus: usize,
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn settings(test: i64, owner: &str, line: i64) -> Settings {
    let mut settings = Settings::default();
    settings.insert("test", Setting::Integer(test));
    settings.insert("owner", Setting::Text(owner.to_owned()));
    settings.insert("line", Setting::Integer(line));
    settings
}

fn sensor(test: i64, owner: &str, bus: &Name, line: i64) -> SensorSettings {
    SensorSettings {
        name: name(owner),
        driver: &LISTENS,
        bus: Some(bus.clone()),
        every: Duration::from_millis(5),
        qos: Qos::AtLeastOnce,
        retain: false,
        settings: settings(test, owner, line),
        filters: Vec::new(),
        report: None,
    }
}

fn output(test: i64, owner: &str, bus: &Name, line: i64) -> ActuatorSettings {
    ActuatorSettings {
        name: name(owner),
        driver: &DRIVES,
        bus: bus.clone(),
        kind: OutputKind::Switch,
        pace: Pace::AtOnce,
        limits: Limits::new(Action::Set(OutputValue::Switch(false)), None),
        interlock: Vec::new(),
        dead_time: Duration::ZERO,
        max_age: None,
        settings: settings(test, owner, line),
    }
}

/// The devices of one plan, numbered; of two on one line the second is left out.
type Devices = BTreeMap<usize, Device>;

fn owner(number: usize) -> String {
    format!("d{number}")
}

fn plans(test: i64, folder: &Path, devices: &Devices, wires: [bool; 2]) -> BTreeMap<BusKey, Plan> {
    let mut plans = BTreeMap::new();
    for (number, device) in devices {
        let (bus, owner) = (name(["one", "two"][device.bus]), owner(*number));
        let state_file = wires[device.bus].then(|| folder.join(bus.as_str()));
        let plan = plans.entry(BusKey::Named(bus.clone())).or_insert_with(|| Plan {
            buses: vec![(Some(bus.clone()), bus::sim::at(state_file.as_deref()))],
            sensors: Vec::new(),
            actuators: Vec::new(),
        });
        if device.is_output {
            plan.actuators.push(output(test, &owner, &bus, device.line));
        } else {
            plan.sensors.push((sensor(test, &owner, &bus, device.line), Arc::default()));
        }
    }
    plans
}

fn context() -> (Context, [mpsc::Receiver<Event>; 2]) {
    let ((events, readings), (states, all)) = (mpsc::channel(4096), mpsc::channel(4096));
    let (_, persisted_counts) = watch::channel(None);
    let context = Context {
        run: RunId(7),
        events,
        states,
        heartbeat: Arc::new(BrokerHeartbeat::default()),
        persisted_counts,
        alarms: BusAlarms::default(),
        signals: bus::signals::Signals::default(),
        interlocks: SharedInterlocks::default(),
        trips: Trips::default(),
    };
    (context, [readings, all])
}

/// Waits until exactly the lines of the plan are held, each by whom it names.
async fn settled(test: i64, devices: &Devices) -> Result<(), TestCaseError> {
    let wanted: BTreeMap<_, _> = devices.iter().map(|(number, device)| (device.line, owner(*number))).collect();
    let deadline = Instant::now() + SOON;
    loop {
        let (held, conflicts) = lines(test, |lines| (lines.held.clone(), lines.conflicts.clone()));
        prop_assert!(conflicts.is_empty(), "{conflicts:?}");
        if held == wanted {
            return Ok(());
        }
        prop_assert!(Instant::now() < deadline, "{held:?} instead of {wanted:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn replan(workers: &mut Workers, plans: BTreeMap<BusKey, Plan>, context: &Context) {
    release(workers, &plans, SOON, |_| ()).await;
    adopt(workers, plans, context).unwrap();
}

async fn check(steps: Vec<(Devices, [bool; 2])>) -> Result<(), TestCaseError> {
    let test = i64::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (context, _receivers) = context();
    let mut workers = Workers::new();
    let mut before: (Devices, [bool; 2]) = (Devices::new(), [false; 2]);
    for step in steps {
        let built = lines(test, |lines| lines.built.clone());
        replan(&mut workers, plans(test, folder.path(), &step.0, step.1), &context).await;
        settled(test, &step.0).await?;
        let same = |number: &usize| {
            let (old, new) = (before.0.get(number)?, step.0.get(number)?);
            (old == new && before.1[old.bus] == step.1[new.bus]).then_some(())
        };
        let kept: BTreeSet<_> = (0..DEVICES).filter(|number| same(number).is_some()).map(owner).collect();
        let now = lines(test, |lines| lines.built.clone());
        for owner in kept {
            prop_assert_eq!(now.get(&owner), built.get(&owner), "{} was built again", owner);
        }
        before = step;
    }
    replan(&mut workers, BTreeMap::new(), &context).await;
    settled(test, &Devices::new()).await
}

const DEVICES: usize = 6;

fn devices() -> impl Strategy<Value = Devices> {
    let device = (any::<bool>(), 0i64..4, 0usize..2);
    prop::collection::vec(prop::option::weighted(0.7, device), DEVICES).prop_map(|all| {
        let mut taken = BTreeSet::new();
        let named = all.into_iter().enumerate().filter_map(|(number, device)| {
            let (is_output, line, bus) = device.filter(|(_, line, _)| taken.insert(*line))?;
            Some((number, Device { is_output, line, bus }))
        });
        named.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn after_each_plan_exactly_its_lines_are_claimed_and_what_is_the_same_was_left_alone(
        steps in prop::collection::vec((devices(), prop::array::uniform2(prop::bool::weighted(0.2))), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(steps))?;
    }
}
