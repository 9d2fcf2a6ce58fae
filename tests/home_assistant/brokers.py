"""Parts of live.py that need a broker of their own."""
import os
import subprocess
import tempfile
import time
from pathlib import Path

from stand import B, CONFIG, Broker, HomeAssistant, Stand, Words, agree, wait_until, without_value

# How soon after its `online` a Home Assistant that has restarted is sent everything.
SENT_WITHIN = 10


class Forgetful(Broker):
    """One that retains nothing, and closes the connection of a client that asks it to."""

    def __enter__(self):
        program = ["/usr/sbin/chroot", str(self.root), "/usr/sbin/mosquitto", "-c"]
        conf = Path(self.folder, "mosquitto.conf")
        conf.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nretain_available false\nuser root\n")
        with open(Path(self.folder, "log"), "w") as log:
            self.process = subprocess.Popen([*program, "/" + str(conf.relative_to(self.root))], stdout=log, stderr=subprocess.STDOUT)
        wait_until("mosquitto does not listen", self.listens, 10)
        return self


def keeps_nothing(root, fieldgate):
    """`retain_state: false` at a broker that retains nothing: a Home Assistant that restarts is sent everything again."""
    config = CONFIG.replace("reconnect: {", "retain_state: false, reconnect: {")
    assert config != CONFIG
    with Forgetful(root=os.environ.get("FIELDGATE_HA_BROKER_ROOT")) as broker, HomeAssistant(root, broker.port) as ha, tempfile.TemporaryDirectory() as folder:
        with Stand(fieldgate, folder, broker, ha) as stand:
            stand.write(config)
            stand.start()
            stand.listen()
            agree(stand, "the start at a broker that keeps nothing")
            ha.stop()
            words = Words(broker)
            ha.start()
            online = words.wait_online()
            before = len(stand.messages)
            wait_until(lambda: f"{sorted(without_value(stand))} have no value", lambda: not without_value(stand), 60)
            print(f"all values are there {time.monotonic() - online:.1f} s after the online of a restarted Home Assistant", flush=True)
            # Home Assistant takes as long as this machine lets it; what the gateway has to send was sent in time.
            last = {topic: at for topic, at in stand.times[before:] if topic.endswith(("/slow", "/bell", "/door", "/state", "/rules"))}
            assert last and max(last.values()) - online < SENT_WITHIN, (online, last)
            for topic in ("sensors/slow", "sensors/bell", "sensors/door", "variables/mode/state", "actuators/pump/state", "rules"):
                assert f"{B}/{topic}" in last, (topic, sorted(last))
            words.end()
            log = (stand.folder / "log").read_text()
            assert "two of one name" not in log, f"the gateway takes itself for another one\n{log}"
            stand.gateway.kill()
            stand.gateway.wait()
            ha.wait_state("switch.shed_pump", "unavailable", 30)
            stand.no_complaints()


PARTS = (keeps_nothing,)
