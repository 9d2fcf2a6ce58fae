//! For the tests of drivers: a scripted I²C or SPI bus that checks every byte, and a bus with one simulated chip on it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorType, I2c, Operation};
use embedded_hal::spi::{self, SpiDevice};
use serde_json::json;

use crate::{DriverError, DriverSpec, Role, Sensor};
use fieldgate_bus::seconds::Seconds;
use fieldgate_bus::sim::SimBus;
use fieldgate_bus::sim::chips::{self, Chip};
use fieldgate_bus::{Bus, BusError, Claim, SerialPort, SharedI2c, SpiChip, SpiRequest, UartRequest};
use fieldgate_model::field::parse_duration;
use fieldgate_model::{Kind, Measurement, Need, Setting, Settings, Value};

/// One expected transaction.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The driver writes these bytes.
    Write(Vec<u8>),
    /// The driver reads; these bytes come back.
    Read(Vec<u8>),
    /// The driver writes, then reads after a repeated start.
    WriteRead(Vec<u8>, Vec<u8>),
    /// Whatever the driver does, nobody acknowledges.
    Nak,
}

/// A bus that follows a script; dropped before its end it fails the test.
pub(crate) struct Transcript {
    address: u8,
    steps: VecDeque<Step>,
}

impl Transcript {
    pub(crate) fn new(address: u8, steps: impl IntoIterator<Item = Step>) -> Self {
        Self { address, steps: steps.into_iter().collect() }
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.steps.is_empty(), "the driver ended before {:02x?}", self.steps);
        }
    }
}

impl ErrorType for Transcript {
    type Error = BusError;
}

impl I2c for Transcript {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        assert_eq!(address, self.address);
        let step = self.steps.pop_front();
        let answer = match (step, operations) {
            (Some(Step::Nak), _) => return Err(BusError::NoAcknowledge { address }),
            (Some(Step::Write(expected)), [Operation::Write(bytes)]) => {
                assert_eq!(*bytes, expected, "left: what the driver wrote");
                None
            }
            (Some(Step::Read(answer)), [Operation::Read(buffer)]) => Some((answer, buffer)),
            (Some(Step::WriteRead(expected, answer)), [Operation::Write(bytes), Operation::Read(buffer)]) => {
                assert_eq!(*bytes, expected, "left: what the driver wrote");
                Some((answer, buffer))
            }
            (step, operations) => panic!("the script has {step:02x?}, the driver did {operations:02x?}"),
        };
        if let Some((answer, buffer)) = answer {
            buffer.copy_from_slice(&answer);
        }
        Ok(())
    }
}

/// An SPI chip that follows a script of what goes out and what comes back; dropped before its end it fails the test.
pub(crate) struct Exchange(VecDeque<(Vec<u8>, Vec<u8>)>);

impl Exchange {
    pub(crate) fn new(script: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        Self(script.into_iter().collect())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "the driver ended before {:02x?}", self.0);
        }
    }
}

impl spi::ErrorType for Exchange {
    type Error = BusError;
}

impl SpiDevice for Exchange {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), BusError> {
        let [spi::Operation::TransferInPlace(bytes)] = operations else { panic!("the driver did {operations:02x?}") };
        let (out, back) = self.0.pop_front().expect("the driver goes on after the script's end");
        assert_eq!(*bytes, out, "left: what the driver sent");
        bytes.copy_from_slice(&back);
        Ok(())
    }
}

/// Counts the time that a driver waits instead of waiting.
#[derive(Clone, Debug, Default)]
pub(crate) struct CountedDelay(Rc<Cell<u64>>);

impl CountedDelay {
    /// What was waited so far.
    pub(crate) fn waited_us(&self) -> u64 {
        self.0.get() / 1000
    }
}

impl DelayNs for CountedDelay {
    fn delay_ns(&mut self, ns: u32) {
        self.0.set(self.0.get() + u64::from(ns));
    }
}

/// Seconds that pass when the test says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticks(Rc<Cell<u64>>);

impl Ticks {
    pub(crate) fn pass(&self, seconds: u64) {
        self.0.set(self.0.get() + seconds);
    }
}

impl Seconds for Ticks {
    fn passed(&mut self) -> u64 {
        self.0.take()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Seconds that pass one at each question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script;

impl Seconds for Script {
    fn passed(&mut self) -> u64 {
        1
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A bus with one simulated chip; its clones share the chip.
#[derive(Clone)]
pub(crate) struct ChipUnderTest {
    address: u8,
    chip: Rc<RefCell<Box<dyn Chip>>>,
}

impl ChipUnderTest {
    /// The chip that `driver` expects, at `address`.
    pub(crate) fn with(driver: &str, address: u8) -> Self {
        let spec = crate::chip(driver).expect("a chip for the driver");
        Self { address, chip: Rc::new(RefCell::new((spec.make)())) }
    }

    /// Changes the world.
    pub(crate) fn set(&self, name: &str, value: f64) {
        assert!(self.chip.borrow_mut().set_world(name, value), "{name}");
    }

    /// Begins or ends a fault.
    pub(crate) fn fault(&self, name: Option<&str>) {
        assert!(self.chip.borrow_mut().set_fault(name), "{name:?}");
    }
}

impl ErrorType for ChipUnderTest {
    type Error = BusError;
}

impl I2c for ChipUnderTest {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        if address != self.address {
            return Err(BusError::NoAcknowledge { address });
        }
        chips::transact(self.chip.borrow_mut().as_mut(), address, operations)
    }
}

impl Bus for ChipUnderTest {
    fn describe(&self) -> String {
        "test bench".to_owned()
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

    fn seconds(&mut self) -> Result<Box<dyn Seconds>, BusError> {
        Ok(Box::new(Script))
    }
}

impl spi::ErrorType for ChipUnderTest {
    type Error = BusError;
}

impl SpiDevice for ChipUnderTest {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), BusError> {
        chips::exchange(Some(self.chip.borrow_mut().as_mut()), operations);
        Ok(())
    }
}

impl SerialPort for ChipUnderTest {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        let _heard = self.chip.borrow_mut().write(bytes);
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], _within: Duration) -> Result<usize, BusError> {
        Ok(chips::hear(self.chip.borrow_mut().as_mut(), buffer))
    }

    fn discard(&mut self) -> Result<(), BusError> {
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The simulated kernel with the device that a driver expects, seen and changed through its state file.
pub(crate) struct KernelChip {
    spec: &'static DriverSpec,
    settings: Settings,
    place: String,
    path: PathBuf,
    bus: SimBus,
    _folder: tempfile::TempDir,
}

impl KernelChip {
    pub(crate) fn with(spec: &'static DriverSpec, given: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chip.json");
        let mut bus = SimBus::open(Some(path.clone()), crate::chip).unwrap();
        let settings = settings(spec, given);
        let claims = (spec.claims)(&settings);
        let [Claim::Of { which: place, .. }] = &claims[..] else { panic!("{} claims {claims:?}", spec.name) };
        bus.expect(spec.name, &claims);
        Self { spec, settings, place: place.clone(), path, bus, _folder: folder }
    }

    /// Builds the driver as the worker does.
    pub(crate) fn build(&mut self) -> Box<dyn Sensor> {
        let Role::Sensor { build, .. } = self.spec.role else { panic!("{} is not a sensor", self.spec.name) };
        build(&mut self.bus, &self.settings).unwrap()
    }

    /// Changes the world.
    pub(crate) fn set(&mut self, name: &str, value: f64) {
        self.write(name, json!(value));
    }

    /// Begins or ends a fault.
    pub(crate) fn fault(&mut self, name: Option<&str>) {
        self.write("fault", json!(name));
    }

    fn write(&mut self, key: &str, value: serde_json::Value) {
        let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&self.path).unwrap()).unwrap();
        assert!(state["chips"][&self.place].get(key).is_some(), "{key} in {state}");
        state["chips"][&self.place][key] = value;
        std::fs::write(&self.path, state.to_string()).unwrap();
        self.bus.refresh().unwrap();
    }
}

/// Builds the driver as the worker does, on a bus with its chip at the default address.
pub(crate) fn build(spec: &DriverSpec, chip: &mut ChipUnderTest) -> Result<Box<dyn Sensor>, DriverError> {
    let Role::Sensor { build, .. } = spec.role else { panic!("{} is not a sensor", spec.name) };
    build(chip, &settings(spec, &[]))
}

/// The first sample that is not too early, however often the driver has to be asked for it.
pub(crate) fn patiently(sensor: &mut dyn Sensor) -> Result<Vec<Measurement>, DriverError> {
    for _ in 0..2000 {
        match sensor.sample() {
            Err(DriverError::TooEarly(_)) => {}
            outcome => return outcome,
        }
    }
    panic!("it is always too early")
}

/// The driver's settings with their defaults, but for those given here as text.
pub(crate) fn settings(spec: &DriverSpec, given: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    for field in spec.settings {
        let text = given.iter().find(|(name, _)| *name == field.name).map(|(_, text)| *text);
        let text = text.or(if let Need::Default(text) = field.need { Some(text) } else { None });
        if let Some(text) = text {
            settings.insert(field.name, setting(&field.kind, text));
        }
    }
    settings
}

fn setting(kind: &Kind, text: &str) -> Setting {
    match kind {
        Kind::Choice(words) => {
            assert!(words.contains(&text), "{text}");
            Setting::Text(text.to_owned())
        }
        Kind::Text | Kind::Line => Setting::Text(text.to_owned()),
        Kind::Integer { .. } => Setting::Integer(text.parse().unwrap()),
        Kind::Number { .. } => Setting::Number(text.parse().unwrap()),
        Kind::Flag => Setting::Flag(text.parse().unwrap()),
        Kind::Duration { .. } => Setting::Duration(parse_duration(text).unwrap()),
        Kind::Address(_) => Setting::Integer(i64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()),
        Kind::List(item) => {
            let items = text.trim_matches(['[', ']']).split(',');
            Setting::List(items.map(|text| setting(item, text.trim())).collect())
        }
        other => panic!("no driver that is tested so has a setting of kind {other:?}"),
    }
}

/// The value of that measurement.
pub(crate) fn number(measurements: &[Measurement], name: &str) -> f64 {
    let found = measurements.iter().find(|measurement| measurement.name == name);
    match found.map(|measurement| measurement.value) {
        Some(Value::Number { value, .. }) => value,
        other => panic!("{name}: {other:?}"),
    }
}

/// What was measured in a sample from which exactly these were left out.
pub(crate) fn without(sampled: Result<Vec<Measurement>, DriverError>, names: &[&str]) -> Vec<Measurement> {
    match sampled {
        Err(DriverError::Partly(partly)) if partly.names() == names => partly.measured,
        other => panic!("{other:?}, not without {names:?}"),
    }
}

/// Asserts that a measurement is within `tolerance` of what is expected.
pub(crate) fn check(measurements: &[Measurement], name: &str, expected: f64, tolerance: f64) {
    let value = number(measurements, name);
    assert!((value - expected).abs() <= tolerance, "{name} is {value}, not {expected}");
}
