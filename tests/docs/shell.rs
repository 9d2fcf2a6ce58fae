//! The commands of a shell block, as words: enough of the shell for what documents show.

/// A command and its arguments.
pub(crate) type Words = Vec<String>;

/// Every command of a block, those within `$(…)` left aside.
///
/// # Errors
/// A quote that does not end.
pub(crate) fn commands(block: &str) -> Result<Vec<Words>, String> {
    let text = without_here_documents(block).replace("\\\n", " ");
    let mut all = vec![Words::new()];
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some(inner) => into.push(inner),
                        None => return Err(format!("a {c} has no end")),
                    }
                }
            }
            '#' if word.is_none() => while chars.next_if(|next| *next != '\n').is_some() {},
            '\n' | '|' | '&' | ';' => {
                finish(&mut all, &mut word);
                all.push(Words::new());
            }
            ' ' => finish(&mut all, &mut word),
            c => word.get_or_insert_default().push(c),
        }
    }
    finish(&mut all, &mut word);
    Ok(all.into_iter().map(without_redirections).filter(|words| !words.is_empty()).collect())
}

fn finish(all: &mut [Words], word: &mut Option<String>) {
    if let (Some(words), Some(word)) = (all.last_mut(), word.take()) {
        words.push(word);
    }
}

/// Where the output goes is no argument.
fn without_redirections(words: Words) -> Words {
    let mut out = Words::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            ">" | ">>" | "<" => drop(words.next()),
            other if other.starts_with(['>', '<']) => {}
            _ => out.push(word),
        }
    }
    out
}

fn without_here_documents(block: &str) -> String {
    let (mut out, mut inside) = (String::new(), false);
    for line in block.lines() {
        match (inside, line) {
            (true, "EOF") => inside = false,
            (true, _) => {}
            (false, line) => {
                inside = line.contains("<<'EOF'");
                out.push_str(&line.replace("<<'EOF'", ""));
                out.push('\n');
            }
        }
    }
    out
}

#[test]
fn a_block_is_taken_apart_as_a_shell_would() {
    let block =
        "sudo a 'b c' >/dev/null <<'EOF'\nnot a command\nEOF\n# comment\nd \\\n  -e \"f # g\" | h && i > j  # k\nl &\n";
    let expected: &[&[&str]] = &[&["sudo", "a", "b c"], &["d", "-e", "f # g"], &["h"], &["i"], &["l"]];
    assert_eq!(commands(block).unwrap(), expected);
    assert!(commands("echo 'x").is_err());
}
