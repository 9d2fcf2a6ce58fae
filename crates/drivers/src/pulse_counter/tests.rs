//! The driver on a line of its own.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use fieldgate_bus::{Bias, BusError, Edge, InputRequest};
use fieldgate_model::{Setting, Value};

/// What the line shows next; `None` as edges breaks it.
struct Shown {
    request: Option<InputRequest>,
    edges: Option<Vec<Edge>>,
    now: Duration,
}

#[derive(Clone)]
struct Line(Rc<RefCell<Shown>>);

impl InputLine for Line {
    fn is_active(&mut self) -> Result<bool, BusError> {
        Ok(false)
    }

    fn take_edges(&mut self) -> Result<Vec<Edge>, BusError> {
        let gone = || BusError::Io { what: "reading line 17".into(), source: std::io::Error::from_raw_os_error(5) };
        self.0.borrow_mut().edges.as_mut().map(std::mem::take).ok_or_else(gone)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn now(&self) -> Duration {
        self.0.borrow().now
    }
}

impl Bus for Line {
    fn describe(&self) -> String {
        "header".into()
    }

    fn input(&mut self, request: &InputRequest) -> Result<Box<dyn InputLine>, BusError> {
        self.0.borrow_mut().request = Some(request.clone());
        Ok(Box::new(self.clone()))
    }
}

fn settings(edge: &str, pulses_per_unit: f64, unit: &str, per: &str, offset: f64) -> Settings {
    let mut settings = Settings::default();
    let text = |text: &str| Setting::Text(text.into());
    for (name, setting) in [
        ("line", text("GPIO17")),
        ("active_low", Setting::Flag(true)),
        ("bias", text("pull-up")),
        ("debounce", Setting::Duration(Duration::from_millis(5))),
        ("edge", text(edge)),
        ("pulses_per_unit", Setting::Number(pulses_per_unit)),
        ("unit", text(unit)),
        ("per", text(per)),
        ("offset", Setting::Number(offset)),
    ] {
        settings.insert(name, setting);
    }
    settings
}

fn meter(settings: &Settings) -> (Line, Box<dyn Sensor>) {
    let shown = Shown { request: None, edges: Some(Vec::new()), now: Duration::ZERO };
    let mut line = Line(Rc::new(RefCell::new(shown)));
    let Role::Sensor { build, .. } = SPEC.role else { panic!("a sensor") };
    let sensor = build(&mut line, settings).unwrap();
    (line, sensor)
}

/// Pulses that begin at these seconds; the present is that of the last.
fn pulse(line: &Line, seconds: &[u64]) {
    let mut shown = line.0.borrow_mut();
    for second in seconds {
        let at = Duration::from_secs(*second);
        let edge = |active| Edge { active, at: Some(at), missed: 0 };
        shown.edges.get_or_insert_default().extend([edge(true), edge(false)]);
        shown.now = at;
    }
}

fn said(sensor: &mut dyn Sensor) -> Vec<(String, f64)> {
    let number = |measurement: Measurement| match measurement.value {
        Value::Number { value, .. } => (measurement.name.into_owned(), value),
        Value::Flag(_) | Value::Word(_) => panic!("a number"),
    };
    sensor.sample().unwrap().into_iter().map(number).collect()
}

fn named(of: &[(&str, f64)]) -> Vec<(String, f64)> {
    of.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[test]
fn the_line_is_claimed_as_the_settings_say() {
    let (line, _sensor) = meter(&settings("rising", 1.0, "", "s", 0.0));
    let expected = InputRequest {
        line: "GPIO17".into(),
        active_low: true,
        bias: Bias::PullUp,
        debounce: Duration::from_millis(5),
    };
    assert_eq!(line.0.borrow().request.as_ref(), Some(&expected));
}

#[test]
fn pulses_become_what_the_user_counts() {
    let (line, mut sensor) = meter(&settings("rising", 1000.0, "kWh", "h", 12.5));
    let count = Arc::new(Count::default());
    assert!(sensor.count_into(&count));
    count.resume(500);
    assert_eq!(said(&mut *sensor), named(&[("total", 13.0), ("missed", 0.0)]));
    pulse(&line, &[10, 14, 18]);
    assert_eq!(sensor.take_events().unwrap(), [], "pulses are no events of their own");
    pulse(&line, &[22]);
    // A pulse each four seconds, a thousand to the kWh: 900 W.
    assert_eq!(said(&mut *sensor), named(&[("total", 13.004), ("rate", 0.9), ("missed", 0.0)]));
    assert_eq!(count.total(), Some(504));
}

#[test]
fn without_a_place_to_go_on_from_there_is_no_total() {
    let (line, mut sensor) = meter(&settings("both", 1.0, "", "s", 0.0));
    let count = Arc::new(Count::default());
    sensor.count_into(&count);
    pulse(&line, &[1, 2]);
    assert_eq!(said(&mut *sensor).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["rate", "missed"]);
    count.resume(100);
    assert_eq!(said(&mut *sensor)[0], ("total".to_owned(), 104.0), "what was counted meanwhile is not lost");
}

#[test]
fn a_total_that_is_set_is_a_whole_number_of_pulses_and_goes_on_from_there() {
    let (line, mut sensor) = meter(&settings("rising", 1000.0, "kWh", "h", 12.5));
    let count = Arc::new(Count::default());
    sensor.count_into(&count);
    count.resume(500);
    pulse(&line, &[10]);
    sensor.take_events().unwrap();
    let moment = count.counted();
    pulse(&line, &[14, 18]);
    let Role::Sensor { measurements, .. } = SPEC.role else { panic!("a sensor") };
    let total = measurements(&settings("rising", 1000.0, "kWh", "h", 12.5)).remove(0);
    let scale = total.count_scale.unwrap();
    count.set(scale.count(1234.5678).unwrap(), moment);
    assert_eq!(count.total(), Some(1_222_068));
    assert_eq!(said(&mut *sensor)[0], ("total".to_owned(), 1234.57), "two pulses came since that moment");
    assert!(scale.count(12.4).unwrap_err().words.contains("offset"));
}

#[test]
fn a_device_that_is_built_again_goes_on() {
    let count = Arc::new(Count::default());
    count.resume(0);
    for life in 1..=3 {
        let (line, mut sensor) = meter(&settings("rising", 1.0, "", "s", 0.0));
        sensor.count_into(&count);
        pulse(&line, &[1]);
        assert_eq!(said(&mut *sensor)[0], ("total".to_owned(), f64::from(life)));
    }
}

#[test]
fn units_and_decimals_fit_the_meter() {
    for (per_unit, unit, per, rate, decimals) in [
        (1.0, "", "s", "Hz", 0),
        (1.0, "", "min", "1/min", 0),
        (1000.0, "kWh", "h", "kW", 3),
        (1.0, "Wh", "h", "W", 0),
        (450.0, "L", "min", "L/min", 3),
        (100.0, "m³", "h", "m³/h", 2),
        (0.1, "L", "h", "L/h", 0),
    ] {
        let [total, rated, _] = Scale::new(&settings("rising", per_unit, unit, per, 0.0)).quantities();
        assert_eq!((&*total.unit, total.decimals, &*rated.unit), (unit, decimals, rate));
    }
}

#[test]
fn one_that_is_read_by_itself_waits_for_a_rate() {
    let (line, mut sensor) = meter(&settings("rising", 1.0, "", "s", 0.0));
    assert!(matches!(sensor.sample(), Err(DriverError::NotReady(_))));
    pulse(&line, &[1, 2, 3]);
    assert_eq!(said(&mut *sensor), named(&[("rate", 1.0), ("missed", 0.0)]));
}

#[test]
fn a_line_that_breaks_is_an_error_and_counts_nothing() {
    let (line, mut sensor) = meter(&settings("rising", 1.0, "", "s", 0.0));
    line.0.borrow_mut().edges = None;
    assert!(sensor.sample().unwrap_err().is_transient() && sensor.take_events().is_err());
}
