//! Buses that are chips: expanders, whose pins one side sets and the other reads on the same chip, and a multiplexer, behind
//! whose channels both sides find the same sensors.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fieldgate_bus::expander::{Expander, Model, Settings};
use fieldgate_bus::multiplexer::{self, Channel};
use fieldgate_bus::sim::SimBus;
use fieldgate_bus::{Bias, Bus, Claim, InputLine, InputRequest, OutputLine, OutputRequest};
use fieldgate_drivers as drivers;
use fieldgate_model::Value;
use libtest_mimic::{Failed, Trial};
use serde_json::{Map, Value as Json, json};

use crate::WORLDS;
use crate::bench::{self, ChipUnderTest};
use crate::common;
use crate::reference::{Reference, i2c_transfer};

/// Worlds of eight channels each.
const ROUNDS: usize = 6;

const EXPANDER: u8 = 0x20;
const MULTIPLEXER: u8 = 0x70;

/// One test a chip.
pub(crate) fn trials() -> Vec<Trial> {
    let expanders = [Model::Pcf8574, Model::Mcp23008, Model::Mcp23017].map(|model| {
        Trial::test(model.name(), move || {
            read_what_the_reference_sets(model)?;
            set_what_the_reference_reads(model)?;
            println!(
                "proof | {} | {WORLDS} worlds, each side setting pins for the other | no level apart |",
                model.name()
            );
            Ok(())
        })
    });
    let rest = [
        Trial::test("tca9548a", same_sensors_behind_each_channel),
        Trial::test("the_page_on_buses_names_every_reference", page_names),
    ];
    expanders.into_iter().chain(rest).collect()
}

fn open(model: Model, chip: &ChipUnderTest) -> Expander {
    let settings = Settings { model, address: EXPANDER, every: None, interrupt: None };
    Expander::open(&settings, &mut chip.clone(), drivers::chip).unwrap()
}

fn pins(model: Model) -> u8 {
    if model == Model::Mcp23017 { 16 } else { 8 }
}

/// The name of a pin in the chip's world.
fn pin(model: Model, pin: u8) -> String {
    match model {
        Model::Pcf8574 | Model::Pcf8574a => format!("P{pin}"),
        Model::Mcp23008 => format!("GP{pin}"),
        Model::Mcp23017 => format!("GP{}{}", if pin < 8 { 'A' } else { 'B' }, pin % 8),
    }
}

fn input(bus: &mut Expander, pin: u8) -> Box<dyn InputLine> {
    let (active_low, bias, debounce) = (false, Bias::PullUp, std::time::Duration::ZERO);
    bus.input(&InputRequest { line: pin.to_string(), active_low, bias, debounce }).unwrap()
}

/// Sets these pins by the reference, releases those, and returns what it says of all.
fn drive(
    reference: &mut Reference,
    chip: &mut ChipUnderTest,
    set: &Map<String, Json>,
    release: &[u8],
) -> Map<String, Json> {
    reference.sample(&json!({ "address": EXPANDER, "set": set, "release": release }), chip)
}

fn bit(said: &Map<String, Json>, what: &str, pin: u8) -> bool {
    said[what].as_u64().unwrap() >> pin & 1 == 1
}

fn agree(round: usize, pin: u8, what: &str, ours: bool, theirs: bool) -> Result<(), Failed> {
    if ours == theirs { Ok(()) } else { Err(format!("round {round}, pin {pin}: {what}: {ours}, {theirs}").into()) }
}

/// What is connected to each pin: something low, something high, or nothing.
fn connect(model: Model, chip: &ChipUnderTest, chance: &mut fastrand::Rng, choices: &[f64]) {
    for number in 0..pins(model) {
        chip.set(&pin(model, number), *chance.choice(choices).unwrap());
    }
}

fn read_what_the_reference_sets(model: Model) -> Result<(), Failed> {
    let mut chance = fastrand::Rng::with_seed(common::seed());
    let mut chip = ChipUnderTest::of(model.name(), Claim::Address(EXPANDER));
    let mut reference = Reference::start(format!("buses/{}.py", model.name()));
    let mut bus = open(model, &chip);
    let mut lines: Vec<_> = (0..pins(model)).map(|pin| input(&mut bus, pin)).collect();
    for round in 0..WORLDS {
        connect(model, &chip, &mut chance, &[0.0, 0.5, 1.0]);
        let (mut set, mut release) = (Map::new(), Vec::new());
        for pin in 0..pins(model) {
            if chance.bool() {
                set.insert(pin.to_string(), chance.bool().into());
            } else {
                release.push(pin);
            }
        }
        let said = drive(&mut reference, &mut chip, &set, &release);
        for (pin, line) in (0..).zip(&mut lines) {
            agree(round, pin, "ours reads, the reference reads", line.is_active().unwrap(), bit(&said, "levels", pin))?;
        }
    }
    Ok(())
}

/// The first half of the pins are outputs of ours and the rest inputs; of the latter the reference has driven two before,
/// where the chip lets it drive some and not all.
fn set_what_the_reference_reads(model: Model) -> Result<(), Failed> {
    let mut chance = fastrand::Rng::with_seed(common::seed());
    let mut chip = ChipUnderTest::of(model.name(), Claim::Address(EXPANDER));
    let mut reference = Reference::start(format!("buses/{}.py", model.name()));
    let (half, all) = (pins(model) / 2, pins(model));
    let foreign = if model == Model::Pcf8574 { Map::new() } else { foreign(half) };
    drive(&mut reference, &mut chip, &foreign, &[]);
    let mut bus = open(model, &chip);
    let request = |pin: u8| OutputRequest { line: pin.to_string(), active_low: false, active: false };
    let mut outputs: Vec<Box<dyn OutputLine>> = (0..half).map(|pin| bus.output(&request(pin)).unwrap()).collect();
    let mut inputs: Vec<_> = (half + 2..all).map(|pin| (pin, input(&mut bus, pin))).collect();
    for round in 0..WORLDS {
        // Nothing that would pull an output down: the PCF8574 could not hold it up.
        connect(model, &chip, &mut chance, &[0.5, 1.0]);
        (half..all).for_each(|number| chip.set(&pin(model, number), *chance.choice(&[0.0, 0.5, 1.0]).unwrap()));
        let wanted: Vec<bool> = outputs.iter().map(|_| chance.bool()).collect();
        outputs.iter_mut().zip(&wanted).for_each(|(line, level)| line.set(*level).unwrap());
        let said = drive(&mut reference, &mut chip, &Map::new(), &[]);
        for (pin, (line, wanted)) in (0..).zip(outputs.iter_mut().zip(wanted)) {
            agree(round, pin, "ours set, the reference reads", wanted, bit(&said, "levels", pin))?;
            agree(round, pin, "ours set, ours reads back", wanted, line.is_active().unwrap())?;
        }
        for (pin, line) in &mut inputs {
            let ours = line.is_active().unwrap();
            agree(round, *pin, "ours reads, the reference reads", ours, bit(&said, "levels", *pin))?;
        }
        for (pin, level) in &foreign {
            let pin = pin.parse().unwrap();
            agree(
                round,
                pin,
                "the reference set, the reference reads",
                level.as_bool().unwrap(),
                bit(&said, "levels", pin),
            )?;
            agree(round, pin, "it is still an output", true, bit(&said, "outputs", pin))?;
        }
    }
    Ok(())
}

fn foreign(first: u8) -> Map<String, Json> {
    [(first.to_string(), json!(true)), ((first + 1).to_string(), json!(false))].into_iter().collect()
}

fn same_sensors_behind_each_channel() -> Result<(), Failed> {
    let mut chance = fastrand::Rng::with_seed(common::seed());
    let folder = tempfile::tempdir()?;
    let [ours, theirs] = ["ours.json", "theirs.json"].map(|name| folder.path().join(name));
    let (mut reference, mut largest) = (Reference::start("buses/tca9548a.py"), 0_f64);
    let spec = drivers::find("sht3x").unwrap();
    let settings = bench::settings(spec, Some(&json!({ "address": 0x44 })));
    for round in 0..ROUNDS {
        let celsius: Vec<f64> = (0..8).map(|_| (chance.f64() * 100.0).round()).collect();
        let chips: Map<_, _> = (0..8)
            .map(|channel| {
                (format!("0x70.{channel}/0x44"), json!({ "chip": "sht3x", "temperature": celsius[channel] }))
            })
            .chain([("0x70".to_owned(), json!({ "chip": "tca9548a" }))])
            .collect();
        for path in [&ours, &theirs] {
            fs::write(path, json!({ "chips": chips }).to_string())?;
        }
        let open = |path: &Path| SimBus::open(Some(path.to_owned()), drivers::chip);
        let (mut bench, mut their_bench) = (open(&ours)?, open(&theirs)?);
        let mut their_wires = their_bench.i2c()?;
        for channel in 0..8 {
            let own = multiplexer::Settings { model: "tca9548a", address: MULTIPLEXER, channel };
            let mut bus = Channel::open(&own, &mut bench)?;
            let drivers::Role::Sensor { build, .. } = spec.role else { panic!("a sensor") };
            let measured = bench::sample(build(&mut bus, &settings)?.as_mut());
            let Value::Number { value, .. } = measured[0].value else { panic!("{measured:?}") };
            let question = json!({ "address": MULTIPLEXER, "channel": channel });
            let said = reference.ask(&question, |question| i2c_transfer(question, &mut their_wires));
            let theirs = said["temperature"].as_f64().unwrap();
            largest = largest.max((value - theirs).abs());
            if largest > 0.01 {
                return Err(format!("round {round}, channel {channel}: ours {value}, theirs {theirs}").into());
            }
        }
    }
    println!("proof | tca9548a | {ROUNDS} worlds of 8 channels | largest difference: temperature {largest:.6} |");
    Ok(())
}

/// The page names every package that a bus was verified against, as it is pinned.
fn page_names() -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/buses.md"))?;
    let pinned = include_str!("requirements.txt");
    let mut packages = BTreeSet::new();
    for entry in fs::read_dir(root.join("tests/proof/buses"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "py") {
            continue;
        }
        let text = fs::read_to_string(path)?;
        let package = text.lines().find_map(|line| line.strip_prefix("PACKAGE = ")).ok_or("no PACKAGE")?;
        packages.insert(package.trim_matches('"').to_owned());
    }
    for package in packages {
        assert!(pinned.lines().any(|line| line == package.replace(' ', "==")), "{package} is not pinned");
        assert!(page.contains(&package), "docs/buses.md does not name {package}");
    }
    Ok(())
}
