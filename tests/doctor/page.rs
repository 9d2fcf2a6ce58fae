//! docs/troubleshooting.md and the table of checks have the same causes.

use std::collections::BTreeSet;
use std::path::Path;

use fieldgate::cli::doctor::table::CHECKS;

/// The causes in the first cells of the page's tables.
fn explained(page: &str) -> BTreeSet<String> {
    let first_cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let causes = first_cells.flat_map(|cell| cell.split(", ")).filter(|cause| cause.starts_with('`'));
    causes.map(|cause| cause.trim_matches('`').to_owned()).collect()
}

#[test]
fn the_page_explains_every_cause_that_the_doctor_can_find_and_no_other() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md")).unwrap();
    let found: BTreeSet<String> =
        CHECKS.iter().flat_map(|check| check.causes).map(|cause| (*cause).to_owned()).collect();
    assert_eq!(explained(&page), found);
}
