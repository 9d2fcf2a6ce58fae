//! Every filter against programs that were not written here: ESPHome's own filters, numpy, scipy and pint.
//!
//! What they make of a few series is recorded in `references/references.json` by `references/record.py`, so that this needs
//! none of them. A new filter or unit without a case fails here.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use fieldgate_filters::{Chain, Effect, FILTERS, Step, UNITS};
use fieldgate_model::Quantity;
use serde_json::Value as Json;

#[path = "../src/filter/written.rs"]
mod written;

/// A measurement over time; `None`: no value.
type Series = Vec<Option<f64>>;

/// What a reference makes of a series.
struct Case {
    filters: Vec<String>,
    reference: String,
    /// In what it measures.
    unit: String,
    series: Series,
    expected: Series,
}

struct References {
    cases: Vec<Case>,
    /// Where ours differs on purpose; the file says why.
    differences: Vec<Case>,
}

static RECORDED: LazyLock<References> = LazyLock::new(|| {
    let file: Json = serde_json::from_str(include_str!("references/references.json")).unwrap();
    let named = file["series"].as_object().unwrap().iter();
    let named: HashMap<&str, Series> = named.map(|(name, values)| (name.as_str(), series(values))).collect();
    let cases = |part: &str| file[part].as_array().unwrap().iter().map(|entry| case(entry, &named)).collect();
    References { cases: cases("cases"), differences: cases("differences") }
});

fn series(values: &Json) -> Series {
    values.as_array().unwrap().iter().map(Json::as_f64).collect()
}

fn case(entry: &Json, named: &HashMap<&str, Series>) -> Case {
    let filters = entry["filters"].as_array().unwrap().iter().map(|filter| filter.as_str().unwrap().to_owned());
    let input = match entry["series"].as_str() {
        Some(name) => named[name].clone(),
        None => series(&entry["series"]),
    };
    let case = Case {
        filters: filters.collect(),
        reference: entry["reference"].as_str().unwrap().to_owned(),
        unit: entry["unit"].as_str().unwrap_or("°C").to_owned(),
        series: input,
        expected: series(&entry["expected"]),
    };
    assert_eq!(case.series.len(), case.expected.len(), "{:?}", case.filters);
    case
}

impl Case {
    fn steps(&self) -> Vec<Step> {
        self.filters.iter().map(|text| written::step(text)).collect()
    }

    fn found(&self) -> Series {
        let quantity = Quantity { unit: self.unit.clone().into(), ..Quantity::new("temperature", "°C", 1) };
        let Ok(Effect::Filter(mut chain, _)) = Chain::build(&self.steps(), &quantity) else {
            panic!("{:?}", self.filters)
        };
        self.series.iter().map(|value| chain.apply(*value)).collect()
    }

    /// How far apart two numbers may be that mean the same. In shares of the greatest that is expected, for a small difference of
    /// great numbers is only as exact as they are.
    ///
    /// ESPHome computes in 32 bits, of which each step of a computation may lose one: 6e-8. The longest of these adds up ten such
    /// losses, hence 1e-6. The others compute in 64 bits as we do, and the file has twelve digits, hence 1e-11.
    fn tolerance(&self) -> f64 {
        let share = if self.reference.starts_with("esphome") { 1e-6 } else { 1e-11 };
        let greatest = self.expected.iter().flatten().fold(0.0, |most: f64, value| most.max(value.abs()));
        share * greatest
    }

    /// The first place where ours is another.
    fn difference(&self) -> Option<String> {
        let (found, tolerance) = (self.found(), self.tolerance());
        let are_same = |(found, expected): (&Option<f64>, &Option<f64>)| match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() <= tolerance,
            (found, expected) => found == expected,
        };
        let place = found.iter().zip(&self.expected).position(|pair| !are_same(pair))?;
        let Case { filters, reference, unit, series, expected } = self;
        Some(format!(
            "{} of {unit}: at {place}, {:?} becomes {:?}, but with {reference} {:?}; the series: {series:?}",
            filters.join(", "),
            series[place],
            found[place],
            expected[place]
        ))
    }
}

#[test]
fn every_filter_does_what_its_references_do() {
    let differences: Vec<_> = RECORDED.cases.iter().filter_map(Case::difference).collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// Or the file would give a reason for what is no longer so.
#[test]
fn what_differs_on_purpose_does() {
    for case in &RECORDED.differences {
        assert!(case.difference().is_some(), "{:?} does what {} does", case.filters, case.reference);
    }
}

#[test]
fn every_filter_has_a_reference() {
    let alone = RECORDED.cases.iter().filter(|case| case.filters.len() == 1);
    let proven: HashSet<_> = alone.map(|case| case.steps()[0].filter.name).collect();
    // `omit` makes nothing of a value.
    let missing: Vec<_> = FILTERS.iter().map(|spec| spec.name).filter(|name| !proven.contains(name)).collect();
    assert_eq!(missing, ["omit"], "record.py has no case for these");
}

#[test]
fn every_conversion_has_a_reference() {
    let by_pint = RECORDED.cases.iter().filter(|case| case.reference.starts_with("pint"));
    let proven: HashSet<_> = by_pint.map(|case| (case.unit.as_str(), case.filters[0].as_str())).collect();
    for kind in UNITS {
        for (from, to) in kind.iter().flat_map(|from| kind.iter().map(move |to| (from.name, to.name))) {
            assert!(
                from == to || proven.contains(&(from, &*format!("{{ to: {to} }}"))),
                "units.py lacks {from} to {to}"
            );
        }
    }
}
