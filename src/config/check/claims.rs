//! Two devices on one address, line, channel, chip select, serial port or device of the kernel.

use crate::config::check::Checker;
use crate::config::check::device::Device;
use crate::config::check::known_bus::Bus;
use crate::config::tree::Span;
use crate::worker::{ActuatorSettings, SensorSettings};
use fieldgate_bus::{Claim, Device as BusDevice, Entry, Lines, header};
use fieldgate_model::Name;

/// Something occupied: whose, on which bus, what, and where that is written.
struct Occupied<'d> {
    name: &'d Name,
    bus: Option<&'d Name>,
    claim: &'d Claim,
    span: &'d Span,
}

impl Checker<'_> {
    pub(super) fn collisions(
        &mut self,
        buses: &[Bus],
        sensors: &[Device<SensorSettings>],
        actuators: &[Device<ActuatorSettings>],
    ) {
        let chips = buses.iter().enumerate().filter(|(index, bus)| !is_repeated(&buses[..*index], bus));
        let chips = chips.flat_map(|(_, bus)| by_bus(bus));
        let devices = sensors.iter().flat_map(occupied).chain(actuators.iter().flat_map(occupied));
        let mut all: Vec<_> = devices.chain(chips).collect();
        all.sort_by_key(|occupied| occupied.span.start);
        for (index, second) in all.iter().enumerate() {
            self.is_a_line(buses, second);
            self.is_a_pin(buses, second);
            let Some(first) = all[..index].iter().find(|first| clash(buses, first, second)) else { continue };
            let line = self.source.line_seen_from(first.span.start, second.span.start);
            let what = describe_clash(first, second);
            let hint = match first.bus {
                _ if std::ptr::eq(first.name, second.name) => "each of its relays needs a line of its own".to_owned(),
                Some(bus) if first.bus != second.bus => format!(
                    "{} has it in {line}, on {bus}; an open channel joins both buses, so both would answer",
                    first.name
                ),
                _ => format!("{} has it in {line}", first.name),
            };
            self.error(second.span, what, hint);
        }
    }

    /// The lines of an expander are known before it runs.
    fn is_a_line(&mut self, buses: &[Bus], occupied: &Occupied<'_>) {
        let Claim::Line(line) = occupied.claim else { return };
        if let Some((bus, entry)) = entry(buses, occupied.bus)
            && matches!(entry.spec.lines, Lines::Pins(_))
            && entry.spec.lines.pin(line).is_none()
        {
            let hint = format!("its lines are {}", entry.spec.lines.describe());
            self.error(occupied.span, format!("{bus} has no line called {line:?}"), hint);
        }
    }
}

impl Checker<'_> {
    /// A line of a Raspberry Pi's header that is a pin of a bus in the same file.
    fn is_a_pin(&mut self, buses: &[Bus], occupied: &Occupied<'_>) {
        let Claim::Line(line) = occupied.claim else { return };
        let Some((_, entry)) = entry(buses, occupied.bus) else { return };
        let Lines::Board(is_header) = entry.spec.lines else { return };
        let is_numbered = is_header(&entry.keys);
        let Some(number) = header::number(line).or(line.parse().ok().filter(|_| is_numbered)) else { return };
        let pin = |bus: &Bus| {
            let entry = bus.settings.as_ref()?.entry()?;
            let Some(BusDevice::File(device)) = (entry.spec.device)(entry) else { return None };
            Some((bus.name.clone(), bus.span.start, header::pin_of(number, &device)?))
        };
        let Some((bus, at, pin)) = buses.iter().find_map(pin) else { return };
        let bus_line = self.source.line_seen_from(at, occupied.span.start);
        let what = format!("line {line} is {pin} of {bus} on the header of a Raspberry Pi");
        self.warning(occupied.span, what, format!("use another line; {bus}, in {bus_line}, would not work beside it"));
    }
}

fn occupied<S>(device: &Device<S>) -> impl Iterator<Item = Occupied<'_>> {
    let whole = |(claim, span)| Occupied { name: &device.name, bus: device.bus.as_ref(), claim, span };
    device.claims.iter().map(|(claim, span)| (claim, span)).map(whole)
}

fn by_bus(bus: &Bus) -> impl Iterator<Item = Occupied<'_>> {
    bus.claims.iter().map(|(on, claim, span)| Occupied { name: &bus.name, bus: Some(on), claim, span })
}

/// The channels of one multiplexer are so many buses, and one chip.
fn is_repeated(before: &[Bus], bus: &Bus) -> bool {
    let chip = |bus: &Bus| {
        let entry = bus.settings.as_ref()?.entry().filter(|entry| entry.spec.is_channel)?;
        Some((entry.on.as_ref()?.name.clone(), entry.spec.name, (entry.spec.claims)(&entry.keys)))
    };
    chip(bus).is_some_and(|own| before.iter().any(|other| chip(other).as_ref() == Some(&own)))
}

fn entry<'b>(buses: &'b [Bus], name: Option<&Name>) -> Option<(&'b Name, &'b Entry)> {
    let bus = buses.iter().find(|bus| Some(&bus.name) == name)?;
    Some((&bus.name, bus.settings.as_ref()?.entry()?))
}

fn clash(buses: &[Bus], one: &Occupied<'_>, other: &Occupied<'_>) -> bool {
    match (one.claim, other.claim) {
        (Claim::Line(first), Claim::Line(second)) if one.bus == other.bus => match entry(buses, one.bus) {
            Some((_, Entry { spec, .. })) if matches!(spec.lines, Lines::Pins(_)) => {
                spec.lines.pin(first) == spec.lines.pin(second)
            }
            _ => line(first) == line(second),
        },
        (first, second) => match (first.i2c_address(), second.i2c_address()) {
            (Some(at), Some(too)) => {
                let meet = reaches(buses, one.bus, other.bus) || reaches(buses, other.bus, one.bus);
                at == too && meet && !share_a_chip(one, other)
            }
            _ => one.bus == other.bus && first == second,
        },
    }
}

/// Two outputs of one chip, which can do what both want.
fn share_a_chip(one: &Occupied<'_>, other: &Occupied<'_>) -> bool {
    match (one.claim, other.claim) {
        (
            Claim::ChipChannel { channel: first, prescaler: one_wants, .. },
            Claim::ChipChannel { channel: second, prescaler: other_wants, .. },
        ) => one.bus == other.bus && first != second && one_wants == other_wants,
        _ => false,
    }
}

/// Whether what is sent on `from` is also heard on `to`: on the same bus, and on those that it is a channel of.
fn reaches<'b>(buses: &'b [Bus], from: Option<&Name>, to: Option<&Name>) -> bool {
    if from == to {
        return true;
    }
    let joined = |entry: &'b Entry| entry.on.as_deref().filter(|_| entry.spec.is_channel);
    let mut on = entry(buses, from).and_then(|(_, entry)| joined(entry));
    while let Some(upstream) = on {
        if Some(&upstream.name) == to {
            return true;
        }
        on = upstream.settings.entry().and_then(joined);
    }
    false
}

/// A line as far as its text says: on the boards that call their lines GPIO17, that is number 17 of the chip.
fn line(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_prefix("gpio").unwrap_or(&lower);
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if digits { number.trim_start_matches('0').to_owned() } else { lower }
}

/// What is wrong with these two.
fn describe_clash(first: &Occupied<'_>, second: &Occupied<'_>) -> String {
    if std::ptr::eq(first.name, second.name) {
        return format!("{} has {} twice", second.name, second.claim.describe());
    }
    let names = format!("{} and {}", second.name, first.name);
    match (first.claim, second.claim) {
        (Claim::ChipChannel { channel: one, .. }, Claim::ChipChannel { channel: other, address, .. })
            if first.bus == second.bus && one != other =>
        {
            format!("{names} want different frequencies of the chip at address {address:#04x}, which has one for all")
        }
        (one, Claim::ChipChannel { address, .. })
            if first.bus != second.bus || !matches!(one, Claim::ChipChannel { .. }) =>
        {
            format!("{names} are both on {}", Claim::Address(*address).describe())
        }
        _ => format!("{names} are both on {}", second.claim.describe()),
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
