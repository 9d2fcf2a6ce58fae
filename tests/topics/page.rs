//! docs/topics.md as data: its two tables, and what stands below each heading.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use serde_json::Value;

/// A row of one of the tables.
#[derive(Debug)]
pub(crate) struct Row {
    /// As it stands there, such as `B/sensors/<sensor>`.
    pub(crate) topic: String,
    /// `yes`, `no`, or the key that decides. Nothing of what is heard.
    pub(crate) retained: Option<String>,
    pub(crate) qos: Option<String>,
    /// The anchors of its payloads.
    pub(crate) payloads: Vec<String>,
}

/// A payload.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    pub(crate) schema: Value,
    pub(crate) examples: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    pub(crate) payloads: BTreeMap<String, Payload>,
}

impl Page {
    pub(crate) fn parse(text: &str) -> Self {
        let mut page = Self { rows: Vec::new(), payloads: BTreeMap::new() };
        for section in text.split("\n##").skip(1) {
            let (heading, body) = section.split_once('\n').unwrap();
            let anchor = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            page.rows.extend(body.lines().filter(|line| line.starts_with("| `")).map(row));
            let payload = payload(body);
            if !payload.schema.is_null() {
                assert!(page.payloads.insert(anchor.clone(), payload).is_none(), "two headings are called {anchor}");
            }
        }
        for row in &page.rows {
            let known = |anchor: &String| page.payloads.contains_key(anchor);
            assert!(!row.payloads.is_empty() && row.payloads.iter().all(known), "{row:?} has no payload");
        }
        page
    }

    /// The row of a topic below the base `b`: of several the one that says most of it. Where a level may be anything, such as what
    /// a rule publishes, it is what this says: a topic that the page lacks must not pass for it.
    pub(crate) fn row(&self, topic: &str) -> Option<&Row> {
        const MEANT: &[(&str, &str)] =
            &[("<prefix>", "homeassistant"), ("<response topic>", "answers/me"), ("<topic>", "events/hot")];
        let levels: Vec<_> = topic.split('/').collect();
        let fits = |row: &&Row| {
            let pattern = MEANT.iter().fold(row.topic.clone(), |text, (name, meant)| text.replace(name, meant));
            let pattern: Vec<_> = pattern.split('/').map(|level| if level == "B" { "b" } else { level }).collect();
            let is_same = |(want, is): (&&str, &&str)| want.starts_with('<') || want == is;
            levels.len() == pattern.len() && pattern.iter().zip(&levels).all(is_same)
        };
        let said = |row: &&Row| row.topic.split('/').filter(|level| !level.starts_with('<')).count();
        self.rows.iter().filter(fits).max_by_key(said)
    }
}

fn row(line: &str) -> Row {
    let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let plain = |cell: &str| cell.trim_matches('`').to_owned();
    let (retained, qos) = match cells[..] {
        [_, retained, qos, _] => (Some(plain(retained)), Some(plain(qos))),
        [_, _] => (None, None),
        _ => panic!("a row of {} cells: {line}", cells.len()),
    };
    let last = cells.last().unwrap();
    let payloads = last.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned());
    Row { topic: plain(cells[0]), retained, qos, payloads: payloads.collect() }
}

fn payload(body: &str) -> Payload {
    let mut payload = Payload::default();
    for block in body.split("\n```").skip(1).step_by(2) {
        let (_, content) = block.split_once('\n').unwrap();
        match serde_json::from_str::<Value>(content) {
            Ok(schema) if schema["$schema"].is_string() => payload.schema = schema,
            _ => payload.examples.push(content.trim().to_owned()),
        }
    }
    payload
}
