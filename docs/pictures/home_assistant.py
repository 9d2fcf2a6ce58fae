#!/usr/bin/env python3
"""Makes docs/pictures/home-assistant-*.png: a real Home Assistant's own pages in Chromium, with the demo's greenhouse in it.

    docs/pictures/home_assistant.py BENCH ROOT FIELDGATE     as root, as `sh deploy/test.sh --home-assistant` starts its test
    apt-get install chromium

BENCH and ROOT are those of tests/home_assistant/live.py. It fails when a page shows an error, or a card that has no entity. It takes
two minutes, most of them for a history that can be seen.
"""
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import ha_bench  # noqa: E402
from ha_bench import Broker, HomeAssistant, wait_until  # noqa: E402

PICTURES = Path(__file__).resolve().parent
SOURCES = PICTURES.parent.parent / "deploy/home-assistant"
WIDTH, HEIGHT, LARGEST = 1180, 860, 150_000
HISTORY = 90  # seconds in front of the picture of the dashboard
DASHBOARD = """
history:
lovelace:
  dashboards:
    green-house:
      mode: yaml
      title: Greenhouse
      icon: mdi:greenhouse
      filename: dashboard.yaml
"""
# Of what Home Assistant's pages ask for at once, the parts for voice need libraries that the bench leaves out, some without wheels. Nothing
# of them is used here, so empty ones do.
ABSENT = """
import importlib.abc, importlib.machinery, sys, types

NAMES = ("av", "gazetteer_matcher", "haffmpeg", "hassil", "home_assistant_intents", "mutagen", "numpy", "pymicro_vad", "pyspeex_noise", "turbojpeg")


class Absent(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *_, **__: None})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in NAMES else None

    def create_module(self, spec):
        return Absent(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.append(Finder())
"""
# All elements of a page by their names, those within others' shadows too.
COUNT = """(names => { const seen = {}; const look = root => { for (const one of root.querySelectorAll('*')) {
    const name = one.localName; if (names.includes(name)) seen[name] = (seen[name] || 0) + 1;
    if (one.shadowRoot) look(one.shadowRoot); } }; look(document); return seen; })"""
# It asks whether the port that the bench has chosen is to stay.
CONFIRM = """(() => { const look = root => { for (const one of root.querySelectorAll('*')) {
    if (one.localName === 'ha-button' && one.textContent.trim() === 'Confirm') { one.click(); return true; }
    if (one.shadowRoot && look(one.shadowRoot)) return true; } return false; }; return look(document); })()"""
FAULTS = ["hui-error-card", "hui-warning", "hui-warning-element", "hui-error-entity-row", "hass-error-screen"]


class Browser:
    """Chromium without a window, by the DevTools protocol on two pipes."""

    def __init__(self, script):
        self.folder = tempfile.TemporaryDirectory()
        (commands, self.to), (self.of, answers) = os.pipe(), os.pipe()

        def pipes():
            # Chromium reads from 3 and writes to 4. Out of the way first, for one may be the other's number.
            ours = os.dup2(commands, 100), os.dup2(answers, 101)
            os.dup2(ours[0], 3)
            os.dup2(ours[1], 4)

        arguments = ["--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb",
                     "--lang=en", f"--window-size={WIDTH},{HEIGHT}", f"--user-data-dir={self.folder.name}", "about:blank"]
        self.process = subprocess.Popen(["chromium", *arguments], preexec_fn=pipes, close_fds=False, stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(answers)
        self.number, self.rest = 0, b""
        page = next(target for target in self.ask("Target.getTargets")["targetInfos"] if target["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        self.page("Page.enable")
        self.page("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)
        self.page("Emulation.setEmulatedMedia", features=[dict(name="prefers-reduced-motion", value="reduce")])
        self.page("Page.addScriptToEvaluateOnNewDocument", source=script)

    def ask(self, method, session=None, **parameters):
        self.number += 1
        message = dict(id=self.number, method=method, params=parameters, **(dict(sessionId=session) if session else {}))
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                more = os.read(self.of, 65536)
                if not more:
                    raise RuntimeError("Chromium has ended")
                self.rest += more
            one, self.rest = self.rest.split(b"\0", 1)
            answer = json.loads(one)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def page(self, method, **parameters):
        return self.ask(method, self.session, **parameters)

    def count(self, *names):
        expression = f"{COUNT}({json.dumps(names)})"
        return self.page("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value", {})

    def picture(self, name, address, element, least):
        """A page once it has so many of an element, and has stopped to change."""
        self.page("Page.navigate", url=address)
        wait_until(lambda: f"{name}: {self.count(element)}, not {least}", lambda: self.count(element).get(element, 0) >= least, 60)
        shot = lambda: base64.b64decode(self.page("Page.captureScreenshot", format="png")["data"])
        if name == "device":
            click = lambda: self.page("Runtime.evaluate", expression=CONFIRM, returnByValue=True)["result"]["value"]
            wait_until("the question for the port does not come", click, 20)
        last = [shot()]

        def is_still():
            time.sleep(1)
            before, last[0] = last[0], shot()
            return before == last[0]
        try:
            wait_until("", is_still, 15)
        except TimeoutError:
            pass  # Values change while one looks; by now all else is there.
        faults = self.count(*FAULTS)
        file = PICTURES / f"home-assistant-{name}.png"
        file.write_bytes(last[0])
        assert not faults, f"{file} shows {faults}"
        assert len(last[0]) <= LARGEST, f"{file} has {len(last[0])} bytes"
        print(f"{file.name}: {len(last[0])} bytes")

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        self.folder.cleanup()


class Visited(HomeAssistant):
    """One whose first set-up is done, so that its pages show more than that."""

    def answers(self):
        try:
            return self.get("/api/") is not None if self.token else super().answers()
        except OSError:
            return False


def install(ha):
    """The dashboard and the blueprints, and a configuration that names the dashboard."""
    folder = ha.root / ha.folder[1:]
    (folder / "dashboard.yaml").write_text((SOURCES / "dashboard.yaml").read_text())
    for file in (SOURCES / "blueprints").rglob("*.yaml"):
        there = folder / "blueprints" / file.relative_to(SOURCES / "blueprints")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(file.read_text())
    ha_bench.CONFIGURATION += DASHBOARD
    (folder / "absent").mkdir()
    (folder / "absent/sitecustomize.py").write_text(ABSENT)
    ha_bench.ENVIRONMENT["PYTHONPATH"] = f"{ha.folder}/absent"
    # Its pages lead to the rest of the first set-up until that is done.
    file = folder / ".storage/onboarding"
    stored = json.loads(file.read_text())
    stored["data"]["done"] = ["user", "core_config", "analytics", "integration"]
    file.write_text(json.dumps(stored))


def signed_in(ha):
    """What the page finds in its storage when somebody has signed in."""
    tokens = dict(access_token=ha.token, token_type="Bearer", expires_in=1800, expires=4102444800000, refresh_token="", hassUrl=ha.base,
                  clientId=ha.base + "/")
    return f"localStorage.setItem('hassTokens', {json.dumps(json.dumps(tokens))}); localStorage.setItem('dockedSidebar', '\"always_hidden\"');"


def main(_, root, fieldgate):
    with Broker() as broker, Visited(root, broker.port) as ha:
        ha.stop()
        install(ha)
        ha.start()
        demo = subprocess.Popen([fieldgate, "demo", "--home-assistant", f"mqtt://127.0.0.1:{broker.port}"], stdout=subprocess.DEVNULL)
        browser = Browser(signed_in(ha))
        try:
            wait_until("the greenhouse does not appear", lambda: ha.state("sensor.greenhouse_tank_temperature"), 30)
            began = time.monotonic()
            ha.call("number", "set_value", "number.greenhouse_fan", value=40)
            ha.call("switch", "turn_on", "switch.greenhouse_pump")
            # It reports every 30 s.
            ha.wait_state("binary_sensor.greenhouse_door_active", "off", 60)
            device = next(one["id"] for one in ha.devices() if one["name"] == "Greenhouse")
            browser.picture("device", f"{ha.base}/config/devices/device/{device}", "ha-device-entities-card", 2)
            browser.picture("blueprints", f"{ha.base}/config/blueprint/dashboard", "ha-data-table", 1)
            time.sleep(max(0, began + HISTORY - time.monotonic()))
            browser.picture("dashboard", f"{ha.base}/green-house/greenhouse", "hui-tile-card", 10)
        finally:
            browser.close()
            demo.send_signal(signal.SIGINT)
            demo.wait(10)
        wait_until("the greenhouse stays", lambda: not ha.entities(), 20)


main(*sys.argv[1:4])
