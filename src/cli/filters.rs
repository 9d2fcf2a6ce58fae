//! `fieldgate filters [NAME]`: the table, or one filter's page. Everything comes out of the filters' own specifications.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use crate::cli;
use crate::cli::drivers;
use fieldgate_filters::{FILTERS, FilterSpec, Takes, find};

/// Prints the table, or the page of `name`.
pub fn run(name: Option<&str>, json: bool) -> ExitCode {
    let Some(name) = name else {
        let all = || Json::from(FILTERS.iter().map(|spec| describe(spec)).collect::<Vec<_>>());
        return cli::put(&if json { format!("{:#}\n", all()) } else { table() }, ExitCode::SUCCESS);
    };
    match find(name) {
        Some(spec) if json => cli::put(&format!("{:#}\n", describe(spec)), ExitCode::SUCCESS),
        Some(spec) => cli::put(&page(spec), ExitCode::SUCCESS),
        None => drivers::unknown("filter", name, FILTERS.iter().map(|spec| spec.name)),
    }
}

/// One line for each filter.
pub fn table() -> String {
    let mut out = format!("{:<27} SUMMARY\n", "FILTER");
    for spec in FILTERS {
        writeln!(out, "{:<27} {}", spec.name, spec.summary).expect("a String takes all");
    }
    out
}

/// The whole page of one filter.
pub fn page(spec: &FilterSpec) -> String {
    let mut out = format!("{}: {}\n\n{}\n\nValue\n", spec.name, spec.summary, spec.page);
    match spec.takes {
        Takes::Nothing => out.push_str("  none: the name alone\n"),
        Takes::Value(kind) => writeln!(out, "  {}", drivers::kind(&kind)).expect("a String takes all"),
        Takes::Keys(fields) => drivers::fields(&mut out, fields, 2),
    }
    write!(out, "\nExample\nfilters:\n  temperature: [{}]\n", spec.example).expect("a String takes all");
    out
}

fn describe(spec: &FilterSpec) -> Json {
    json!({ "name": spec.name, "summary": spec.summary, "page": spec.page, "example": spec.example })
}
