//! Characters that look like spaces and are none to YAML.

/// The first one of a line; comments and lines without text have none.
pub(super) fn odd_space(line: &str) -> Option<(usize, char)> {
    let is_odd = |c: char| c != ' ' && (c.is_whitespace() || matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}'));
    let text = line.find(|c: char| c != ' ' && !is_odd(c))?;
    if line[text..].starts_with('#') {
        return None;
    }
    let indentation = line[..text].char_indices().find(|(_, c)| is_odd(*c));
    // A tab may stand behind a colon.
    let behind = || {
        let mut pairs = line.char_indices().zip(line.chars().skip(1));
        let pair = pairs.find(|((_, c), next)| matches!(c, ':' | '-') && is_odd(*next) && *next != '\t');
        pair.map(|((at, c), next)| (at + c.len_utf8(), next))
    };
    indentation.or_else(behind)
}

/// What it is, in words.
pub(super) fn describe_space(c: char) -> String {
    let name = match c {
        '\t' => return "there is a tab in the indentation".to_owned(),
        '\u{a0}' => "a no-break space",
        '\u{3000}' => "an ideographic space",
        '\u{200b}' | '\u{2060}' | '\u{feff}' => "an invisible character",
        _ => "a space that is not the plain one",
    };
    format!("{name} (U+{:04X}) is used where a plain space belongs", u32::from(c))
}
