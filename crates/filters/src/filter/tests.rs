//! What every filter must do of the table.

use proptest::prelude::*;

use super::testing::{chain, step, temperature};
use super::{FILTERS, find};
use crate::chain::{Chain, Effect};
use crate::spec::{Step, Takes};
use fieldgate_model::Form;

fn examples() -> impl Iterator<Item = &'static str> {
    FILTERS.iter().filter(|spec| !matches!(spec.takes, Takes::Nothing)).map(|spec| spec.example)
}

#[test]
fn each_name_is_there_once_and_found() {
    for (index, spec) in FILTERS.iter().enumerate() {
        assert_eq!(FILTERS.iter().position(|other| other.name == spec.name), Some(index), "{}", spec.name);
        assert_eq!(find(spec.name).map(|spec| spec.name), Some(spec.name));
    }
    assert!(find("average").is_none());
}

#[test]
fn each_page_says_what_no_value_does_and_fits_a_terminal() {
    for spec in FILTERS {
        let page = spec.page;
        assert!(page.contains("No value passes through") || spec.name == "omit", "{}", spec.name);
        assert!(page.lines().all(|line| line.chars().count() <= 79), "{}", spec.name);
        assert!(spec.example.contains(spec.name), "{}", spec.name);
    }
}

#[test]
fn each_example_is_one_of_its_filter() {
    for spec in FILTERS {
        assert_eq!(step(spec.example).filter.name, spec.name);
        assert!(Chain::build(&[step(spec.example)], &temperature()).is_ok(), "{}", spec.name);
    }
}

#[test]
fn no_filter_but_omit_acts_on_a_flag() {
    let mut flag = temperature();
    flag.form = Form::Flag;
    for example in examples().filter(|example| !example.contains("to:")) {
        let refused = Chain::build(&[step(example)], &flag).expect_err(example);
        assert!(refused.wrong.what.starts_with("temperature is not a number"), "{}", refused.wrong.what);
    }
    assert!(matches!(Chain::build(&[step("omit")], &flag), Ok(Effect::Omit)));
}

#[test]
fn omit_stands_alone() {
    let steps = ["{ offset: 1 }", "omit"].map(step);
    assert_eq!(Chain::build(&steps, &temperature()).unwrap_err().step, 1);
}

#[test]
fn a_chain_is_computed_in_its_order() {
    let build = |steps: &[Step]| match Chain::build(steps, &temperature()) {
        Ok(Effect::Filter(chain, _)) => chain,
        other => panic!("{other:?}"),
    };
    let [add, double] = ["{ offset: 1 }", "{ multiply: 2 }"].map(step);
    assert_eq!(build(&[add.clone(), double.clone()]).apply(Some(3.0)), Some(8.0));
    assert_eq!(build(&[double, add]).apply(Some(3.0)), Some(7.0));
    assert_eq!(build(&[]).apply(Some(3.0)), Some(3.0));
}

#[test]
fn what_one_filter_takes_away_is_no_value_for_the_next() {
    let steps = ["{ within: [0, 10] }", "{ moving_average: 3 }"].map(step);
    let Ok(Effect::Filter(mut chain, _)) = Chain::build(&steps, &temperature()) else { panic!() };
    let found: Vec<_> = [4.0, 6.0, 50.0, 8.0].into_iter().map(|value| chain.apply(Some(value))).collect();
    assert_eq!(found, [Some(4.0), Some(5.0), None, Some(8.0)]);
}

proptest! {
    /// Whatever a sensor says and however often it fails: no value stays none, and what comes out is finite.
    #[test]
    fn no_value_stays_none_and_every_value_is_finite(series in prop::collection::vec(prop::option::of(-1e300..1e300), 0..60)) {
        for example in examples() {
            let mut chain = chain(example);
            for value in &series {
                let found = chain.apply(*value);
                prop_assert!(value.is_some() || found.is_none(), "{example}");
                prop_assert!(found.is_none_or(f64::is_finite), "{example}: {found:?}");
            }
        }
    }

    /// After a gap, and after a failure, a filter does what a new one does.
    #[test]
    fn nothing_from_before_a_failure_is_remembered(
        before in prop::collection::vec(-50.0..50.0, 0..30), behind in prop::collection::vec(-50.0..50.0, 1..30),
    ) {
        for example in examples() {
            let (mut used, mut new) = (chain(example), chain(example));
            before.iter().for_each(|value| { used.apply(Some(*value)); });
            used.restart();
            for value in &behind {
                prop_assert_eq!(used.apply(Some(*value)), new.apply(Some(*value)), "{}", example);
            }
        }
    }

    /// Windows against what they are defined as.
    #[test]
    fn windows_hold_the_last_values(values in prop::collection::vec(-50.0..50.0, 1..60), size in 1usize..12) {
        let found = |name: &str| {
            let mut chain = chain(&format!("{{ {name}: {size} }}"));
            values.iter().map(|value| chain.apply(Some(*value)).unwrap()).collect::<Vec<f64>>()
        };
        let [median, mean, least, most] = ["median", "moving_average", "minimum", "maximum"].map(found);
        for end in 0..values.len() {
            let mut window = values[(end + 1).saturating_sub(size)..=end].to_vec();
            let sum: f64 = window.iter().sum();
            prop_assert!((mean[end] - sum / window.len() as f64).abs() < 1e-9);
            window.sort_by(f64::total_cmp);
            prop_assert_eq!(least[end], window[0]);
            prop_assert_eq!(most[end], window[window.len() - 1]);
            let (low, high) = (window[(window.len() - 1) / 2], window[window.len() / 2]);
            prop_assert!((median[end] - f64::midpoint(low, high)).abs() < 1e-9);
        }
    }
}
