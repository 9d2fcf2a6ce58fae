//! All filters of one sensor, over its whole samples.

use std::borrow::Cow;

use crate::chain::{Chain, Effect, Misfit};
use crate::spec::Step;
use fieldgate_model::{Measurement, Quantity, Value};

/// A measurement of which the filters took so many values in a row is named by [`SensorFilters::without_value`].
const MISSING_AFTER: u32 = 3;

/// The filters of one measurement, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasurementFilters {
    /// The measurement's name.
    pub name: Cow<'static, str>,
    /// The filters in their order.
    pub steps: Vec<Step>,
}

/// What a sensor measures once it is filtered, without what is omitted; and for each measurement with a filter that cannot be
/// where it stands, its place among `all` and the [`Misfit`]. Such a measurement counts as not filtered, and names that are not
/// among the quantities are ignored.
pub fn filtered(all: &[MeasurementFilters], quantities: Vec<Quantity>) -> (Vec<Quantity>, Vec<(usize, Misfit)>) {
    let mut misfits = Vec::new();
    let mut after = Vec::with_capacity(quantities.len());
    for quantity in quantities {
        let Some(index) = all.iter().position(|filters| filters.name == quantity.name) else {
            after.push(quantity);
            continue;
        };
        match Chain::build(&all[index].steps, &quantity) {
            Ok(Effect::Filter(_, quantity)) => after.push(quantity),
            Ok(Effect::Omit) => {}
            Err(misfit) => {
                misfits.push((index, misfit));
                after.push(quantity);
            }
        }
    }
    (after, misfits)
}

/// The filters of one sensor at work.
#[derive(Debug, Default)]
pub struct SensorFilters(Vec<OfMeasurement>);

#[derive(Debug)]
struct OfMeasurement {
    settings: MeasurementFilters,
    /// What it must have been for the chain to fit.
    quantity: Quantity,
    /// `None`: the measurement is omitted.
    chain: Option<(Chain, u8)>,
    /// Values that the filters took since the last one that they let through.
    missing: u32,
}

impl OfMeasurement {
    fn new(settings: MeasurementFilters, quantity: Quantity) -> Result<Self, Misfit> {
        let chain = match Chain::build(&settings.steps, &quantity)? {
            Effect::Filter(chain, after) => Some((chain, after.decimals)),
            Effect::Omit => None,
        };
        Ok(Self { settings, quantity, chain, missing: 0 })
    }

    /// Filters the measurement in a sample. `true` when a filter took its value.
    fn apply(&mut self, sample: &mut Vec<Measurement>) -> bool {
        let index = sample.iter().position(|measurement| measurement.name == self.settings.name);
        let Some((chain, after)) = &mut self.chain else {
            if let Some(index) = index {
                sample.remove(index);
            }
            return false;
        };
        let before = index.and_then(|index| number(sample[index].value));
        let value = chain.apply(before);
        let is_taken = before.is_some() && value.is_none();
        if value.is_some() {
            self.missing = 0;
        } else if is_taken {
            self.missing = self.missing.saturating_add(1);
        }
        match (index, value) {
            (Some(index), Some(value)) => sample[index].value = Value::Number { value, decimals: *after },
            (Some(index), None) => {
                sample.remove(index);
            }
            (None, _) => {}
        }
        is_taken
    }
}

fn number(value: Value) -> Option<f64> {
    match value {
        Value::Number { value, .. } => Some(value),
        Value::Flag(_) | Value::Word(_) => None,
    }
}

impl SensorFilters {
    /// The filters of a sensor that measures these quantities. Those that do not fit are left out; [`filtered`] finds them.
    pub fn new(settings: &[MeasurementFilters], quantities: &[Quantity]) -> Self {
        let mut filters = Self::default();
        filters.resume(settings, quantities);
        filters
    }

    /// Goes on under these settings. A measurement whose filters are the same keeps what they remember.
    pub fn resume(&mut self, settings: &[MeasurementFilters], quantities: &[Quantity]) {
        let mut old = std::mem::take(&mut self.0);
        for settings in settings {
            let Some(quantity) = quantities.iter().find(|quantity| quantity.name == settings.name) else { continue };
            let same = old.iter().position(|other| other.settings == *settings && other.quantity == *quantity);
            match same {
                Some(index) => self.0.push(old.swap_remove(index)),
                None => self.0.extend(OfMeasurement::new(settings.clone(), quantity.clone())),
            }
        }
    }

    /// Filters a sample. Measurements that are omitted, or that have no value any more, are taken out of it; returns how many
    /// values were taken by filters.
    pub fn apply(&mut self, sample: &mut Vec<Measurement>) -> u64 {
        self.0.iter_mut().map(|filters| u64::from(filters.apply(sample))).sum()
    }

    /// The sensor failed: everything that is remembered is forgotten.
    pub fn restart(&mut self) {
        for filters in &mut self.0 {
            filters.missing = 0;
            if let Some((chain, _)) = &mut filters.chain {
                chain.restart();
            }
        }
    }

    /// Measurements whose filters took their last three values or more.
    pub fn without_value(&self) -> impl Iterator<Item = &Cow<'static, str>> {
        self.0.iter().filter(|filters| filters.missing >= MISSING_AFTER).map(|filters| &filters.settings.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::testing::step;

    const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 1);
    const HUMIDITY: Quantity = Quantity::new("humidity", "%", 0);
    const ACTIVE: Quantity = Quantity::flag("active");

    fn filters(name: &'static str, steps: &[&str]) -> MeasurementFilters {
        MeasurementFilters { name: name.into(), steps: steps.iter().map(|text| step(text)).collect() }
    }

    fn all() -> Vec<Quantity> {
        vec![TEMPERATURE, HUMIDITY, ACTIVE]
    }

    #[test]
    fn quantities_are_those_behind_the_filters() {
        let settings = [filters("temperature", &["{ to: °F }"]), filters("humidity", &["omit"])];
        let (after, _) = filtered(&settings, all());
        assert_eq!(
            after.iter().map(|q| (&*q.name, &*q.unit)).collect::<Vec<_>>(),
            [("temperature", "°F"), ("active", "")]
        );
    }

    #[test]
    fn every_filter_that_does_not_fit_is_named() {
        let settings = [filters("temperature", &["{ round: 1 }", "{ to: V }"]), filters("active", &["{ offset: 1 }"])];
        let (_, misfits) = filtered(&settings, all());
        assert_eq!(misfits.iter().map(|(index, misfit)| (*index, misfit.step)).collect::<Vec<_>>(), [(0, 1), (1, 0)]);
    }

    #[test]
    fn a_sample_is_filtered_in_place() {
        let settings =
            [filters("temperature", &["{ within: [0, 50] }", "{ round: 0.5 }"]), filters("humidity", &["omit"])];
        let mut filters = SensorFilters::new(&settings, &all());
        let mut sample = vec![TEMPERATURE.measured(20.3), HUMIDITY.measured(40.0), ACTIVE.observed(true)];
        assert_eq!(filters.apply(&mut sample), 0);
        assert_eq!(sample, [TEMPERATURE.measured(20.5), ACTIVE.observed(true)]);
        let mut sample = vec![TEMPERATURE.measured(85.0), HUMIDITY.measured(40.0)];
        assert_eq!(filters.apply(&mut sample), 1);
        assert_eq!(sample, []);
    }

    #[test]
    fn a_measurement_whose_filters_leave_nothing_is_named_after_three_values() {
        let mut filters = SensorFilters::new(&[filters("temperature", &["{ within: [0, 50] }"])], &all());
        let mut missing = |value: Option<f64>| {
            filters.apply(&mut value.map(|value| TEMPERATURE.measured(value)).into_iter().collect());
            filters.without_value().count()
        };
        assert_eq!(
            [Some(99.0), None, Some(99.0), Some(99.0), Some(20.0), Some(99.0)].map(&mut missing),
            [0, 0, 0, 1, 0, 0]
        );
    }

    #[test]
    fn the_same_filters_go_on_and_others_begin() {
        let average = |size: u8| filters("temperature", &[&format!("{{ moving_average: {size} }}")]);
        let mut running = SensorFilters::new(&[average(3)], &all());
        let next = |running: &mut SensorFilters, value| {
            let mut sample = vec![TEMPERATURE.measured(value)];
            running.apply(&mut sample);
            number(sample[0].value).unwrap()
        };
        assert_eq!(next(&mut running, 1.0), 1.0);
        running.resume(&[filters("humidity", &["omit"]), average(3)], &all());
        assert_eq!(next(&mut running, 3.0), 2.0);
        running.resume(&[average(4)], &all());
        assert_eq!(next(&mut running, 7.0), 7.0);
        running.resume(&[], &all());
        assert_eq!(next(&mut running, 9.0), 9.0);
    }
}
