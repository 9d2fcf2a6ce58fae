use proptest::prelude::*;

use fieldgate_model::payload;

use super::*;

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 1);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 0);
const ACTIVE: Quantity = Quantity::flag("active");

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings(delta: &[(&str, f64)], min: u64, max: Option<u64>, aggregate: &[Aggregate]) -> ReportSettings {
    ReportSettings {
        delta: delta.iter().map(|(name, delta)| ((*name).to_owned(), *delta)).collect(),
        min_interval: s(min),
        max_interval: max.map(s),
        aggregate: aggregate.to_vec(),
    }
}

/// Samples of a temperature a second apart; which of them became readings.
fn reported(settings: ReportSettings, samples: &[f64]) -> Vec<usize> {
    let mut report = Report::new(settings, &[TEMPERATURE]);
    let mut take = |at: usize, value| report.take(s(at as u64), &mut vec![TEMPERATURE.measured(value)]).0;
    samples.iter().enumerate().filter(|(at, value)| take(*at, **value)).map(|(at, _)| at).collect()
}

#[test]
fn a_change_of_delta_is_a_reading_and_a_smaller_one_is_not() {
    // 20.2 − 20.0 is a little less than 0.2 in binary.
    let settings = settings(&[("temperature", 0.2)], 0, None, &[]);
    assert_eq!(reported(settings, &[20.0, 20.1, 20.2, 20.3, 20.1, 20.0]), [0, 2, 5]);
}

#[test]
fn a_great_number_that_stays_is_no_change() {
    let settings = settings(&[("temperature", 1.0)], 0, None, &[]);
    assert_eq!(reported(settings, &[2e9, 2e9, 2e9 + 0.5, 2e9 + 1.0, 2e9 + 1.0]), [0, 3]);
}

#[test]
fn a_slow_drift_adds_up() {
    let settings = settings(&[("temperature", 1.0)], 0, None, &[]);
    let drift: Vec<f64> = (0..31).map(|n| f64::from(n) * 0.1).collect();
    assert_eq!(reported(settings, &drift), [0, 10, 20, 30]);
}

#[test]
fn no_reading_comes_before_min_interval_and_one_at_max_interval() {
    let samples: Vec<f64> = (0..12).map(f64::from).collect();
    assert_eq!(reported(settings(&[("temperature", 0.5)], 5, None, &[]), &samples), [0, 5, 10]);
    assert_eq!(reported(settings(&[("temperature", 0.5)], 0, Some(4), &[]), &[1.0; 10]), [0, 4, 8]);
    assert_eq!(reported(settings(&[], 0, Some(4), &[]), &samples), [0, 4, 8]);
    assert_eq!(reported(settings(&[], 3, None, &[]), &[1.0; 8]), [0, 3, 6]);
}

#[test]
fn a_sampling_a_little_early_counts_as_on_time() {
    let mut report = Report::new(settings(&[], 0, Some(10), &[]), &[TEMPERATURE]);
    let mut take = |ms| report.take(Duration::from_millis(ms), &mut vec![TEMPERATURE.measured(1.0)]).0;
    assert_eq!([1, 5000, 9995, 15_000, 19_970, 19_996].map(&mut take), [true, false, true, false, false, true]);
}

#[test]
fn a_change_that_came_too_early_is_looked_at_again() {
    let mut report = Report::new(settings(&[], 5, Some(600), &[]), &[ACTIVE]);
    let mut take = |at, active| {
        let taken = report.take(s(at), &mut vec![ACTIVE.observed(active)]).0;
        (taken, report.postponed_until())
    };
    assert_eq!(take(10, false), (true, None));
    assert_eq!(take(11, true), (false, Some(s(15))));
    assert_eq!(take(12, false), (false, None), "it is as it was reported");
    assert_eq!(take(13, true), (false, Some(s(15))));
    assert_eq!(take(15, true), (true, None));
}

#[test]
fn what_happens_is_a_reading_at_once_and_never_again() {
    const CLICK: Quantity = Quantity::word("click");
    let mut report = Report::new(settings(&[], 60, Some(600), &[Aggregate::Last]), &[ACTIVE, CLICK]);
    let mut take = |at, active, click: Option<&'static str>| {
        let mut sample = vec![ACTIVE.observed(active)];
        sample.extend(click.map(|word| CLICK.happened(word)));
        report.take(s(at), &mut sample).0.then_some(sample.len())
    };
    assert_eq!(take(0, false, None), Some(1));
    assert_eq!(take(1, true, None), None, "it came too early");
    assert_eq!(take(2, false, Some("single")), Some(2));
    assert_eq!(take(3, false, Some("single")), Some(2));
    assert_eq!(take(4, false, None), None);
    assert_eq!(take(700, false, None), Some(1));
}

#[test]
fn a_value_that_goes_and_one_that_comes_back_is_a_change() {
    let mut report = Report::new(settings(&[("temperature", 5.0)], 0, None, &[]), &[TEMPERATURE, HUMIDITY]);
    let mut take = |at, temperature: Option<f64>| {
        let mut sample: Vec<_> = temperature.map(|value| TEMPERATURE.measured(value)).into_iter().collect();
        sample.push(HUMIDITY.measured(40.0));
        let is_reading = report.take(s(at), &mut sample).0;
        is_reading.then(|| sample.iter().map(|m| m.name.to_string()).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(take(0, Some(20.0)).as_deref(), Some("temperature humidity"));
    assert_eq!(take(1, Some(20.0)), None);
    assert_eq!(take(2, None).as_deref(), Some("humidity"));
    assert_eq!(take(3, None), None);
    assert_eq!(take(4, Some(20.0)).as_deref(), Some("temperature humidity"));
}

#[test]
fn what_was_before_a_value_went_is_reported_and_then_that_there_is_none() {
    let mut report = Report::new(settings(&[], 0, Some(600), &[Aggregate::Max]), &[TEMPERATURE, HUMIDITY]);
    let mut take = |at, temperature: Option<f64>| {
        let mut sample: Vec<_> = temperature.map(|value| TEMPERATURE.measured(value)).into_iter().collect();
        sample.push(HUMIDITY.measured(40.0));
        let is_reading = report.take(s(at), &mut sample).0;
        is_reading.then(|| sample.iter().map(|m| payload::plain(m.value).into_owned()).collect::<Vec<_>>().join(" "))
    };
    let story = [Some(20.0), Some(25.0), None, None, None, Some(21.0), Some(21.0)];
    let found: Vec<_> = story.into_iter().zip(0..).map(|(temperature, at)| take(at, temperature)).collect();
    let found: Vec<_> = found.iter().map(|reading| reading.as_deref().unwrap_or("-")).collect();
    assert_eq!(found, ["20 40", "-", "25 40", "40", "-", "21 40", "-"]);
}

#[test]
fn the_value_after_a_sample_of_nothing_is_a_change() {
    let mut report = Report::new(settings(&[("temperature", 5.0)], 0, None, &[]), &[TEMPERATURE]);
    let mut take = |at, value: Option<f64>| {
        report.take(s(at), &mut value.map(|value| TEMPERATURE.measured(value)).into_iter().collect()).0
    };
    let found =
        [Some(1.0), Some(1.0), None, Some(1.0), Some(1.0)].into_iter().zip(0..).map(|(value, at)| take(at, value));
    assert_eq!(found.collect::<Vec<_>>(), [true, false, false, true, false]);
}

#[test]
fn an_aggregate_is_of_all_samples_since_the_last_reading() {
    let all = [Aggregate::Mean, Aggregate::Min, Aggregate::Max];
    let settings = settings(&[], 0, Some(3), &all);
    let names: Vec<_> =
        settings.quantities(vec![TEMPERATURE, ACTIVE]).into_iter().map(|q| q.name.to_string()).collect();
    assert_eq!(names, ["temperature", "temperature_min", "temperature_max", "active"]);
    let mut report = Report::new(settings, &[TEMPERATURE, ACTIVE]);
    let mut take = |at, value, active| {
        let mut sample = vec![TEMPERATURE.measured(value), ACTIVE.observed(active)];
        let (is_reading, samples) = report.take(s(at), &mut sample);
        is_reading.then(|| (sample.iter().map(|m| (m.name.to_string(), m.value)).collect::<Vec<_>>(), samples))
    };
    let number = |name: &str, value| (name.to_owned(), Value::Number { value, decimals: 1 });
    let flag = |active| ("active".to_owned(), Value::Flag(active));
    let first =
        vec![number("temperature", 9.0), number("temperature_min", 9.0), number("temperature_max", 9.0), flag(false)];
    assert_eq!(take(0, 9.0, false), Some((first, Some(1))));
    assert_eq!(take(1, 1.0, false), None);
    assert_eq!(take(2, 2.0, false), None);
    let second =
        vec![number("temperature", 2.0), number("temperature_min", 1.0), number("temperature_max", 3.0), flag(false)];
    assert_eq!(take(3, 3.0, false), Some((second, Some(3))));
}

#[test]
fn after_a_failure_the_first_sample_is_a_reading_of_itself_alone() {
    let mut report = Report::new(settings(&[("temperature", 9.0)], 60, Some(600), &[Aggregate::Mean]), &[TEMPERATURE]);
    let sample = |report: &mut Report, at, value| {
        let mut sample = vec![TEMPERATURE.measured(value)];
        let taken = report.take(s(at), &mut sample);
        (taken, sample.pop().unwrap().value)
    };
    assert_eq!(sample(&mut report, 0, 1.0).0, (true, Some(1)));
    assert_eq!(sample(&mut report, 1, 2.0).0, (false, None));
    report.restart();
    assert_eq!(sample(&mut report, 2, 7.0), ((true, Some(1)), Value::Number { value: 7.0, decimals: 1 }));
}

/// What happens to a sensor.
#[derive(Clone, Debug)]
enum Happens {
    /// So many milliseconds later a sample: temperature and a flag, each of which may have no value.
    Sample(u64, Option<i32>, Option<bool>),
    Failure,
}

fn happens() -> impl Strategy<Value = Happens> {
    let sample = (0..4000u64, prop::option::weighted(0.9, -20..20i32), prop::option::weighted(0.9, any::<bool>()));
    prop_oneof![20 => sample.prop_map(|(after, temperature, active)| Happens::Sample(after, temperature, active)), 1 => Just(Happens::Failure)]
}

fn any_settings() -> impl Strategy<Value = ReportSettings> {
    let names =
        prop::sample::subsequence(vec![Aggregate::Last, Aggregate::Mean, Aggregate::Min, Aggregate::Max], 0..=4);
    (prop::option::of(1..15u32), 0..6000u64, prop::option::of(6000..20_000u64), names.prop_shuffle()).prop_map(
        |(delta, min, max, aggregate)| ReportSettings {
            delta: delta.map(|delta| ("temperature".to_owned(), f64::from(delta) / 2.0)).into_iter().collect(),
            min_interval: Duration::from_millis(min),
            max_interval: max.map(Duration::from_millis),
            aggregate,
        },
    )
}

/// One sample as the plain model keeps it.
#[derive(Clone, Copy)]
struct Sample {
    at: u64,
    temperature: Option<f64>,
    active: Option<bool>,
}

/// The last reading as the model keeps it: the sample that caused it, and the temperature that it said.
type Last = (Sample, Option<f64>);

fn should_be_reading(settings: &ReportSettings, last: Option<Last>, now: Sample) -> bool {
    let Some((caused, said)) = last else { return true };
    let from = match settings.aggregate.first() {
        Some(Aggregate::Min | Aggregate::Max) => caused.temperature.or(said),
        _ => said,
    };
    let has_moved = match (said, now.temperature) {
        (Some(_), Some(now)) => {
            settings.delta.first().is_some_and(|(_, delta)| (now - from.unwrap()).abs() >= delta - 1e-6)
        }
        (before, now) => before.is_some() != now.is_some(),
    };
    let counts_all = settings.delta.is_empty() && settings.max_interval.is_none();
    let is_change = has_moved || counts_all || caused.active != now.active;
    let passed = Duration::from_millis(now.at - caused.at) + SLACK;
    settings.max_interval.is_some_and(|max| passed >= max) || is_change && passed >= settings.min_interval
}

fn expected_temperature(aggregate: Aggregate, since: &[Sample]) -> Option<f64> {
    let values = || since.iter().filter_map(|sample| sample.temperature);
    match aggregate {
        Aggregate::Last => since.last()?.temperature,
        Aggregate::Mean => (values().count() > 0).then(|| values().sum::<f64>() / values().count() as f64),
        Aggregate::Min => values().reduce(f64::min),
        Aggregate::Max => values().reduce(f64::max),
    }
}

proptest! {
    /// Against a model that keeps every sample: each reading that is due is there, none is early, and all say what is right.
    #[test]
    fn readings_are_those_of_a_plain_model(settings in any_settings(), story in prop::collection::vec(happens(), 1..80)) {
        let mut report = Report::new(settings.clone(), &[TEMPERATURE, ACTIVE]);
        let (mut at, mut since, mut last): (u64, Vec<Sample>, Option<Last>) = (0, Vec::new(), None);
        for step in story {
            let Happens::Sample(after, temperature, active) = step else {
                report.restart();
                (since, last) = (Vec::new(), None);
                continue;
            };
            at += after;
            let temperature = temperature.map(f64::from);
            let mut sample: Vec<_> = temperature.map(|value| TEMPERATURE.measured(value)).into_iter().collect();
            sample.extend(active.map(|active| ACTIVE.observed(active)));
            if sample.is_empty() {
                prop_assert!(!report.take(Duration::from_millis(at), &mut sample).0);
                last = last.map(|(caused, _)| (Sample { temperature, active, ..caused }, None));
                continue;
            }
            let now = Sample { at, temperature, active };
            since.push(now);
            let (is_reading, samples) = report.take(Duration::from_millis(at), &mut sample);
            prop_assert_eq!(is_reading, should_be_reading(&settings, last, now));
            if !is_reading {
                continue;
            }
            let aggregates = if settings.aggregate.is_empty() { vec![Aggregate::Last] } else { settings.aggregate.clone() };
            prop_assert_eq!(samples, (!settings.aggregate.is_empty()).then_some(since.len() as u32));
            let mut said = sample.iter();
            for (index, aggregate) in aggregates.iter().enumerate() {
                let Some(expected) = expected_temperature(*aggregate, &since) else { continue };
                let found = said.next().unwrap();
                let name = if index == 0 { "temperature".into() } else { format!("temperature_{}", aggregate.as_str()) };
                prop_assert_eq!(&*found.name, name.as_str());
                let Value::Number { value, .. } = found.value else { panic!("a number") };
                prop_assert!((value - expected).abs() < 1e-9, "{} {} {}", name, value, expected);
            }
            prop_assert_eq!(said.next().map(|found| found.value), active.map(Value::Flag));
            prop_assert!(said.next().is_none());
            last = Some((now, expected_temperature(aggregates[0], &since)));
            since.clear();
        }
    }
}
