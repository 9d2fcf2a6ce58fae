//! The dashboard for Grafana, as far as it can be known without one: its form, its expressions, and that each of them gives something for
//! the greenhouse of `fieldgate demo`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::server::Prometheus;
use super::{is_there, promtool, root};
use crate::common::gateway::Gateway;
use crate::common::http::{OPEN, Site};
use crate::common::{SOON, wait_until};

/// The first that knows panels as they are written here; Grafana 10 and later take it.
const OLDEST_SCHEMA: u64 = 36;

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

/// Kinds of panels that come with Grafana.
const KINDS: [&str; 4] = ["row", "stat", "state-timeline", "timeseries"];

fn dashboard() -> Value {
    let text = std::fs::read_to_string(root().join("deploy/grafana/fieldgate.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

/// Every expression, and what stands in for Grafana's variables.
fn expressions(dashboard: &Value) -> Vec<String> {
    let targets = panels(dashboard).iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let written = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    let filled = written.map(|expression| {
        let known = [("$__rate_interval", "5s"), ("$__range", "5s"), ("$instance", ".*"), ("$sensor", ".*")];
        let filled = known.iter().fold(expression, |text, (name, value)| text.replace(name, value));
        assert!(!filled.contains('$'), "a variable that this dashboard does not have: {filled}");
        filled
    });
    filled.collect()
}

/// Left, top, right and bottom.
fn place(panel: &Value) -> [u64; 4] {
    let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
    assert!(w > 0 && h > 0, "{panel}");
    [x, y, x + w, y + h]
}

#[test]
fn panels_have_a_place_of_their_own_and_a_data_source_that_is_chosen() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= OLDEST_SCHEMA);
    assert!(dashboard["id"].is_null() && dashboard["uid"].is_string() && dashboard["title"].is_string());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let source = variables.iter().find(|variable| variable["name"] == "datasource").expect("a data source to choose");
    assert_eq!((&source["type"], &source["query"]), (&"datasource".into(), &"prometheus".into()));
    let is_chosen = |one: &Value| one["datasource"]["uid"] == "${datasource}";
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        assert!(is_chosen(variable), "{variable}");
    }
    let (mut ids, mut places) = (BTreeSet::new(), Vec::<(&str, [u64; 4])>::new());
    for panel in panels(&dashboard) {
        let (title, kind) = (panel["title"].as_str().unwrap(), panel["type"].as_str().unwrap());
        assert!(KINDS.contains(&kind), "{title}: {kind}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title} has the number of another");
        let mine @ [left, top, right, bottom] = place(panel);
        assert!(right <= COLUMNS, "{title} is not within the grid");
        for (name, other) in &places {
            let is_beside = right <= other[0] || other[2] <= left || bottom <= other[1] || other[3] <= top;
            assert!(is_beside, "{title} lies on {name}");
        }
        places.push((title, mine));
        if kind == "row" {
            continue;
        }
        assert!(is_chosen(panel) && panel["description"].is_string(), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        let references: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!targets.is_empty() && references.len() == targets.len(), "{title}");
        assert!(targets.iter().all(is_chosen), "{title}");
    }
}

#[test]
fn promtool_can_read_every_expression() {
    if !is_there("promtool") {
        return;
    }
    let expressions = expressions(&dashboard());
    let rules = expressions.iter().enumerate().map(|(nth, expression)| {
        // JSON is YAML.
        format!("      - {{ record: \"panel:{nth}\", expr: {} }}\n", Value::from(expression.as_str()))
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    let text = format!("groups:\n  - name: dashboard\n    rules:\n{}", rules.collect::<String>());
    std::fs::write(&file, text).unwrap();
    let said = promtool(&["check", "rules", file.to_str().unwrap()], None);
    assert!(said.contains(&format!("SUCCESS: {} rules found", expressions.len())), "{said}");
}

#[test]
fn every_panel_shows_something_of_the_demo() {
    if !is_there("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let greenhouse = std::fs::read_to_string(root().join("config/demo.yaml")).unwrap();
    // Nobody listens on the broker's port.
    let greenhouse = greenhouse.replace("@PORT@", "1").replace("@FOLDER@", folder.path().to_str().unwrap());
    let gateway = Gateway::start(folder.path(), &format!("{greenhouse}{OPEN}\n"));
    let site = Site::of(&gateway);
    let target =
        format!("scrape_configs: [{{ job_name: fieldgate, static_configs: [{{ targets: [\"{}\"] }}] }}]", site.address);
    let server = Prometheus::start(&target, None);
    for expression in expressions(&dashboard()) {
        wait_until(&expression, SOON, || !server.query(&expression).is_empty());
    }
}
