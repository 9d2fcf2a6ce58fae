//! The other side of `reference.py`: a reference driver in a process of its own, whose transfers reach our simulated chip.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use embedded_hal::i2c::{I2c, Operation};
use embedded_hal::spi::SpiDevice;
use fieldgate_bus::{Bus, SerialPort};
use serde_json::{Map, Value as Json, json};

use crate::bench::ChipUnderTest;
use crate::common::python;

/// A running reference driver.
pub(crate) struct Reference {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// The ranges of the world in which it is compared.
    pub(crate) world: BTreeMap<String, (f64, f64)>,
    /// Differences that are allowed beyond the last decimal.
    pub(crate) tolerance: BTreeMap<String, f64>,
    /// The settings to compare it with, as in YAML; `None` stands for those of the driver's example.
    pub(crate) settings: Vec<Option<Json>>,
}

impl Reference {
    /// Starts the reference in this file; a path that is not absolute begins at `tests/proof`.
    pub(crate) fn start(file: impl AsRef<Path>) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof");
        let requirements = std::fs::read_to_string(folder.join("requirements.txt")).unwrap();
        let packages = requirements.lines().filter(|line| !line.starts_with('#'));
        let python = python::environment("proof-venv", &["--no-deps"].into_iter().chain(packages).collect::<Vec<_>>());
        // It leaves no compiled files beside the sources.
        let mut process = Command::new(python)
            .arg("-B")
            .arg(folder.join("reference.py"))
            .arg(folder.join(file))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let (world, tolerance, settings) = Default::default();
        let mut reference = Self { process, input, output, world, tolerance, settings };
        let about = reference.hear();
        reference.world = serde_json::from_value(about["world"].clone()).unwrap();
        reference.tolerance = serde_json::from_value(about["tolerance"].clone()).unwrap();
        reference.settings = serde_json::from_value(about["settings"].clone()).unwrap();
        reference
    }

    /// One sampling with these settings with the chip on this bench.
    pub(crate) fn sample(&mut self, settings: &Json, bench: &mut ChipUnderTest) -> Map<String, Json> {
        self.ask(settings, |question| transfer(question, bench))
    }

    /// Makes the output of this chip do a number, or nothing at all.
    pub(crate) fn drive(&mut self, settings: &Json, number: &Json, bench: &mut ChipUnderTest) {
        self.request(&json!({ "settings": settings, "drive": number }), |question| transfer(question, bench));
    }

    /// What it says with these settings when its transfers are answered like this.
    pub(crate) fn ask(&mut self, settings: &Json, answer: impl FnMut(&Json) -> Json) -> Map<String, Json> {
        self.request(&json!({ "settings": settings }), answer)
    }

    fn request(&mut self, request: &Json, mut answer: impl FnMut(&Json) -> Json) -> Map<String, Json> {
        self.send(request);
        loop {
            let question = self.hear();
            if let Some(error) = question.get("error") {
                panic!("the reference failed:\n{}", error.as_str().unwrap());
            }
            if let Some(result) = question.get("result") {
                return result.as_object().unwrap().clone();
            }
            let answer = answer(&question);
            self.send(&answer);
        }
    }

    fn send(&mut self, message: &Json) {
        writeln!(self.input, "{message}").unwrap();
    }

    fn hear(&mut self) -> Json {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the reference ended: {error}: {line:?}"))
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Carries a transfer of the reference to the chip.
fn transfer(question: &Json, bench: &mut ChipUnderTest) -> Json {
    if let Some(out) = question["spi"].as_str() {
        let mut exchanged = bytes(out);
        bench.transfer_in_place(&mut exchanged).unwrap();
        return json!({ "read": hex(&exchanged) });
    }
    if let Some(sent) = question["send"].as_str() {
        SerialPort::write(bench, &bytes(sent)).unwrap();
        return json!({});
    }
    if let Some(wanted) = question["receive"].as_u64() {
        let mut heard = vec![0; usize::try_from(wanted).unwrap()];
        let length = SerialPort::read(bench, &mut heard, Duration::ZERO).unwrap();
        return json!({ "read": hex(&heard[..length]) });
    }
    if let Some(pwm) = question["pwm"].as_object() {
        let (hertz, before) = bench.channel().get();
        let percent = pwm.get("percent").and_then(Json::as_f64).unwrap_or(before);
        bench.channel().set((hertz, percent));
        return json!({ "frequency": hertz, "percent": percent });
    }
    if let Some(path) = question["file"].as_str() {
        return json!({ "text": bench.files().unwrap().read(path).unwrap() });
    }
    if let Some(path) = question["folder"].as_str() {
        return json!({ "names": bench.files().unwrap().list(path).unwrap() });
    }
    i2c_transfer(question, bench)
}

/// Carries an I²C transfer of the reference.
pub(crate) fn i2c_transfer(question: &Json, i2c: &mut impl I2c) -> Json {
    let address = u8::try_from(question["address"].as_u64().unwrap()).unwrap();
    let written = question["write"].as_str().map(bytes);
    let mut wanted = vec![0; usize::try_from(question["read"].as_u64().unwrap()).unwrap()];
    let mut operations = Vec::new();
    if let Some(written) = &written {
        operations.push(Operation::Write(written));
    }
    if !wanted.is_empty() {
        operations.push(Operation::Read(&mut wanted));
    }
    match i2c.transaction(address, &mut operations) {
        Ok(()) => json!({ "read": hex(&wanted) }),
        Err(_) => json!({ "nak": true }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
