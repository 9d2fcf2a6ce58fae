"""What the page is tried against: the mock, the program on a simulated bus, or a gateway that somebody else runs.

All of them have the sensors air (temperature in °C, two decimals) and door, the outputs pump, heater, fan, blind and gate, the variables mode and
target, and the rule frost; the pump must not be on beside the heater.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONFIG = """
gateway: {{ name: shed }}
mqtt: {{ broker: "mqtt://127.0.0.1:{broker}", reconnect: {{ min: 1s, max: 5s }} }}
http: {{ listen: "127.0.0.1:{port}", control: true }}
spool: {{ path: spool }}
buses: {{ bench: {{ type: sim, state_file: bench.json }} }}
sensors:
  air: {{ driver: bme280, bus: bench, every: 500ms, settings: {{ address: 0x76 }} }}
  cellar: {{ driver: sht3x, bus: bench, every: 5s, settings: {{ address: 0x44 }} }}
  door: {{ driver: gpio-input, bus: bench, every: 1s, settings: {{ line: GPIO17, bias: pull-down }} }}
actuators:
  blind:
    driver: gpio-cover
    bus: bench
    settings: {{ open_line: GPIO5, close_line: GPIO6, opening: 2s, closing: 2s }}
    safe_state: stop
    safe_after: never
  fan: {{ driver: pwm-output, bus: bench, settings: {{ channel: 0 }}, safe_state: 0, safe_after: never }}
  gate: {{ driver: gpio-pulse, bus: bench, settings: {{ line: GPIO23, duration: 500ms }}, safe_state: "off", safe_after: never }}
  heater: {{ driver: gpio-output, bus: bench, settings: {{ line: GPIO22 }}, safe_state: "off", safe_after: never }}
  pump: {{ driver: gpio-output, bus: bench, settings: {{ line: GPIO27 }}, safe_state: "off", safe_after: never, interlock: [heater], max_on: 10m }}
  cable: {{ driver: gpio-output, bus: bench, settings: {{ line: GPIO24 }}, safe_state: "off", safe_after: never }}
variables:
  mode: {{ options: [auto, away], initial: auto }}
  target: {{ min: 5, max: 30, step: 0.5, initial: 12.5, unit: °C }}
rules:
  frost: {{ when: air.temperature < -5, set: {{ cable: on }}, manual: never }}
"""
PATIENCE = 30


def wait_until(what, condition, patience=PATIENCE):
    end = time.monotonic() + patience
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"in vain: {what}")
        time.sleep(0.05)
    return result


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Bench:
    """A gateway that can be started, killed, and looked at by its interface."""
    url = child = None
    can_steer = is_mock = False

    def state(self):
        with urllib.request.urlopen(self.url + "api/state", timeout=10) as answer:
            body = answer.read()
            if answer.headers.get("Content-Encoding") == "gzip":
                import gzip
                body = gzip.decompress(body)
            return json.loads(body)

    def output(self, name):
        return next(one for one in self.state()["outputs"] if one["name"] == name)

    def answers(self):
        try:
            return bool(self.state())
        except OSError:
            return False

    def kill(self):
        """By SIGKILL, so that nobody is told."""
        if self.child:
            self.child.kill()
            self.child.wait()
            self.child = None

    close = kill


class Mock(Bench):
    can_steer = is_mock = True

    def __init__(self, *arguments):
        self.arguments, self.port = arguments, 0
        self.start()

    def start(self, *more):
        command = [sys.executable, HERE / "mock.py", "--port", str(self.port), *self.arguments, *more]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.child.stdout.readline().strip()
        assert self.url, "the mock does not start"
        self.port = int(self.url.rstrip("/").rsplit(":", 1)[1])

    def steer(self, **wish):
        urllib.request.urlopen(urllib.request.Request(self.url + "mock", json.dumps(wish).encode(), method="POST"), timeout=10).read()

    def set_air(self, celsius):
        self.steer(still=True, values={"air": {"temperature": celsius, "humidity": 50.0, "pressure": 1013.0}})

    def break_air(self):
        self.steer(down={"air": "no BME280 at address 0x76: nobody answers"})

    def mend_air(self):
        self.steer(down={"air": None})

    def is_on(self, name):
        return self.output(name)["value"] == "on"


class Program(Bench):
    """The program itself; its simulated bus is a file that this writes as a person would move wires."""
    can_steer = True
    lines = {"pump": "GPIO27", "heater": "GPIO22"}

    def __init__(self, program):
        self.program, self.folder = Path(program).resolve(), tempfile.TemporaryDirectory()
        self.port, self.path = free_port(), Path(self.folder.name)
        self.broker, port = self.mosquitto()
        (self.path / "fieldgate.yaml").write_text(CONFIG.format(port=self.port, broker=port))
        self.url = f"http://127.0.0.1:{self.port}/"
        self.start()

    def mosquitto(self):
        """A broker, and its port. Somebody else may take a port between our looking and its binding; then another is tried."""
        path = os.environ["PATH"] + ":/usr/sbin"
        for _ in range(5):
            port = free_port()
            configuration = self.path / "mosquitto.conf"
            configuration.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
            child = subprocess.Popen(["mosquitto", "-c", configuration], stderr=subprocess.PIPE, text=True, env={**os.environ, "PATH": path})
            if any(" running" in line for line in iter(child.stderr.readline, "")):
                threading.Thread(target=child.stderr.read, daemon=True).start()
                return child, port
            child.wait()
        raise AssertionError("no mosquitto starts")

    def start(self):
        with open(self.path / "log", "ab") as log:
            environment = {**os.environ, "RUNTIME_DIRECTORY": self.folder.name}
            command = [self.program, "run", "--config", self.path / "fieldgate.yaml"]
            self.child = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
        wait_until(f"the program to answer at {self.url}", lambda: self.answers() or self.ended())

    def ended(self):
        if self.child.poll() is not None:
            raise AssertionError("the program ended:\n" + (self.path / "log").read_text())

    def bus(self):
        return json.loads((self.path / "bench.json").read_text())

    def write(self, changes):
        document = self.bus()
        for place, values in changes.items():
            document.setdefault("chips", {}).setdefault(place, {}).update(values)
        temporary = self.path / "bench.outside"
        temporary.write_text(json.dumps(document))
        temporary.rename(self.path / "bench.json")

    def set_air(self, celsius):
        self.write({"0x76": {"temperature": celsius}})

    def break_air(self):
        self.write({"0x76": {"fault": "nak"}})

    def mend_air(self):
        self.write({"0x76": {"fault": None}})

    def is_on(self, name):
        return self.bus()["lines"][self.lines[name]] == 1

    def close(self):
        if self.child:
            self.child.send_signal(signal.SIGTERM)
            self.child.wait(20)
        self.broker.terminate()
        self.broker.wait(20)
        self.folder.cleanup()


class Elsewhere(Bench):
    """Somebody else's: it is looked at, and nothing is moved."""

    def __init__(self, url):
        self.url = url.rstrip("/") + "/"
