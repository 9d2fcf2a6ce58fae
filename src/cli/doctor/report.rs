//! What is printed, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::cli::doctor::check::{Check, Finding, Verdict};
use crate::cli::doctor::situation::Situation;
use crate::cli::doctor::table::CHECKS;

/// What every check has come to, in the order of the table.
#[derive(Debug)]
pub struct Report {
    checks: Vec<(&'static Check, Verdict)>,
    is_root: bool,
}

impl Report {
    /// Judges a situation.
    pub fn of(situation: &Situation) -> Self {
        let judged = |check: &'static Check| {
            let verdict = (check.judge)(situation);
            if let Verdict::Wrong(findings) = &verdict {
                debug_assert!(
                    !findings.is_empty() && findings.iter().all(|finding| check.causes.contains(&finding.cause)),
                    "{} finds what the table does not say: {findings:?}",
                    check.id
                );
            }
            (check, verdict)
        };
        Self { checks: CHECKS.iter().map(judged).collect(), is_root: situation.is_root }
    }

    /// What each check has come to.
    pub fn verdicts(&self) -> impl Iterator<Item = (&'static Check, &Verdict)> {
        self.checks.iter().map(|(check, verdict)| (*check, verdict))
    }

    /// Everything that is wrong, the first cause first.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.checks.iter().flat_map(|(_, verdict)| match verdict {
            Verdict::Wrong(findings) => &findings[..],
            Verdict::Good(_) | Verdict::NotChecked(_) => &[],
        })
    }

    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.findings().next().is_none()
    }

    /// For people: a line for each check, and below what is wrong the line that mends it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let width = CHECKS.iter().map(|check| check.id.len()).max().unwrap_or(0);
        let mut line = |state: &str, id: &str, words: &str| {
            writeln!(out, "{state:<5}  {id:<width$}  {words}").expect("a String takes all");
        };
        for (check, verdict) in &self.checks {
            match verdict {
                Verdict::Good(words) => line("good", check.id, words),
                Verdict::NotChecked(why) => line("–", check.id, &format!("not checked: {why}")),
                Verdict::Wrong(findings) => findings.iter().for_each(|finding| {
                    line("WRONG", check.id, &finding.what);
                    line("", "", &format!("  {}", finding.remedy));
                }),
            }
        }
        out += &self.summary();
        if !self.is_root {
            out += "\nyou are not root: what only root may read is not checked, or looks wrong; sudo fieldgate doctor sees all\n";
        }
        out
    }

    fn summary(&self) -> String {
        let Some(first) = self.findings().next() else { return "\nnothing wrong was found\n".into() };
        let more = match self.findings().count() - 1 {
            0 => String::new(),
            more => format!(", and {more} more, which may follow from it"),
        };
        format!(
            "\nfirst cause: {}{more}; docs/troubleshooting.md explains each\n{}\n  {}\n",
            first.cause, first.what, first.remedy
        )
    }

    /// For programs, and to be sent to somebody who helps: no secret is in it.
    pub fn json(&self) -> Json {
        let finding =
            |finding: &Finding| json!({ "cause": finding.cause, "what": finding.what, "remedy": finding.remedy });
        let check = |(check, verdict): &(&Check, Verdict)| {
            let (state, words, findings) = match verdict {
                Verdict::Good(words) => ("good", Some(words), Vec::new()),
                Verdict::NotChecked(why) => ("not checked", Some(why), Vec::new()),
                Verdict::Wrong(findings) => ("wrong", None, findings.iter().map(finding).collect()),
            };
            json!({ "check": check.id, "title": check.title, "state": state, "words": words, "findings": findings })
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "root": self.is_root,
            "good": self.is_good(),
            "first": self.findings().next().map(|finding| finding.cause),
            "checks": self.checks.iter().map(check).collect::<Vec<_>>(),
        })
    }
}
