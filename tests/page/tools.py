"""What the checks of the page need of others: Playwright from PyPI and axe-core from npm, each installed once; and the browser."""
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target")).resolve() / "page"
AXE, AXE_SHA256 = "axe-core-4.10.2", "9ea2d2d6917da998122bdacfd3b473e31ead53f4b87146c716a12edf89158100"


def ready():
    """Goes on in an environment that has Playwright, which is made if it is not there."""
    wanted = (HERE / "requirements.txt").read_text()
    environment, stamp = CACHE / "venv", CACHE / "venv/installed"
    python = environment / "bin/python"
    if Path(sys.prefix).resolve() == environment and stamp.exists() and stamp.read_text() == wanted:
        return
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable if sys.prefix == sys.base_prefix else "python3", "-m", "venv", "--clear", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement", HERE / "requirements.txt"], check=True)
        stamp.write_text(wanted)
    os.execv(python, [str(python), *sys.argv])


def axe():
    """The source of axe-core."""
    file = CACHE / f"{AXE}.js"
    if not file.exists():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["npm", "pack", "--silent", AXE.replace("-4", "@4")], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            packed = Path(folder) / f"{AXE}.tgz"
            assert hashlib.sha256(packed.read_bytes()).hexdigest() == AXE_SHA256, f"{AXE} is not what it was"
            with tarfile.open(packed) as inside:
                source = inside.extractfile("package/axe.min.js").read()
        part = file.with_suffix(".part")
        part.write_bytes(source)
        part.rename(file)
    return file.read_text()


def launch(play):
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "Debian's chromium is needed: apt-get install chromium"
    return play.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb", "--lang=en"])


@contextlib.contextmanager
def closing(bench):
    try:
        yield bench
    finally:
        bench.close()


def trouble(bench):
    """All that a bad day brings, at the mock."""
    bench.steer(
        ago=130, still=True,
        down={"air": "no BME280 at address 0x76: nobody answers", "tank": "bad checksum: computed 0x1c, received 0x3d"},
        degraded={"soil": "without voltage_1: SCL stays low"},
        link=dict(state="down", last_error="connection refused: not authorized (5); check username and password_file"),
        spool=dict(queued=1432, bytes=1_720_320, dropped=3),
        outputs={"pump": dict(value="off", cause="max_on"), "fan": dict(value=None, cause="safe_state")},
        refuse={"heater": "busy: the rule heating has it"},
        rules={"heating": dict(state="blocked", why="heater: the gateway waits for its bus")},
        log="Output returned to its safe state. actuator=pump value=off cause=max_on")
