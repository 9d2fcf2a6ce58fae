//! `filters:` and `report:` of a sensor.

use std::time::Duration;

use crate::config::check::Checker;
use crate::config::check::section::Section;
use crate::config::check::words::{did_you_mean, quoted};
use crate::config::raw;
use crate::config::tree::{Key, Node, Span, Value};
use fieldgate_filters::{
    Aggregate, FILTERS, FilterSpec, MeasurementFilters, Parameter, ReportSettings, Step, Takes, filtered, find,
};
use fieldgate_model::{Form, Kind, Quantity, Setting};

/// What `delta` may be.
const DELTA: Kind = Kind::Number { min: 1e-9, max: 1e15 };

/// The filters of one measurement, and where each is written.
struct Written {
    filters: MeasurementFilters,
    spans: Vec<Span>,
}

/// What stands under `report:`.
enum WrittenReport {
    /// There is none.
    Absent,
    /// It is wrong, which has been reported.
    Wrong,
    Good(ReportSettings),
}

impl<'a> Checker<'a> {
    /// What happens between a sample and its readings; nothing when that is wrong. `measured` is what the driver measures, if
    /// that is known.
    pub(super) fn values(
        &mut self,
        section: &Section<'a>,
        measured: Option<Vec<Quantity>>,
    ) -> Option<(Vec<MeasurementFilters>, Option<ReportSettings>)> {
        let (written, is_good) = self.filters(section, measured.as_deref());
        let (after, fits) = self.after(section, &written, measured.clone());
        let report = match self.report(section, measured.as_deref(), &after) {
            WrittenReport::Absent => None,
            WrittenReport::Wrong => return None,
            WrittenReport::Good(settings) => Some(settings),
        };
        let filters = written.into_iter().map(|written| written.filters).collect();
        Some((filters, report)).filter(|_| is_good && fits)
    }

    /// The quantities behind the filters, and whether all of these fit.
    fn after(
        &mut self,
        section: &Section<'a>,
        written: &[Written],
        measured: Option<Vec<Quantity>>,
    ) -> (Vec<Quantity>, bool) {
        let Some(measured) = measured else { return (Vec::new(), false) };
        let all: Vec<_> = written.iter().map(|written| written.filters.clone()).collect();
        let (after, misfits) = filtered(&all, measured);
        let fits = misfits.is_empty();
        for (index, misfit) in misfits {
            self.error(&written[index].spans[misfit.step], misfit.wrong.what, misfit.wrong.hint);
        }
        // A driver without any measurement has been reported.
        if after.is_empty() && !written.is_empty() {
            self.error(&section.key("filters"), "every measurement is omitted", "leave one of them");
            return (after, false);
        }
        (after, fits)
    }

    /// The filters as far as they could be read, and whether all of them could.
    fn filters(&mut self, section: &Section<'a>, measured: Option<&[Quantity]>) -> (Vec<Written>, bool) {
        let mut all: Vec<Written> = Vec::new();
        let mut is_good = true;
        for node in section.nodes("filters") {
            if !matches!(node.value, Value::Map(_) | Value::Null) {
                let name = measured.and_then(|all| all.first()).map_or("temperature", |quantity| &*quantity.name);
                self.error(&node.span, "filters name no measurement", format!("write {{ {name}: [{{ median: 5 }}] }}"));
                return (all, false);
            }
            let entries = self.entries(Some(node), "filters");
            is_good &= entries.is_some();
            for (key, node) in entries.unwrap_or_default() {
                is_good &= self.is_measured(key, measured);
                let (steps, is_whole) = self.steps(key, node);
                let (steps, spans): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
                is_good &= is_whole;
                // What stands there twice has been reported.
                if all.iter().any(|other| other.filters.name == key.text) {
                    is_good = false;
                } else {
                    all.push(Written { filters: MeasurementFilters { name: key.text.clone().into(), steps }, spans });
                }
            }
        }
        (all, is_good)
    }

    /// Whether a key names a measurement of the sensor, as far as these are known.
    fn is_measured(&mut self, key: &Key, measured: Option<&[Quantity]>) -> bool {
        let Some(measured) = measured else { return true };
        let names: Vec<_> = measured.iter().map(|quantity| &*quantity.name).collect();
        if names.contains(&key.text.as_str()) {
            return true;
        }
        let hint = did_you_mean(&key.text, &names, || format!("it measures {}", names.join(", ")));
        self.error(&key.span, format!("the sensor measures no {}", quoted(&key.text)), hint);
        false
    }

    /// The filters of one measurement, a list of them or one alone, as far as they could be read, and whether all could.
    fn steps(&mut self, key: &Key, node: &'a Node) -> (Vec<(Step, Span)>, bool) {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Null => &[],
            _ => std::slice::from_ref(node),
        };
        if items.is_empty() {
            self.error(&key.span, "the list is empty", "write for example [{ median: 5 }, { round: 0.1 }]");
        }
        let all: Vec<_> = items.iter().filter_map(|item| self.step(&key.span, item)).collect();
        let is_whole = !all.is_empty() && all.len() == items.len();
        (all, is_whole)
    }

    fn step(&mut self, place: &Span, node: &'a Node) -> Option<(Step, Span)> {
        let (name, span, value) = match &node.value {
            Value::Map(entries) => match entries.as_slice() {
                [(key, value)] => (&key.text, &key.span, Some(value)),
                [] => {
                    self.error(place, "a filter has no name", "write for example { median: 5 }");
                    return None;
                }
                [_, (second, _), ..] => {
                    let hint = "write one entry for each filter: [{ median: 5 }, { round: 0.1 }]";
                    self.error(&second.span, "one entry has two filters, and their order would be unknown", hint);
                    return None;
                }
            },
            Value::Text(name) => (name, &node.span, None),
            _ => {
                let hint = "write for example { median: 5 }";
                self.error(&node.span, format!("a filter is a name and its value, not {}", node.describe()), hint);
                return None;
            }
        };
        let filter = self.filter(name, span)?;
        let parameter = self.parameter(filter, span, value)?;
        let place = value.map_or(span, |value| if is_plain(value) { &value.span } else { span });
        Some((Step::new(filter, parameter), place.clone()))
    }

    fn filter(&mut self, name: &str, span: &Span) -> Option<&'static FilterSpec> {
        let found = find(name);
        if found.is_none() {
            let names: Vec<_> = FILTERS.iter().map(|spec| spec.name).collect();
            let hint = did_you_mean(name, &names, || "`fieldgate filters` lists them".to_owned());
            self.error(span, format!("no filter is called {}", quoted(name)), hint);
        }
        found
    }

    fn parameter(&mut self, filter: &'static FilterSpec, span: &Span, value: Option<&'a Node>) -> Option<Parameter> {
        let value = value.filter(|value| value.value != Value::Null);
        match (filter.takes, value) {
            (Takes::Nothing, None) => Some(Parameter::Nothing),
            (Takes::Nothing, Some(value)) => {
                self.error(&value.span, format!("{} takes no value", filter.name), format!("write `{}`", filter.name));
                None
            }
            (_, None) => {
                self.error(span, format!("{} needs a value", filter.name), format!("write {}", filter.example));
                None
            }
            (Takes::Value(Kind::List(Kind::List(_))), Some(Node { value: Value::List(items), span: place }))
                if items.iter().any(|item| !matches!(item.value, Value::List(_))) =>
            {
                let what = format!("{} is a list of pairs, each a list of two numbers", filter.name);
                self.error(place, what, format!("write for example {}", filter.example));
                None
            }
            (Takes::Value(kind), Some(value)) => Some(Parameter::Value(self.value(filter.name, &kind, value)?)),
            (Takes::Keys(fields), Some(value)) => {
                Some(Parameter::Keys(self.section(span, [value], filter.name, fields).settings()?))
            }
        }
    }

    /// `report:`, if there is one.
    fn report(&mut self, section: &Section<'a>, measured: Option<&[Quantity]>, filtered: &[Quantity]) -> WrittenReport {
        if !section.has("report") {
            return WrittenReport::Absent;
        }
        self.written_report(section, measured, filtered).map_or(WrittenReport::Wrong, WrittenReport::Good)
    }

    fn written_report(
        &mut self,
        section: &Section<'a>,
        measured: Option<&[Quantity]>,
        filtered: &[Quantity],
    ) -> Option<ReportSettings> {
        let place = section.key("report");
        let own = self.section(&place, section.nodes("report"), "report", raw::REPORT);
        let delta = self.delta(&own, measured, filtered);
        let aggregate = aggregates(&own);
        let names_are_free = self.names_are_free(&own, &aggregate, filtered);
        let (min_interval, max_interval) = (own.duration("min_interval"), own.duration("max_interval"));
        let fits = self.intervals_fit(&own, min_interval, max_interval, &aggregate);
        let settings = ReportSettings {
            delta: delta?,
            min_interval: min_interval.unwrap_or(Duration::ZERO),
            max_interval,
            aggregate,
        };
        own.settings().filter(|_| names_are_free && fits).map(|_| settings)
    }

    fn delta(
        &mut self,
        own: &Section<'a>,
        measured: Option<&[Quantity]>,
        filtered: &[Quantity],
    ) -> Option<Vec<(String, f64)>> {
        let mut all: Vec<(String, f64)> = Vec::new();
        let mut is_good = true;
        for node in own.nodes("delta") {
            if !matches!(node.value, Value::Map(_) | Value::Null) {
                let name = filtered.iter().find(|q| q.form == Form::Number).map_or("temperature", |q| &*q.name);
                self.error(
                    &node.span,
                    "delta names no measurement",
                    format!("write {{ {name}: {} }}", node.scalar_text().unwrap_or("0.5")),
                );
                return None;
            }
            let entries = self.entries(Some(node), "delta");
            is_good &= entries.is_some();
            for (key, node) in entries.unwrap_or_default() {
                let is_measured = self.is_measured(key, measured);
                let name = quoted(&key.text);
                let wrong = match filtered.iter().find(|quantity| quantity.name == key.text) {
                    Some(quantity) if quantity.form == Form::Number => None,
                    Some(_) => Some(format!("{name} is not a number; each of its changes makes a reading")),
                    None => (is_measured && measured.is_some()).then(|| format!("{name} is omitted")),
                };
                is_good &= is_measured && wrong.is_none();
                if let Some(what) = wrong {
                    self.error(&key.span, what, "leave it out");
                }
                match self.value("delta", &DELTA, node) {
                    Some(Setting::Number(delta)) => all.push((key.text.clone(), delta)),
                    _ => is_good = false,
                }
            }
        }
        is_good.then_some(all)
    }

    /// Whether no aggregate is called like another measurement.
    fn names_are_free(&mut self, own: &Section<'a>, all: &[Aggregate], filtered: &[Quantity]) -> bool {
        if let Some(again) = all.iter().enumerate().find(|(index, one)| all[..*index].contains(one)) {
            self.error(
                &own.key("aggregate"),
                format!("{} appears twice here", again.1.as_str()),
                "leave one of them out",
            );
            return false;
        }
        let settings = ReportSettings { aggregate: all.to_vec(), ..ReportSettings::default() };
        let quantities = settings.quantities(filtered.to_vec());
        let taken =
            quantities.iter().enumerate().find(|(index, q)| quantities[..*index].iter().any(|o| o.name == q.name));
        if let Some((_, taken)) = taken {
            let what = format!("two measurements would be called {}", taken.name);
            self.error(&own.key("aggregate"), what, "give the sensor's channel another name");
        }
        taken.is_none()
    }

    /// What cannot be meant: intervals that never act, or nothing to gather.
    fn intervals_fit(
        &mut self,
        own: &Section<'a>,
        min: Option<Duration>,
        max: Option<Duration>,
        aggregate: &[Aggregate],
    ) -> bool {
        let (what, hint, key) = match (min, max) {
            (Some(min), Some(max)) if min > max => {
                ("min_interval is longer than max_interval", "exchange the two", "min_interval")
            }
            (None, None) if !["delta", "min_interval", "max_interval"].iter().any(|key| own.is_meant(key)) => {
                let what = if aggregate.is_empty() {
                    "the report is empty, so each sample would be a reading"
                } else {
                    "there would be nothing to gather, for each sample would be a reading"
                };
                (what, "add delta, min_interval or max_interval", "aggregate")
            }
            _ => return true,
        };
        self.error(&own.key(key), what, hint);
        false
    }
}

fn aggregates(own: &Section<'_>) -> Vec<Aggregate> {
    let Some(Setting::List(all)) = own.get("aggregate") else { return Vec::new() };
    let named = |setting: &Setting| match setting {
        Setting::Text(name) => Aggregate::named(name),
        _ => None,
    };
    all.iter().filter_map(named).collect()
}

fn is_plain(node: &Node) -> bool {
    !matches!(node.value, Value::Map(_) | Value::List(_) | Value::Null)
}
