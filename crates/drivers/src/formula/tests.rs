use super::*;
use fieldgate_bus::signals::SignalSource;
use fieldgate_model::StateCause;

const POWER: Quantity = Quantity::new("power", "W", 1);
const ACTIVE: Quantity = Quantity::flag("active");
const CLICK: Quantity = Quantity::word("click");

const LONG: Duration = Duration::from_secs(3600);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A meter, a door and a pump.
fn signals() -> Signals {
    let signals = Signals::default();
    signals.arrange(vec![
        SignalSource::Sensor(name("meter"), vec![POWER], LONG),
        SignalSource::Sensor(name("door"), vec![ACTIVE, CLICK], LONG),
        SignalSource::Output(name("pump"), OutputKind::Switch),
    ]);
    signals
}

fn row(formula: &str, more: &[(&'static str, Setting)]) -> Settings {
    let mut row = Settings::default();
    row.insert("formula", Setting::Text(formula.into()));
    row.insert("decimals", Setting::Integer(2));
    more.iter().for_each(|(key, value)| row.insert(key, value.clone()));
    row
}

fn start(signals: &Signals, rows: &[(&str, Settings)]) -> Formula {
    let mut settings = Settings::default();
    let rows = rows.iter().map(|(name, row)| ((*name).to_owned(), row.clone())).collect();
    settings.insert(MEASUREMENTS, Setting::Table(rows));
    Formula::start(signals, &settings).unwrap()
}

fn measured(signals: &Signals, power: f64) {
    signals.sampled(&name("meter"), clock::boottime(), &[POWER.measured(power)]);
}

fn numbers(all: &[Measurement]) -> Vec<(String, Value)> {
    all.iter().map(|measurement| (measurement.name.to_string(), measurement.value)).collect()
}

#[test]
fn nothing_is_computed_before_each_input_was_sampled_once() {
    let signals = signals();
    let mut formula = start(&signals, &[("double", row("meter.power * 2", &[]))]);
    assert!(matches!(formula.sample(), Err(DriverError::TooEarly(_))));
    assert!(formula.take_events().unwrap().is_empty(), "nothing is new");
    measured(&signals, 21.0);
    let events = formula.take_events().unwrap();
    assert_eq!(numbers(&events[0].measurements), [("double".to_owned(), Value::Number { value: 42.0, decimals: 2 })]);
    assert!(formula.take_events().unwrap().is_empty(), "once");
    assert!(formula.due_in().is_some_and(|due_in| due_in > Duration::from_secs(3500)));
}

#[test]
fn what_is_not_known_is_left_out_with_its_inputs_and_the_rest_is_computed() {
    let signals = signals();
    let flag = [(IS_FLAG, Setting::Flag(true))];
    let rows = [
        ("open", row("door.active and pump.value == \"off\"", &flag)),
        ("double", row("meter.power * 2", &[])),
        ("root", row("sqrt(meter.power - 30)", &[])),
    ];
    let mut formula = start(&signals, &rows);
    measured(&signals, 21.0);
    signals.sampled(&name("door"), clock::boottime(), &[ACTIVE.observed(true)]);
    let Err(DriverError::Partly(partly)) = formula.sample() else { panic!() };
    assert_eq!(numbers(&partly.measured), [("double".to_owned(), Value::Number { value: 42.0, decimals: 2 })]);
    assert_eq!(partly.to_string(), "without open: pump.value is not known; without root: it has no finite result");
    signals.output_changed(&name("pump"), Some(OutputValue::Switch(false)), StateCause::Command);
    let Err(DriverError::Partly(partly)) = formula.sample() else { panic!() };
    assert_eq!(partly.measured[0].value, Value::Flag(true));
    // False whatever the pump does.
    signals.output_changed(&name("pump"), None, StateCause::Command);
    signals.sampled(&name("door"), clock::boottime(), &[ACTIVE.observed(false)]);
    let Err(DriverError::Partly(partly)) = formula.sample() else { panic!() };
    assert_eq!(partly.measured[0].value, Value::Flag(false));
}

#[test]
fn what_has_just_happened_is_known_with_its_sample_only() {
    let signals = signals();
    let is_double = row("door.click == \"double\"", &[(IS_FLAG, Setting::Flag(true))]);
    let mut formula = start(&signals, &[("double", is_double)]);
    let now = clock::boottime();
    signals.sampled(&name("door"), now, &[ACTIVE.observed(false), CLICK.happened("double")]);
    assert_eq!(formula.sample().unwrap()[0].value, Value::Flag(true));
    signals.sampled(&name("door"), now, &[ACTIVE.observed(false)]);
    let error = formula.sample().unwrap_err();
    assert_eq!(error.to_string(), "door.click is not known");
    assert!(error.is_transient());
}

#[test]
fn the_link_and_the_time_of_day_are_inputs() {
    let signals = signals();
    let flag = || [(IS_FLAG, Setting::Flag(true))];
    let rows = [
        ("offline", row("not link.up", &flag())),
        ("day", row("time >= \"00:00\" and (weekday == \"mon\" or weekday != \"mon\")", &flag())),
    ];
    let mut formula = start(&signals, &rows);
    let Err(DriverError::Partly(partly)) = formula.sample() else { panic!() };
    assert_eq!(numbers(&partly.measured), [("day".to_owned(), Value::Flag(true))]);
    signals.set_link_up(false);
    assert_eq!(formula.sample().unwrap()[0].value, Value::Flag(true));
}

#[test]
fn a_total_is_counted_and_known_once_earlier_runs_are() {
    let signals = signals();
    let mut total = Settings::default();
    total.insert("integrate", Setting::Text("meter.power".into()));
    total.insert("unit", Setting::Text("J".into()));
    total.insert("decimals", Setting::Integer(1));
    let mut formula = start(&signals, &[("used", total)]);
    let count = Arc::new(Count::default());
    assert!(formula.count_into(&count));
    let at = clock::boottime();
    let sampled =
        |seconds, power| signals.sampled(&name("meter"), at + Duration::from_secs(seconds), &[POWER.measured(power)]);
    sampled(0, 10.0);
    assert!(matches!(formula.sample(), Err(DriverError::TooEarly("the total of earlier runs is not known yet"))));
    count.resume(100_000);
    sampled(2, 20.0);
    // 100 J of before, and 2 s of 15 W.
    assert_eq!(formula.sample().unwrap()[0].value, Value::Number { value: 130.0, decimals: 1 });
    // The same sample once more adds nothing.
    assert_eq!(formula.sample().unwrap()[0].value, Value::Number { value: 130.0, decimals: 1 });
    signals.sensor_down(&name("meter"));
    assert_eq!(formula.sample().unwrap()[0].value, Value::Number { value: 130.0, decimals: 1 });
    sampled(9, 20.0);
    assert_eq!(formula.sample().unwrap()[0].value, Value::Number { value: 130.0, decimals: 1 }, "not through a gap");
}

/// A sensor that adds up, of this count.
fn adding_up(signals: &Signals, source: &str, unit: &str, decimals: i64, count: &Arc<Count>) -> Formula {
    let mut total = Settings::default();
    total.insert("integrate", Setting::Text(source.into()));
    total.insert("unit", Setting::Text(unit.into()));
    total.insert("decimals", Setting::Integer(decimals));
    let mut formula = start(signals, &[("used", total), ("open", row("if(door.active, 1, 0)", &[]))]);
    formula.count_into(count);
    formula
}

fn used(formula: &mut Formula) -> f64 {
    let measured = match formula.sample() {
        Err(DriverError::Partly(partly)) => partly.measured,
        whole => whole.unwrap(),
    };
    let Value::Number { value, .. } = measured[0].value else { panic!("{measured:?}") };
    value
}

#[test]
fn a_total_stays_what_it_is_when_its_unit_or_its_decimals_change() {
    let (signals, count) = (signals(), Arc::new(Count::default()));
    signals.sampled(&name("door"), clock::boottime(), &[ACTIVE.observed(true)]);
    measured(&signals, 21.0);
    // 7.2 MJ.
    count.resume(7_200_000_000);
    for (unit, decimals, expected) in [
        ("kWh", 3, 2.0),
        ("kWh", 0, 2.0),
        ("kWh", 9, 2.0),
        ("Wh", 1, 2000.0),
        ("J", 9, 7.2e6),
        ("W·d", 2, 2000.0 / 24.0),
    ] {
        let found = used(&mut adding_up(&signals, "meter.power", unit, decimals, &count));
        assert!((found / expected - 1.0).abs() < 1e-9, "{unit}, {decimals} decimals: {found}");
    }
}

#[test]
fn a_total_of_many_decimals_grows() {
    let (signals, count) = (signals(), Arc::new(Count::default()));
    count.resume(0);
    let mut formula = adding_up(&signals, "meter.power", "J", 9, &count);
    let at = clock::boottime();
    for seconds in [0, 10] {
        let at = at + Duration::from_secs(seconds);
        signals.sampled(&name("door"), at, &[ACTIVE.observed(true)]);
        signals.sampled(&name("meter"), at, &[POWER.measured(2000.0)]);
        used(&mut formula);
    }
    assert_eq!(used(&mut formula), 20_000.0);
}

#[test]
fn a_total_grows_while_a_quicker_sensor_of_another_measurement_is_down() {
    let (signals, count) = (Signals::default(), Arc::new(Count::default()));
    signals.arrange(vec![
        SignalSource::Sensor(name("meter"), vec![POWER], LONG),
        SignalSource::Sensor(name("door"), vec![ACTIVE, CLICK], Duration::from_secs(3)),
    ]);
    count.resume(0);
    let mut formula = adding_up(&signals, "meter.power", "J", 1, &count);
    let at = clock::boottime();
    signals.sampled(&name("door"), at, &[ACTIVE.observed(true)]);
    signals.sensor_down(&name("door"));
    for seconds in [0, 10, 20] {
        signals.sampled(&name("meter"), at + Duration::from_secs(seconds), &[POWER.measured(10.0)]);
        used(&mut formula);
    }
    assert_eq!(used(&mut formula), 200.0);
}

#[test]
fn a_formula_names_its_inputs() {
    let mut settings = Settings::default();
    let rows = vec![
        ("a".to_owned(), row("if(link.up, meter.power, 0) + air.temperature", &[])),
        ("b".to_owned(), row("meter.power > target and pump.value == \"on\"", &[])),
    ];
    settings.insert(MEASUREMENTS, Setting::Table(rows));
    let names: Vec<_> = inputs(&settings).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["meter.power", "air.temperature", "target", "pump.value"]);
}

#[test]
fn what_has_just_happened_is_computed_with_once() {
    let signals = signals();
    let flag = [(IS_FLAG, Setting::Flag(true))];
    let mut formula = start(&signals, &[("hot", row("door.click == \"single\" and meter.power > 3", &flag))]);
    measured(&signals, 21.0);
    signals.sampled(&name("door"), clock::boottime(), &[ACTIVE.observed(false), CLICK.happened("single")]);
    assert_eq!(formula.take_events().unwrap()[0].measurements[0].value, Value::Flag(true));
    measured(&signals, 22.0);
    assert_eq!(formula.take_events().unwrap_err().to_string(), "door.click is not known");
}

#[test]
fn a_total_of_an_output_grows_however_seldom_it_is_computed() {
    let (signals, count) = (Signals::default(), Arc::new(Count::default()));
    signals.arrange(vec![
        SignalSource::Output(name("fan"), OutputKind::Percent),
        SignalSource::Sensor(name("door"), vec![ACTIVE], LONG),
    ]);
    signals.sampled(&name("door"), clock::boottime(), &[ACTIVE.observed(true)]);
    signals.output_changed(&name("fan"), Some(OutputValue::Percent(50.0)), StateCause::Command);
    let mut formula = adding_up(&signals, "fan.value", "%·h", 3, &count);
    count.resume(0);
    used(&mut formula);
    let Formula { measurements, values, sampled, .. } = &formula;
    let [total, open] = [0, 1].map(|index| age(&measurements[index].program, LONG, values, sampled));
    assert_eq!((total, open.1), ((LONG, Duration::MAX), LONG));
}

#[test]
fn a_variable_is_computed_with_as_soon_as_it_is_set() {
    let signals = Signals::default();
    let number = VariableKind::Number { min: 5.0, max: 30.0, step: None, unit: "°C".into() };
    let options = VariableKind::Options(vec!["auto".into(), "off".into()]);
    signals
        .arrange(vec![SignalSource::Variable(name("target"), number), SignalSource::Variable(name("mode"), options)]);
    let mut formula = start(&signals, &[("wish", row("if(mode == \"auto\", target + 1, 0)", &[]))]);
    assert_eq!(formula.sample().unwrap_err().to_string(), "mode and target are not known");
    signals.assign(&name("target"), VariableValue::Number(20.5));
    signals.assign(&name("mode"), VariableValue::Word("auto".into()));
    let computed = |formula: &mut Formula| formula.take_events().unwrap()[0].measurements[0].value;
    assert_eq!(computed(&mut formula), Value::Number { value: 21.5, decimals: 2 });
    signals.assign(&name("mode"), VariableValue::Word("off".into()));
    assert_eq!(computed(&mut formula), Value::Number { value: 0.0, decimals: 2 });
}
