//! The text format of Prometheus before OpenMetrics, made of OpenMetrics. Pure.
//!
//! The two differ in little: a counter is called by its whole name where it is described too, `info` is a gauge, and there is neither a
//! line for the unit nor one for the end.

/// The older text of this one.
pub(super) fn of_openmetrics(text: &str) -> String {
    let mut older = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("# ") else {
            older.push_str(&without_empty_labels(line));
            older.push('\n');
            continue;
        };
        let Some(help) = rest.strip_prefix("HELP ") else { continue };
        let (name, words) = help.split_once(' ').unwrap_or((help, ""));
        let kind = lines.peek().and_then(|next| next.strip_prefix("# TYPE ")?.split_once(' ')).map(|(_, kind)| kind);
        let (name, kind) = match kind {
            Some("counter") => (format!("{name}_total"), "counter"),
            Some("info") => (format!("{name}_info"), "gauge"),
            Some(kind) => (name.to_owned(), kind),
            None => continue,
        };
        older.push_str(&format!("# HELP {name} {words}\n# TYPE {name} {kind}\n"));
    }
    older
}

fn without_empty_labels(line: &str) -> String {
    match line.split_once('{') {
        Some((name, rest)) if rest.starts_with('}') => format!("{name}{}", &rest[1..]),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_their_whole_name_and_units_have_no_line() {
        let new = "# HELP a_seconds Time.\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds{x=\"{} y\"} 1.5\n\
                   # HELP b Things.\n# TYPE b counter\nb_total{} 3\n# HELP c What.\n# TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        let old = "# HELP a_seconds Time.\n# TYPE a_seconds gauge\na_seconds{x=\"{} y\"} 1.5\n\
                   # HELP b_total Things.\n# TYPE b_total counter\nb_total 3\n\
                   # HELP c_info What.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n";
        assert_eq!(of_openmetrics(new), old);
    }
}
