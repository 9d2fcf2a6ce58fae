//! What is wrong with something that a person wrote.

use std::fmt;

/// What is wrong with a value or a combination of values, for the report of `fieldgate check`.
///
/// Where the place is not clear from the context, it is returned beside the key to mark: `Option<(&'static str, Wrong)>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong, in lower case and without a full stop.
    pub what: String,
    /// What to write instead; empty where `what` says it.
    pub hint: String,
}

impl Wrong {
    /// What is wrong, and what to write instead.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }

    /// With the key whose value is wrong, for a check that answers with both.
    pub fn at(self, key: &'static str) -> (&'static str, Self) {
        (key, self)
    }
}

/// For an answer or a log line, which have one sentence for both.
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hint.as_str() {
            "" => f.write_str(&self.what),
            hint => write!(f, "{}; {hint}", self.what),
        }
    }
}
