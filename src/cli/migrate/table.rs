//! What a line of the tables is: a key of mqtt-io, or one of its modules, and what becomes of it.

/// What becomes of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried, to this.
    Carried(&'static str),
    /// It is not carried: why, and what to do instead.
    Left(&'static str),
}

impl Fate {
    /// In words, as it stands in the documents.
    pub fn describe(self) -> String {
        match self {
            Self::Carried(to) => to.to_owned(),
            Self::Left(why) => format!("not carried: {why}"),
        }
    }
}

/// A key of mqtt-io.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
}

/// The keys of one section of mqtt-io's file.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The way to it, such as `mqtt.tls`.
    pub place: &'static str,
    /// The keys that it may have there.
    pub keys: &'static [Key],
}

/// A module of mqtt-io, with the keys that no other has.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// The module's name, as in `module:`.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// Keys of its entry in `gpio_modules`, `sensor_modules` or `stream_modules`.
    pub keys: &'static [Key],
    /// Keys of the inputs and outputs that name it.
    pub each: &'static [Key],
}

/// A key that is carried, to this.
pub(super) const fn carried(name: &'static str, to: &'static str) -> Key {
    Key { name, fate: Fate::Carried(to) }
}

/// A key that is not carried: why, and what to do instead.
pub(super) const fn left(name: &'static str, why: &'static str) -> Key {
    Key { name, fate: Fate::Left(why) }
}
