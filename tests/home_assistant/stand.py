"""The program on a simulated bus, between a broker and a Home Assistant, with what the tests of live.py ask of the three."""
import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import ha_bench  # noqa: E402
from ha_bench import Broker, wait_until  # noqa: E402

SOURCES = Path(__file__).resolve().parent.parent.parent / "deploy/home-assistant"

B = "fieldgate/shed"
OUTPUT = "driver: gpio-output, bus: bench, safe_state: \"off\""
PWM = "driver: pwm-output, bus: bench, safe_state: 0"
CONFIG = f"""
gateway: {{ name: shed }}
mqtt: {{ broker: "mqtt://127.0.0.1:PORT", reconnect: {{ min: 100ms, max: 500ms }} }}
spool: {{ path: spool }}
buses: {{ bench: {{ type: sim, state_file: bench.json }} }}
requests: {{ allow: [ping, reload, restart] }}
variables:
  target: {{ min: 5, max: 30, step: 0.5, initial: 19, unit: °C }}
  mode: {{ options: [home, away], initial: home }}
home_assistant: {{ name: Garden shed, area: Garden }}
sensors:
  board: {{ driver: board, every: 1s, home_assistant: {{ enabled: true }} }}
  air: {{ driver: bme280, bus: bench, every: 1s, home_assistant: {{ device: Greenhouse, name: Air }} }}
  bell:
    driver: gpio-input
    bus: bench
    retain: true
    settings: {{ line: GPIO17, clicks: {{ double_within: 100ms, long_after: 5s }} }}
  door: {{ driver: gpio-input, bus: bench, settings: {{ line: GPIO18 }} }}
  meter: {{ driver: pulse-counter, bus: bench, every: 1s, settings: {{ line: GPIO5, pulses_per_unit: 1000, unit: kWh, per: h }} }}
  tide: {{ driver: waveform, every: 1s }}
  slow: {{ driver: waveform, every: 1h }}
actuators:
  pump: {{ {OUTPUT}, settings: {{ line: GPIO27 }} }}
  heater: {{ {OUTPUT}, settings: {{ line: GPIO26 }}, min_off: 1h }}
  boiler: {{ {OUTPUT}, settings: {{ line: GPIO12 }}, max_on: 1s }}
  stove: {{ {OUTPUT}, settings: {{ line: GPIO15 }} }}
  lamp: {{ {OUTPUT}, settings: {{ line: GPIO2 }}, home_assistant: {{ as: light }} }}
  vent: {{ {OUTPUT}, settings: {{ line: GPIO3 }}, home_assistant: {{ as: fan }} }}
  water: {{ {OUTPUT}, settings: {{ line: GPIO4 }}, home_assistant: {{ as: valve }} }}
  horn: {{ {OUTPUT}, settings: {{ line: GPIO6 }}, home_assistant: {{ as: siren }} }}
  opener: {{ {OUTPUT}, settings: {{ line: GPIO7 }}, home_assistant: {{ as: lock }} }}
  heat: {{ {PWM}, settings: {{ channel: 0 }} }}
  glow: {{ {PWM}, settings: {{ channel: 1 }}, home_assistant: {{ as: light }} }}
  blower: {{ {PWM}, settings: {{ channel: 2 }}, home_assistant: {{ as: fan }} }}
  mixer: {{ {PWM}, settings: {{ channel: 3 }}, home_assistant: {{ as: valve }} }}
  flap: {{ driver: pwm-servo, bus: bench, settings: {{ channel: 4 }}, safe_state: 0 }}
  gate: {{ driver: gpio-pulse, bus: bench, settings: {{ line: GPIO8, duration: 10s }}, safe_state: "off" }}
  blind:
    driver: gpio-cover
    bus: bench
    settings: {{ open_line: GPIO9, close_line: GPIO10, opening: 1s, closing: 1s }}
    safe_state: stop
  shutter:
    driver: gpio-cover
    bus: bench
    settings: {{ open_line: GPIO13, close_line: GPIO14, opening: 10m, closing: 10m }}
    safe_state: stop
rules:
  heating: {{ when: target > 25 and mode == "home", set: {{ stove: on }} }}
"""
# Complaints that are none of ours: the bench leaves out what voice and cameras need, and a machine with much to do is slow, its broker too.
LEFT_OUT = "ffmpeg|tts|radio_frequency|conversation|camera|ai_task|assist_pipeline|image_processing|assist_satellite"
OF_THE_BENCH = re.compile(rf"\[homeassistant\.setup\] .*'({LEFT_OUT})'|Skipping pip installation|\[aiohttp_fast_zlib\]|is taking over \d+ seconds|Updating state for .* took [\d.]+ seconds|No ACK from MQTT server in \d+ seconds")
# In 2025 Home Assistant loads a platform in a thread, and its schemas share what validates a list with those that are in use: until the
# thread has filled that again (voluptuous, All.__voluptuous_compile__), others get their input back without its defaults. The entity is
# left out then, and is there with the next announcement; the parts wait for it.
RACE = re.compile(r"Exception in _async_setup_entity_entry_from_discovery .*\nKeyError: 'payload_available'", re.DOTALL)
# At the level of the bench each update of an entity is a line in the log, and Home Assistant warns of so many.
BARE = ha_bench.CONFIGURATION.replace("{level}", "warning")
# What Home Assistant has besides; the blueprints are those that users take.
MORE = """
automation:
  - id: down
    alias: Down
    use_blueprint:
      path: fieldgate/sensor_down.yaml
      input:
        sensors: binary_sensor.shed_air_problem
        patience: "00:00:01"
  - id: tripped
    alias: Tripped
    use_blueprint:
      path: fieldgate/output_tripped.yaml
      input:
        outputs: [switch.shed_pump, switch.shed_boiler]
history:
lovelace:
  dashboards:
    green-house:
      mode: yaml
      title: Greenhouse
      filename: dashboard.yaml
"""


class HomeAssistant(ha_bench.HomeAssistant):
    """One with the dashboard and the blueprints, as a user copies them. What it complains of is kept over its restarts."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.complained = []

    def start(self):
        # Without a token the bench makes the configuration that it copies each time.
        ha_bench.CONFIGURATION = BARE + (MORE if self.token else "")
        if self.token:
            self.install()
        super().start()

    def stop(self):
        # The bench gives it half a minute, which a busy machine exceeds: Home Assistant itself waits that long for its parts.
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(180)
        self.process = None
        # Its next start begins another log.
        self.complained += complaints_in(self.log())

    def install(self):
        folder = self.root / self.folder[1:]
        (folder / "dashboard.yaml").write_text((SOURCES / "dashboard.yaml").read_text())
        for file in (SOURCES / "blueprints").rglob("*.yaml"):
            there = folder / "blueprints" / file.relative_to(SOURCES / "blueprints")
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_text(file.read_text())

    def all_complaints(self):
        return self.complained + complaints_in(self.log())


def complaints_in(log):
    """Its warnings and errors with the traces below them, but for those of the bench."""
    records = re.split(r"\n(?=\d{4}-\d\d-\d\d )", log)
    is_complaint = lambda head: re.search(" (WARNING|ERROR) ", head) and not OF_THE_BENCH.search(head)
    return [record for record in records if is_complaint(record.split("\n")[0]) and not RACE.search(record)]


class Stand:
    """The program with its folder, and the two that it talks to."""

    def __init__(self, fieldgate, folder, broker, ha):
        self.fieldgate, self.folder, self.broker, self.ha = fieldgate, Path(folder), broker, ha
        self.gateway = self.ear = None
        self.write(CONFIG)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print((self.folder / "log").read_text(), file=sys.stderr)
            print("\n".join(self.ha.all_complaints()), file=sys.stderr)
        for process in filter(None, (self.gateway, self.ear)):
            process.kill()
            process.wait()

    def no_complaints(self):
        complaints = self.ha.all_complaints()
        assert not complaints, "\n".join(["Home Assistant complains:", *complaints])
        print("Home Assistant has nothing to complain about", flush=True)

    def write(self, config):
        (self.folder / "f.yaml").write_text(config.replace("PORT", str(self.broker.port)))

    def start(self, environment=()):
        command = [self.fieldgate, "run", "--config", self.folder / "f.yaml"]
        with open(self.folder / "log", "a") as log:
            self.gateway = subprocess.Popen(command, stderr=log, env={**os.environ, **dict(environment)})

    def expected(self):
        """Entity ids and names by `fieldgate check`."""
        said = subprocess.run([self.fieldgate, "check", "--json", "--config", self.folder / "f.yaml"], capture_output=True, check=True)
        devices = json.loads(said.stdout)["home_assistant"]
        return {entity["entity_id"] for device in devices for entity in device["entities"]}

    def listen(self):
        """Everything that is published from now on, in `self.messages` as topic and payload, the newest of each at first."""
        self.ear = subprocess.Popen(["mosquitto_sub", "-p", str(self.broker.port), "-t", f"{B}/#", "-F", "%t %p"], stdout=subprocess.PIPE, text=True)
        self.messages, self.times = [], []
        threading.Thread(target=self.take, daemon=True).start()
        wait_until("a message of the gateway", lambda: self.messages, 20)

    def take(self):
        for line in self.ear.stdout:
            topic, payload = line.rstrip("\n").split(" ", 1)
            self.times.append((topic, time.monotonic()))
            self.messages.append((topic, payload))

    def heard(self, topic, then):
        """The next message on a topic after `then`."""
        before = len(self.messages)
        then()
        new = lambda: [payload for heard, payload in self.messages[before:] if heard == topic]
        return json.loads(wait_until(f"nothing on {topic}", new, 20)[0])

    def state(self, output):
        """What an output does, by its newest message."""
        return json.loads([payload for topic, payload in self.messages if topic == f"{B}/actuators/{output}/state"][-1])["value"]

    def bench(self):
        return json.loads((self.folder / "bench.json").read_text())

    def set_input(self, line, level):
        state = self.bench()
        state.setdefault("inputs", {})[line] = level
        self.set_bench(state)

    def set_fault(self, chip, fault):
        """Takes a chip away, or with None brings it back."""
        state = self.bench()
        state["chips"][chip]["fault"] = fault
        self.set_bench(state)

    def set_bench(self, state):
        new = self.folder / "bench.new"
        new.write_text(json.dumps(state))
        os.replace(new, self.folder / "bench.json")


class Words:
    """What Home Assistant says of itself, what is announced of the gateway's device, and when."""

    STATUS, DEVICE = "homeassistant/status", "homeassistant/device/fieldgate_shed/config"

    def __init__(self, broker):
        topics = [word for topic in (self.STATUS, self.DEVICE, "bench/ready") for word in ("-t", topic)]
        command = ["mosquitto_sub", "-p", str(broker.port), "-R", "-F", "%t %p", *topics]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.heard = []
        threading.Thread(target=self.take, daemon=True).start()
        # What is published before it has subscribed does not arrive.
        wait_until("nothing is heard", lambda: self.heard or broker.publish("bench/ready", "ready"), 60)

    def take(self):
        for line in self.process.stdout:
            topic, _, payload = line.rstrip("\n").partition(" ")
            self.heard.append((topic, payload, time.monotonic()))

    def online(self):
        return next((at for topic, word, at in self.heard if (topic, word) == (self.STATUS, "online")), None)

    def wait_online(self):
        """When it has said `online`: some seconds after its start, and later where it has much to do."""
        return wait_until("Home Assistant does not say online", self.online, 120)

    def has_shown(self, entity):
        """Whether what has gone was announced once more after the `online`, and at last not even taken away any more."""
        announced = [json.loads(payload)["components"] for topic, payload, at in self.heard if payload and topic == self.DEVICE and at > self.online()]
        return any("unique_id" in one.get(entity, ()) for one in announced) and entity not in announced[-1]

    def end(self):
        self.process.kill()
        self.process.wait()


def start_beside(stand, gone):
    """Starts Home Assistant, and waits until the gateway has shown it this entity, which has gone, and has taken it back."""
    words = Words(stand.broker)
    stand.ha.start()
    words.wait_online()
    wait_until(f"{gone} is not shown and taken back", lambda: words.has_shown(gone), 30)
    words.end()


def noticed(ha, entity, is_wanted):
    """What the automation of an entity notifies of, as soon as its message is the wanted one; one of earlier may be there still."""
    seen = []

    def newest():
        with ha.socket() as ws:
            seen[:] = [one for one in ws.ask(type="persistent_notification/get") if one["notification_id"] == entity]
        return next((one for one in seen if is_wanted(one["message"])), None)
    return wait_until(lambda: f"no such notification of {entity}, whose state is {ha.state(entity)}, but {seen}", newest, 30)


def without_value(stand):
    """Entities that should have a value and have none. Where a cover is before it has moved is not known, and not every machine knows
    how warm it is."""
    excused = {"cover.shed_blind", "cover.shed_shutter", "sensor.shed_board_cpu_temperature"}
    wanted = {e for e in stand.expected() - excused if not e.startswith(("event.", "button."))}
    return wanted - {e for e, state in stand.ha.states().items() if state["state"] not in ("unknown", "unavailable")}


def recorded(ha, entity):
    """What the recorder has of an entity, the oldest first."""
    file = ha.root / ha.folder[1:] / "home-assistant_v2.db"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        rows = db.execute("select s.state from states s join states_meta m using (metadata_id) where m.entity_id = ? order by s.state_id", (entity,))
        return [state for (state,) in rows]


def reload(stand, config):
    """Takes up another configuration and waits until Home Assistant has exactly its entities."""
    stand.write(config)
    stand.gateway.send_signal(signal.SIGHUP)
    agree(stand, "the reload")


def agree(stand, what):
    """Waits until Home Assistant has exactly the entities of the configuration, and all of them can be used."""
    expected = stand.expected()
    settle(f"after {what} these differ", lambda: {e["entity_id"] for e in stand.ha.entities()} ^ expected)
    # An entity is in the registry before it hears whether its gateway is there.
    usable = lambda: {e for e, state in stand.ha.states().items() if state["state"] != "unavailable"}
    settle(f"after {what} these are unavailable", lambda: expected - usable())


def settle(what, left):
    """Waits until nothing is left, as long as what is left changes: hundreds of entities take a busy machine more than half a minute."""
    before, end = None, 0
    while now := left():
        if now != before:
            before, end = now, time.monotonic() + 30
        elif time.monotonic() > end:
            raise TimeoutError(f"{what}: {sorted(now)}")
        time.sleep(0.05)


def without(config, *names):
    """The configuration without these sensors and outputs, each of which has one line."""
    starts = tuple(f"  {name}: " for name in names)
    return "\n".join(line for line in config.splitlines() if not line.startswith(starts)) + "\n"


def stop(stand):
    stand.gateway.terminate()
    assert stand.gateway.wait(20) == 0


def call(ha, domain, service, entity, **data):
    """As a press in its page. Home Assistant passes over an entity that is unavailable, without a word and without an error."""
    ha.wait_state(entity, lambda state: state["state"] != "unavailable", 20)
    return ha.call(domain, service, entity, **data)
