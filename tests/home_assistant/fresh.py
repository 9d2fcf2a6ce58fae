"""Parts of live.py about what must never look like the present: what is late, what has no date, what another gateway says."""
import datetime
import glob
import json
import re
import signal
import tempfile
import urllib.request
from pathlib import Path

from ha_bench import free_port
from stand import B, CONFIG, Stand, agree, call, recorded, reload, stop, wait_until

# Readings that wait for the broker, of so many sensors.
LATE, ROOMS = 10_000, 5
# What sensors read while nobody hears them, and what they read afterwards; each reading is another number.
OLD, LIVE = -100, 100
# How far a clock is behind that nobody has set, in seconds.
FIFTY_YEARS = 50 * 365 * 86_400


def rooms(every, offset):
    """The configuration with sensors that read about this."""
    one = "  room-{}: {{ driver: waveform, every: {}, settings: {{ shape: noise, amplitude: 1, offset: {} }} }}\n"
    return CONFIG.replace("actuators:\n", "".join(one.format(room, every, offset) for room in range(ROOMS)) + "actuators:\n", 1)


def waiting(port):
    """How many messages wait in the gateway's spool; nothing while its page is not served."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return int(float(re.search(r"^fieldgate_spool_messages (\S+)$", answer.read().decode(), re.M)[1]))
    except OSError:
        return 0


def late_ones(messages):
    """The late readings among these messages, with their topics."""
    return [(topic, json.loads(payload)) for topic, payload in messages if topic.startswith(f"{B}/late/")]


def drain(stand, count, environment=()):
    """A gateway that reads so often without a broker, and is then started again with one. No late reading may be a state."""
    ha = stand.ha
    reload(stand, rooms("1s", LIVE))
    stop(stand)
    page, nobody = free_port(), free_port()
    unheard = rooms("5ms", OLD).replace("PORT", str(nobody)) + f"http: {{ listen: 127.0.0.1:{page} }}\n"
    stand.write(unheard)
    stand.start(environment)
    wait_until(lambda: f"{waiting(page)} messages wait", lambda: waiting(page) >= count, 120)
    stop(stand)
    stand.write(rooms("1s", LIVE))
    before = len(stand.messages)
    stand.start(environment)
    # All that waited is readings, also those of the other sensors. What arrives twice counts once.
    late = lambda: {(topic, reading["run"], reading["seq"]): reading for topic, reading in late_ones(stand.messages[before:])}
    wait_until(lambda: f"{len(late())} late readings arrive", lambda: len(late()) >= count, 120)
    arrived = late()
    for room in range(ROOMS):
        seqs = {seq for (topic, _, seq), reading in arrived.items() if topic == f"{B}/late/room-{room}" and reading["value"] < 0}
        assert seqs == set(range(1, len(seqs) + 1)), (room, len(seqs), max(seqs))
    # Home Assistant has these behind all that was late.
    after = len(stand.messages)
    for room in range(ROOMS):
        entity, topic = f"sensor.shed_room_{room}_value", f"{B}/sensors/room-{room}"
        heard = lambda: {str(json.loads(payload)["value"]) for at, payload in stand.messages[after:] if at == topic}
        wait_until(lambda: f"{entity} has nothing new", lambda: heard() & set(recorded(ha, entity)), 30)
        states = [state for state in recorded(ha, entity) if state not in (None, "unknown", "unavailable")]
        assert states and all(float(state) > 0 for state in states), (entity, states)
    return len(arrived)


def late(stand):
    count = drain(stand, LATE)
    reload(stand, CONFIG)
    print(f"{count} late readings arrive, and none of them is ever a state")


def clock_of_its_own(folder):
    """What a program is started with so that its wall clock is what a file says; monotonic clocks stay as they are."""
    library = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)
    assert library, "libfaketime is missing: apt-get install faketime"
    file = Path(folder, "wall-clock")
    names = {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1", "NO_FAKE_STAT": "1"}
    return file, {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(file), **names}


def undated(stand):
    """A board whose clock nobody has set, until somebody does."""
    ha = stand.ha
    file, environment = clock_of_its_own(stand.folder)
    file.write_text(f"-{FIFTY_YEARS}\n")
    count = drain(stand, LATE // 10, environment)
    clock = lambda: json.loads([payload for topic, payload in stand.messages if topic == f"{B}/health"][-1])["clock"]
    assert clock() == "unsynchronised", clock()
    # What is sent once more to a Home Assistant that starts is judged by its age, which no clock on the wall says.
    ha.stop()
    ha.start()
    agree(stand, "a start of Home Assistant beside a clock that is not set")
    shown = lambda s: s["state"] not in ("unknown", "unavailable")
    ha.wait_state("sensor.shed_slow_value", shown, 20)
    once = [payload for topic, payload in stand.messages if topic == f"{B}/sensors/slow"]
    assert len({json.loads(payload)["value"] for payload in once[-2:]}) == 1, once[-2:]
    reply = stand.heard(f"{B}/actuators/pump/reply", lambda: call(ha, "switch", "turn_on", "switch.shed_pump"))
    assert reply["outcome"] == "done", reply
    ha.wait_state("switch.shed_pump", "on")
    # The date is set, and nothing becomes old by that, or young.
    (file.parent / "next").write_text("+0\n")
    (file.parent / "next").rename(file)
    wait_until("no reading has the true date", lambda: dated(stand, "tide"), 20)
    ha.wait_state("sensor.shed_tide_value", shown)
    stop(stand)
    stand.write(CONFIG)
    stand.start()
    agree(stand, "a start with a clock that is set")
    print(f"without a date {count} late readings are no state either, and the newest ones are shown")


def dated(stand, sensor):
    """Whether the newest reading is of today and says nothing else."""
    reading = json.loads([payload for topic, payload in stand.messages if topic == f"{B}/sensors/{sensor}"][-1])
    return "clock" not in reading and reading["time"][:4] == str(datetime.datetime.now(datetime.UTC).year)


def delayed(stand):
    """A command of Home Assistant that is on its way for too long."""
    ha = stand.ha
    reload(stand, CONFIG.replace("settings: { line: GPIO27 } }", "settings: { line: GPIO27 }, max_age: 1s }"))
    before = len(stand.messages)
    stand.gateway.send_signal(signal.SIGSTOP)
    command = stand.heard(f"{B}/actuators/pump/set", lambda: call(ha, "switch", "turn_on", "switch.shed_pump"))
    issued = datetime.datetime.fromisoformat(command["issued_at"])
    age = lambda: (datetime.datetime.now(datetime.UTC) - issued).total_seconds()
    wait_until("the command does not age", lambda: age() > 1.5, 10)
    reply = stand.heard(f"{B}/actuators/pump/reply", lambda: stand.gateway.send_signal(signal.SIGCONT))
    assert (reply["id"], reply["outcome"]) == (command["id"], "rejected") and reply["reason"].startswith("expired"), reply
    said = [json.loads(payload)["value"] for topic, payload in stand.messages[before:] if topic == f"{B}/actuators/pump/state"]
    assert "on" not in said and stand.bench()["lines"]["GPIO27"] == 0, said
    refused = ha.wait_state("event.shed_pump_refused", lambda s: s["attributes"].get("reason") == reply["reason"])
    assert ha.state("switch.shed_pump")["state"] == "off", refused
    reload(stand, CONFIG)
    print("a command that comes late does nothing:", reply["reason"])


# Another gateway with the same name and topics, as after a copy of the card.
COPY = CONFIG.split("sensors:")[0].replace("reconnect: {", "client_id: copy, reconnect: {").replace("spool: { path: spool }\n", "spool: { path: copy }\n")
SEA = "  {}: {{ driver: waveform, every: 1s, home_assistant: {{ device: Sea }} }}\n"


def doubles(stand):
    """Two gateways of one name say so, and neither takes from Home Assistant what the other one has."""
    ha, own = stand.ha, stand.expected()
    ours = lambda: {e["entity_id"] for e in ha.entities()}
    usable = lambda: {e for e, state in ha.states().items() if state["state"] != "unavailable"}
    has = lambda wanted: wait_until(lambda: f"these differ: {sorted(ours() ^ wanted)}", lambda: ours() == wanted <= usable(), 30)
    ebb, moon = ({f"sensor.shed_{name}_value", f"binary_sensor.shed_{name}_problem"} for name in ("ebb", "moon"))
    alarmed = lambda: {json.loads(payload)["run"] for topic, payload in stand.messages if topic == f"{B}/health" and "two of one name" in payload}
    with tempfile.TemporaryDirectory() as folder, Stand(stand.fieldgate, folder, stand.broker, ha) as copy:
        copy.write(COPY + "sensors:\n" + SEA.format("ebb") + SEA.format("moon"))
        copy.start()
        has(own | ebb | moon)
        wait_until(lambda: f"only {alarmed()} have an alarm", lambda: len(alarmed()) == 2, 60)
        # What the one takes back leaves everything else, also of a device and on a topic that both have.
        copy.write(COPY + "sensors:\n" + SEA.format("moon"))
        copy.gateway.send_signal(signal.SIGHUP)
        has(own | moon)
        stand.write(CONFIG.replace("  tide: {", "  flow: {"))
        stand.gateway.send_signal(signal.SIGHUP)
        has(stand.expected() | moon)
        copy.write(COPY)
        copy.gateway.send_signal(signal.SIGHUP)
        has(stand.expected())
        stop(copy)
    stop(stand)
    stand.write(CONFIG)
    stand.start()
    agree(stand, "the end of the other gateway")
    print("two gateways of one name have an alarm, and leave each other's entities alone")


PARTS = (late, undated, delayed, doubles)
