//! Buses that are chips on another bus: what they sit on, in whatever order they are written.

use std::time::Duration;

use crate::config::check::Checker;
use crate::config::check::buses::Bus;
use crate::config::check::devices::{describe_need, such_as};
use crate::config::check::section::Section;
use crate::config::raw;
use crate::config::tree::Span;
use fieldgate_bus::{self as bus, Claim, Upstream, expander, multiplexer};
use fieldgate_drivers::BusNeed;
use fieldgate_model::Name;

/// Multiplexers behind multiplexers, and an expander behind the last: nobody has more.
const DEEPEST: usize = 4;

/// A bus as far as its own entry says.
pub(super) enum Draft {
    /// It is wired to the board.
    Plain(bus::Settings),
    /// It sits on another one.
    Chip(Chip),
}

impl Draft {
    /// The same of an entry whose type was guessed: it is checked further and becomes no bus.
    pub(super) fn guessed(self) -> Option<Self> {
        match self {
            Self::Plain(_) => None,
            Self::Chip(chip) => Some(Self::Chip(Chip { is_sound: false, ..chip })),
        }
    }
}

/// A chip on a bus that may be written further down.
pub(super) struct Chip {
    on: Option<Link>,
    address: Option<(u8, Span)>,
    kind: Kind,
    /// Whether all of it could be read; else what is wrong has been reported.
    is_sound: bool,
}

/// A bus by its name, and where that is written.
pub(super) struct Link {
    name: String,
    span: Span,
}

enum Kind {
    Multiplexer {
        model: &'static str,
        channel: u8,
    },
    Expander {
        model: expander::Model,
        every: Option<Duration>,
        interrupt: Option<Interrupt>,
    },
    /// A multiplexer whose channel is wrong.
    Neither,
}

/// An interrupt line as written, as far as it could be read.
struct Interrupt {
    on: Option<Link>,
    line: Option<(String, Span)>,
}

/// How a problem names what sits on the bus.
const A_CHIP: &str = "a chip sits on";
const AN_INTERRUPT: &str = "an interrupt line needs";

impl<'a> Checker<'a> {
    /// An entry whose type is that of a chip.
    pub(super) fn chip_on_a_bus(&mut self, model: &str, section: &Section<'a>) -> Chip {
        let byte = |key: &str| section.integer(key).and_then(|number| u8::try_from(number).ok());
        let interrupt = self.interrupt(section);
        let is_whole = interrupt.as_ref().is_none_or(|interrupt| interrupt.on.is_some() && interrupt.line.is_some());
        let multiplexer = multiplexer::MODELS.iter().find(|(name, _)| *name == model);
        let expander = expander::Model::ALL.into_iter().find(|known| known.name() == model);
        let kind = match (multiplexer, expander) {
            (Some((model, _)), _) => byte("channel").map(|channel| Kind::Multiplexer { model, channel }),
            (None, Some(model)) => Some(Kind::Expander { model, every: section.duration("every"), interrupt }),
            (None, None) => None,
        };
        let on = section.text("bus").map(|name| Link { name: name.to_owned(), span: section.span("bus") });
        let address = byte("address").map(|address| (address, section.span("address")));
        let is_sound = on.is_some() && address.is_some() && kind.is_some() && is_whole;
        Chip { on, address, kind: kind.unwrap_or(Kind::Neither), is_sound }
    }

    fn interrupt(&mut self, section: &Section<'a>) -> Option<Interrupt> {
        if !section.has("interrupt") {
            return None;
        }
        let own = self.sub(section, "interrupt", raw::INTERRUPT);
        let on = own.text("bus").map(|name| Link { name: name.to_owned(), span: own.span("bus") });
        Some(Interrupt { on, line: own.text("line").map(|line| (line.to_owned(), own.span("line"))) })
    }

    /// Joins each chip to the bus that it sits on, those near the board first.
    pub(super) fn settle(&mut self, chips: Vec<(usize, Chip)>, buses: &mut [Bus]) {
        let is_there = |chip: &Chip| chip.on.as_ref().is_some_and(|on| find(buses, &on.name).is_some());
        let (mut waiting, left): (Vec<_>, Vec<_>) =
            chips.into_iter().partition(|(_, chip)| chip.is_sound && is_there(chip));
        let mut settled = Vec::new();
        for _ in 0..DEEPEST {
            let (now, later): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, chip)| chip.on(buses).is_some_and(|on| on.settings.is_some()));
            waiting = later;
            for (index, chip) in now {
                buses[index].settings = joined(&chip, buses);
                settled.push((index, chip));
            }
        }
        for (index, chip) in settled.iter().chain(&waiting).chain(&left) {
            buses[*index].claims = claims(chip, buses);
            self.upstream(chip.on.as_ref(), buses, BusNeed::I2c, A_CHIP);
            if let Kind::Expander { interrupt: Some(interrupt), .. } = &chip.kind {
                self.upstream(interrupt.on.as_ref(), buses, BusNeed::Gpio, AN_INTERRUPT);
            }
        }
        self.unsettled(&waiting, buses);
        // A chip with other errors does not affect the chips on it, but it may still sit on itself.
        for (index, chip) in &left {
            let name = &buses[*index].name;
            if matches!(end(&waiting, buses, name, chip), End::Itself) {
                self.sits_on_itself(name, chip);
            }
        }
    }

    /// Says what is wrong with the bus that is named, if it is: it must be there and offer what a chip needs, and a line that
    /// reports to an expander is none of an expander's. What is wrong with a bus itself has been reported.
    fn upstream(&mut self, link: Option<&Link>, buses: &[Bus], need: BusNeed, who: &str) {
        let Some(link) = link else { return };
        match find(buses, &link.name) {
            None => self.unknown_bus(&link.name, &link.span, buses, such_as(buses, need, |bus| offers(bus, need))),
            Some(bus) if !offers(bus, need) => {
                let what = format!("{who} {}, and {} is of type {}", describe_need(need), bus.name, bus.kind());
                self.error(&link.span, what, such_as(buses, need, |bus| offers(bus, need)));
            }
            Some(_) => {}
        }
    }

    /// What is left sits on one that is wrong, which has been reported, on itself, or too deep.
    fn unsettled(&mut self, chips: &[(usize, Chip)], buses: &[Bus]) {
        for (index, chip) in chips {
            let name = &buses[*index].name;
            match end(chips, buses, name, chip) {
                End::Wrong => {}
                End::Itself => self.sits_on_itself(name, chip),
                End::Board => {
                    let what = format!("{name} sits on too many others");
                    self.error(&chip.span(), what, format!("at most {DEEPEST} may be on each other"));
                }
            }
        }
    }

    fn sits_on_itself(&mut self, name: &Name, chip: &Chip) {
        self.error(&chip.span(), format!("{name} sits on itself"), "a chip sits on a bus of type i2c");
    }
}

impl Chip {
    /// The bus that it sits on.
    fn on<'b>(&self, buses: &'b [Bus]) -> Option<&'b Bus> {
        find(buses, &self.on.as_ref()?.name)
    }

    /// Where the bus is named that it sits on.
    fn span(&self) -> Span {
        self.on.as_ref().map_or(0..0, |on| on.span.clone())
    }
}

fn offers(bus: &Bus, need: BusNeed) -> bool {
    bus.suits(need) && (need != BusNeed::Gpio || !is_expander(bus))
}

/// The settings of a chip whose parent is settled; none if what it is connected to does not suit it.
fn joined(chip: &Chip, buses: &[Bus]) -> Option<bus::Settings> {
    let upstream = |link: &Link, need| {
        let bus = find(buses, &link.name).filter(|bus| offers(bus, need))?;
        Some(Box::new(Upstream { name: bus.name.clone(), settings: bus.settings.clone()? }))
    };
    let on = upstream(chip.on.as_ref()?, BusNeed::I2c)?;
    let (address, _) = *chip.address.as_ref()?;
    Some(match &chip.kind {
        Kind::Multiplexer { model, channel } => {
            bus::Settings::Multiplexed(multiplexer::Settings { on, model, address, channel: *channel })
        }
        Kind::Expander { model, every, interrupt } => {
            let interrupt = match interrupt {
                None => None,
                Some(Interrupt { on, line }) => {
                    let (line, _) = line.as_ref()?;
                    let on = upstream(on.as_ref()?, BusNeed::Gpio)?;
                    Some(expander::Interrupt { on, line: line.clone() })
                }
            };
            bus::Settings::Expander(expander::Settings { on, model: *model, address, every: *every, interrupt })
        }
        Kind::Neither => return None,
    })
}

/// What a chip occupies. The channels of a multiplexer share its address: which of them are of one chip is known only when
/// nothing is wrong with them.
fn claims(chip: &Chip, buses: &[Bus]) -> Vec<(Name, Claim, Span)> {
    let named =
        |link: &Option<Link>| link.as_ref().and_then(|link| find(buses, &link.name)).map(|bus| bus.name.clone());
    let mut claims = Vec::new();
    let is_expander = matches!(chip.kind, Kind::Expander { .. });
    if let (Some(on), Some((address, span))) = (named(&chip.on), &chip.address)
        && (chip.is_sound || is_expander)
    {
        claims.push((on, Claim::Address(*address), span.clone()));
    }
    if let Kind::Expander { interrupt: Some(Interrupt { on, line: Some((line, span)) }), .. } = &chip.kind
        && let Some(on) = named(on)
    {
        claims.push((on, Claim::Line(line.clone()), span.clone()));
    }
    claims
}

/// Where it ends to go down from one bus to the next.
enum End {
    /// At the board, too many steps away.
    Board,
    /// At a bus that is wrong.
    Wrong,
    /// Where it began.
    Itself,
}

fn end(chips: &[(usize, Chip)], buses: &[Bus], name: &Name, chip: &Chip) -> End {
    let mut passed: Vec<&Name> = Vec::new();
    let mut on = chip.on(buses);
    while let Some(bus) = on {
        if bus.name == *name {
            return End::Itself;
        }
        if passed.contains(&&bus.name) {
            // Those in the circle are reported.
            return End::Wrong;
        }
        passed.push(&bus.name);
        match chips.iter().find(|(index, _)| buses[*index].name == bus.name) {
            // Circles are small; a larger one is reported as too deep, which is close enough.
            Some(_) if passed.len() > 4 * DEEPEST => return End::Board,
            Some((_, below)) => on = below.on(buses),
            None if bus.settings.is_some() => return End::Board,
            None => return End::Wrong,
        }
    }
    End::Wrong
}

fn find<'b>(buses: &'b [Bus], name: &str) -> Option<&'b Bus> {
    buses.iter().find(|bus| bus.name.as_str() == name)
}

fn is_expander(bus: &Bus) -> bool {
    matches!(bus.settings, Some(bus::Settings::Expander(_)))
}
