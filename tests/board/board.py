#!/usr/bin/env python3
"""The main job on an emulated board, seen from the host's broker. Started by run.sh, which builds what this needs.

    board.py PI-BENCH PACKAGE OUTPUT-WATCH SOURCES [PART]

Each phase is a function; each check in it prints PASS or FAIL, and a phase that breaks off counts as a FAIL. The board is
slow and shares its processor, so every wait has a generous limit: nothing about speed is concluded here. Which phases there are,
and which of them a part has, is in parts.py.
"""
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # the sources' folder stays as it is

from parts import PARTS, PHASES
from stage import BASE, Stage
from stand import Board, Broker, Listener, Report, ended_by_signals


def power_on(board, package, watch):
    """Puts the package into a user's folder on a new card, beside it what `failing` looks with, and starts the board."""
    board.bench("card-put", str(package), f"/home/pi/{package.name}")
    board.bench("card-put", "--mode", "0755", watch, "/usr/local/bin/output-watch")
    print("info  the board is " + board.bench("boot").strip(), flush=True)


def show_on(board, broker, report, sources, package, phases):
    """The phases on a board that runs; the log of the service if something failed."""
    heard = Listener(broker)
    try:
        stage = Stage(board, broker, heard, report, sources, package)
        for phase in phases:
            with report.phase(phase.__name__):
                phase(stage)
    finally:
        heard.stop()
    if report.failed:
        print(board.run("journalctl -u fieldgate -o short-monotonic -n 150 --no-pager").text)


def main():
    """Starts what is needed, runs the phases, ends all of it."""
    pi_bench, package, watch, sources = sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    phases = PARTS[sys.argv[5]] if sys.argv[5:] else PHASES
    ended_by_signals()
    board, report = Board(pi_bench), Report()
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder), BASE)
        try:
            with report.phase("power_on"):
                power_on(board, package, watch)
            if not report.failed:
                show_on(board, broker, report, sources, package.name, phases)
        finally:
            board.off()
            broker.stop()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
