//! One simulated chip in a world of the test's choice, and our driver on it.

use std::cell::{Cell, RefCell, RefMut};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use embedded_hal::i2c::{ErrorType, I2c, Operation};
use embedded_hal::spi::{self, SpiDevice};
use fieldgate::config;
use fieldgate_bus::seconds::Seconds;
use fieldgate_bus::sim::SimBus;
use fieldgate_bus::sim::chips::{self, Chip};
use fieldgate_bus::{
    Bus, BusError, Claim, ClaimKind, Files, PwmChannel, PwmRequest, SerialPort, SharedI2c, SpiChip, SpiRequest,
    UartRequest, pwm, sysfs,
};
use fieldgate_drivers::{self as drivers, Actuator, BusNeed, DriverError, DriverSpec, Role, Sensor};
use fieldgate_model::{Measurement, OutputKind, Setting, Settings};
use serde_json::{Map, Value as Json, json};

/// A chip that only says that it is not ready is asked this often; each time a second passes for it.
const ATTEMPTS: usize = 250;

/// A bus with one chip, or with one PWM channel; its clones share it.
#[derive(Clone)]
pub(crate) struct ChipUnderTest {
    claim: Claim,
    chip: Option<Rc<RefCell<Box<dyn Chip>>>>,
    kernel: Option<Rc<RefCell<Kernel>>>,
    /// Hertz and percent.
    pwm: Rc<Cell<(f64, f64)>>,
}

/// The simulated kernel, for a chip that only it speaks to: its world is set through the state file.
struct Kernel {
    bus: SimBus,
    state_file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Kernel {
    fn with(spec: &DriverSpec, claim: &Claim) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state_file = folder.path().join("bench.json");
        let mut bus = SimBus::open(Some(state_file.clone()), drivers::chip).unwrap();
        bus.expect(spec.name, std::slice::from_ref(claim));
        Self { bus, state_file, _folder: folder }
    }

    fn set(&mut self, device: &str, name: &str, value: f64) {
        let mut state: Json = serde_json::from_slice(&std::fs::read(&self.state_file).unwrap()).unwrap();
        state["chips"][device][name] = json!(value);
        std::fs::write(&self.state_file, state.to_string()).unwrap();
        self.bus.refresh().unwrap();
    }
}

impl ChipUnderTest {
    /// The chip of this driver, where its settings expect it.
    pub(crate) fn new(spec: &DriverSpec, settings: &Settings) -> Self {
        let claims = (spec.claims)(settings);
        let [claim] = &claims[..] else { panic!("{} claims {claims:?}", spec.name) };
        let is_device = is_of(claim, &sysfs::DEVICE);
        let kernel = is_device.then(|| Rc::new(RefCell::new(Kernel::with(spec, claim))));
        Self { kernel, ..Self::of(spec.name, claim.clone()) }
    }

    /// The chip of this name at a place of the test's choice.
    pub(crate) fn of(chip: &str, claim: Claim) -> Self {
        let chip = (!is_of(&claim, &pwm::CHANNEL)).then(|| {
            let spec = chips::of_bus(chip).or_else(|| drivers::chip(chip)).expect("a simulated chip of that name");
            Rc::new(RefCell::new((spec.make)()))
        });
        Self { claim, chip, kernel: None, pwm: Rc::default() }
    }

    fn chip(&self) -> RefMut<'_, Box<dyn Chip>> {
        self.chip.as_ref().expect("a chip on this bench").borrow_mut()
    }

    /// What the PWM channel does: hertz and percent.
    pub(crate) fn channel(&self) -> &Cell<(f64, f64)> {
        &self.pwm
    }

    /// Changes the world around the chip.
    pub(crate) fn set(&self, name: &str, value: f64) {
        assert!(self.chip().set_world(name, value), "the chip knows no {name}");
        if let (Some(kernel), Claim::Of { which, .. }) = (&self.kernel, &self.claim) {
            kernel.borrow_mut().set(which, name, value);
        }
    }
}

fn is_of(claim: &Claim, wanted: &ClaimKind) -> bool {
    matches!(claim, Claim::Of { kind, .. } if *kind == wanted)
}

impl ErrorType for ChipUnderTest {
    type Error = BusError;
}

impl I2c for ChipUnderTest {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        if self.claim.i2c_address() != Some(address) {
            return Err(BusError::NoAcknowledge { address });
        }
        chips::transact(self.chip().as_mut(), address, operations)
    }
}

impl Bus for ChipUnderTest {
    fn describe(&self) -> String {
        "bench".to_owned()
    }

    fn i2c(&mut self) -> Result<SharedI2c, BusError> {
        Ok(SharedI2c::new(self.clone()))
    }

    fn spi(&mut self, _request: &SpiRequest) -> Result<SpiChip, BusError> {
        Ok(SpiChip::new(self.clone()))
    }

    fn uart(&mut self, _request: &UartRequest) -> Result<Box<dyn SerialPort>, BusError> {
        Ok(Box::new(self.clone()))
    }

    fn pwm(&mut self, request: &PwmRequest) -> Result<Box<dyn PwmChannel>, BusError> {
        self.pwm.set((1.0 / request.period.as_secs_f64(), request.percent));
        Ok(Box::new(Channel(Rc::clone(&self.pwm))))
    }

    fn files(&mut self) -> Result<Rc<dyn Files>, BusError> {
        self.kernel.as_ref().expect("a chip that the kernel speaks to").borrow_mut().bus.files()
    }

    fn seconds(&mut self) -> Result<Box<dyn Seconds>, BusError> {
        Ok(Box::new(EachQuestion))
    }
}

struct Channel(Rc<Cell<(f64, f64)>>);

impl PwmChannel for Channel {
    fn set(&mut self, percent: f64) -> Result<(), BusError> {
        self.0.set((self.0.get().0, percent));
        Ok(())
    }

    fn percent(&mut self) -> Result<f64, BusError> {
        Ok(self.0.get().1)
    }
}

impl spi::ErrorType for ChipUnderTest {
    type Error = BusError;
}

impl SpiDevice for ChipUnderTest {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), BusError> {
        chips::exchange(Some(self.chip().as_mut()), operations);
        Ok(())
    }
}

impl SerialPort for ChipUnderTest {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        assert!(self.chip().write(bytes), "the device does not listen");
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], _within: Duration) -> Result<usize, BusError> {
        Ok(chips::hear(self.chip().as_mut(), buffer))
    }

    fn discard(&mut self) -> Result<(), BusError> {
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Seconds that pass one at each question.
struct EachQuestion;

impl Seconds for EachQuestion {
    fn passed(&mut self) -> u64 {
        1
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The settings of a driver's example, or the same entry with these in their place, as the check makes them.
pub(crate) fn settings(spec: &DriverSpec, given: Option<&Json>) -> Settings {
    let (section, more) = match spec.role {
        Role::Sensor { .. } => ("sensors", "every: 10s"),
        Role::Actuator { .. } => ("actuators", "safe_state: 0"),
    };
    let bus = if spec.bus == BusNeed::Pwm { "pwm-0" } else { "i2c-1" };
    let entry = match given {
        Some(given) => format!("x: {{ driver: {}, bus: {bus}, {more}, settings: {given} }}", spec.name),
        None => spec.example.replace('\n', "\n  "),
    };
    let buses = ["i2c-1", "pwm-0", "spi-0", "serial", "wire"].map(|name| format!("{name}: {{ type: sim }}")).join(", ");
    let text = format!("mqtt: {{ broker: mqtt://localhost }}\nbuses: {{ {buses} }}\n{section}:\n  {entry}\n");
    let loaded = config::load_text(&text, Path::new("proof.yaml")).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let sensors = loaded.config.sensors.into_iter().map(|sensor| sensor.settings);
    sensors.chain(loaded.config.actuators.into_iter().map(|actuator| actuator.settings)).next().unwrap()
}

/// Our output, as the worker builds it, and its kind.
pub(crate) fn build_output(
    spec: &DriverSpec,
    settings: &Settings,
    bench: &ChipUnderTest,
) -> (Box<dyn Actuator>, OutputKind) {
    let Role::Actuator { kind, build, .. } = spec.role else { panic!("{} is not an output", spec.name) };
    let kind = kind(settings);
    (build(&mut bench.clone(), settings, kind.off()).unwrap(), kind)
}

/// Our driver, as the worker builds it.
pub(crate) fn build(spec: &DriverSpec, settings: &Settings, bench: &ChipUnderTest) -> Box<dyn Sensor> {
    let Role::Sensor { build, .. } = spec.role else { panic!("{} is not a sensor", spec.name) };
    build(&mut bench.clone(), settings).unwrap()
}

/// A sample, however often the driver has to be asked for it.
pub(crate) fn sample(sensor: &mut dyn Sensor) -> Vec<Measurement> {
    for _ in 0..ATTEMPTS {
        match sensor.sample() {
            Err(DriverError::NotReady(_) | DriverError::TooEarly(_)) => {}
            outcome => return outcome.unwrap(),
        }
    }
    panic!("the driver said {ATTEMPTS} times that its chip was not ready");
}

/// For the reference.
pub(crate) fn as_json(settings: &Settings) -> Json {
    Json::Object(settings.iter().map(|(name, setting)| ((*name).to_owned(), value(setting))).collect::<Map<_, _>>())
}

fn value(setting: &Setting) -> Json {
    match setting {
        Setting::Text(text) => json!(text),
        Setting::Flag(flag) => json!(flag),
        Setting::Integer(number) => json!(number),
        Setting::Number(number) => json!(number),
        Setting::Duration(duration) => json!(duration.as_secs_f64()),
        Setting::List(all) => all.iter().map(value).collect(),
        Setting::Section(settings) => as_json(settings),
        Setting::Table(_) => Json::Null,
    }
}
