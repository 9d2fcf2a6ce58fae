#!/usr/bin/env python3
"""Runs the test programs of the workspace, two at a time, for most wait more than they work.

    run.py [PROGRAM…]     all that cargo builds, but for the examples in the documentation; or only programs of these names
    run.py --changed      those that what has changed here concerns: a crate's own tests if it or what it depends on has, those of
                          the whole program always, but for long ones that concern a part of it. Changed is what is not in the
                          branch that origin has; without one, everything

A line says that a program begins. What it printed comes in one piece when it has ended, with the seconds that it took and those
that processors worked for it and for what it started. All of them run, also when one has failed; the last lines name those that
did, with the words of each panic once more. Each has the threads of RUST_TEST_THREADS, but for those that run alone. One that hangs
is ended, and what it printed names its tests that ran for over a minute.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

AT_ONCE = 2

# What takes longest begins first, so that the end does not wait for it.
FIRST = ("service", "command_line", "fieldgate_spool", "proof", "fieldgate_drivers", "link", "limits")

# These ask how fast something is, or count what the machine did for a program, which others beside it would change. They run when
# all others have ended, with so many threads at most.
ALONE, THREADS_ALONE = ("faults", "allocations", "costs"), 4

# Tests of the whole program that take long and rarely fail, with what they concern. A change of anything else asks for none of them.
PROGRAM = ("src/", "crates/", "tests/common/")
LONG = {
    "faults": (*PROGRAM, "tests/faults"),
    "limits": (*PROGRAM, "tests/limits"),
    "http_limits": (*PROGRAM, "tests/http_limits.rs"),
    "allocations": (*PROGRAM, "tests/allocations.rs"),
    "costs": (*PROGRAM, "tests/costs.rs"),
    "proof": ("crates/drivers/", "crates/bus/", "crates/model/", "tests/proof/"),
}

# What these say concerns everything.
OF_ALL = ("Cargo.toml", "Cargo.lock", "rust-toolchain", ".cargo/", "tests/run.py", "deploy/test.sh", ".ci/")

# Where temporary files go if it has so many bytes free: what commits thousands of times would wait for the disk each time. What needs a
# disk that is full, slow or broken makes one of its own; --long and --sample use the real one.
MEMORY, LEAST_FREE = "/dev/shm", 4 << 30

# The longest takes five minutes on two processors. One that hangs would be ended by whoever waits for it, and nobody would learn which.
HANGS_AFTER_S = 20 * 60

# Lines of a panic's words, and characters of a line.
MOST, LONGEST = 8, 300


@dataclass
class Program:
    """A test program."""

    name: str
    folder: Path
    command: list

    def place(self):
        """Where it stands in the order."""
        return FIRST.index(self.name) if self.name in FIRST else len(FIRST)


def built():
    """All test programs, built."""
    command = "cargo test --workspace --locked --quiet --no-run --message-format=json-render-diagnostics"
    made = subprocess.run(command.split(), stdout=subprocess.PIPE, text=True)
    if made.returncode:
        sys.exit(made.returncode)
    for line in made.stdout.splitlines():
        artifact = json.loads(line)
        if artifact.get("executable") and artifact["profile"]["test"]:
            folder = Path(artifact["manifest_path"]).parent
            name = artifact["target"]["name"]
            # Programs of several packages may have one name: it is said whose they are.
            if "test" in artifact["target"]["kind"] and folder != Path.cwd():
                name = f"{folder.name}/{name}"
            yield Program(name, folder, [artifact["executable"], "--quiet"])


def changed():
    """The files that differ from the branch that origin has; None where that cannot be known."""
    def lines(command):
        return subprocess.run(command.split(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout.split("\n")

    try:
        base = lines("git merge-base HEAD origin/HEAD")[0]
        names = lines(f"git diff --name-only {base}") + lines("git ls-files --others --exclude-standard")
    except (OSError, subprocess.CalledProcessError):
        return None
    return [name for name in names if name]


def folders_of_crates():
    """For each crate's folder its own and those of the crates that it depends on, with / behind them; the program's own is empty."""
    made = subprocess.run("cargo metadata --format-version 1 --no-deps --offline --locked".split(), stdout=subprocess.PIPE, text=True, check=True)
    packages = {Path(package["manifest_path"]).parent: package for package in json.loads(made.stdout)["packages"]}

    def with_theirs(folder):
        yield f"{folder.relative_to(Path.cwd())}/"
        for needed in packages[folder]["dependencies"]:
            if needed.get("path"):
                yield from with_theirs(Path(needed["path"]))

    return {folder: tuple(set(with_theirs(folder))) for folder in packages if folder != Path.cwd()}


def concerned(programs):
    """Those of the programs that what has changed concerns."""
    names = changed()
    if names is None or any(name.startswith(OF_ALL) for name in names):
        return programs
    folders = folders_of_crates()

    def is_concerned(program):
        wanted = folders.get(program.folder) or LONG.get(program.name)
        return wanted is None or any(name.startswith(wanted) for name in names)

    left_out = sorted({program.name for program in programs if not is_concerned(program)})
    if left_out:
        print(f"Nothing has changed that concerns {', '.join(left_out)}; without --changed they run too.", flush=True)
    return [program for program in programs if is_concerned(program)]


def panics(text):
    """The words of each panic, as far as they are short: what a program prints of its own log may be long."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if line.startswith("thread '") and " panicked at " in line:
            words = takewhile(lambda word: word.strip() and not word.startswith(("stack backtrace:", "note: ")), lines[at:])
            yield "\n    ".join(word[:LONGEST] for word in islice(words, MOST))


def end(pid):
    """Ends a program and what it has started, which would write on into a folder that is taken away."""
    # What ends by itself meanwhile is gone.
    with suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                end(int(child))
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def temporary_folder():
    """A folder for the temporary files of all programs; TMPDIR says where, if it is set. Tests run scripts that they put there."""
    is_wanted = "TMPDIR" not in os.environ and os.path.isdir(MEMORY)
    suits = is_wanted and shutil.disk_usage(MEMORY).free >= LEAST_FREE and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    return tempfile.TemporaryDirectory(prefix="fg-", dir=MEMORY if suits else None)


class Run:
    """Programs that wait, run and have failed, and why."""

    def __init__(self):
        self.failed, self.why, self.told, self.began = [], [], threading.Lock(), time.monotonic()

    def one(self, program):
        """Runs a program to its end and prints what it printed."""
        began = time.monotonic()
        with self.told:
            print(f".. {program.name}", flush=True)
        with tempfile.TemporaryFile() as printed:
            environment = {**os.environ, "CARGO_MANIFEST_DIR": str(program.folder)}
            if program.name in ALONE:
                environment["RUST_TEST_THREADS"] = str(min(THREADS_ALONE, int(environment.get("RUST_TEST_THREADS", THREADS_ALONE))))
            child = subprocess.Popen(program.command, cwd=program.folder, env=environment,
                                     stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT)
            hangs = threading.Timer(HANGS_AFTER_S, end, [child.pid])
            hangs.start()
            _, status, used = os.wait4(child.pid, 0)
            hangs.cancel()
            child.returncode = os.waitstatus_to_exitcode(status)
            printed.seek(0)
            text = printed.read().decode(errors="replace").strip()
        took, worked = time.monotonic() - began, used.ru_utime + used.ru_stime
        with self.told:
            print(f"\n{text}\n-- {program.name}: {took:.0f} s, {worked:.0f} s of a processor", flush=True)
            if child.returncode:
                # A negative one is a signal.
                print(f"{program.name} FAILED: {child.returncode}", flush=True)
                self.failed.append(program.name)
                self.why += panics(text)
            if took > HANGS_AFTER_S:
                self.why.append(f"{program.name} hung and was ended")

    def all(self, programs, at_once):
        """Runs the programs, so many at a time."""
        pool = ThreadPoolExecutor(at_once)
        try:
            list(pool.map(self.one, programs))
        finally:
            # After Ctrl-C, which those that run have got too, no other begins.
            pool.shutdown(cancel_futures=True)


def main():
    """Builds, runs, and says what failed."""
    os.chdir(Path(__file__).resolve().parent.parent)
    by_changes, asked = "--changed" in sys.argv, [word for word in sys.argv[1:] if word != "--changed"]
    programs = sorted(built(), key=Program.place)
    if by_changes:
        programs = concerned(programs)
    unknown = set(asked) - {program.name for program in programs}
    if unknown:
        sys.exit(f"there is no test program {', '.join(sorted(unknown))}")
    programs = [program for program in programs if not asked or program.name in asked]
    run = Run()
    with temporary_folder() as folder:
        # Some programs under test run as other users.
        os.chmod(folder, 0o755)
        os.environ["TMPDIR"] = folder
        run.all([program for program in programs if program.name not in ALONE], AT_ONCE)
        run.all([program for program in programs if program.name in ALONE], 1)
    print(f"\n{len(programs)} test programs in {time.monotonic() - run.began:.0f} s", flush=True)
    if run.failed:
        print("\n".join(run.why), flush=True)
        sys.exit(f"FAILED: {', '.join(sorted(run.failed))}")


if __name__ == "__main__":
    main()
