//! Our drivers held against drivers that people use today, on the same simulated registers.
//!
//! A simulated chip and the driver for it may share a mistake, for one reading of one datasheet made both. So for each driver
//! with a file in `references/` two such chips are put into the same world, some dozens of worlds one after the other; the
//! reference reads one, ours the other, and what they say may differ by the last decimal, or by what the reference's file
//! allows with its reason. An output is driven by either on one chip, and read back by the other. One test a driver:
//! `cargo test --test proof -- sht3x`. Buses that are chips have their own in `buses/`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and tells its figures")]

#[path = "../common/mod.rs"]
mod common;

mod bench;
mod buses;
mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fieldgate::drivers::{self, DRIVERS, DriverSpec, Proof, Role};
use fieldgate::model::{Measurement, OutputValue, Value};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Map, Value as Json};

use crate::bench::Bench;
use crate::reference::Reference;

/// Worlds for each variant of settings.
const WORLDS: usize = 24;

fn main() {
    let mut trials: Vec<_> =
        references().into_iter().map(|name| Trial::test(name.clone(), move || compare(&name))).collect();
    trials.push(Trial::test("the_table_tells_of_every_reference_and_of_no_other", || {
        claims_match();
        Ok(())
    }));
    trials.extend(buses::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The drivers that have a reference.
fn references() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/references");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let python = files.filter(|path| path.extension().is_some_and(|end| end == "py"));
    python.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
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
    assert_eq!(claimed, references());
}

fn compare(name: &str) -> Result<(), Failed> {
    let spec = drivers::find(name).ok_or("there is no such driver")?;
    let reference = Reference::start(&format!("references/{name}.py"));
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
        let (ours, mut theirs) = (Bench::new(spec, &settings), Bench::new(spec, &settings));
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
    let allowed = reference.tolerance["percent"];
    let mut largest = 0.0_f64;
    for given in reference.settings.clone() {
        let settings = bench::settings(spec, given.as_ref());
        let json = bench::as_json(&settings);
        let mut bench = Bench::new(spec, &settings);
        let mut ours = bench::build_output(spec, &settings, &bench);
        for percent in [0.0, 100.0].into_iter().chain((2..WORLDS).map(|_| chance.f64() * 100.0)) {
            ours.apply(OutputValue::Percent(percent)).unwrap();
            let theirs_of_ours = reference.sample(&json, &mut bench)["percent"].as_f64().unwrap();
            reference.drive(&json, 100.0 - percent, &mut bench);
            let back = ours.read_back().unwrap();
            let Some(OutputValue::Percent(ours_of_theirs)) = back else { return Err(format!("{back:?}").into()) };
            let apart = (theirs_of_ours - percent).abs().max((ours_of_theirs - (100.0 - percent)).abs());
            if apart > allowed {
                let both = format!("{theirs_of_ours} for {percent}, {ours_of_theirs} for {}", 100.0 - percent);
                return Err(format!("FIELDGATE_SEED={seed}: {both}; settings {given:?}").into());
            }
            largest = largest.max(apart);
        }
    }
    let values = 2 * WORLDS * reference.settings.len();
    println!("proof | {} | {values} values | largest difference: percent {largest:.6} |", spec.name);
    Ok(())
}

/// A point within these ranges.
fn some_world(ranges: &BTreeMap<String, (f64, f64)>, chance: &mut fastrand::Rng) -> BTreeMap<String, f64> {
    ranges.iter().map(|(name, (low, high))| (name.clone(), low + chance.f64() * (high - low))).collect()
}

/// How far the two are apart in each quantity that both tell.
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
    if all.is_empty() { Err("the reference tells nothing".into()) } else { Ok(all) }
}
