//! Two devices on one address, line, channel, chip select, serial port or device of the kernel.

use crate::bus::Claim;
use crate::config::check::Checker;
use crate::config::check::devices::Device;
use crate::config::tree::Span;
use crate::model::Name;
use crate::worker::{ActuatorSettings, SensorSettings};

/// Something occupied: whose, on which bus, what, and where that is written.
struct Occupied<'d> {
    name: &'d Name,
    bus: Option<&'d Name>,
    claim: &'d Claim,
    span: &'d Span,
}

impl Checker<'_> {
    pub(super) fn collisions(&mut self, sensors: &[Device<SensorSettings>], actuators: &[Device<ActuatorSettings>]) {
        let mut all: Vec<_> = sensors.iter().flat_map(occupied).chain(actuators.iter().flat_map(occupied)).collect();
        all.sort_by_key(|occupied| occupied.span.start);
        for (index, second) in all.iter().enumerate() {
            let clash = all[..index].iter().find(|first| first.bus == second.bus && same(first.claim, second.claim));
            if let Some(first) = clash {
                let line = self.source.place(first.span.start).line;
                let what = format!("{} and {} are both on {}", second.name, first.name, words(second.claim));
                self.error(second.span, what, format!("{} has it in line {line}", first.name));
            }
        }
    }
}

fn occupied<S>(device: &Device<S>) -> impl Iterator<Item = Occupied<'_>> {
    let whole = |(claim, span)| Occupied { name: &device.name, bus: device.bus.as_ref(), claim, span };
    device.claims.iter().map(|(claim, span)| (claim, span)).map(whole)
}

fn same(one: &Claim, other: &Claim) -> bool {
    match (one, other) {
        (Claim::Line(one), Claim::Line(other)) => line(one) == line(other),
        _ => one == other,
    }
}

/// A line as far as its text tells: on the boards that call their lines GPIO17, that is number 17 of the chip.
fn line(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_prefix("gpio").unwrap_or(&lower);
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if digits { number.trim_start_matches('0').to_owned() } else { lower }
}

fn words(claim: &Claim) -> String {
    match claim {
        Claim::Address(address) => format!("address {address:#04x}"),
        Claim::Line(line) => format!("line {line}"),
        Claim::Channel(channel) => format!("channel {channel}"),
        Claim::ChipSelect => "the chip select of one spi bus".to_owned(),
        Claim::Port => "one serial port".to_owned(),
        Claim::Device(device) => format!("device {device}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_same_by_name_and_by_number() {
        for other in ["GPIO17", "gpio17", "17", "GPIO017"] {
            assert_eq!(line("GPIO17"), line(other), "{other}");
        }
        assert_ne!(line("GPIO17"), line("GPIO1"));
        assert_ne!(line("P9_12"), line("12"));
        assert_eq!(line("0"), line("GPIO0"));
    }
}
