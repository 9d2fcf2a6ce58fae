//! What a check is, and what it comes to.

use crate::cli::doctor::situation::Situation;

/// One check: what it is called, what it can find, and how it judges a situation. It gathers nothing.
#[derive(Debug)]
pub struct Check {
    /// As in the first column and in JSON.
    pub id: &'static str,
    /// What it looks at.
    pub title: &'static str,
    /// The causes that it can find, by which docs/troubleshooting.md has them.
    pub causes: &'static [&'static str],
    /// What it makes of a situation.
    pub judge: fn(&Situation) -> Verdict,
}

/// What a check has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong; what was seen.
    Good(String),
    /// Something is, the most important first; never empty.
    Wrong(Vec<Finding>),
    /// It could not be looked at, or does not apply here; why.
    NotChecked(String),
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One of the causes of its check.
    pub cause: &'static str,
    /// What is wrong, in words without secrets.
    pub what: String,
    /// A line to copy.
    pub remedy: String,
}

impl Finding {
    /// One of this cause.
    pub fn new(cause: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause, what: what.into(), remedy: remedy.into() }
    }
}

impl Verdict {
    /// These findings, or that there are none.
    pub fn of(findings: Vec<Finding>, good: impl Into<String>) -> Self {
        if findings.is_empty() { Self::Good(good.into()) } else { Self::Wrong(findings) }
    }

    /// Why nothing was looked at.
    pub fn not_checked(why: impl Into<String>) -> Self {
        Self::NotChecked(why.into())
    }
}

/// What checks say that need a configuration when there is none.
pub const NO_CONFIGURATION: &str = "the configuration does not load";

/// `text` as one word of a shell.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+-,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_shell_stays_one_whatever_is_in_it() {
        for (text, expected) in [("/a/b-c", "/a/b-c"), ("my board", "'my board'"), ("a'b", r"'a'\''b'"), ("", "''")] {
            assert_eq!(quoted(text), expected);
        }
    }
}
