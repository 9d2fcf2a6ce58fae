//! The words and signs of a formula.
//!
//! What other languages write differently (`&&`, `=`, `≤`, `AND`) is reported with the right form and then taken as meant, so
//! that the rest of the formula is looked at as well.

use crate::problem::{Problem, Span, shorten};
use crate::syntax::{Additive, KEYWORDS, Multiplicative};
use crate::value::Comparison;

/// A word or sign and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    Number(f64),
    Text(String),
    Flag(bool),
    Name(Word, Option<Word>),
    And,
    Or,
    Not,
    Additive(Additive),
    Multiplicative(Multiplicative),
    Compare(Comparison),
    Open,
    Close,
    Comma,
    /// Something that was reported already.
    Invalid,
    End,
}

/// A part of a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// Whether it stood in backticks, and is therefore no word of the language.
    pub(crate) is_quoted: bool,
}

const LESS: TokenKind = TokenKind::Compare(Comparison::Less);
const LESS_OR_EQUAL: TokenKind = TokenKind::Compare(Comparison::LessOrEqual);
const GREATER: TokenKind = TokenKind::Compare(Comparison::Greater);
const GREATER_OR_EQUAL: TokenKind = TokenKind::Compare(Comparison::GreaterOrEqual);
const EQUAL: TokenKind = TokenKind::Compare(Comparison::Equal);
const NOT_EQUAL: TokenKind = TokenKind::Compare(Comparison::NotEqual);
const PLUS: TokenKind = TokenKind::Additive(Additive::Plus);
const MINUS: TokenKind = TokenKind::Additive(Additive::Minus);
const TIMES: TokenKind = TokenKind::Multiplicative(Multiplicative::Times);
const OVER: TokenKind = TokenKind::Multiplicative(Multiplicative::Over);

/// Every sign, longer ones before their beginnings, and what to write instead of it where it is not of this language.
static SIGNS: &[(&str, TokenKind, &str)] = &[
    ("<=", LESS_OR_EQUAL, ""),
    (">=", GREATER_OR_EQUAL, ""),
    ("==", EQUAL, ""),
    ("!=", NOT_EQUAL, ""),
    ("<>", NOT_EQUAL, "!="),
    ("&&", TokenKind::And, "and"),
    ("||", TokenKind::Or, "or"),
    ("**", TIMES, "pow(x, y)"),
    ("<", LESS, ""),
    (">", GREATER, ""),
    ("=", EQUAL, "=="),
    ("!", TokenKind::Not, "not"),
    ("≤", LESS_OR_EQUAL, "<="),
    ("≥", GREATER_OR_EQUAL, ">="),
    ("≠", NOT_EQUAL, "!="),
    ("+", PLUS, ""),
    ("-", MINUS, ""),
    ("−", MINUS, "-"),
    ("–", MINUS, "-"),
    ("*", TIMES, ""),
    ("×", TIMES, "*"),
    ("·", TIMES, "*"),
    ("/", OVER, ""),
    ("÷", OVER, "/"),
    ("^", TIMES, "pow(x, y)"),
    ("(", TokenKind::Open, ""),
    (")", TokenKind::Close, ""),
    (",", TokenKind::Comma, ""),
];

/// Signs that mean nothing here, and what may have been meant.
const FOREIGN: &[(&str, &str)] = &[
    ("°", "numbers have no unit in a formula"),
    ("%", "numbers have no unit in a formula: 50 % is 50"),
    ("?", "write `if(condition, a, b)`"),
    (".", "a name is one word, or `sensor.measurement`"),
    ("“", "write texts in straight quotes: \"…\""),
    ("”", "write texts in straight quotes: \"…\""),
    ("„", "write texts in straight quotes: \"…\""),
    ("‘", "write texts in straight quotes: \"…\""),
    ("’", "write texts in straight quotes: \"…\""),
];

/// The longest part of a name, as everywhere in Fieldgate.
const MAX_WORD: usize = 64;

/// All words and signs of `source`, the last of which is the end, and what is wrong with them.
pub(crate) fn tokens(source: &str) -> (Vec<Token>, Vec<Problem>) {
    let mut lexer = Lexer { source, at: 0, problems: Vec::new() };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.token();
        let is_end = token.kind == TokenKind::End;
        tokens.push(token);
        if is_end {
            return (tokens, lexer.problems);
        }
    }
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    problems: Vec<Problem>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn take_while(&mut self, takes: impl Fn(char) -> bool) -> &'s str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !takes(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn report(&mut self, start: usize, what: String, hint: impl Into<String>) {
        self.problems.push(Problem::new(Span { start, end: self.at }, what, hint));
    }

    fn token(&mut self) -> Token {
        self.take_while(char::is_whitespace);
        let start = self.at;
        let kind = match self.rest().chars().next() {
            None => TokenKind::End,
            Some('0'..='9') => self.number(),
            Some('a'..='z' | 'A'..='Z' | '_' | '`') => self.name(),
            Some(quote @ ('"' | '\'')) => self.text(quote),
            Some(_) => self.sign(),
        };
        Token { kind, span: Span { start, end: self.at } }
    }

    fn number(&mut self) -> TokenKind {
        let start = self.at;
        self.digits();
        self.digits_after(&["."]);
        self.digits_after(&["e", "E", "e+", "E+", "e-", "E-"]);
        let digits_end = self.at;
        self.take_while(|c| is_inner(c) || c == '.');
        let written = &self.source[start..self.at];
        if self.at > digits_end {
            let hint = "a number has no unit; a name that begins with a digit stands in backticks";
            self.report(start, format!("`{}` is not a number", shorten(written)), hint);
            return TokenKind::Invalid;
        }
        match written.parse() {
            Ok(number) if f64::is_finite(number) => TokenKind::Number(number),
            _ => {
                self.report(start, format!("`{}` is too large", shorten(written)), "");
                TokenKind::Invalid
            }
        }
    }

    fn digits(&mut self) -> bool {
        !self.take_while(|c| c.is_ascii_digit()).is_empty()
    }

    /// Takes one of `prefixes` and digits, or nothing.
    fn digits_after(&mut self, prefixes: &[&str]) {
        let start = self.at;
        for prefix in prefixes {
            if self.rest().starts_with(prefix) {
                self.at = start + prefix.len();
                if self.digits() {
                    return;
                }
                self.at = start;
            }
        }
    }

    fn text(&mut self, quote: char) -> TokenKind {
        let start = self.at;
        self.at += 1;
        let text = self.take_while(|c| c != quote);
        if self.rest().is_empty() {
            self.report(start, "this text has no end".into(), format!("it ends with {quote}"));
            return TokenKind::Invalid;
        }
        self.at += 1;
        TokenKind::Text(text.to_owned())
    }

    fn sign(&mut self) -> TokenKind {
        let start = self.at;
        if let Some((sign, kind, instead)) = SIGNS.iter().find(|(sign, ..)| self.rest().starts_with(sign)) {
            self.at += sign.len();
            if !instead.is_empty() {
                self.report(start, format!("`{sign}` is not a sign of this language"), format!("write `{instead}`"));
            }
            return kind.clone();
        }
        let foreign = FOREIGN.iter().find(|(sign, _)| self.rest().starts_with(sign));
        if self.take_while(char::is_alphanumeric).is_empty() {
            self.at += self.rest().chars().next().map_or(0, char::len_utf8);
        }
        let hint = foreign.map_or("", |(_, hint)| hint);
        let written = shorten(&self.source[start..self.at]).escape_debug().to_string();
        self.report(start, format!("`{written}` means nothing here"), hint);
        TokenKind::Invalid
    }

    fn name(&mut self) -> TokenKind {
        let start = self.at;
        let mut words = vec![self.word()];
        while self.rest().strip_prefix('.').is_some_and(|rest| rest.starts_with(|c| is_inner(c) || c == '`')) {
            self.at += 1;
            words.push(self.word());
        }
        let Some(words) = words.into_iter().collect::<Option<Vec<Word>>>() else {
            return TokenKind::Invalid;
        };
        match <[Word; 1]>::try_from(words) {
            Ok([word]) => self.keyword(start, word),
            Err(words) => match <[Word; 2]>::try_from(words) {
                Ok([owner, member]) => TokenKind::Name(owner, Some(member)),
                Err(_) => self.too_many_words(start),
            },
        }
    }

    fn too_many_words(&mut self, start: usize) -> TokenKind {
        let written = &self.source[start..self.at];
        let hint = if written.contains('-') {
            spaces_around_minus(written)
        } else {
            "a name is one word, or `sensor.measurement`".to_owned()
        };
        self.report(start, format!("`{}` has too many parts", shorten(written)), hint);
        TokenKind::Invalid
    }

    /// A part of a name; `None` if it is no such thing, which is reported.
    fn word(&mut self) -> Option<Word> {
        let start = self.at;
        if !self.rest().starts_with('`') {
            return Some(Word { text: self.plain_word().to_owned(), is_quoted: false });
        }
        self.at += 1;
        let text = self.take_while(|c| is_inner(c) || c == '-');
        if !self.rest().starts_with('`') || text.is_empty() || text.len() > MAX_WORD {
            self.take_while(|c| c != '`');
            self.at += usize::from(self.rest().starts_with('`'));
            let hint = "1 to 64 of A-Z, a-z, 0-9, _ and -, and a backtick at the end";
            self.report(start, "between backticks stands a name".into(), hint);
            return None;
        }
        self.at += 1;
        Some(Word { text: text.to_owned(), is_quoted: true })
    }

    /// A hyphen belongs to a word between two other characters only.
    fn plain_word(&mut self) -> &'s str {
        let start = self.at;
        loop {
            self.take_while(is_inner);
            let end = self.at;
            self.take_while(|c| c == '-');
            if self.at == end || !self.rest().starts_with(is_inner) {
                self.at = end;
                return &self.source[start..end];
            }
        }
    }

    fn keyword(&mut self, start: usize, word: Word) -> TokenKind {
        let is_it = |keyword: &&&str| !word.is_quoted && keyword.eq_ignore_ascii_case(&word.text);
        let Some(keyword) = KEYWORDS.iter().find(is_it) else {
            return TokenKind::Name(word, None);
        };
        if word.text != *keyword {
            let hint = format!("write `{keyword}`; a name like that stands in backticks");
            self.report(start, format!("`{}` is written in small letters", word.text), hint);
        }
        match *keyword {
            "and" => TokenKind::And,
            "or" => TokenKind::Or,
            "not" => TokenKind::Not,
            flag => TokenKind::Flag(flag == "true"),
        }
    }
}

/// Characters of a name, but for the hyphen.
fn is_inner(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// For a name with hyphens that nobody knows.
pub(crate) fn spaces_around_minus(written: &str) -> String {
    format!("a hyphen is a part of a name; to subtract, write `{}`", shorten(&written.replace('-', " - ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[TokenKind]) {
        let (tokens, problems) = tokens(source);
        let kinds: Vec<_> = tokens.into_iter().map(|token| token.kind).collect();
        assert_eq!(kinds.split_last(), Some((&TokenKind::End, expected)), "{source:?}");
        assert_eq!(problems, [], "{source:?}");
    }

    fn check_problem(source: &str, span: std::ops::Range<usize>, what: &str, hint: &str) {
        let (_, problems) = tokens(source);
        assert_eq!(problems.len(), 1, "{source:?}: {problems:?}");
        let problem = &problems[0];
        assert_eq!((problem.span.bytes(), problem.what.as_str()), (span, what), "{source:?}");
        assert!(problem.hint.contains(hint), "{source:?}: {:?}", problem.hint);
    }

    fn word(text: &str) -> Word {
        Word { text: text.to_owned(), is_quoted: false }
    }

    fn variable(text: &str) -> TokenKind {
        TokenKind::Name(word(text), None)
    }

    #[test]
    fn numbers_are_decimal() {
        check("0 21.5 1e3 2.5E-1 1e+2", &[0.0, 21.5, 1000.0, 0.25, 100.0].map(TokenKind::Number));
        check("2-1", &[TokenKind::Number(2.0), MINUS, TokenKind::Number(1.0)]);
    }

    #[test]
    fn what_is_no_number_is_reported_as_a_whole() {
        for written in ["5m", "0x76", "1.2.3", "1.", "1e", "1_000", "3d.temperature"] {
            let what = format!("`{written}` is not a number");
            check_problem(&format!("x + {written}"), 4..4 + written.len(), &what, "no unit");
        }
        check_problem("1e999", 0..5, "`1e999` is too large", "");
    }

    #[test]
    fn a_hyphen_is_a_part_of_a_name_between_two_characters_only() {
        check("soil-1", &[variable("soil-1")]);
        check("a - b", &[variable("a"), MINUS, variable("b")]);
        check("a -b", &[variable("a"), MINUS, variable("b")]);
        check("a- b", &[variable("a"), MINUS, variable("b")]);
        check("a--b", &[variable("a--b")]);
        check("a--", &[variable("a"), MINUS, MINUS]);
        check("-a", &[MINUS, variable("a")]);
        check("soil-1.ec-2", &[TokenKind::Name(word("soil-1"), Some(word("ec-2")))]);
    }

    #[test]
    fn backticks_make_a_name_of_any_word() {
        let quoted = |text: &str| Word { text: text.to_owned(), is_quoted: true };
        check("`1wire`.`-`", &[TokenKind::Name(quoted("1wire"), Some(quoted("-")))]);
        check("`and`", &[TokenKind::Name(quoted("and"), None)]);
        for written in ["``", "`a b`", "`a", "`ä`"] {
            check_problem(written, 0..written.len(), "between backticks stands a name", "1 to 64");
        }
    }

    #[test]
    fn texts_stand_in_either_quotes() {
        let text = |text: &str| TokenKind::Text(text.to_owned());
        check(r#""02:30" 'say "on"' """#, &[text("02:30"), text("say \"on\""), text("")]);
        check_problem("x == 'on", 5..8, "this text has no end", "'");
    }

    #[test]
    fn the_signs_of_other_languages_are_reported_and_taken_as_meant() {
        for (written, kind, right) in [
            ("&&", TokenKind::And, "and"),
            ("=", EQUAL, "=="),
            ("!", TokenKind::Not, "not"),
            ("≤", LESS_OR_EQUAL, "<="),
            ("−", MINUS, "-"),
            ("^", TIMES, "pow(x, y)"),
        ] {
            let what = format!("`{written}` is not a sign of this language");
            check_problem(written, 0..written.len(), &what, &format!("write `{right}`"));
            assert_eq!(tokens(written).0[0].kind, kind);
        }
        check_problem("AND", 0..3, "`AND` is written in small letters", "write `and`");
        assert_eq!(tokens("True").0[0].kind, TokenKind::Flag(true));
    }

    #[test]
    fn every_sign_is_found_before_its_beginnings() {
        for (sign, kind, _) in SIGNS {
            assert_eq!(tokens(sign).0[0].kind, *kind, "{sign}");
        }
    }

    #[test]
    fn what_means_nothing_is_reported_once() {
        check_problem("20 °", 3..5, "`°` means nothing here", "no unit");
        check_problem("feuchtigkeit; ", 12..13, "`;` means nothing here", "");
        check_problem("größe", 2..7, "`öße` means nothing here", "");
        check_problem("a.b.c", 0..5, "`a.b.c` has too many parts", "sensor.measurement");
        check_problem("a.b-c.d", 0..7, "`a.b-c.d` has too many parts", "`a.b - c.d`");
    }
}
