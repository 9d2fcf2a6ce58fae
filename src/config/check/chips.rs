//! Buses that are chips on another bus: what they sit on, in whatever order they are written.

use crate::config::check::Checker;
use crate::config::check::known_bus::{Bus, find, such_as};
use crate::config::check::section::Section;
use crate::config::tree::Span;
use fieldgate_bus::{self as bus, BENEATH, BusNeed, BusSpec, Claim, Entry, Keys, Upstream};
use fieldgate_model::{Kind, Name, Wrong};

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
    /// What is left of an entry whose type was guessed: a chip, which is checked further and becomes no bus.
    pub(super) fn guessed(self) -> Option<Self> {
        match self {
            Self::Plain(_) => None,
            Self::Chip(chip) => Some(Self::Chip(Chip { is_sound: false, ..chip })),
        }
    }
}

/// A chip on a bus that may be written further down.
pub(super) struct Chip {
    spec: &'static BusSpec,
    /// What it needs of the bus that it sits on.
    need: BusNeed,
    on: Option<Link>,
    /// Its keys as far as they could be read, and where each is written.
    keys: Keys,
    spans: Vec<(&'static str, Span)>,
    interrupt: Option<Interrupt>,
    /// Whether all of it could be read; else what is wrong has been reported.
    is_sound: bool,
}

/// A bus by its name, and where that is written.
pub(super) struct Link {
    name: String,
    span: Span,
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
    pub(super) fn chip_on_a_bus(&mut self, spec: &'static BusSpec, need: BusNeed, section: &Section<'a>) -> Chip {
        let interrupt = self.interrupt(spec, section);
        let is_whole = interrupt.as_ref().is_none_or(|interrupt| interrupt.on.is_some() && interrupt.line.is_some());
        let on = section.text(BENEATH).map(|name| Link { name: name.to_owned(), span: section.span(BENEATH) });
        let keys = spec.known_keys(|field| section.get(field.name).cloned());
        let mut is_sound = on.is_some() && spec.has_all(&keys) && is_whole;
        if let Some((key, Wrong { what, hint })) = is_sound.then(|| (spec.wrong)(&keys)).flatten() {
            self.error(&section.span(key), what, hint);
            is_sound = false;
        }
        let spans = keys.iter().map(|(name, _)| (name, section.span(name))).collect();
        Chip { spec, need, on, keys, spans, interrupt, is_sound }
    }

    fn interrupt(&mut self, spec: &BusSpec, section: &Section<'a>) -> Option<Interrupt> {
        let field = spec.fields.iter().find(|field| field.name == "interrupt" && section.has(field.name))?;
        let Kind::Section(fields) = field.kind else { return None };
        let own = self.sub(section, field.name, fields);
        let on = own.text("bus").map(|name| Link { name: name.to_owned(), span: own.span("bus") });
        Some(Interrupt { on, line: own.text("line").map(|line| (line.to_owned(), own.span("line"))) })
    }

    /// Joins each chip to the bus that it sits on, those near the board first.
    pub(super) fn join_chips(&mut self, chips: Vec<(usize, Chip)>, buses: &mut [Bus]) {
        let is_there = |chip: &Chip| chip.on.as_ref().is_some_and(|on| find(buses, &on.name).is_some());
        let (mut waiting, left): (Vec<_>, Vec<_>) =
            chips.into_iter().partition(|(_, chip)| chip.is_sound && is_there(chip));
        let mut joined_chips = Vec::new();
        for _ in 0..DEEPEST {
            let (now, later): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, chip)| chip.on(buses).is_some_and(|on| on.settings.is_some()));
            waiting = later;
            for (index, chip) in now {
                buses[index].settings = joined(&chip, buses);
                joined_chips.push((index, chip));
            }
        }
        for (index, chip) in joined_chips.iter().chain(&waiting).chain(&left) {
            buses[*index].claims = claims(chip, buses);
            self.upstream(chip.on.as_ref(), buses, chip.need, A_CHIP, |bus| bus.suits(chip.need));
            if let Some(interrupt) = &chip.interrupt {
                self.upstream(interrupt.on.as_ref(), buses, BusNeed::Gpio, AN_INTERRUPT, hears);
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

    /// Says what is wrong with the bus that is named, if it is: it must be there and offer what is needed. What is wrong with a
    /// bus itself has been reported.
    fn upstream(
        &mut self,
        link: Option<&Link>,
        buses: &[Bus],
        need: BusNeed,
        who: &str,
        offers: impl Fn(&Bus) -> bool,
    ) {
        let Some(link) = link else { return };
        match find(buses, &link.name) {
            None => self.unknown_bus(&link.name, &link.span, buses, such_as(buses, need, offers)),
            Some(bus) if !offers(bus) => {
                let what = format!("{who} {}, and {} is of type {}", need.describe(), bus.name, bus.kind());
                self.error(&link.span, what, such_as(buses, need, offers));
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
        self.error(&chip.span(), format!("{name} sits on itself"), format!("{A_CHIP} {}", chip.need.describe()));
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

/// Whether a line of this bus may be an interrupt line: one of another chip's would have to be asked for itself.
fn hears(bus: &Bus) -> bool {
    bus.suits(BusNeed::Gpio) && bus.spec().is_none_or(|spec| spec.on.is_none())
}

/// The settings of a chip whose parent is known; none if what it is connected to does not suit it.
fn joined(chip: &Chip, buses: &[Bus]) -> Option<bus::Settings> {
    let upstream = |link: &Link, offers: &dyn Fn(&Bus) -> bool| {
        let bus = find(buses, &link.name).filter(|bus| offers(bus))?;
        Some(Box::new(Upstream { name: bus.name.clone(), settings: bus.settings.clone()? }))
    };
    let on = upstream(chip.on.as_ref()?, &|bus| bus.suits(chip.need))?;
    let interrupt = match &chip.interrupt {
        None => None,
        Some(Interrupt { on, line }) => {
            let (line, _) = line.as_ref()?;
            Some(bus::Interrupt { on: upstream(on.as_ref()?, &hears)?, line: line.clone() })
        }
    };
    Some(bus::Settings::Entry(Entry { spec: chip.spec, keys: chip.keys.clone(), on: Some(on), interrupt }))
}

/// What a chip occupies. Channels of one chip share what they occupy: which of them are of one chip is known only when nothing
/// is wrong with them.
fn claims(chip: &Chip, buses: &[Bus]) -> Vec<(Name, Claim, Span)> {
    let named =
        |link: &Option<Link>| link.as_ref().and_then(|link| find(buses, &link.name)).map(|bus| bus.name.clone());
    let mut claims = Vec::new();
    if let Some(on) = named(&chip.on).filter(|_| chip.is_sound || !chip.spec.is_channel) {
        for (key, claim) in (chip.spec.claims)(&chip.keys) {
            let span = chip.spans.iter().find(|(name, _)| *name == key).map(|(_, span)| span.clone());
            claims.push((on.clone(), claim, span.unwrap_or_else(|| chip.span())));
        }
    }
    if let Some(Interrupt { on, line: Some((line, span)) }) = &chip.interrupt
        && let Some(on) = named(on)
    {
        claims.push((on, Claim::Line(line.clone()), span.clone()));
    }
    claims
}

/// Where one arrives who follows `bus:` from each bus to the one beneath.
enum End {
    /// At the board, too many steps away.
    Board,
    /// At a bus that is wrong.
    Wrong,
    /// At the bus where one began: a circle.
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
