#!/usr/bin/env python3
"""A gateway that is only its page: it speaks the page's interface with simulated values, so that the page is tried without the program.

    tests/page/mock.py [--port N] [--sensors N] [--outputs N] [--no-control] [--version V]

It prints its address, and serves src/http/page/index.html under the program's own Content-Security-Policy. `POST mock` with a JSON object
sets what the test needs: `{"down": {"air": "no answer at address 0x76"}}`, `{"values": {"air": {"temperature": 21.5}}}`,
`{"refuse": {"pump": "interlock: heater is on"}}`, `{"link": …}`, `{"alarms": […]}`, `{"log": "…"}`, `{"rules": {"frost": "blocked"}}`,
`{"still": true}` (values stay as they are), `{"silent": true}` (nothing more is sent), `{"burst": 1000}` (so many updates at once),
`{"clock": "unsynchronised"}`, `{"deny": [429, "too many wrong passwords"]}` (what is asked of the interface is refused; null ends it).
"""
import argparse
import base64
import copy
import gzip
import hashlib
import json
import math
import random
import re
import threading
import time
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "src/http/page/index.html"
BIN, BINS = 30, 120
# Name, driver, how often; then the measurements: name, form, unit, decimals, middle, swing.
SENSORS = [
    ("air", "bme280", 10, [("temperature", "number", "°C", 2, 21.5, 2.4), ("humidity", "number", "%", 1, 58, 6), ("pressure", "number", "hPa", 1, 1013, 2)]),
    ("cellar", "sht3x", 30, [("temperature", "number", "°C", 2, 11.2, 0.4), ("humidity", "number", "%", 1, 74, 3)]),
    ("co2", "scd4x", 30, [("co2", "number", "ppm", 0, 640, 160), ("temperature", "number", "°C", 1, 22.1, 1), ("humidity", "number", "%", 0, 52, 4)]),
    ("door", "gpio-input", 60, [("active", "flag", "", 0, 0, 1)]),
    ("button", "gpio-input", 60, [("active", "flag", "", 0, 0, 0), ("click", "word", "", 0, 0, 0)]),
    ("light", "bh1750", 5, [("illuminance", "number", "lx", 0, 4200, 3600)]),
    ("mains", "ina226", 10, [("voltage", "number", "V", 3, 12.31, 0.12), ("current", "number", "A", 3, 0.84, 0.5), ("power", "number", "W", 2, 10.3, 6)]),
    ("soil", "ads1115", 30, [("voltage_0", "number", "V", 3, 1.84, 0.1), ("voltage_1", "number", "V", 3, 2.02, 0.08)]),
    ("tank", "ds18b20", 60, [("temperature", "number", "°C", 2, -1.4, 3.2)]),
    ("water", "pulse-counter", 60, [("total", "number", "m³", 3, 1234.561, 0.4), ("rate", "number", "m³/h", 3, 0.12, 0.1)]),
]
OUTPUTS = [
    ("blind", "gpio-cover", "cover", None), ("fan", "pwm-output", "percent", None),
    ("gate", "gpio-pulse", "pulse", None), ("heater", "gpio-output", "switch", None),
    ("pump", "gpio-output", "switch", None), ("trace", "gpio-output", "switch", None), ("vent", "pwm-servo", "servo", 180),
]


def stamp(ago=0.0):
    at = datetime.now(timezone.utc) - timedelta(seconds=ago)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def wave(one, at, seed):
    """A value as a sensor would have it: a slow wave, a quicker one and a little noise, the same for the same time."""
    _, form, _, decimals, middle, swing = one
    if form == "word":
        return None
    if form == "flag":
        return bool(swing) and math.sin(at / 500 + seed) > 0.6
    seed += sum(map(ord, one[0]))
    noise = random.Random(int(at) * 31 + seed).uniform(-0.04, 0.04)
    return round(middle + swing * (math.sin(at / 1900 + seed) * 0.7 + math.sin(at / 310 + seed * 3) * 0.25 + noise), decimals)


class World:
    """What the gateway knows, and who listens."""

    def __init__(self, options):
        self.lock, self.streams, self.still, self.silent, self.deny = threading.RLock(), [], False, False, None
        self.clock = "synchronised"
        self.began, self.control, self.version = time.time(), not options.no_control, options.version
        self.run = f"{random.getrandbits(32):08x}"
        plan = [self.renamed(SENSORS, n) for n in range(options.sensors)]
        self.plan = {name: (measured, every, seed) for seed, (name, _, every, measured) in enumerate(plan)}
        self.sensors = {name: self.sensor(name, driver, every) for name, driver, every, _ in sorted(plan)}
        outputs = [self.renamed(OUTPUTS, n) for n in range(options.outputs)]
        self.outputs = {one[0]: self.output(*one) for one in sorted(outputs)}
        self.rules = [dict(name="frost", state="inactive", since=stamp(5000), why="tank.temperature < -5 does not hold", switch="on"),
                      dict(name="heating", state="active", since=stamp(760), why="cellar.temperature < target holds", switch="on")]
        self.variables = {
            "mode": dict(name="mode", kind="options", min=None, max=None, step=None, unit="", options=["auto", "away"], value="auto", since=stamp(3600), cause="start"),
            "target": dict(name="target", kind="number", min=5, max=30, step=0.5, unit="°C", options=None, value=12.5, since=stamp(7300), cause="command")}
        self.link = dict(state="up", since=stamp(90000), broker="mqtt://broker.local:1883", protocol="5", connects=1, last_error=None, alarm=None)
        self.spool = dict(queued=0, bytes=40960, oldest=None, dropped=0, error=None)
        self.alarms, self.log, self.refuse, self.count, self.told = [], [], {}, 0, {}
        for text in ("Fieldgate started.", "Connected to the broker.", "All outputs are in their safe state."):
            self.line("info", text, 3600)

    @staticmethod
    def renamed(table, n):
        """The n-th entry, with a number behind its name once the table is used up."""
        name, *rest = table[n % len(table)]
        return (name if n < len(table) else f"{name}_{n // len(table) + 1}", *rest)

    def sensor(self, name, driver, every):
        measured, _, seed = self.plan[name]
        values = [dict(name=one[0], form=one[1], unit=one[2], decimals=one[3], value=wave(one, time.time(), seed)) for one in measured]
        return dict(name=name, driver=driver, every=every, status="ok", since=stamp(3600), error=None, at=stamp(), age=0, values=values, taken=time.time())

    def output(self, name, driver, kind, most):
        value, cause, rule = {"cover": ("stopped", "command", None), "percent": (40, "command", None), "servo": (90, "command", None)}.get(kind, ("off", "start", None))
        if name == "heater":
            value, cause, rule = "on", "rule", "heating"
        limits = dict(safe_state="0" if kind in ("percent", "servo") else "off", safe_after=30, max_on=600 if name == "pump" else None, min_on=None,
                      min_off=10 if name == "pump" else None, switches_per_hour=None, interlock=["heater"] if name == "pump" else [], dead_time=0.1)
        last = dict(outcome="done", value=value, reason=None, time=stamp(900)) if cause == "command" else None
        return dict(name=name, driver=driver, kind=kind, takes="on, off, toggle", max=most, unit="", value=value, target=None, cause=cause, since=stamp(760),
                    position=60 if kind == "cover" else None, rule=rule, protected_by="frost" if name == "trace" else None, last_command=last, limits=limits)

    def line(self, level, text, ago=0):
        self.count += 1
        entry = dict(n=self.count, time=stamp(ago), level=level, text=text)
        self.log = (self.log + [entry])[-50:]
        return entry

    def since(self, sensor):
        """What of it has changed since the last time, its values by their names."""
        new, old = self.aged(sensor), self.told.get(sensor["name"], {})
        self.told[sensor["name"]] = copy.deepcopy(new)
        values = {one["name"]: one["value"] for one in new["values"] if one not in old.get("values", [])}
        part = {key: new[key] for key in ("at", "status", "since", "error") if key not in old or new[key] != old[key]}
        return dict(name=new["name"], age=new["age"], **part, **({"values": values} if values else {}))

    def aged(self, sensor):
        return {**{key: value for key, value in sensor.items() if key != "taken"}, "age": round(time.time() - sensor["taken"], 3)}

    def state(self):
        return dict(api=1, version=self.version, name="shed", run=self.run, now=stamp(), clock=self.clock, uptime=int(time.time() - self.began) + 3600,
                    control=self.control, sensors=[self.aged(one) for one in self.sensors.values()], outputs=list(self.outputs.values()), rules=self.rules,
                    variables=list(self.variables.values()), link=self.link, spool=self.spool, alarms=self.alarms, log=self.log)

    def history(self):
        now, sensors = time.time(), {}
        for name, (measured, every, seed) in self.plan.items():
            curves = sensors[name] = {}
            for one in measured:
                if one[1] == "word":
                    continue
                low, high = [], []
                for n in range(BINS):
                    # Ten seconds apart at least, for a second of work is much where a test waits for it.
                    step = max(every, BIN // 3)
                    begin, end = int(now - (BINS - n) * BIN), int(now - (BINS - 1 - n) * BIN)
                    times = range(begin + -begin % step, end, step)
                    values = [float(wave(one, t, seed)) for t in times]
                    low.append(min(values, default=None))
                    high.append(max(values, default=None))
                if self.sensors[name]["status"] == "down":
                    low[-8:], high[-8:] = [None] * 8, [None] * 8
                curves[one[0]] = dict(low=low, high=high)
        return dict(bin=BIN, bins=BINS, sensors=sensors)

    def tell(self, kind, data):
        for stream in list(self.streams):
            stream(kind, data)

    def change(self, **parts):
        self.tell("change", dict(now=stamp(), uptime=int(time.time() - self.began) + 3600, **parts))

    def tick(self):
        """Readings that are due, once a second, all of them in one change."""
        last_ping = 0
        while True:
            time.sleep(0.25)
            with self.lock:
                due = [] if self.still else [one for one in self.sensors.values() if one["status"] == "ok" and time.time() - one["taken"] >= one["every"]]
                for one in due:
                    self.read(one)
                if self.silent:
                    continue
                if due:
                    self.change(sensors=[self.since(one) for one in due])
                    last_ping = time.time()
                elif time.time() - last_ping > 5:
                    self.tell("ping", dict(now=stamp(), uptime=int(time.time() - self.began) + 3600))
                    last_ping = time.time()

    def read(self, sensor, values=None):
        measured, _, seed = self.plan[sensor["name"]]
        for item, one in zip(sensor["values"], measured):
            item["value"] = (values or {}).get(item["name"], wave(one, time.time(), seed))
        sensor.update(at=stamp(), taken=time.time())

    def burst(self, nth):
        """An update as any other, but at once: a new value, now and then a line of the log, now and then a sensor that goes or comes."""
        air, tank = self.sensors["air"], self.sensors["tank"]
        self.read(air, {"temperature": round(nth % 30 + 0.5, 2)})
        changed = [air]
        if nth % 20 == 0:
            is_down = nth % 40 == 0
            tank.update(status="down" if is_down else "ok", error="no answer" if is_down else None, since=stamp())
            changed.append(tank)
        lines = dict(log=[self.line("warn", f"Line {nth} of many.")]) if nth % 10 == 0 else {}
        self.change(sensors=[self.since(one) for one in changed], **lines)

    def steer(self, wish):
        """What a test asks for."""
        self.still, self.silent = wish.get("still", self.still), wish.get("silent", self.silent)
        self.refuse.update(wish.get("refuse", {}))
        self.deny = wish.get("deny", self.deny)
        for nth in range(wish.get("burst", 0)):
            self.burst(nth)
        if self.deny:
            self.tell("end", {})
        parts = {}
        for name, error in wish.get("down", {}).items():
            self.sensors[name].update(status="down" if error else "ok", error=error, since=stamp(wish.get("ago", 0)))
            self.sensors[name]["taken"] -= wish.get("ago", 0)
            parts.setdefault("log", []).append(self.line("warn", f"Sensor {name} is down: {error}." if error else f"Sensor {name} is back."))
        for name, error in wish.get("degraded", {}).items():
            self.sensors[name].update(status="degraded", error=error, since=stamp())
        for name, values in wish.get("values", {}).items():
            self.read(self.sensors[name], values)
        touched = {**wish.get("down", {}), **wish.get("degraded", {}), **wish.get("values", {})}
        if touched:
            parts["sensors"] = [self.since(self.sensors[name]) for name in touched]
        for name, new in wish.get("outputs", {}).items():
            self.outputs[name].update({**new, "since": stamp(wish.get("ago", 0))})
            parts.setdefault("outputs", []).append(self.outputs[name])
        for name, new in wish.get("rules", {}).items():
            next(one for one in self.rules if one["name"] == name).update(new, since=stamp())
            parts["rules"] = self.rules
        for key in ("link", "spool"):
            if key in wish:
                getattr(self, key).update(wish[key])
                parts[key] = getattr(self, key)
        if "clock" in wish:
            parts["clock"] = self.clock = wish["clock"]
        if "alarms" in wish:
            parts["alarms"] = self.alarms = wish["alarms"]
        if "log" in wish:
            parts.setdefault("log", []).append(self.line("warn", wish["log"]))
        if parts:
            self.change(**parts)

    def command(self, kind, name, value):
        """Answers a command as the gateway does: status and body."""
        base = dict(id="m1", value=None, reason=None, time=stamp())
        table = {"actuators": self.outputs, "variables": self.variables, "rules": {one["name"]: one for one in self.rules}}[kind]
        if name not in table:
            return 404, dict(base, outcome="rejected", reason=f"unknown: there is no {name}")
        blocked = name == "pump" and value == "on" and self.outputs["heater"]["value"] == "on"
        if blocked or self.refuse.get(name):
            answer = dict(base, outcome="rejected", reason=self.refuse.get(name) or "interlock: heater is on")
            if kind == "actuators":
                table[name]["last_command"] = {key: answer[key] for key in ("outcome", "value", "reason", "time")}
                self.change(outputs=[table[name]])
            return 409, answer
        one = table[name]
        if kind == "rules":
            one["switch"] = value
            one.update(since=stamp(), state="inactive" if value == "off" else "waiting", why="it is switched off" if value == "off" else "its condition does not hold yet")
            self.change(rules=self.rules)
            return 200, dict(base, outcome="done", value=value)
        if kind == "variables":
            if isinstance(value, (int, float)) and not one["min"] <= value <= one["max"]:
                return 409, dict(base, outcome="rejected", reason=f"out_of_range: {value} is not within {one['min']}–{one['max']}")
            one.update(value=value, since=stamp(), cause="command")
            self.change(variables=[one])
            return 200, dict(base, outcome="done", value=value)
        if one["kind"] == "cover":
            goal = {"open": 100, "close": 0, "stop": one["position"]}.get(value, value)
            one["position"], value = goal, "stopped"
        elif one["kind"] in ("percent", "servo") and value == "off":
            value = 0
        elif value == "toggle":
            value = "off" if one["value"] == "on" else "on"
        one.update(value=value, cause="command", rule=None, since=stamp(), last_command=dict(outcome="done", value=value, reason=None, time=stamp()))
        self.change(outputs=[one])
        return 200, dict(base, outcome="done", value=value)


def policy(page):
    """The Content-Security-Policy of the program, by the hashes of the one script and the one style."""
    def sha(tag):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        return "'sha256-" + base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode() + "'"
    return (f"default-src 'none'; script-src {sha('script')}; style-src {sha('style')}; connect-src 'self'; img-src data:; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world = None

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", **headers):
        body = gzip.compress(body if isinstance(body, bytes) else json.dumps(body).encode())
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Encoding": "gzip", "Content-Length": str(len(body)), "Cache-Control": "no-store", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        world = self.world
        if self.path == "/":
            page = PAGE.read_text()
            self.answer(200, page.encode(), "text/html; charset=utf-8", Content_Security_Policy=policy(page), X_Content_Type_Options="nosniff")
        elif world.deny:
            self.answer(world.deny[0], dict(error=world.deny[1]))
        elif self.path == "/api/events":
            self.events()
        elif self.path in ("/api/state", "/api/history"):
            with world.lock:
                answer = world.state() if self.path == "/api/state" else world.history()
            self.answer(200, answer)
        else:
            self.answer(404, dict(error="there is nothing here"))

    def events(self):
        world, ended = self.world, threading.Event()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()

        def stream(kind, data):
            try:
                if kind == "end":
                    raise OSError
                self.wfile.write(f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode())
                self.wfile.flush()
            except OSError:
                ended.set()
                if stream in world.streams:
                    world.streams.remove(stream)
        with world.lock:
            self.wfile.write(b"retry: 2000\n\n")
            stream("state", world.state())
            world.streams.append(stream)
        ended.wait()
        self.close_connection = True

    def do_POST(self):
        wish = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        parts = self.path.strip("/").split("/")
        with self.world.lock:
            if parts == ["mock"]:
                self.world.steer(wish)
                return self.answer(200, {})
            if self.headers.get("X-Fieldgate") != "1" or self.headers.get("Content-Type") != "application/json":
                return self.answer(403, dict(error="the header X-Fieldgate is missing"))
            if not self.world.control:
                return self.answer(403, dict(error="control is off"))
            status, body = self.world.command(parts[1], parts[2], wish.get("value"))
        return self.answer(status, body)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--sensors", type=int, default=len(SENSORS))
    parser.add_argument("--outputs", type=int, default=len(OUTPUTS))
    parser.add_argument("--no-control", action="store_true")
    parser.add_argument("--version", default="0.1.0")
    options = parser.parse_args()
    Handler.world = World(options)
    ThreadingHTTPServer.request_queue_size = 64
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer.handle_error = lambda *_: None  # A browser that has gone is no error.
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    threading.Thread(target=Handler.world.tick, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
