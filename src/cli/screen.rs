//! Where a live table goes: redrawn in place on a terminal, as plain lines into a pipe.
//!
//! A thread writes it, for a terminal that was stopped (Ctrl-S) must stop neither a gateway nor a connection; what cannot be shown
//! meanwhile is left out. The terminal is never put into another mode, so nothing must be put back at the end, however that comes.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use crate::outlet::{self, Outlet};

/// How long the end waits for a terminal that was stopped.
const LAST_PATIENCE: Duration = Duration::from_millis(250);

/// Columns and rows of a terminal that does not know them, such as a serial console.
const USUAL: (usize, usize) = (80, 24);

/// The terminal or the pipe.
pub(super) struct Screen {
    out: Outlet,
    is_terminal: bool,
    /// Of the last frame: columns and rows of the terminal, and its lines, to go up by.
    drawn: Option<((usize, usize), usize)>,
}

impl Screen {
    /// Standard output. `report` is called with the number of plain lines that were left out, because nobody read.
    pub(super) fn new(report: fn(u64)) -> Self {
        let write = |text: &[u8]| outlet::write_all(rustix::stdio::stdout(), text);
        let out = Outlet::new("screen", report, Box::new(write));
        Self { out, is_terminal: io::stdout().is_terminal(), drawn: None }
    }

    /// Whether it is redrawn; otherwise it wants plain lines.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether everything has been written.
    pub(super) fn is_idle(&self) -> bool {
        self.out.is_idle()
    }

    /// Whether the reader has gone away (`| head`).
    pub(super) fn is_closed(&self) -> bool {
        self.out.is_closed()
    }

    /// Draws a frame in the place of the one before, as much of it as there is room for.
    pub(super) fn draw(&mut self, lines: &[String]) {
        let size = size();
        let drawn = self.drawn.map_or(Some(0), |(then, lines)| (then == size).then_some(lines));
        let frame = frame(lines, size, drawn);
        self.drawn = Some((size, frame.lines));
        self.out.push(frame.text.into_bytes());
    }

    /// Prints plain lines.
    pub(super) fn print(&self, text: String) {
        if !text.is_empty() {
            self.out.push(text.into_bytes());
        }
    }

    /// Prints the last line and ends; waits only a short time for a reader.
    pub(super) fn end(&self, words: &str) -> ExitCode {
        self.out.push(words.into());
        self.out.flush(LAST_PATIENCE);
        if self.out.is_closed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        Ok(size) if size.ws_col > 0 => (size.ws_col.into(), USUAL.1),
        _ => USUAL,
    }
}

/// What is written for a frame, and how many lines of the terminal it takes.
struct Frame {
    text: String,
    lines: usize,
}

/// `drawn` lines of the frame before are replaced; after a change of the size nobody knows where they are, so the screen is cleared.
fn frame(lines: &[String], (width, height): (usize, usize), drawn: Option<usize>) -> Frame {
    let mut text = match drawn {
        Some(0) => String::new(),
        // Up to the first line of the last frame, and clear from there (ECMA-48 CUU, ED).
        Some(drawn) => format!("\x1b[{drawn}A\x1b[J"),
        None => "\x1b[H\x1b[J".to_owned(),
    };
    // The cursor stays below the last line. A frame that does not fit would scroll, and the next could not begin where it began.
    let room = height.saturating_sub(1).max(1);
    let shown = if lines.len() <= room { lines.len() } else { room - 1 };
    for line in &lines[..shown] {
        // A line that wraps would make the next redraw begin in the wrong place.
        text.extend(fitting(line, width));
        text.push('\n');
    }
    if shown < lines.len() {
        let words = format!("… {} lines more: enlarge the terminal, or use a pipe", lines.len() - shown);
        text.extend(fitting(&words, width));
        text.push('\n');
    }
    Frame { text, lines: shown + usize::from(shown < lines.len()) }
}

/// The characters of a line that fit into so many columns.
fn fitting(line: &str, width: usize) -> impl Iterator<Item = char> {
    line.chars()
        .scan(0, move |column, character| {
            *column += columns(character);
            (*column <= width).then_some(character)
        })
        .fuse()
}

/// Columns that a character may take: two for the scripts of East Asia and for pictograms, by the blocks of Unicode.
fn columns(character: char) -> usize {
    let is_wide = matches!(u32::from(character),
        0x1100..=0x115f | 0x2600..=0x27bf | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f
        | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f000..=0x1ffff | 0x20000..=0x3ffff);
    if is_wide { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("line {n}")).collect()
    }

    #[test]
    fn a_frame_replaces_the_one_before_and_never_scrolls() {
        for (count, height, shown) in [(3, 24, 3), (23, 24, 23), (24, 24, 23), (1000, 24, 23), (5, 1, 1), (5, 2, 1)] {
            let frame = frame(&lines(count), (80, height), Some(7));
            assert_eq!((frame.lines, frame.text.matches('\n').count()), (shown, shown), "{count} in {height}");
            assert!(frame.text.starts_with("\x1b[7A\x1b[J"));
            assert_eq!(frame.text.contains(" lines more"), shown < count);
        }
        assert!(frame(&lines(1), (80, 24), Some(0)).text == "line 0\n");
        assert!(frame(&lines(1), (80, 24), None).text.starts_with("\x1b[H\x1b[J"), "after a change of the size");
    }

    #[test]
    fn no_line_wraps() {
        let fit = |line: &str, width| fitting(line, width).collect::<String>();
        assert_eq!((fit("21.5 °C", 4), fit("21.5 °C", 80)), ("21.5".into(), "21.5 °C".into()));
        assert_eq!((fit("温度計", 5), fit("温度計", 6)), ("温度".into(), "温度計".into()));
        assert_eq!(fit("–a", 0), "");
    }
}
