//! `buses:`: the keys of each kind, out of the table of the crate `bus`, with those that all have.

use std::sync::LazyLock;
use std::time::Duration;

use super::field;
use fieldgate_bus::{BUSES, BY_RPPAL, BusSpec};
use fieldgate_model::{Field, Kind, Need};

/// What every entry has. [`bus`] and [`any_bus`] give all keys.
pub static BUS: &[Field] = &[field("type", Kind::Text, Need::Required, "what kind of bus it is")];

const BACKEND: Field = field(
    "backend",
    Kind::Choice(&["linux", "rppal"]),
    Need::Default("linux"),
    "what drives it: linux, which is the kernel and works on every board, or rppal, on a Raspberry Pi only",
);

static TYPES: LazyLock<Vec<&'static str>> = LazyLock::new(|| BUSES.iter().map(|spec| spec.name).collect());

static OF_EACH: LazyLock<Vec<(&'static BusSpec, Vec<Field>)>> = LazyLock::new(|| {
    let all = BUSES.iter().chain(BY_RPPAL).copied();
    all.map(|spec| (spec, written(spec.fields.iter().copied(), has_backends(spec)))).collect()
});

static OF_ANY: LazyLock<Vec<Field>> = LazyLock::new(|| {
    let (with, without): (Vec<_>, Vec<_>) = BUSES.iter().partition(|spec| has_backends(spec));
    let mut all = written(together(&with).into_iter(), true);
    let known: Vec<_> = all.iter().map(|field| field.name).collect();
    all.extend(together(&without).into_iter().filter(|field| !known.contains(&field.name)));
    all
});

/// Whether more than one backend can drive it.
fn has_backends(spec: &BusSpec) -> bool {
    BusSpec::find(spec.name, true).is_some()
}

/// The keys of an entry of this kind.
pub fn bus(spec: &'static BusSpec) -> &'static [Field] {
    let found = OF_EACH.iter().find(|(known, _)| std::ptr::eq(*known, spec));
    found.map_or(BUS, |(_, fields)| fields)
}

/// The keys of every kind, for an entry of which nobody knows what it is.
pub fn any_bus() -> &'static [Field] {
    &OF_ANY
}

/// The keys of a kind, with those that are no business of its own.
fn written(own: impl Iterator<Item = Field>, has_backends: bool) -> Vec<Field> {
    let mut all = vec![Field { kind: Kind::Choice(&TYPES), ..BUS[0] }];
    all.extend(own);
    all.extend(has_backends.then_some(BACKEND));
    all
}

/// The keys of all these kinds, each once, and what each says of it.
fn together(specs: &[&&'static BusSpec]) -> Vec<Field> {
    let mut all: Vec<Field> = Vec::new();
    for field in specs.iter().flat_map(|spec| spec.fields) {
        if !all.iter().any(|known| known.name == field.name) {
            let doc = docs(field.name).leak();
            all.push(Field { name: field.name, kind: loose(field.kind), need: Need::Optional, doc });
        }
    }
    all
}

/// What each kind says of the key: `i2c: the adapter's …; spi: …`.
fn docs(key: &str) -> String {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for spec in BUSES {
        let Some(field) = spec.fields.iter().find(|field| field.name == key) else { continue };
        match all.iter_mut().find(|(doc, _)| *doc == field.doc) {
            Some((_, names)) => names.push(spec.name),
            None => all.push((field.doc, vec![spec.name])),
        }
    }
    let one = |(doc, names): &(&str, Vec<&str>)| format!("{}: {doc}", names.join(", "));
    all.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What a key may hold of whichever kind: the range of one is not that of another.
fn loose(kind: Kind) -> Kind {
    match kind {
        Kind::Address(_) => Kind::Integer { min: 0, max: 127 },
        Kind::Duration { max, .. } => Kind::Duration { min: Duration::from_millis(1), max },
        other => other,
    }
}
