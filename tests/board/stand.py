"""What the test on the emulated board stands on: the board, a Mosquitto, an ear at it, and the report.

Everything that is started here is ended here, by the ids that were noted when it was started.
"""
import base64
import io
import json
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "bench"))

import machine


class Trouble(Exception):
    """What was waited for did not come, or a step that must succeed did not."""


def ended_by_signals():
    """Lets SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that what was started is ended."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))


class Report:
    """PASS and FAIL lines, and the seconds of each phase."""

    def __init__(self):
        self.begun, self.passed, self.failed = time.monotonic(), 0, []

    def check(self, what, good, detail=""):
        """One check."""
        reported = f"{what}{': ' if detail else ''}{detail}"
        if good:
            self.passed += 1
        else:
            self.failed.append(what)
        print(f"{'PASS' if good else 'FAIL'}  {reported}", flush=True)
        return good

    @contextmanager
    def phase(self, name):
        """Times a phase; one that breaks off is a failed check."""
        begun = time.monotonic()
        try:
            yield
        except Exception as error:  # the phases behind it are worth their results
            self.check(name, False, f"broken off, {type(error).__name__}: {error}")
        print(f"time  {name}: {time.monotonic() - begun:.0f} s", flush=True)

    def end(self):
        """The last lines; returns the exit code."""
        print(f"\n{self.passed} passed, {len(self.failed)} failed, {time.monotonic() - self.begun:.0f} s")
        return 1 if self.failed else 0


@dataclass
class Done:
    """A command that ran on the board."""

    code: int
    text: str
    script: str

    def ok(self):
        """The output of a command that must succeed."""
        if self.code:
            raise Trouble(f"status {self.code} from {self.script!r}: {self.text.strip()}")
        return self.text


class Board:
    """The emulated board. A run has hundreds of commands, and none starts a Python of its own: on a busy machine that takes longer
    than most of what they do.
    """

    def __init__(self, pi_bench):
        loader = SourceFileLoader("pi_bench", pi_bench)
        bench = module_from_spec(spec_from_loader(loader.name, loader))
        loader.exec_module(bench)
        self.commands = bench.parser()

    def bench(self, *words):
        """A command of the bench, which must succeed; what it prints."""
        printed = io.StringIO()
        try:
            with redirect_stdout(printed):
                given = self.commands.parse_args(words)
                given.command(given)
        except SystemExit as error:
            if not isinstance(error.code, str):
                raise  # a signal, which ends all of this
            raise Trouble(f"pi-bench {' '.join(words)}: {error.code}") from None
        except (OSError, EOFError) as error:
            raise Trouble(f"pi-bench {' '.join(words)}: {error}") from None
        return printed.getvalue()

    def run(self, script, seconds=60):
        """A shell script on the board, as root."""
        try:
            code, output = machine.agent(script, seconds)
        except (OSError, EOFError) as error:
            return Done(1, f"the board does not answer: {error}", script)
        return Done(code, output.decode(errors="replace"), script)

    def write(self, path, text):
        """A file on the board, for everybody to read."""
        coded = base64.b64encode(text.encode()).decode()
        self.run(f"base64 -d <<<{coded} >{shlex.quote(path)}").ok()

    def level(self, pin):
        """The level at a pin of the processor, seen from outside: True is high."""
        return self.bench("gpio-get", str(pin)).strip() == "1"

    def wait_level(self, pin, high, seconds):
        """Seconds until the pin has the level, or None."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            if self.level(pin) == high:
                return time.monotonic() - begun
            time.sleep(0.2)
        return None

    def shows(self, pin, levels, seconds=30):
        """Whether the pin comes to have these levels, and no other, for 25 looks and 2.5 s. A change takes a period to appear."""
        end, seen = time.monotonic() + seconds, []
        while time.monotonic() < end:
            seen = [*seen, self.level(pin)][-25:]
            if len(seen) == 25 and set(seen) == levels:
                return True
            time.sleep(0.1)
        return False

    def off(self):
        """Ends the emulator and takes its card away, which was for this run only."""
        if machine.running():
            machine.power_cut()
        shutil.rmtree(machine.RUN, ignore_errors=True)


def free_port():
    """A loopback port on which nothing listens, below those that the kernel gives to outgoing connections."""
    for port in random.sample(range(18_000, 31_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Trouble("no port is free")


class Broker:
    """A Mosquitto on loopback. With a login, a user and a password, nobody else is let in."""

    def __init__(self, folder, base, login=None):
        self.base, self.login = base, ("-u", login[0], "-P", login[1]) if login else ()
        config = folder / "mosquitto.conf"
        access = "allow_anonymous true"
        if login:
            subprocess.run(["mosquitto_passwd", "-b", "-c", folder / "passwords", *login], check=True)
            # As root it would become a user who may not look into the folder.
            access = f"allow_anonymous false\npassword_file {folder}/passwords\nuser root"
        self.log = folder / "mosquitto.log"
        for _ in range(10):
            self.port = free_port()
            config.write_text(f"listener {self.port} 127.0.0.1\n{access}\nmax_queued_messages 0\n")
            with open(self.log, "wb") as log:
                self.child = subprocess.Popen(["mosquitto", "-c", config], stdout=log, stderr=log)
            if self.opens():
                return
        raise Trouble("no port stays free")

    def opens(self):
        """Whether it listens; not where another program, such as the broker of a second board, was quicker to take the port."""
        # Its own word counts: a client that connects to a port while nothing listens there may be answered by itself.
        for _ in range(100):
            ended, said = self.child.poll() is not None, self.log.read_text()
            if ended and "Address already in use" in said:
                return False
            if ended:
                raise Trouble(f"Mosquitto ended at once: {said}")
            if " running" in said:
                return True
            time.sleep(0.1)
        raise Trouble(f"Mosquitto does not start: {said}")

    def publish(self, topic, payload):
        """Publishes below the base topic with a client of its own."""
        subprocess.run(["mosquitto_pub", *self.login, "-p", str(self.port), "-q", "1", "-t", f"{self.base}/{topic}", "-m", payload],
                       check=True, timeout=20)

    def stop(self):
        self.child.terminate()
        self.child.wait()


@dataclass
class Heard:
    """One message, as mosquitto_sub saw it."""

    at: float
    retained: bool
    topic: str
    payload: str

    def json(self):
        """The payload, decoded."""
        return json.loads(self.payload)


class Listener:
    """A mosquitto_sub that hears everything below the base topic from the start to the end of the test."""

    def __init__(self, broker):
        self.base, self.all, self.news = broker.base, [], threading.Condition()
        self.child = subprocess.Popen(
            ["mosquitto_sub", *broker.login, "-p", str(broker.port), "-q", "1", "-F", "%r %t %p", "-t", f"{broker.base}/#"],
            stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.child.stdout:
            retained, topic, payload = line.rstrip("\n").split(" ", 2)
            topic = topic.removeprefix(f"{self.base}/")
            with self.news:
                self.all.append(Heard(time.monotonic(), retained == "1", topic, payload))
                self.news.notify_all()

    def mark(self):
        """The place of the next message, to wait from."""
        return len(self.all)

    def wait(self, topic, wanted, seconds, since=None):
        """The first message on the topic from the mark `since` on, or from now on, whose payload is wanted."""
        at = self.mark() if since is None else since
        end, last = time.monotonic() + seconds, None
        with self.news:
            while True:
                for heard in self.all[at:]:
                    if heard.topic == topic:
                        last = heard.payload
                        if wanted(heard.payload):
                            return heard
                at = len(self.all)
                if not self.news.wait(max(0, end - time.monotonic())):
                    raise Trouble(f"{topic} did not come within {seconds} s as wanted; the last was {last}")

    def since(self, mark, topic):
        """What came on the topic since the mark."""
        return [heard for heard in self.all[mark:] if heard.topic == topic]

    def stop(self):
        self.child.terminate()
        self.child.wait()
