//! Names, checked once at the edge.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// A name as it stands in the configuration and in topics: `[A-Za-z0-9_-]{1,64}`.
///
/// No wildcard, separator, NUL or newline can be in it, so a topic made of names is always valid. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`]. Report it to the user.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than [`Name::MAX_LENGTH`].
    #[error("a name has at most 64 characters, this one has {0}")]
    TooLong(usize),
    /// A character outside `[A-Za-z0-9_-]`.
    #[error("a name may contain A-Z, a-z, 0-9, _ and -, but not {0:?}")]
    BadCharacter(char),
}

/// Begins the names of [`Name::stand_in`].
const STAND_IN: &str = "unnamed-";

impl Name {
    /// The name that is most like `text`, which need not be one.
    pub fn like(text: &str) -> Self {
        let fit = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let name: String = text.chars().map(fit).take(Self::MAX_LENGTH).collect();
        Self(if name.is_empty() { "-".into() } else { name.into() })
    }

    /// The nth name for something that has none. It says nothing of what stands in its place, which may be a secret.
    pub fn stand_in(nth: usize) -> Self {
        Self(format!("{STAND_IN}{nth}").into())
    }

    /// Whether it is such a name, which nothing should be called by.
    pub fn is_stand_in(&self) -> bool {
        self.0.starts_with(STAND_IN)
    }

    /// The longest name in characters.
    pub const MAX_LENGTH: usize = 64;

    /// Checks and keeps `text`.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks; report it to the user.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '_' && *c != '-') {
            return Err(NameError::BadCharacter(bad));
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(NameError::TooLong(text.len()));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One start of the program: eight hexadecimal digits, new at each start.
///
/// `(run, sensor, seq)` names a reading for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u32);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_refused_with_its_first_bad_character() {
        for (text, bad) in
            [("a/b", '/'), ("a+", '+'), ("#", '#'), ("$SYS", '$'), ("a\0", '\0'), ("a\n", '\n'), ("ä", 'ä')]
        {
            assert_eq!(Name::new(text), Err(NameError::BadCharacter(bad)));
        }
    }

    #[test]
    fn a_name_has_one_to_sixty_four_characters() {
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert!(Name::new(&"a".repeat(64)).is_ok());
        assert_eq!(Name::new(&"a".repeat(70_000)), Err(NameError::TooLong(70_000)));
    }

    #[test]
    fn a_run_is_eight_hexadecimal_digits() {
        assert_eq!(RunId(0x1e).to_string(), "0000001e");
    }
}
