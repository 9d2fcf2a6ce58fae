//! formula: a sensor that is computed from others.
//!
//! It has no bus of its own. It listens to the newest samples of other sensors, as their filters leave them, to outputs and to
//! variables, and computes its measurements when one of these is new. What depends on something unknown is left out: a sensor that
//! is down, or whose sample is older than three of its periods, makes no number here.
//!
//! `check` compiles each formula against what the other sensors measure, and adds the unit and whether the result is true or
//! false to the settings; the driver compiles it again against the signal store, which has the same names.

mod integral;
#[cfg(test)]
mod tests;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::partly::Partly;
use crate::{BusNeed, DriverError, DriverSpec, Event, Proof, Role, Sensor};
use fieldgate_bus::signals::{Listener, OUTPUT_VALUE, Sampled, Signal, SignalName, Signals, SourceKind};
use fieldgate_clock as clock;
use fieldgate_formula::{self as language, Input, NameCollector, Program, TimeOfDay, WEEKDAYS};
use fieldgate_model::{
    Count, CountScale, Field, Form, Kind, Measurement, Name, Need, OutputKind, OutputValue, Quantity, Setting,
    Settings, Value, VariableKind, VariableValue,
};

use integral::Integral;

pub use integral::{per_second, totals_of};

/// The one key of the driver's settings: the measurements, each by the user's own name.
pub const MEASUREMENTS: &str = "*";

/// The key that `check` adds to a measurement that is true or false.
pub const IS_FLAG: &str = "is_flag";

/// The key that `check` adds to a measurement that is added up: the unit of what is. With another unit it is another device.
pub const RATE: &str = "rate";

/// So long it waits for a first sample of each sensor, before it computes what it can.
const FIRST_SAMPLES_WITHIN: Duration = Duration::from_secs(60);

/// The keys of a measurement.
pub static MEASUREMENT: &[Field] = &[
    Field {
        name: "formula",
        kind: Kind::Text,
        need: Need::Or("integrate"),
        doc: "what it is computed by, such as air.temperature - outside.temperature",
    },
    Field {
        name: "integrate",
        kind: Kind::Text,
        need: Need::Or("formula"),
        doc: "a formula whose value is added up over time, to a total that outlives the program",
    },
    Field { name: "unit", kind: Kind::Text, need: Need::Optional, doc: "its unit; that of the formula if left out" },
    Field {
        name: "decimals",
        kind: Kind::Integer { min: 0, max: 9 },
        need: Need::Default("2"),
        doc: "decimals that are published at most",
    },
];

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "formula",
    summary: "computed from other sensors: dew point, difference, energy from power",
    page: "\
Wiring: none. Each measurement is a formula over measurements of other sensors,
as their filters leave them, and is computed when one of them has a new sample;
`every` is how often it is computed and published without one.

  + - * / ( )   < <= > >= == !=   and or not   if(condition, a, b)
  min(x, …) max(x, …) mean(x, …) abs(x) round(x) clamp(x, low, high)
  sqrt(x) exp(x) ln(x) pow(x, y)
  dew_point(temperature, humidity)           °C
  absolute_humidity(temperature, humidity)   g/m³
  heat_index(temperature, humidity)          °C
  vapour_pressure(temperature, humidity)     hPa
  sea_level_pressure(pressure, temperature, altitude in m)   hPa
  sensor.measurement   output.value   variable   link.up   time   weekday

A reading is published with each sample of each input: give it a `report`.
Units are checked; the filter `to` converts them, but not a difference of
temperatures: convert these before. dew_point and its like take °C.

What is computed from a sensor that is down, or whose sample is older than three
of its periods, is unknown and left out, and the status says why.

`integrate` adds up over time: W to Wh or kWh, A to Ah, L/min to L or m³, any
unit to itself times ·s, ·min, ·h or ·d. One for each sensor of this driver.
The total only grows, unless a command sets it, survives restarts, and grows by
nothing while its input is unknown or was not sampled for three periods.",
    bus: BusNeed::Sensors,
    settings: &[Field {
        name: MEASUREMENTS,
        kind: Kind::Table(MEASUREMENT),
        need: Need::Required,
        doc: "each measurement, by a name of yours",
    }],
    claims: |_| Vec::new(),
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |settings| rows(settings).map(|(name, row)| quantity(name, row)).collect(),
        default_every: Some(Duration::from_secs(60)),
        build: |bus, settings| Ok(Box::new(Formula::start(&bus.signals()?, settings)?)),
    },
    example: "\
tide:
  driver: waveform
  every: 10s
deviation:
  driver: formula
  settings:
    difference: { formula: \"abs(tide.value - 0.5)\", decimals: 1 }",
    identity: None,
    chip: None,
    proofs: &[Proof::NoHardware],
};

fn rows(settings: &Settings) -> impl Iterator<Item = (&str, &Settings)> {
    let table = settings.get(MEASUREMENTS);
    let rows = if let Some(Setting::Table(rows)) = table { rows.as_slice() } else { &[] };
    rows.iter().map(|(name, row)| (name.as_str(), row))
}

fn quantity(name: &str, row: &Settings) -> Quantity {
    let is_flag = matches!(row.get(IS_FLAG), Some(Setting::Flag(true)));
    let (decimals, unit) = (row.integer("decimals"), row.optional_text("unit").unwrap_or_default());
    Quantity {
        name: name.to_owned().into(),
        unit: unit.to_owned().into(),
        decimals: u8::try_from(decimals).unwrap_or(0),
        form: if is_flag { Form::Flag } else { Form::Number },
        count_scale: source(row).1.then(|| scale(unit)),
    }
}

/// How quanta become a total in this unit.
fn scale(unit: &str) -> CountScale {
    CountScale { per_unit: integral::quanta_per_unit(unit), offset: 0.0 }
}

/// The formula of a measurement, and whether it is added up over time.
pub fn source(row: &Settings) -> (&str, bool) {
    match row.optional_text("integrate") {
        Some(source) => (source, true),
        None => (row.optional_text("formula").unwrap_or_default(), false),
    }
}

/// What the formulas of a sensor name, each once.
pub fn inputs(settings: &Settings) -> Vec<SignalName> {
    let any = |name: &language::Name| Some((signal_name(name)?, language::Kind::Number(language::Unit::Open)));
    let names = NameCollector::new(any);
    for (_, row) in rows(settings) {
        names.collect(source(row).0);
    }
    names.into_signals()
}

/// The kind that a signal has in a formula.
pub fn kind_of(signal: &SourceKind) -> language::Kind {
    match signal {
        SourceKind::Measured(Quantity { form: Form::Number, unit, .. }) => language::Kind::number(unit),
        SourceKind::Measured(Quantity { form: Form::Flag, .. }) => language::Kind::Flag,
        SourceKind::Measured(Quantity { form: Form::Word, .. }) => language::Kind::Text(None),
        SourceKind::Output(OutputKind::Switch | OutputKind::Pulse) => language::Kind::options(["on", "off"]),
        SourceKind::Output(OutputKind::Percent | OutputKind::Cover) => language::Kind::number("%"),
        SourceKind::Output(OutputKind::Angle { .. }) => language::Kind::number("°"),
        SourceKind::Variable(VariableKind::Number { unit, .. }) => language::Kind::number(unit),
        SourceKind::Variable(VariableKind::Options(options)) => {
            language::Kind::options(options.iter().map(|option| &**option))
        }
    }
}

/// What a name in a formula stands for on the signal store.
fn signal_name(name: &language::Name) -> Option<SignalName> {
    match name {
        language::Name::Variable(name) => Name::new(name).ok().map(SignalName::variable),
        language::Name::Member { owner, member } => {
            Some(SignalName { device: Name::new(owner).ok()?, value: member.clone() })
        }
    }
}

/// One measurement.
struct Computed {
    quantity: Quantity,
    program: Program,
    integral: Option<Integral>,
}

struct Formula {
    listener: Listener,
    measurements: Vec<Computed>,
    count: Option<Arc<Count>>,
    /// What the signals say and of when that is, kept for their space.
    values: Vec<Option<Signal>>,
    sampled: Vec<Option<Sampled>>,
    /// When the first of them that is known will be too old.
    too_old_at: Option<Duration>,
    /// Until when it may be too early.
    early_until: Duration,
}

impl Formula {
    fn start(signals: &Signals, settings: &Settings) -> Result<Self, DriverError> {
        let names = NameCollector::new(|name: &language::Name| {
            let name = signal_name(name)?;
            let kind = kind_of(&signals.describe(&name)?);
            Some((name, kind))
        });
        let mut measurements = Vec::new();
        for (name, row) in rows(settings) {
            let (source, adds_up) = source(row);
            let program = language::compile(source, &names).map_err(|problems| {
                let words = problems.first().map(ToString::to_string).unwrap_or_default();
                DriverError::Unknown(format!("{name} cannot be computed: {words}"))
            })?;
            let quantity = quantity(name, row);
            let integral = adds_up.then(|| Integral::new(factor(&program)));
            measurements.push(Computed { quantity, program, integral });
        }
        let listener = signals.listen(names.into_signals())?;
        let early_until = clock::boottime().saturating_add(FIRST_SAMPLES_WITHIN);
        Ok(Self {
            listener,
            measurements,
            count: None,
            values: Vec::new(),
            sampled: Vec::new(),
            too_old_at: None,
            early_until,
        })
    }

    /// Computes everything of what is known now.
    fn compute(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let now = clock::boottime();
        let read = self.listener.read(now, &mut self.values, &mut self.sampled);
        self.too_old_at = read.too_old_at;
        if read.misses_some && now < self.early_until {
            return Err(DriverError::TooEarly("not all that it is computed from was sampled yet"));
        }
        let input = Inputs { values: &self.values, link_up: self.listener.link_up() };
        let mut measured = Vec::with_capacity(self.measurements.len());
        let mut left_out = Vec::new();
        for computed in &mut self.measurements {
            let value = computed.program.evaluate(|asked| input.value(asked));
            let measurement = match &mut computed.integral {
                Some(integral) => {
                    let (at, longest) = age(&computed.program, now, &self.values, &self.sampled);
                    let quanta = integral.take(at, value.as_number(), longest);
                    let count = self.count.as_ref().and_then(|count| {
                        count.add(quanta);
                        count.total()
                    });
                    // It is known also while nothing is added to it.
                    count.map(|count| total(&computed.quantity, count))
                }
                None => measurement(&computed.quantity, value),
            };
            match measurement {
                Some(measurement) => measured.push(measurement),
                None => left_out.push((computed.quantity.name.clone(), why(computed, &self.listener, &self.values))),
            }
        }
        match (measured.is_empty(), left_out.is_empty()) {
            (_, true) => Ok(measured),
            (true, false) => Err(left_out.swap_remove(0).1),
            (false, false) => Err(DriverError::Partly(Partly { measured, left_out })),
        }
    }
}

/// When the newest of the samples behind a formula was taken, and for how long one of the quickest sensor is good. Other sensors do
/// not count: they may be down. Outputs have no age; where nothing else is known, that is now and for ever.
fn age(
    program: &Program,
    now: Duration,
    values: &[Option<Signal>],
    sampled: &[Option<Sampled>],
) -> (Duration, Duration) {
    let known = program.inputs().iter().filter_map(|input| match input {
        Input::Signal(index) => values.get(*index)?.as_ref().and(*sampled.get(*index)?),
        _ => None,
    });
    let newest =
        known.map(|sampled| (sampled.at, sampled.good_for)).reduce(|all, one| (all.0.max(one.0), all.1.min(one.1)));
    newest.unwrap_or((now, Duration::MAX))
}

/// Why a measurement could not be computed.
fn why(computed: &Computed, listener: &Listener, values: &[Option<Signal>]) -> DriverError {
    if computed.integral.is_some() {
        return DriverError::TooEarly("the total of earlier runs is not known yet");
    }
    let unknown = computed.program.inputs().iter().filter_map(|input| match input {
        Input::Signal(index) => values.get(*index)?.is_none().then(|| listener.names().get(*index))?,
        _ => None,
    });
    let names: Vec<_> = unknown.map(ToString::to_string).collect();
    DriverError::Unknown(match names.as_slice() {
        [] => "it has no finite result".to_owned(),
        [name] => format!("{name} is not known"),
        names => format!("{} are not known", names.join(" and ")),
    })
}

/// A total of so many quanta.
fn total(quantity: &Quantity, count: u64) -> Measurement {
    quantity.measured(scale(&quantity.unit).total(count))
}

/// Quanta in a second of one; `check` has seen that the unit fits.
fn factor(program: &Program) -> f64 {
    let rate = match program.kind() {
        language::Kind::Number(language::Unit::Of(unit)) => unit.as_str(),
        _ => "",
    };
    integral::quanta_per_second(rate)
}

fn measurement(quantity: &Quantity, value: language::Value<'_>) -> Option<Measurement> {
    match quantity.form {
        Form::Flag => value.as_flag().map(|flag| quantity.observed(flag)),
        Form::Number | Form::Word => value.as_number().map(|number| quantity.measured(number)),
    }
}

/// What programs ask for.
struct Inputs<'a> {
    values: &'a [Option<Signal>],
    link_up: Option<bool>,
}

impl<'v> Inputs<'v> {
    fn value(&self, input: Input) -> language::Value<'v> {
        match input {
            Input::LinkUp => self.link_up.map_or(language::Value::Unknown, language::Value::Flag),
            Input::Time => {
                let now = clock::local();
                TimeOfDay::new(now.hour, now.minute).map_or(language::Value::Unknown, language::Value::Time)
            }
            Input::Weekday => {
                let day = WEEKDAYS.get(usize::from(clock::local().weekday)).copied();
                day.map_or(language::Value::Unknown, language::Value::Text)
            }
            Input::Signal(index) => {
                self.values.get(index).and_then(Option::as_ref).map_or(language::Value::Unknown, of_signal)
            }
        }
    }
}

/// What a signal is in a formula.
pub fn of_signal(signal: &Signal) -> language::Value<'_> {
    match *signal {
        Signal::Variable(ref value) => of_variable(value),
        Signal::Measured(Value::Number { value, .. }) => language::Value::number(value),
        Signal::Measured(Value::Flag(flag)) => language::Value::Flag(flag),
        Signal::Measured(Value::Word(word)) => language::Value::Text(word),
        Signal::Output(value) => of_output(value),
    }
}

/// What the value of a variable is in a formula.
pub fn of_variable(value: &VariableValue) -> language::Value<'_> {
    match value {
        VariableValue::Number(number) => language::Value::number(*number),
        VariableValue::Word(word) => language::Value::Text(word),
    }
}

/// What the value of an output is in a formula.
pub fn of_output(value: OutputValue) -> language::Value<'static> {
    match value {
        OutputValue::Switch(on) => language::Value::Text(if on { "on" } else { "off" }),
        OutputValue::Percent(number) | OutputValue::Angle(Some(number)) => language::Value::number(number),
        OutputValue::Cover { position: Some(position), .. } => language::Value::number(position),
        OutputValue::Angle(None) | OutputValue::Cover { position: None, .. } => language::Value::Unknown,
    }
}

impl Sensor for Formula {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.listener.take_news();
        self.compute()
    }

    fn take_events(&mut self) -> Result<Vec<Event>, DriverError> {
        let is_too_old = self.too_old_at.is_some_and(|at| clock::boottime() > at);
        if !self.listener.take_news() && !is_too_old {
            return Ok(Vec::new());
        }
        Ok(vec![Event { at: None, measurements: self.compute()? }])
    }

    fn is_event_driven(&self) -> bool {
        true
    }

    fn count_into(&mut self, count: &Arc<Count>) -> bool {
        let adds_up = self.measurements.iter().any(|computed| computed.integral.is_some());
        self.count = adds_up.then(|| Arc::clone(count));
        adds_up
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.listener.descriptor())
    }

    fn due_in(&self) -> Option<Duration> {
        // Behind the last moment at which it is known.
        self.too_old_at.map(|at| at.saturating_sub(clock::boottime()) + Duration::from_millis(1))
    }
}

/// What an output's value is called in a formula.
pub const VALUE: &str = OUTPUT_VALUE;
