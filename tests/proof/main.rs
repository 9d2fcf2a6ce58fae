//! Our drivers verified against drivers that people use today, on the same simulated registers.
//!
//! A simulated chip and the driver for it may share a mistake, for one reading of one datasheet made both. So for each driver
//! with a `reference_NAME.py` beside it two such chips are put into the same world, some dozens of worlds one after the other; the
//! reference reads one, ours the other, and what they say may differ by the last decimal, or by what the reference's file
//! allows with its reason. An output is driven by either on one chip, and read back by the other. One test a driver:
//! `cargo test --test proof -- sht3x`. Buses that are chips have their own in `buses/`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and prints its figures")]

#[path = "../common/mod.rs"]
mod common;

mod bench;
mod buses;
mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fieldgate_drivers::{self as drivers, DRIVERS, DriverSpec, Proof, Role};
use fieldgate_model::{Measurement, OutputKind, OutputValue, Value};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Map, Value as Json};

use crate::bench::ChipUnderTest;
use crate::reference::Reference;

/// Worlds for each variant of settings.
const WORLDS: usize = 24;

fn main() {
    let mut trials: Vec<_> =
        references().into_iter().map(|(name, file)| Trial::test(name.clone(), move || compare(&name, &file))).collect();
    trials.push(Trial::test("the_table_tells_of_every_reference_and_of_no_other", || {
        claims_match();
        Ok(())
    }));
    trials.extend(buses::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The drivers that have a reference, each with its file.
fn references() -> BTreeMap<String, PathBuf> {
    let entries = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let folders =
        entries(Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/drivers/src")).filter(|path| path.is_dir());
    let reference = |file: PathBuf| {
        let name = file.file_name()?.to_str()?.strip_prefix("reference_")?.strip_suffix(".py")?.to_owned();
        Some((name, file))
    };
    folders.flat_map(entries).filter_map(reference).collect()
}

fn claims_match() {
    let pinned = include_str!("requirements.txt");
    let mut claimed = BTreeSet::new();
    for spec in DRIVERS {
        for proof in spec.proofs {
            let Proof::Reference(package) = proof else { continue };
            assert!(pinned.lines().any(|line| line == package.replace(' ', "==")), "{package} is not pinned");
            claimed.insert(spec.name.to_owned());
        }
    }
    assert_eq!(claimed, references().into_keys().collect());
}

fn compare(name: &str, file: &Path) -> Result<(), Failed> {
    let spec = drivers::find(name).ok_or("there is no such driver")?;
    let reference = Reference::start(file);
    match spec.role {
        Role::Sensor { .. } => compare_samples(spec, reference),
        Role::Actuator { .. } => compare_output(spec, reference),
    }
}

fn compare_samples(spec: &DriverSpec, mut reference: Reference) -> Result<(), Failed> {
    let seed = common::seed();
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut largest = BTreeMap::new();
    for given in reference.settings.clone() {
        let settings = bench::settings(spec, given.as_ref());
        let (ours, mut theirs) = (ChipUnderTest::new(spec, &settings), ChipUnderTest::new(spec, &settings));
        let mut sensor = bench::build(spec, &settings, &ours);
        for _ in 0..WORLDS {
            let world = some_world(&reference.world, &mut chance);
            for (quantity, value) in &world {
                ours.set(quantity, *value);
                theirs.set(quantity, *value);
            }
            let said = reference.sample(&bench::as_json(&settings), &mut theirs);
            let apart = differences(spec, &bench::sample(sensor.as_mut()), &said, &reference.tolerance)
                .map_err(|what| format!("FIELDGATE_SEED={seed}: {what}; settings {given:?}, world {world:?}"))?;
            for (quantity, difference) in apart {
                let seen = largest.entry(quantity).or_insert(0.0_f64);
                *seen = seen.max(difference);
            }
        }
    }
    let worlds = WORLDS * reference.settings.len();
    let words: Vec<_> = largest.iter().map(|(quantity, apart)| format!("{quantity} {apart:.6}")).collect();
    println!("proof | {} | {worlds} worlds | largest difference: {} |", spec.name, words.join(", "));
    Ok(())
}

/// One chip, driven by either and read back by the other.
fn compare_output(spec: &DriverSpec, mut reference: Reference) -> Result<(), Failed> {
    let seed = common::seed();
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut largest = 0.0_f64;
    let (mut values, mut quantity) = (0, "");
    for given in reference.settings.clone() {
        let settings = bench::settings(spec, given.as_ref());
        let json = bench::as_json(&settings);
        let mut bench = ChipUnderTest::new(spec, &settings);
        let (mut ours, kind) = bench::build_output(spec, &settings, &bench);
        let (name, most) = scale(kind);
        quantity = name;
        for number in [0.0, most].into_iter().chain((2..WORLDS).map(|_| chance.f64() * most)) {
            ours.apply(value(kind, Some(number))).unwrap();
            let theirs_of_ours = reference.sample(&json, &mut bench)[quantity].as_f64().unwrap();
            reference.drive(&json, &Json::from(most - number), &mut bench);
            let ours_of_theirs = as_number(ours.read_back().unwrap()).ok_or("ours reads no number")?;
            let apart = (theirs_of_ours - number).abs().max((ours_of_theirs - (most - number)).abs());
            if apart > reference.tolerance[quantity] {
                let both = format!("{theirs_of_ours} for {number}, {ours_of_theirs} for {}", most - number);
                return Err(format!("FIELDGATE_SEED={seed}: {both}; settings {given:?}").into());
            }
            (largest, values) = (largest.max(apart), values + 2);
        }
        if matches!(kind, OutputKind::Angle { .. }) {
            ours.apply(value(kind, None)).unwrap();
            let theirs_of_ours = reference.sample(&json, &mut bench)[quantity].clone();
            ours.apply(value(kind, Some(most))).unwrap();
            reference.drive(&json, &Json::Null, &mut bench);
            let ours_of_theirs = ours.read_back().unwrap();
            if !theirs_of_ours.is_null() || ours_of_theirs != Some(kind.off()) {
                return Err(format!("off is {theirs_of_ours} and {ours_of_theirs:?}; settings {given:?}").into());
            }
            values += 2;
        }
    }
    println!("proof | {} | {values} values | largest difference: {quantity} {largest:.6} |", spec.name);
    Ok(())
}

/// What the references call the number of an output, and how large it may be.
fn scale(kind: OutputKind) -> (&'static str, f64) {
    match kind {
        OutputKind::Angle { most } => ("angle", f64::from(most)),
        _ => ("percent", 100.0),
    }
}

/// The value of an output by its number; none is off.
fn value(kind: OutputKind, number: Option<f64>) -> OutputValue {
    match kind {
        OutputKind::Angle { .. } => OutputValue::Angle(number),
        _ => OutputValue::Percent(number.unwrap_or(0.0)),
    }
}

fn as_number(value: Option<OutputValue>) -> Option<f64> {
    match value? {
        OutputValue::Percent(number) => Some(number),
        OutputValue::Angle(angle) => angle,
        _ => None,
    }
}

/// A point within these ranges.
fn some_world(ranges: &BTreeMap<String, (f64, f64)>, chance: &mut fastrand::Rng) -> BTreeMap<String, f64> {
    ranges.iter().map(|(name, (low, high))| (name.clone(), low + chance.f64() * (high - low))).collect()
}

/// How far the two are apart in each quantity that both report.
fn differences(
    spec: &DriverSpec,
    ours: &[Measurement],
    theirs: &Map<String, Json>,
    tolerance: &BTreeMap<String, f64>,
) -> Result<BTreeMap<String, f64>, String> {
    let mut all = BTreeMap::new();
    for (name, said) in theirs {
        let measured = ours.iter().find(|measurement| measurement.name == *name);
        let measured = measured.ok_or_else(|| format!("{} does not measure {name}", spec.name))?;
        let (difference, allowed) = match measured.value {
            Value::Flag(flag) => (f64::from(u8::from(Some(flag) != said.as_bool())), 0.0),
            Value::Word(word) => (f64::from(u8::from(Some(word) != said.as_str())), 0.0),
            Value::Number { value, decimals } => {
                let said = said.as_f64().ok_or_else(|| format!("{name}: the reference says {said}"))?;
                ((value - said).abs(), 10_f64.powi(-i32::from(decimals)))
            }
        };
        if difference > tolerance.get(name).copied().unwrap_or(allowed) {
            return Err(format!("{name}: ours is {:?}, theirs {said}", measured.value));
        }
        all.insert(name.clone(), difference);
    }
    if all.is_empty() { Err("the reference reports nothing".into()) } else { Ok(all) }
}
