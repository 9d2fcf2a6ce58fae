//! omit: the measurement is not reported.

use crate::spec::{Built, FilterSpec, Takes};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "omit",
    summary: "the measurement is left out of readings",
    page: "\
For what a chip measures beside and nobody wants: the pressure of a bme280 that
hangs in a fridge. It is not announced either. At least one measurement of a
sensor must be left.",
    takes: Takes::Nothing,
    example: "omit",
    build: |_, _| Ok(Built::Omit),
};
