#!/usr/bin/env python3
"""The program on a simulated bus, Mosquitto, and a real Home Assistant: what is announced appears, obeys, and goes.

Usage: live.py BENCH ROOT FIELDGATE
BENCH is a folder with ha_bench.py, which starts a broker and the Home Assistant that is installed below ROOT.
"""
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
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import ha_bench  # noqa: E402
from ha_bench import Broker, HomeAssistant, wait_until  # noqa: E402

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
# Errors of what it has from us besides entities. (Parts for voice and cameras cannot be set up on the bench.)
OURS = re.compile(r" (WARNING|ERROR) .*(automation|blueprint|lovelace|Greenhouse|fieldgate)")
# At the level of the bench each update of an entity is a line in the log, and Home Assistant warns of so many.
ha_bench.CONFIGURATION = ha_bench.CONFIGURATION.replace("{level}", "warning")
# What Home Assistant has besides from its next start on; the blueprints are those that users take.
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
# Service and its data, what the output must then do, and what Home Assistant must then show.
COMMANDS = [
    ("switch.shed_pump", "turn_on", {}, "on", "on"),
    ("switch.shed_pump", "turn_off", {}, "off", "off"),
    ("light.shed_lamp", "turn_on", {}, "on", "on"),
    ("light.shed_lamp", "turn_off", {}, "off", "off"),
    ("fan.shed_vent", "turn_on", {}, "on", "on"),
    ("fan.shed_vent", "turn_off", {}, "off", "off"),
    ("valve.shed_water", "open_valve", {}, "on", "open"),
    ("valve.shed_water", "close_valve", {}, "off", "closed"),
    ("siren.shed_horn", "turn_on", {}, "on", "on"),
    ("siren.shed_horn", "turn_off", {}, "off", "off"),
    ("lock.shed_opener", "unlock", {}, "on", "unlocked"),
    ("lock.shed_opener", "lock", {}, "off", "locked"),
    ("number.shed_heat", "set_value", {"value": 40}, 40, "40.0"),
    ("light.shed_glow", "turn_on", {}, 100, "on"),
    ("light.shed_glow", "turn_on", {"brightness": 102}, 40, "on"),
    ("light.shed_glow", "turn_off", {}, 0, "off"),
    ("fan.shed_blower", "turn_on", {}, 100, "on"),
    ("fan.shed_blower", "set_percentage", {"percentage": 30}, 30, "on"),
    ("fan.shed_blower", "turn_off", {}, 0, "off"),
    ("valve.shed_mixer", "set_valve_position", {"position": 70}, 70, "open"),
    ("valve.shed_mixer", "close_valve", {}, 0, "closed"),
    ("number.shed_flap", "set_value", {"value": 90}, 90, "90.0"),
    ("cover.shed_blind", "open_cover", {}, 100, "open"),
    ("cover.shed_blind", "close_cover", {}, 0, "closed"),
]


class Stand:
    """The program with its folder, and the two that it talks to."""

    def __init__(self, fieldgate, folder, broker, ha):
        self.fieldgate, self.folder, self.broker, self.ha = fieldgate, Path(folder), broker, ha
        self.gateway = None
        self.write(CONFIG)

    def write(self, config):
        (self.folder / "f.yaml").write_text(config.replace("PORT", str(self.broker.port)))

    def start(self):
        with open(self.folder / "log", "a") as log:
            self.gateway = subprocess.Popen([self.fieldgate, "run", "--config", self.folder / "f.yaml"], stderr=log)

    def expected(self):
        """Entity ids and names by `fieldgate check`."""
        said = subprocess.run([self.fieldgate, "check", "--json", "--config", self.folder / "f.yaml"], capture_output=True, check=True)
        devices = json.loads(said.stdout)["home_assistant"]
        return {entity["entity_id"] for device in devices for entity in device["entities"]}

    def listen(self):
        """Everything that is published from now on, in `self.messages` as topic and payload, the newest of each at first."""
        self.ear = subprocess.Popen(["mosquitto_sub", "-p", str(self.broker.port), "-t", f"{B}/#", "-F", "%t %p"], stdout=subprocess.PIPE, text=True)
        self.messages = []
        take = lambda: self.messages.extend(line.rstrip("\n").split(" ", 1) for line in self.ear.stdout)
        threading.Thread(target=take, daemon=True).start()
        wait_until("a message of the gateway", lambda: self.messages, 20)

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


def appears(stand):
    ha, expected = stand.ha, stand.expected()
    there = lambda: expected - set(ha.states())
    wait_until(lambda: f"{sorted(there())} did not appear", lambda: not there(), 20)
    ours = lambda: {e["entity_id"] for e in ha.entities()}
    assert ours() == expected, f"unlike what check says: {sorted(ours() ^ expected)}"
    known = lambda: [e for e in expected if not e.startswith(("event.", "button.")) and ha.state(e)["state"] in ("unknown", "unavailable")]
    # Where a cover is before it has moved is not known, and not every machine knows how warm it is.
    without = {"cover.shed_blind", "cover.shed_shutter", "sensor.shed_board_cpu_temperature"}
    wait_until(lambda: f"{known()} have no value", lambda: set(known()) <= without, 20)
    air = ha.state("sensor.shed_air_temperature")["attributes"]
    assert (air["device_class"], air["state_class"], air["unit_of_measurement"]) == ("temperature", "measurement", "°C"), air
    assert air["friendly_name"] == "Greenhouse Air temperature", air
    total = ha.state("sensor.shed_meter_total")["attributes"]
    assert (total["device_class"], total["state_class"]) == ("energy", "total_increasing"), total
    names = {d["name"]: d for d in ha.devices()}
    assert names["Greenhouse"]["via_device_id"] == names["Garden shed"]["id"], names
    assert ha.state("binary_sensor.shed_gateway_connection")["state"] == "on"
    print(f"{len(expected)} entities appear, with values")


def obeys(stand):
    ha = stand.ha
    for entity, service, data, value, shown in COMMANDS:
        domain, name = entity.split(".shed_")
        reply = stand.heard(f"{B}/actuators/{name}/reply", lambda: ha.call(domain, service, entity, **data))
        assert reply["outcome"] == "done" and reply["id"] or domain == "cover", reply
        wait_until(lambda: f"{name} does {stand.state(name)} after {service}, not {value}", lambda: stand.state(name) == value, 10)
        ha.wait_state(entity, shown, 10)
    print(f"{len(COMMANDS)} commands are obeyed and shown")
    reply = stand.heard(f"{B}/actuators/gate/reply", lambda: ha.call("button", "press", "button.shed_gate"))
    assert reply["outcome"] == "done" and stand.bench()["lines"]["GPIO8"] == 1, reply
    ha.call("switch", "turn_on", "switch.shed_pump")
    wait_until("the pump's line", lambda: stand.bench()["lines"]["GPIO27"] == 1, 10)
    state = ha.wait_state("switch.shed_pump", "on")
    assert state["attributes"]["cause"] == "command" and state["attributes"]["since"], state
    reply = stand.heard(f"{B}/actuators/heater/reply", lambda: ha.call("switch", "turn_on", "switch.shed_heater"))
    assert reply["outcome"] == "rejected", reply
    assert ha.state("switch.shed_heater")["state"] == "off" and stand.bench()["lines"]["GPIO26"] == 0
    refused = ha.wait_state("event.shed_heater_refused", lambda s: s["attributes"].get("event_type"))["attributes"]
    assert refused["event_type"] == "rejected" and refused["reason"] == reply["reason"], refused
    assert ha.state("event.shed_pump_refused")["state"] == "unknown", "nothing was refused there"
    print("a refused switch stays off, and why is an event:", reply["reason"])


def covers(stand):
    ha = stand.ha
    ha.call("cover", "open_cover", "cover.shed_shutter")
    ha.wait_state("cover.shed_shutter", "opening")
    reply = stand.heard(f"{B}/actuators/shutter/reply", lambda: ha.call("cover", "stop_cover", "cover.shed_shutter"))
    assert reply["outcome"] == "done", reply
    wait_until("the shutter does not stop", lambda: "opening" != ha.state("cover.shed_shutter")["state"], 10)
    lines = stand.bench()["lines"]
    assert (lines["GPIO13"], lines["GPIO14"]) == (0, 0), lines
    position = stand.state("shutter")
    assert isinstance(position, (int, float)) or position == "unknown", position
    # Where it ends on its way depends on how busy this machine is; the two must agree on it.
    ha.call("cover", "set_cover_position", "cover.shed_blind", position=50)
    half_way = lambda: ha.state("cover.shed_blind")["state"] == "open" and 0 < ha.state("cover.shed_blind")["attributes"]["current_position"] < 100
    wait_until("the blind does not stop on its way", half_way, 10)
    calibrate = lambda: ha.call("button", "press", "button.shed_blind_calibrate")
    reply = stand.heard(f"{B}/actuators/blind/reply", calibrate)
    assert reply["outcome"] == "done" and reply["id"], reply
    print("a cover is stopped on its way and calibrated")


def sets(stand):
    """Variables, rules and requests."""
    ha = stand.ha
    ha.wait_state("number.shed_target", "19")
    ha.wait_state("sensor.shed_rule_heating_state", "inactive")
    ha.call("number", "set_value", "number.shed_target", value=26)
    ha.wait_state("number.shed_target", "26")
    ha.wait_state("switch.shed_stove", "on")
    state = ha.wait_state("sensor.shed_rule_heating_state", "active")["attributes"]
    assert state["since"] and state["why"], state
    ha.call("select", "select_option", "select.shed_mode", option="away")
    ha.wait_state("select.shed_mode", "away")
    ha.wait_state("switch.shed_stove", "off")
    ha.call("select", "select_option", "select.shed_mode", option="home")
    ha.wait_state("switch.shed_stove", "on")
    ha.call("switch", "turn_off", "switch.shed_rule_heating")
    ha.wait_state("switch.shed_rule_heating", "off")
    ha.wait_state("switch.shed_stove", "off")
    ha.call("switch", "turn_on", "switch.shed_rule_heating")
    ha.wait_state("switch.shed_rule_heating", "on")
    reply = stand.heard(f"{B}/variables/target/reply", lambda: ha.call("number", "set_value", "number.shed_target", value=19.3))
    refused = ha.wait_state("event.shed_target_refused", lambda s: s["attributes"].get("event_type"))["attributes"]
    assert refused["event_type"] == "rejected" and refused["reason"] == reply["reason"], (refused, reply)
    assert ha.state("number.shed_target")["state"] == "26"
    ha.call("button", "press", "button.shed_gateway_restart")
    refused = ha.wait_state("event.shed_gateway_restart_refused", lambda s: s["attributes"].get("event_type"))["attributes"]
    assert refused["reason"].startswith("unknown: "), refused
    stand.write(CONFIG.replace("name: Garden shed", "name: Hut"))
    ha.call("button", "press", "button.shed_gateway_reload")
    ha.wait_state("switch.shed_pump", lambda s: s["attributes"]["friendly_name"] == "Hut Pump")
    stand.write("gateway: { nmae: shed }\n")
    ha.call("button", "press", "button.shed_gateway_reload")
    refused = ha.wait_state("event.shed_gateway_reload_refused", lambda s: s["attributes"].get("event_type"))["attributes"]
    assert "the old configuration stays" in refused["reason"], refused
    reload(stand, CONFIG)
    print("variables, a rule and requests obey, and what is refused is seen:", refused["reason"])


def clicks(stand):
    ha = stand.ha
    for level in (1, 0):
        stand.set_input("GPIO17", level)
        ha.wait_state("binary_sensor.shed_bell_active", "on" if level else "off")
    event = ha.wait_state("event.shed_bell_click", lambda s: s["attributes"].get("event_type"))
    assert event["attributes"]["event_type"] == "single", event
    print("a click is an event")


def goes_and_comes(stand):
    ha = stand.ha
    stand.gateway.kill()
    stand.gateway.wait()
    ha.wait_state("binary_sensor.shed_gateway_connection", "off", 30)
    left = lambda: [e for e in stand.expected() - {"binary_sensor.shed_gateway_connection"} if ha.state(e)["state"] != "unavailable"]
    wait_until(lambda: f"{left()} are still there", lambda: not left(), 20)
    stand.start()
    ha.wait_state("switch.shed_pump", "off", 20)
    print("a killed gateway's entities are unavailable, and come back")
    ha.stop()
    install(ha)
    ha.start()
    ha.wait_state("switch.shed_pump", "off", 20)
    for sensor in ("tide", "slow"):
        ha.wait_state(f"sensor.shed_{sensor}_value", lambda s: s["state"] not in ("unknown", "unavailable"), 20)
    print("Home Assistant restarted: all is there again")


def install(ha):
    """The dashboard and the blueprints, as a user copies them."""
    folder = ha.root / ha.folder[1:]
    (folder / "dashboard.yaml").write_text((SOURCES / "dashboard.yaml").read_text())
    for file in (SOURCES / "blueprints").rglob("*.yaml"):
        there = folder / "blueprints" / file.relative_to(SOURCES / "blueprints")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(file.read_text())
    ha_bench.CONFIGURATION += MORE


def noticed(ha, entity):
    """What the automation of an entity has notified of."""
    with ha.socket() as ws:
        return next((one for one in ws.ask(type="persistent_notification/get") if one["notification_id"] == entity), None)


def automations(stand):
    ha = stand.ha
    with ha.socket() as ws:
        known = ws.ask(type="blueprint/list", domain="automation")
    for name in ("sensor_down", "output_tripped"):
        assert "metadata" in known[f"fieldgate/{name}.yaml"], known
    for name in ("down", "tripped"):
        ha.wait_state(f"automation.{name}", "on")
    ha.call("switch", "turn_on", "switch.shed_boiler")
    told = wait_until("no notification of the output that tripped", lambda: noticed(ha, "switch.shed_boiler"), 20)
    assert told["title"] == "Garden shed Boiler" and "max_on" in told["message"], told
    assert ha.state("switch.shed_boiler")["attributes"]["cause"] == "max_on"
    stand.set_fault("0x76", "nak")
    told = wait_until("no notification of the sensor that is down", lambda: noticed(ha, "binary_sensor.shed_air_problem"), 30)
    problem = ha.wait_state("binary_sensor.shed_air_problem", "on")["attributes"]
    assert problem["error"] and problem["error"] == told["message"], (problem, told)
    ha.wait_state("sensor.shed_air_temperature", "unavailable")
    assert ha.state("sensor.shed_tide_value")["state"] not in ("unknown", "unavailable")
    stand.set_fault("0x76", None)
    ha.wait_state("binary_sensor.shed_air_problem", "off", 30)
    ha.wait_state("sensor.shed_air_temperature", lambda s: s["state"] not in ("unknown", "unavailable"), 30)
    print("the blueprints notice a sensor that is down and an output that tripped:", told["message"])


def demo(stand):
    """The demo beside the gateway: its dashboard has all it shows, and nothing is left at the end."""
    ha = stand.ha
    with ha.socket() as ws:
        dashboard = json.dumps(ws.ask(type="lovelace/config", url_path="green-house"))
    shown = set(re.findall(r'"((?:sensor|binary_sensor|switch|number|event)\.[a-z0-9_]+)"', dashboard))
    before = {e["entity_id"] for e in ha.entities()}
    demo = subprocess.Popen([stand.fieldgate, "demo", "--home-assistant", f"mqtt://127.0.0.1:{stand.broker.port}"], stdout=subprocess.DEVNULL)
    try:
        missing = lambda: shown - set(ha.states())
        wait_until(lambda: f"{sorted(missing())} of the dashboard do not appear", lambda: not missing(), 20)
        empty = lambda: [e for e in shown if not e.startswith("event.") and ha.state(e)["state"] in ("unknown", "unavailable")]
        wait_until(lambda: f"{empty()} have no value", lambda: not empty(), 40)
        ha.call("switch", "turn_on", "switch.greenhouse_pump")
        ha.wait_state("switch.greenhouse_pump", "on")
    finally:
        demo.send_signal(signal.SIGINT)
        assert demo.wait(10) == 0
    wait_until("something of the demo is left", lambda: {e["entity_id"] for e in ha.entities()} == before, 20)
    stand.broker.publish("zzz/end", "of the demo", retain=True)
    command = ["mosquitto_sub", "-p", str(stand.broker.port), "-t", "#", "-F", "%t", "--retained-only", "-W", "3"]
    kept = wait_until("nothing is retained", lambda: subprocess.run(command, capture_output=True, text=True).stdout, 20)
    assert "zzz/end" in kept and not re.search("fieldgate[/_]greenhouse", kept), kept
    print(f"the demo's greenhouse appears with the {len(shown)} entities of its dashboard, and goes")


def recorded(ha, entity):
    """What the recorder has of an entity, the oldest first."""
    file = ha.root / ha.folder[1:] / "home-assistant_v2.db"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        rows = db.execute("select s.state from states s join states_meta m using (metadata_id) where m.entity_id = ? order by s.state_id", (entity,))
        return [state for (state,) in rows]


OLD_DEVICE = {"manufacturer": "MQTT IO", "identifiers": ["mqtt-io", "pi"], "name": "Pi"}
OLD_SENSOR, OLD_SWITCH = "homeassistant/sensor/pi/sea/config", "homeassistant/switch/pi/plug/config"


def moves(stand):
    """Entities of another program go on here, with their ids, their owner's names and their history."""
    ha, broker = stand.ha, stand.broker
    broker.publish("pi/sea", "4321", retain=True)
    broker.publish("pi/plug", "ON", retain=True)
    old = {"device": OLD_DEVICE, "availability_topic": "pi/status", "payload_available": "running", "payload_not_available": "dead"}
    broker.publish("pi/status", "running", retain=True)
    sensor = {"name": "sea", "unique_id": "pi_tide_sensor_sea", "state_topic": "pi/sea", **old}
    switch = {"name": "plug", "unique_id": "pi_gpio_output_plug", "state_topic": "pi/plug", "command_topic": "pi/plug/set", **old}
    broker.publish(OLD_SENSOR, json.dumps(sensor), retain=True)
    broker.publish(OLD_SWITCH, json.dumps(switch), retain=True)
    ha.wait_state("sensor.pi_sea", "4321")
    ha.wait_state("switch.pi_plug", "on")
    wait_until("the recorder has nothing", lambda: "4321" in recorded(ha, "sensor.pi_sea"), 30)
    with ha.socket() as ws:
        ws.ask(type="config/entity_registry/update", entity_id="sensor.pi_sea", name="The sea")
    of_old = lambda: {e["unique_id"]: (e["id"], e["entity_id"], e["name"]) for e in ha.entities() if e["unique_id"].startswith("pi_")}
    before = of_old()
    broker.publish("pi/status", "dead", retain=True)
    origin = f"unique_id: pi_tide_sensor_sea, moved_from: {OLD_SENSOR}"
    new = CONFIG.replace("tide: { driver: waveform, every: 1s }", f"tide: {{ driver: waveform, every: 1s, home_assistant: {{ value: {{ {origin} }} }} }}")
    origin = f"unique_id: pi_gpio_output_plug, moved_from: {OLD_SWITCH}"
    new = new.replace("settings: { line: GPIO15 } }", f"settings: {{ line: GPIO15 }}, home_assistant: {{ {origin} }} }}")
    assert new.count("moved_from") == 2, new
    stand.write(new)
    stand.gateway.send_signal(signal.SIGHUP)
    ha.wait_state("sensor.pi_sea", lambda s: s["state"] not in ("4321", "unknown", "unavailable", "missing"), 30)
    ha.wait_state("switch.pi_plug", "off", 30)
    assert of_old() == before, (before, of_old())
    kept = lambda: "4321" in recorded(ha, "sensor.pi_sea") and recorded(ha, "sensor.pi_sea")[-1] == ha.state("sensor.pi_sea")["state"]
    wait_until("the history does not go on", kept, 30)
    wait_until("the old device stays", lambda: "Pi" not in {d["name"] for d in ha.devices()}, 20)
    command = ["mosquitto_sub", "-p", str(broker.port), "-t", "homeassistant/#", "-F", "%t", "--retained-only", "-W", "3"]
    cleared = lambda: "/pi/" not in subprocess.run(command, capture_output=True, text=True).stdout
    wait_until("the old announcements are still there", cleared, 30)
    ha.call("switch", "turn_on", "switch.pi_plug")
    ha.wait_state("switch.pi_plug", "on")
    ha.stop()
    ha.start()
    ha.wait_state("sensor.pi_sea", lambda s: s["state"] not in ("4321", "unknown", "unavailable", "missing"), 30)
    assert of_old() == before, (before, of_old())
    reload(stand, CONFIG)
    print("what another program announced goes on here, with its history")


def renames(stand):
    """Names for people change and nothing else does, so history stays."""
    ha = stand.ha
    ids = lambda: {e["unique_id"]: (e["id"], e["entity_id"]) for e in ha.entities()}
    before = ids()
    new = CONFIG.replace("name: Garden shed", "name: Hut").replace("name: Air", "name: Luft")
    reload(stand, new)
    named = lambda s: s["attributes"]["friendly_name"] == "Greenhouse Luft temperature"
    ha.wait_state("sensor.shed_air_temperature", named, 20)
    ha.wait_state("switch.shed_pump", lambda s: s["attributes"]["friendly_name"] == "Hut Pump", 20)
    assert ids() == before
    reload(stand, CONFIG)
    ha.wait_state("switch.shed_pump", lambda s: s["attributes"]["friendly_name"] == "Garden shed Pump", 20)
    print("what is renamed keeps its entity")


def reload(stand, config):
    """Takes up another configuration and waits until Home Assistant has exactly its entities."""
    stand.write(config)
    stand.gateway.send_signal(signal.SIGHUP)
    agree(stand, "the reload")


def agree(stand, what):
    """Waits until Home Assistant has exactly the entities of the configuration."""
    other = lambda: {e["entity_id"] for e in stand.ha.entities()} ^ stand.expected()
    wait_until(lambda: f"after {what} these differ: {sorted(other())}", lambda: not other(), 30)


def without(config, *names):
    """The configuration without these sensors and outputs, each of which has one line."""
    starts = tuple(f"  {name}: " for name in names)
    return "\n".join(line for line in config.splitlines() if not line.startswith(starts)) + "\n"


def gone(stand):
    """What leaves the configuration while the gateway, Home Assistant or both are off."""
    ha = stand.ha
    ha.wait_state("sensor.shed_slow_value", lambda s: s["state"] not in ("unknown", "unavailable"), 10)
    one = without(CONFIG, "tide", "horn")
    stop(stand)
    stand.write(one)
    stand.start()
    agree(stand, "a start with less")
    ha.stop()
    two = without(one, "flap")
    stand.write(two)
    stand.heard(f"{B}/devices", lambda: stand.gateway.send_signal(signal.SIGHUP))
    ha.start()
    agree(stand, "a reload while Home Assistant was off")
    ha.stop()
    stop(stand)
    stand.write(without(two, "meter", "heat"))
    stand.heard(f"{B}/devices", stand.start)
    stop(stand)
    stand.start()
    ha.start()
    agree(stand, "a start with less while Home Assistant was off")
    stop(stand)
    said = subprocess.run([stand.fieldgate, "forget", "--json", "--config", stand.folder / "f.yaml"], capture_output=True, check=True)
    assert json.loads(said.stdout)["brokers"][0]["cleared"], said
    ours = lambda: [e["entity_id"] for e in ha.entities() if "shed_" in e["entity_id"]]
    wait_until(lambda: f"after forget these are left: {ours()}", lambda: not ours(), 20)
    stand.write(CONFIG)
    stand.start()
    agree(stand, "a start after forget")
    print("what has gone leaves Home Assistant, whoever was off at the time")


def stop(stand):
    stand.gateway.terminate()
    assert stand.gateway.wait(20) == 0


def changes(stand):
    ha = stand.ha
    new = CONFIG.replace("  tide:", "  ebb:").replace("home_assistant: { as: siren }", "home_assistant: { as: switch }")
    moved = new.replace(", home_assistant: { device: Greenhouse, name: Air }", "")
    moved = moved.replace("  ebb: { driver: waveform, every: 1s", "  ebb: { driver: waveform, every: 1s, home_assistant: { device: Sea }")
    reload(stand, moved)
    # What moves is taken away before it comes again, under the same id.
    names = lambda: {d["name"]: d["id"] for d in ha.devices()}
    wait_until("a device without entities stays", lambda: "Greenhouse" not in names(), 20)
    agree(stand, "a move")
    places = lambda: {e["entity_id"]: e["device_id"] for e in ha.entities()}
    assert places()["sensor.shed_ebb_value"] == names()["Sea"], places()
    assert places()["sensor.shed_air_temperature"] == names()["Garden shed"], places()
    ha.wait_state("sensor.shed_ebb_value", lambda s: s["state"] not in ("unknown", "unavailable"), 20)
    sensors, _ = new.split("actuators:")
    reload(stand, sensors)
    top = [line for line in sensors.splitlines() if not line.startswith("home_assistant:")]
    silent = re.sub(r",? home_assistant: \{[^}]*\}", "", "\n".join(top))
    reload(stand, silent)
    assert not [d for d in ha.devices() if d["manufacturer"] == "Fieldgate"], "the gateway's device stays"
    print("reloads remove, add and move")


def many(stand):
    """Six hundred measurements: more than one payload may hold."""
    one = "  room-{}: {{ driver: waveform, every: 1s, report: {{ max_interval: 5s, aggregate: [mean, min, max] }} }}\n"
    top, _ = CONFIG.split("sensors:")
    reload(stand, top + "sensors:\n" + "".join(one.format(number) for number in range(200)))
    for number in range(200):
        stand.ha.wait_state(f"sensor.shed_room_{number}_value_max", lambda s: s["state"] not in ("unknown", "unavailable"), 20)
    print(len(stand.expected()), "entities of one device, in several payloads, have values")


def main(_, root, fieldgate):
    with Broker() as broker, HomeAssistant(root, broker.port) as ha, tempfile.TemporaryDirectory() as folder:
        print("Home Assistant", ha.get("/api/config")["version"])
        stand = Stand(fieldgate, folder, broker, ha)
        stand.start()
        stand.listen()
        try:
            for part in (appears, obeys, covers, sets, clicks, goes_and_comes, gone, automations, demo, moves, renames, changes, many):
                part(stand)
            complaints = ha.complaints() + [line for line in ha.log().splitlines() if OURS.search(line)]
            assert not complaints, "\n".join(["Home Assistant complains:", *complaints])
            print("Home Assistant has nothing to complain about")
        except BaseException:
            print((stand.folder / "log").read_text(), file=sys.stderr)
            print("\n".join(ha.complaints()), file=sys.stderr)
            raise
        finally:
            for process in (stand.gateway, stand.ear):
                process.kill()
                process.wait()


main(*sys.argv[1:4])
