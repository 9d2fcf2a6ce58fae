"""Ends and new starts: the link, the process, the configuration, the power."""
import json
import time

from stage import CONFIG, FAN, LABEL, PUMP

WAVE = "  wave: { driver: waveform, every: 1s, settings: { shape: constant, offset: 7 } }\n"


def link_cut(s):
    """8: for a while all packets from and to the broker vanish in silence."""
    s.switch_on("cut")
    since = s.heard.mark()
    s.board.bench("net", "drop", str(s.broker.port))
    begun = time.monotonic()
    took = s.board.wait_level(PUMP, False, 30)
    s.check("without a link the output goes to its safe state, safe_after 8s", took is not None and took > 5,
            "never" if took is None else f"{took:.1f} s after the cut")
    s.check("safe_after: never keeps the other", s.board.level(FAN) is False)
    time.sleep(max(0, begun + 15 - time.monotonic()))
    s.board.bench("net", "clear")
    late = s.heard.wait("late/tick", lambda text: json.loads(text)["late"], 60, since)
    s.check("readings from the cut arrive late", True, late.payload)
    cause = lambda text: json.loads(text)["cause"] == "safe_state"
    s.check("the state says why", True, s.heard.wait("actuators/pump/state", cause, 60, since).payload)
    s.reading("tick", seconds=60)
    # The present comes first, so the last of the late ones may still be on its way.
    until = time.monotonic() + 30
    while True:
        seqs = sorted(heard.json()["seq"] for topic in ("late/tick", "sensors/tick") for heard in s.heard.since(since, topic))
        missing = sorted(set(range(seqs[0], seqs[-1] + 1)) - set(seqs))
        if not missing or time.monotonic() > until:
            break
        time.sleep(0.5)
    s.check("none is missing", not missing,
            f"{seqs[0]} to {seqs[-1]}, {len(seqs) - len(set(seqs))} repeated {missing or ''}")


def goes_on(s, after):
    """The total of the meter is at least what was published before."""
    reading = s.reading("meter", seconds=60)
    s.check(f"the total does not go back after {after}", reading["total"] >= s.counted > 0, json.dumps(reading))


def killed(s):
    """9: the process is killed; systemd makes the outputs safe and starts it again."""
    # A longer pause than the unit's, to look at the pins before the new process drives them.
    s.board.run("mkdir -p /run/systemd/system/fieldgate.service.d; printf '[Service]\\nRestartSec=12\\n' "
                ">/run/systemd/system/fieldgate.service.d/pause.conf; systemctl daemon-reload").ok()
    s.switch_on("kill")
    since = s.heard.mark()
    s.board.run("systemctl kill -s KILL fieldgate").ok()
    safe = s.board.wait_level(PUMP, False, 20) is not None and s.board.wait_level(FAN, True, 20) is not None
    state, = s.show("SubState")
    s.check("ExecStopPost made both outputs safe before the restart", safe and state in ("auto-restart", "stop-post"),
            f"{s.levels()}, {state}")
    s.heard.wait("status", lambda text: text == "offline", 30, since)
    s.check("the will says `offline`", True)
    s.heard.wait("status", lambda text: text == "online", 60, since)
    state, restarts = s.started("ActiveState", "NRestarts")
    s.check("it was started again and says `online`", (state, restarts) == ("active", "1"), f"{state}, {restarts}")
    goes_on(s, "a kill")


def reloads(s):
    """9: a changed file takes effect, a broken one does not."""
    s.switch_on("reload")
    pid, = s.show("MainPID")
    s.board.write(CONFIG, s.config.replace("sensors:\n", "sensors:\n" + WAVE))
    since = s.heard.mark()
    done = s.board.run("systemctl reload fieldgate")
    s.heard.wait("sensors/wave", lambda text: json.loads(text)["value"] == 7, 30, since)
    s.check("reload adds a sensor", done.code == 0, done.text)
    s.check("outputs keep their state over it", s.levels() == (True, False), str(s.levels()))
    s.board.write(CONFIG, s.config.replace("driver: bme280", "driver: bme208"))
    done = s.board.run("systemctl reload fieldgate")
    reported = s.board.run("journalctl -u fieldgate -o cat -n 20").text
    s.check("reload of a broken file fails, and the log names the problem", done.code != 0 and "bme208" in reported)
    state, now = s.show("ActiveState", "MainPID")
    s.check("the service goes on as it was", (state, now) == ("active", pid) and s.reading("wave") and s.reading("air"),
            f"{state}, {pid}, {now}")
    s.board.write(CONFIG, s.config)
    since = s.heard.mark()
    s.board.run("systemctl reload fieldgate").ok()
    s.heard.wait("sensors/wave/status", lambda text: text == "", 30, since)
    s.check("reload removes the sensor and clears what was retained of it", True)


def figures(s):
    """Memory, for the record."""
    pid, = s.show("MainPID")
    rss = s.board.run(f"grep -E 'VmRSS|VmHWM|RssAnon|Threads' /proc/{pid}/status").ok()
    print("info  " + ", ".join(" ".join(line.split()) for line in rss.splitlines()), flush=True)


def power_cut(s):
    """Readings gather without a broker, the power goes, and the board comes up again with nobody there."""
    s.board.run("sync").ok()
    run = s.reading("tick")["run"]
    s.board.bench("net", "drop", str(s.broker.port))
    time.sleep(6)
    # The board has a clock of its own, and what it says is in the readings.
    committed = s.board.run("date -u +%FT%T").ok().strip()
    # A second until the commit, and as long as a slow card may take for it.
    time.sleep(4)
    since = s.heard.mark()
    s.board.bench("power-cut")
    print("info  the board is " + s.board.bench("boot").strip(), flush=True)
    s.heard.wait("status", lambda text: text == "online", 90, since)
    s.check("after a power cut it starts by itself", s.started("ActiveState") == ["active"])
    of_old = lambda text: json.loads(text)["run"] == run
    s.heard.wait("late/tick", lambda text: of_old(text) and json.loads(text)["time"] >= committed, 60, since)
    s.reading("tick", lambda reading: reading["run"] != run and reading["seq"] >= 5, 60)
    s.check("what was on the card when the power went arrives late", True)
    old = [heard.json() for topic in ("sensors/tick", "late/tick") for heard in s.heard.since(0, topic)]
    seqs = {reading["seq"] for reading in old if reading["run"] == run}
    missing = set(range(min(seqs), max(seqs) + 1)) - seqs
    s.check("of that run none is missing", not missing, f"{min(seqs)} to {max(seqs)} {sorted(missing) or ''}")
    health = s.heard.wait("health", lambda text: True, 60, since).json()
    s.check("the spool was whole", health["spool"]["error"] is None, json.dumps(health["spool"]))
    s.board.bench("sim-chip", "--label", LABEL)
    goes_on(s, "a power cut")


def stop(s):
    """9 and 10: an orderly end."""
    s.switch_on("stop")
    since, begun = s.heard.mark(), time.monotonic()
    s.board.run("systemctl stop fieldgate").ok()
    took = time.monotonic() - begun
    s.heard.wait("status", lambda text: text == "offline", 20, since)
    s.check("`offline` at an orderly stop", True, f"systemctl stop took {took:.1f} s")
    s.check("the outputs are safe", s.levels() == (False, True), str(s.levels()))
    state, result = s.show("ActiveState", "Result")
    s.check("it ended well", (state, result) == ("inactive", "success"), f"{state}, {result}")
    drivers = s.board.run("fieldgate drivers; fieldgate drivers lm75")
    s.check("`fieldgate drivers` shows table and page", drivers.code == 0 and "TMP105" in drivers.text)
