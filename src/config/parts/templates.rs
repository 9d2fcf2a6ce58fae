//! `templates` and `use`: entries that are written once and used many times.
//!
//! A template is the body of an entry of `buses`, `sensors`, `actuators`, `variables` or `rules`, with `!param NAME` for what
//! differs. Where an entry has `use`, it gets the template's keys, and its own keys come before those. Its lines are repeated in the
//! source for each use, so that a problem in them has a place of its own and names the use.

use std::collections::{HashMap, HashSet};

use crate::config::parts::Assembler;
use crate::config::report::Severity;
use crate::config::source::Lines;
use crate::config::tree::{Key, Node, Span, Tag, Value};
use fieldgate_spelling as spelling;

/// The section of templates.
const TEMPLATES: &str = "templates";

/// The key of an entry that uses one.
const USE: &str = "use";

/// The key below `use` that names it.
const TEMPLATE: &str = "template";

/// The sections whose entries may use templates.
const SECTIONS: [&str; 5] = ["buses", "sensors", "actuators", "variables", "rules"];

/// How many templates there may be, and how many parameters one may have: looking for a name stays quick.
const MAX_NAMES: usize = 256;

/// How a parameter is written in a template.
const FORM: &str = "write !param NAME, or !param [NAME, default]";

/// How a template is used.
const USAGE: &str = "such as use: { template: probe, address: 0x44 }";

struct Template {
    name: Key,
    body: Node,
    /// The lines where it stands.
    lines: Lines,
    parameters: Vec<Parameter>,
    is_used: bool,
}

struct Parameter {
    name: String,
    /// How often it stands in the body.
    times: usize,
    /// Where it stands first without a default.
    needed: Option<Span>,
}

/// One use of a template.
struct Use<'n> {
    key: &'n Key,
    template: String,
    arguments: Vec<(&'n Key, &'n Node)>,
}

impl Assembler<'_> {
    /// The sections without templates, and with their bodies where they are used.
    pub(super) fn expanded(&mut self, entries: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
        let (templates, mut entries): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(key, _)| key.text == TEMPLATES);
        let mut templates = self.templates(templates);
        for (key, section) in &mut entries {
            if let (true, Value::Map(named)) = (SECTIONS.contains(&key.text.as_str()), &mut section.value) {
                for (_, node) in named {
                    self.entry(node, &mut templates);
                }
            }
            self.no_parameters(section);
        }
        for template in templates.iter().filter(|template| !template.is_used) {
            let what = format!("nothing uses the template {:?}, so nothing in it was checked", template.name.text);
            self.add(Severity::Warning, &template.name.span, &what, USAGE);
        }
        entries
    }

    fn templates(&mut self, sections: Vec<(Key, Node)>) -> Vec<Template> {
        let mut all: Vec<Template> = Vec::new();
        for (again, _) in sections.iter().skip(1) {
            self.twice(again, &sections[0].0);
        }
        for (key, section) in sections {
            let described = section.describe();
            match section.value {
                Value::Null => {}
                Value::Map(entries) => {
                    for (name, node) in entries {
                        self.template(&mut all, name, node);
                    }
                }
                _ => self.error(&key.span, &format!("templates is a section of keys, not {described}"), ""),
            }
        }
        all
    }

    fn template(&mut self, all: &mut Vec<Template>, name: Key, mut node: Node) {
        if let Some(first) = all.iter().find(|template| template.name.text == name.text) {
            let first = first.name.clone();
            return self.twice(&name, &first);
        }
        // What came by an alias stands before the template.
        let mut end = name.span.end;
        node.each_span(&mut |span| {
            if span.start >= name.span.start {
                end = end.max(span.end);
            }
        });
        let mut parameters = Vec::new();
        self.parameters(&node, &mut parameters);
        if !matches!(node.value, Value::Map(_)) {
            let what = format!("a template is a section of keys, not {}", node.describe());
            return self.error(&name.span, &what, "write the keys of an entry, such as `driver:`");
        }
        if let Some((key, _)) = node.entry(USE) {
            self.error(&key.span, "a template cannot use another one", "write its keys here");
        }
        if all.len() >= MAX_NAMES || parameters.len() > MAX_NAMES {
            let what = format!("there are more than {MAX_NAMES} templates, or parameters of one");
            return self.error(&name.span, &what, "");
        }
        let lines = self.source.lines(&(name.span.start..end));
        all.push(Template { name, body: node, lines, parameters, is_used: false });
    }

    /// Gathers the parameters below `node`.
    fn parameters(&mut self, node: &Node, all: &mut Vec<Parameter>) {
        match &node.value {
            Value::Tagged(Tag::Param, inner) => match parameter(inner) {
                Some((name, default)) if name != TEMPLATE => {
                    let needed = default.is_none().then(|| inner.span.clone());
                    if let Some(known) = all.iter_mut().find(|known| known.name == name) {
                        known.times += 1;
                        known.needed = known.needed.take().or(needed);
                    } else if all.len() <= MAX_NAMES {
                        all.push(Parameter { name: name.to_owned(), times: 1, needed });
                    }
                    default.into_iter().for_each(|default| self.parameters(default, all));
                }
                _ => {
                    self.source.set_unresolved(&node.span);
                    self.error(&inner.span, "this cannot be the name of a parameter", FORM);
                }
            },
            Value::List(items) => items.iter().for_each(|item| self.parameters(item, all)),
            Value::Map(entries) => entries.iter().for_each(|(_, value)| self.parameters(value, all)),
            _ => {}
        }
    }

    /// `!param` that stands in no template.
    fn no_parameters(&mut self, node: &Node) {
        match &node.value {
            Value::Tagged(..) if self.source.is_unresolved(&node.span) => {}
            Value::Tagged(..) => {
                self.source.set_unresolved(&node.span);
                self.error(&node.span, "!param stands for a value in a template only", "write the value");
            }
            Value::List(items) => items.iter().for_each(|item| self.no_parameters(item)),
            Value::Map(entries) => entries.iter().for_each(|(_, value)| self.no_parameters(value)),
            _ => {}
        }
    }

    /// Puts the template in the place of `use`, if the entry has it.
    fn entry(&mut self, node: &mut Node, templates: &mut [Template]) {
        let Value::Map(entries) = &mut node.value else { return };
        if !entries.iter().any(|(key, _)| key.text == USE) {
            return;
        }
        let (uses, own): (Vec<_>, Vec<_>) = std::mem::take(entries).into_iter().partition(|(key, _)| key.text == USE);
        for (again, _) in uses.iter().skip(1) {
            self.twice(again, &uses[0].0);
        }
        match uses.first().and_then(|(key, used)| self.used(key, used, templates)) {
            Some(body) => *entries = overridden(body, own),
            None => {
                self.source.set_unresolved(&node.span);
                let nothing = Node { span: node.span.clone(), value: Value::Null };
                node.value = Value::Tagged(Tag::Param, Box::new(nothing));
            }
        }
    }

    /// The body for this use; `None` after a problem.
    fn used(&mut self, key: &Key, node: &Node, templates: &mut [Template]) -> Option<Vec<(Key, Node)>> {
        let used = self.read_use(key, node)?;
        let Some(at) = templates.iter().position(|template| template.name.text == used.template) else {
            let names: Vec<_> = templates.iter().map(|template| template.name.text.as_str()).collect();
            let named = node.entry(TEMPLATE).map_or(&key.span, |(_, name)| &name.span);
            let hint = hint(&used.template, &names, "there is no section `templates:`");
            self.error(named, &format!("no template is called {:?}", used.template), &hint);
            return None;
        };
        let template = &mut templates[at];
        template.is_used = true;
        self.fits(&used, template)?;
        let times =
            |name: &str| template.parameters.iter().find(|known| known.name == name).map_or(0, |known| known.times);
        let given = |size: fn(&Node) -> usize| {
            used.arguments.iter().map(|(key, value)| times(&key.text).saturating_mul(size(value))).sum::<usize>()
        };
        self.takes(template.body.count() + given(Node::count), &key.span)?;
        self.takes_text(template.lines.span.len() + template.body.bytes() + given(Node::bytes), &key.span)?;
        let start = self.source.repeat(&template.lines, &key.span);
        let (lines, first) = (&template.lines.span, template.name.span.start);
        let mut body = template.body.clone();
        // What came by an alias stands before the template, and stays where it is.
        body.each_span(&mut |span| {
            if first <= span.start && span.end <= lines.end {
                *span = start + span.start - lines.start..start + span.end - lines.start;
            }
        });
        fill(&mut body, &used.arguments);
        match body.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    fn read_use<'n>(&mut self, key: &'n Key, node: &'n Node) -> Option<Use<'n>> {
        let Value::Map(entries) = &node.value else {
            self.error(&key.span, &format!("use is a section of keys, not {}", node.describe()), USAGE);
            return None;
        };
        let mut seen = HashMap::new();
        for (again, _) in entries {
            if let Some(first) = seen.insert(again.text.as_str(), again) {
                self.twice(again, first);
                return None;
            }
        }
        let Some((_, Node { value: Value::Text(template), .. })) = node.entry(TEMPLATE) else {
            self.error(&key.span, "use does not name a template", USAGE);
            return None;
        };
        let arguments = entries.iter().filter(|(key, _)| key.text != TEMPLATE);
        let arguments = arguments.map(|(key, value)| (key, value)).collect();
        Some(Use { key, template: template.clone(), arguments })
    }

    /// Whether the arguments are those that the template has.
    fn fits(&mut self, used: &Use<'_>, template: &Template) -> Option<()> {
        let names: Vec<_> = template.parameters.iter().map(|known| known.name.as_str()).collect();
        let (mut is_good, mut misspelt) = (true, Vec::new());
        for (key, value) in &used.arguments {
            self.no_parameters(value);
            if !names.contains(&key.text.as_str()) {
                is_good = false;
                misspelt.extend(spelling::nearest(&key.text, names.iter().copied()));
                let what = format!("the template {:?} has no parameter {:?}", used.template, key.text);
                self.error(&key.span, &what, &hint(&key.text, &names, "it has none"));
            }
        }
        for Parameter { name, needed, .. } in &template.parameters {
            let is_given =
                || misspelt.contains(&name.as_str()) || used.arguments.iter().any(|(key, _)| key.text == *name);
            if let Some(place) = needed.as_ref().filter(|_| !is_given()) {
                is_good = false;
                let line = self.source.line_seen_from(place.start, used.key.span.start);
                let what = format!("the template {:?} needs the parameter {name:?}", used.template);
                self.error(&used.key.span, &what, &format!("add `{name}:`; it stands in {line}"));
            }
        }
        is_good.then_some(())
    }
}

/// The name and the default of a parameter.
fn parameter(inner: &Node) -> Option<(&str, Option<&Node>)> {
    let named = |node: &Node| matches!(&node.value, Value::Text(name) if !name.is_empty());
    match &inner.value {
        Value::List(items) => match items.as_slice() {
            [name] if named(name) => Some((name.scalar_text()?, None)),
            [name, default] if named(name) => Some((name.scalar_text()?, Some(default))),
            _ => None,
        },
        _ if named(inner) => Some((inner.scalar_text()?, None)),
        _ => None,
    }
}

/// Puts the arguments in the place of the parameters.
fn fill(node: &mut Node, arguments: &[(&Key, &Node)]) {
    match &mut node.value {
        Value::Tagged(Tag::Param, inner) => {
            let Some((name, default)) = parameter(inner) else { return };
            let given = arguments.iter().find(|(key, _)| key.text == name).map(|(_, value)| (*value).clone());
            // What is given has no parameters; a default may.
            let Some(value) = given.or_else(|| {
                let mut value = default.cloned()?;
                fill(&mut value, arguments);
                Some(value)
            }) else {
                return;
            };
            *node = value;
        }
        Value::List(items) => items.iter_mut().for_each(|item| fill(item, arguments)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| fill(value, arguments)),
        _ => {}
    }
}

/// The keys of a template with those that stand beside `use`, which come first; sections are joined key by key.
fn overridden(body: Vec<(Key, Node)>, own: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
    let mut all = body;
    let mut seen = HashSet::new();
    for (key, node) in own {
        // A key that stands there twice is reported by the check.
        let is_first = seen.insert(key.text.clone());
        match (all.iter_mut().find(|(other, _)| is_first && other.text == key.text), node) {
            (Some((_, Node { value: Value::Map(before), .. })), Node { value: Value::Map(more), .. }) => {
                *before = overridden(std::mem::take(before), more);
            }
            (Some(place), node) => *place = (key, node),
            (None, node) => all.push((key, node)),
        }
    }
    all
}

/// The name that was probably meant, or all that there are.
fn hint(written: &str, names: &[&str], none: &str) -> String {
    match (spelling::nearest(written, names.iter().copied()), names) {
        (Some(near), _) => format!("did you mean {near:?}?"),
        (None, []) => none.to_owned(),
        (None, names) => format!("there is {}", names.join(", ")),
    }
}
