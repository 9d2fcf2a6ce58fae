#!/usr/bin/env python3
"""Makes docs/pictures/demo.svg: what `fieldgate demo` shows in a terminal after some seconds.

    python3 -m venv venv && venv/bin/pip install pyte==0.8.2
    venv/bin/python docs/pictures/make.py target/release/fieldgate

A pump is commanded on meanwhile, with mosquitto_pub (package mosquitto-clients), so that the table shows an output that is on.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from html import escape
from pathlib import Path

import pyte

COLUMNS, LINES, SECONDS, COMMAND_AFTER = 108, 16, 12, 6
WIDTH, HEIGHT, MARGIN = 8.4, 19, 16  # of a character, of a line, around the text, in pixels
COLOURS = {"default": "#d8dee9", "green": "#a3be8c", "red": "#e06c75", "brown": "#ebcb8b", "yellow": "#ebcb8b",
           "cyan": "#88c0d0", "blue": "#81a1c1", "magenta": "#b48ead", "black": "#6b7486", "brightblack": "#6b7486"}


def watch(program):
    """The screen after the demo has run in a terminal."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        os.execve(program, [program, "demo"], {**os.environ, "TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    begun, is_on = time.monotonic(), False
    while (passed := time.monotonic() - begun) < SECONDS:
        if select.select([terminal], [], [], 0.2)[0]:
            stream.feed(os.read(terminal, 65536))
        if passed > COMMAND_AFTER and not is_on:
            # The demo itself says how.
            line = next(line for line in screen.display if "pump/set -m on" in line)
            subprocess.run(line.split("command", 1)[1].split(), check=True)
            is_on = True
    os.kill(child, signal.SIGINT)
    os.waitpid(child, 0)
    return screen


def spans(row):
    """A line's text in pieces of one look, each without two spaces in a row: so columns need no font to stand where they do."""
    pieces = []
    for column in range(COLUMNS):
        cell = row[column]
        look = (COLOURS.get(cell.fg, COLOURS["default"]), cell.bold)
        if pieces and pieces[-1][1] == look:
            pieces[-1][2] += cell.data
        else:
            pieces.append([column, look, cell.data])
    words = ((column, look, found) for column, look, text in pieces for found in re.finditer(r"\S+(?: \S+)*", text))
    return [(column + found.start(), look, found.group()) for column, look, found in words]


def svg(screen):
    used = max(number for number, line in enumerate(screen.display) if line.strip()) + 1
    width, height = MARGIN * 2 + WIDTH * COLUMNS, MARGIN * 2 + HEIGHT * used
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img">',
             "<title>fieldgate demo: sensors, outputs and their state in a terminal</title>",
             '<rect width="100%" height="100%" rx="8" fill="#1f2430"/>',
             '<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">']
    for number in range(used):
        for column, (colour, is_bold), text in spans(screen.buffer[number]):
            x, y = MARGIN + WIDTH * column, MARGIN + HEIGHT * number + 14
            weight = ' font-weight="bold"' if is_bold else ""
            lines.append(f'<text x="{x:.1f}" y="{y}" fill="{colour}"{weight} textLength="{WIDTH * len(text):.1f}">{escape(text)}</text>')
    return "\n".join(lines + ["</g>", "</svg>", ""])


def main():
    program = os.path.abspath(sys.argv[1])
    (Path(__file__).parent / "demo.svg").write_text(svg(watch(program)))


if __name__ == "__main__":
    main()
