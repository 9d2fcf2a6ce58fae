#!/usr/bin/env python3
"""The program on a simulated bus, Mosquitto, and a real Home Assistant: what is announced appears, obeys, and goes.

Usage: live.py BENCH ROOT FIELDGATE [PART…]
BENCH is a folder with ha_bench.py, which starts a broker and the Home Assistant that is installed below ROOT. Without names of parts
all run, each once. With FIELDGATE_HA_BROKER_ROOT the broker is the Mosquitto that is installed below that folder.
"""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

import brokers
import fresh
from stand import B, CONFIG, Broker, HomeAssistant, Stand, agree, call, noticed, recorded, reload, start_beside, stop, wait_until, without, without_value

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


def appears(stand):
    ha, expected = stand.ha, stand.expected()
    there = lambda: expected - set(ha.states())
    wait_until(lambda: f"{sorted(there())} did not appear", lambda: not there(), 20)
    ours = lambda: {e["entity_id"] for e in ha.entities()}
    assert ours() == expected, f"unlike what check says: {sorted(ours() ^ expected)}"
    wait_until(lambda: f"{without_value(stand)} have no value", lambda: not without_value(stand), 20)
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
        reply = stand.heard(f"{B}/actuators/{name}/reply", lambda: call(ha, domain, service, entity, **data))
        assert reply["outcome"] == "done" and reply["id"] or domain == "cover", reply
        wait_until(lambda: f"{name} does {stand.state(name)} after {service}, not {value}", lambda: stand.state(name) == value, 10)
        ha.wait_state(entity, shown, 10)
    print(f"{len(COMMANDS)} commands are obeyed and shown")
    reply = stand.heard(f"{B}/actuators/gate/reply", lambda: call(ha, "button", "press", "button.shed_gate"))
    assert reply["outcome"] == "done" and stand.bench()["lines"]["GPIO8"] == 1, reply
    call(ha, "switch", "turn_on", "switch.shed_pump")
    wait_until("the pump's line", lambda: stand.bench()["lines"]["GPIO27"] == 1, 10)
    state = ha.wait_state("switch.shed_pump", "on")
    assert state["attributes"]["cause"] == "command" and state["attributes"]["since"], state
    reply = stand.heard(f"{B}/actuators/heater/reply", lambda: call(ha, "switch", "turn_on", "switch.shed_heater"))
    assert reply["outcome"] == "rejected", reply
    assert ha.state("switch.shed_heater")["state"] == "off" and stand.bench()["lines"]["GPIO26"] == 0
    refused = ha.wait_state("event.shed_heater_refused", lambda s: s["attributes"].get("event_type"))["attributes"]
    assert refused["event_type"] == "rejected" and refused["reason"] == reply["reason"], refused
    assert ha.state("event.shed_pump_refused")["state"] == "unknown", "nothing was refused there"
    print("a refused switch stays off, and why is an event:", reply["reason"])


def covers(stand):
    ha = stand.ha
    call(ha, "cover", "open_cover", "cover.shed_shutter")
    ha.wait_state("cover.shed_shutter", "opening")
    reply = stand.heard(f"{B}/actuators/shutter/reply", lambda: call(ha, "cover", "stop_cover", "cover.shed_shutter"))
    assert reply["outcome"] == "done", reply
    wait_until("the shutter does not stop", lambda: "opening" != ha.state("cover.shed_shutter")["state"], 10)
    lines = stand.bench()["lines"]
    assert (lines["GPIO13"], lines["GPIO14"]) == (0, 0), lines
    position = stand.state("shutter")
    assert isinstance(position, (int, float)) or position == "unknown", position
    # Where it ends on its way depends on how busy this machine is; the two must agree on it.
    call(ha, "cover", "set_cover_position", "cover.shed_blind", position=50)
    half_way = lambda: ha.state("cover.shed_blind")["state"] == "open" and 0 < ha.state("cover.shed_blind")["attributes"]["current_position"] < 100
    wait_until("the blind does not stop on its way", half_way, 10)
    calibrate = lambda: call(ha, "button", "press", "button.shed_blind_calibrate")
    reply = stand.heard(f"{B}/actuators/blind/reply", calibrate)
    assert reply["outcome"] == "done" and reply["id"], reply
    print("a cover is stopped on its way and calibrated")


def sets(stand):
    """Variables, rules and requests."""
    ha = stand.ha
    ha.wait_state("number.shed_target", "19")
    ha.wait_state("sensor.shed_rule_heating_state", "inactive")
    call(ha, "number", "set_value", "number.shed_target", value=26)
    ha.wait_state("number.shed_target", "26")
    ha.wait_state("switch.shed_stove", "on")
    state = ha.wait_state("sensor.shed_rule_heating_state", "active")["attributes"]
    assert state["since"] and state["why"], state
    call(ha, "select", "select_option", "select.shed_mode", option="away")
    ha.wait_state("select.shed_mode", "away")
    ha.wait_state("switch.shed_stove", "off")
    call(ha, "select", "select_option", "select.shed_mode", option="home")
    ha.wait_state("switch.shed_stove", "on")
    call(ha, "switch", "turn_off", "switch.shed_rule_heating")
    ha.wait_state("switch.shed_rule_heating", "off")
    ha.wait_state("switch.shed_stove", "off")
    call(ha, "switch", "turn_on", "switch.shed_rule_heating")
    ha.wait_state("switch.shed_rule_heating", "on")
    reply = stand.heard(f"{B}/variables/target/reply", lambda: call(ha, "number", "set_value", "number.shed_target", value=19.3))
    refused = ha.wait_state("event.shed_target_refused", lambda s: s["attributes"].get("event_type"))["attributes"]
    assert refused["event_type"] == "rejected" and refused["reason"] == reply["reason"], (refused, reply)
    assert ha.state("number.shed_target")["state"] == "26"
    call(ha, "button", "press", "button.shed_gateway_restart")
    refused = ha.wait_state("event.shed_gateway_restart_refused", lambda s: s["attributes"].get("event_type"))["attributes"]
    assert refused["reason"].startswith("unknown: "), refused
    stand.write(CONFIG.replace("name: Garden shed", "name: Hut"))
    call(ha, "button", "press", "button.shed_gateway_reload")
    ha.wait_state("switch.shed_pump", lambda s: s["attributes"]["friendly_name"] == "Hut Pump")
    stand.write("gateway: { nmae: shed }\n")
    call(ha, "button", "press", "button.shed_gateway_reload")
    refused = ha.wait_state("event.shed_gateway_reload_refused", lambda s: s["attributes"].get("event_type"))["attributes"]
    assert "the old configuration stays" in refused["reason"], refused
    reload(stand, CONFIG)
    # Variables are kept over restarts, and other parts have the stove to themselves.
    call(ha, "number", "set_value", "number.shed_target", value=19)
    ha.wait_state("switch.shed_stove", "off")
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
    ha.start()
    ha.wait_state("switch.shed_pump", "off", 20)
    for sensor in ("tide", "slow"):
        ha.wait_state(f"sensor.shed_{sensor}_value", lambda s: s["state"] not in ("unknown", "unavailable"), 20)
    print("Home Assistant restarted: all is there again")


def automations(stand):
    ha = stand.ha
    with ha.socket() as ws:
        known = ws.ask(type="blueprint/list", domain="automation")
    for name in ("sensor_down", "output_tripped"):
        assert "metadata" in known[f"fieldgate/{name}.yaml"], known
    for name in ("down", "tripped"):
        ha.wait_state(f"automation.{name}", "on")
    call(ha, "switch", "turn_on", "switch.shed_boiler")
    told = noticed(ha, "switch.shed_boiler", lambda message: "max_on" in message)
    assert told["title"] == "Garden shed Boiler", told
    assert ha.state("switch.shed_boiler")["attributes"]["cause"] == "max_on"
    stand.set_fault("0x76", "nak")
    problem = ha.wait_state("binary_sensor.shed_air_problem", lambda s: s["state"] == "on" and s["attributes"].get("error"), 30)
    told = noticed(ha, "binary_sensor.shed_air_problem", lambda message: message == problem["attributes"]["error"])
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
        call(ha, "switch", "turn_on", "switch.greenhouse_pump")
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
    command = ["mosquitto_sub", "-p", str(broker.port), "-t", "homeassistant/#", "-F", "%t", "--retained-only", "-W", "3"]
    cleared = lambda: "/pi/" not in subprocess.run(command, capture_output=True, text=True).stdout
    wait_until("the old announcements are still there", cleared, 30)
    left = [device for device in ha.devices() if device["name"] == "Pi"]
    if left and ha.get("/api/config")["version"].startswith("2025."):
        # This one keeps a device whose last entity moves away until its user deletes it.
        with ha.socket() as ws:
            ws.ask(type="config/device_registry/remove_config_entry", device_id=left[0]["id"], config_entry_id=left[0]["config_entries"][0])
    wait_until("the old device stays", lambda: "Pi" not in {d["name"] for d in ha.devices()}, 20)
    call(ha, "switch", "turn_on", "switch.pi_plug")
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
    start_beside(stand, "number.shed_flap")
    agree(stand, "a reload while Home Assistant was off")
    ha.stop()
    stop(stand)
    stand.write(without(two, "meter", "heat"))
    stand.heard(f"{B}/devices", stand.start)
    stop(stand)
    stand.start()
    start_beside(stand, "number.shed_heat")
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


PARTS = (appears, obeys, covers, sets, clicks, goes_and_comes, gone, automations, demo, moves, renames, *fresh.PARTS, changes, many)


def whole(root, fieldgate, chosen):
    """The parts that go on at one another's end, with one Home Assistant and one broker."""
    with Broker(root=os.environ.get("FIELDGATE_HA_BROKER_ROOT")) as broker, HomeAssistant(root, broker.port) as ha, tempfile.TemporaryDirectory() as folder:
        print("Home Assistant", ha.get("/api/config")["version"], flush=True)
        with Stand(fieldgate, folder, broker, ha) as stand:
            stand.start()
            stand.listen()
            agree(stand, "the start")
            for part in chosen:
                part(stand)
            stand.no_complaints()


def main(_, root, fieldgate, *names):
    wanted = lambda part: not names or part.__name__ in names
    if any(map(wanted, PARTS)):
        whole(root, fieldgate, filter(wanted, PARTS))
    for part in filter(wanted, brokers.PARTS):
        part(root, fieldgate)


main(*sys.argv[1:])
