#!/usr/bin/env python3
"""What Fieldgate is made of, as Cargo.lock has it: licences, and a software bill of materials that was checked.

    parts.py licences                    prints the notices and licence texts of all that is compiled in, for all architectures
    parts.py sbom TRIPLE RAW [PROGRAM]   prints the CycloneDX file RAW, as cargo-cyclonedx wrote it, without the paths of this
                                         machine and with the parts that are no crates; fails unless its crates are those of
                                         Cargo.lock for TRIPLE, and those that PROGRAM carries in its section .dep-v0

Build scripts' and tests' crates are not in the program, so they are in neither.
"""

import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "armv7-unknown-linux-gnueabihf",
    "arm-unknown-linux-musleabihf",
    "arm-unknown-linux-gnueabihf",
]
RULE = "-" * 80
# What crates call the files that must be passed on.
NOTICE = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)


def fail(message):
    sys.exit(f"parts.py: {message}")


def packages(triple, macros=True):
    """The packages that are compiled for that target's program, by their ids; or without those that run in the compiler and are
    in the program by what they wrote only, and without what only these need."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", triple]
    metadata = json.loads(subprocess.check_output(command, cwd=ROOT))
    by_id = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, waiting = {}, [metadata["resolve"]["root"]]
    while waiting:
        name = waiting.pop()
        if name not in found and (macros or not is_macro(by_id[name])):
            found[name] = by_id[name]
            # A kind of none is an ordinary dependency; the others are "build" and "dev".
            waiting += [d["pkg"] for d in nodes[name]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
    return found


def is_macro(package):
    return any("proc-macro" in target["kind"] for target in package["targets"])


def named(package):
    return f"{package['name']} {package['version']}"


def texts(package):
    """The licence files of a crate. A few are published without; they are used under Apache-2.0, which needs its text only."""
    folder = Path(package["manifest_path"]).parent
    inner = (f.relative_to(folder) for f in folder.rglob("*") if NOTICE.match(f.name) and f.is_file())
    files = sorted(folder / f for f in inner if f.suffix != ".rs" and f.parts[0] != "tests")
    if not files:
        if "Apache-2.0" not in re.split(r" OR | ?/ ?", package["license"] or ""):
            fail(f"{named(package)} has no licence file, and its licence {package['license']} asks for one")
        files = [ROOT / "LICENSE-APACHE"]
    return [f.read_text(errors="replace").replace("\r\n", "\n").strip("\n") for f in files]


def licences():
    found = {}
    for triple in TARGETS:
        found.update(packages(triple))
    crates = sorted((p for p in found.values() if p["source"]), key=named)
    users = {}
    for crate in crates:
        for text in texts(crate):
            users.setdefault(text, []).append(named(crate))
    print((ROOT / "deploy/licences-other.txt").read_text())
    print(f"{RULE}\nCrates, and the licences that they may be used under:\n")
    for crate in crates:
        print(f"  {named(crate)}: {crate['license']}")
    for text, names in sorted(users.items(), key=lambda item: item[1]):
        print(f"\n{RULE}\n{wrapped(dict.fromkeys(names))}:\n\n{text}")


def wrapped(names):
    lines, line = [], ""
    for name in names:
        if line and len(line) + len(name) > 76:
            lines.append(line.rstrip())
            line = ""
        line += f"{name}, "
    return "\n".join([*lines, line.rstrip(", ")])


def carried(program):
    """What cargo-auditable put into the program, without what only built it."""
    # By readelf, which reads every processor's programs; objcopy knows this machine's only.
    sections = subprocess.check_output(["readelf", "--sections", "--wide", program], text=True)
    place = re.search(r"\.dep-v0 +PROGBITS +[0-9a-f]+ ([0-9a-f]+) ([0-9a-f]+)", sections)
    if not place:
        fail(f"{program} carries no list of its dependencies")
    start, size = (int(number, 16) for number in place.groups())
    data = Path(program).read_bytes()[start : start + size]
    found = json.loads(zlib.decompress(data))["packages"]
    return {f"{p['name']} {p['version']}" for p in found if p.get("kind", "runtime") == "runtime"}


def differ(what, one, other):
    if one != other:
        fail(f"{what}: only in the first {sorted(one - other)}, only in the second {sorted(other - one)}")


def other_parts(found, triple):
    """What is compiled in and is no crate: scanners know SQLite by its own name, not by its crate's."""
    sqlite = next(p for p in found.values() if p["name"] == "libsqlite3-sys")
    header = (Path(sqlite["manifest_path"]).parent / "sqlite3/sqlite3.h").read_text()
    version = re.search(r'#define SQLITE_VERSION +"([0-9.]+)"', header)[1]
    compiler = subprocess.check_output([os.environ.get("RUSTC", "rustc"), "--version"], text=True).split()[1]
    yield component("sqlite", version, "blessing", f"cpe:2.3:a:sqlite:sqlite:{version}:*:*:*:*:*:*:*")
    yield component("rust-std", compiler, "MIT OR Apache-2.0", f"cpe:2.3:a:rust-lang:rust:{compiler}:*:*:*:*:*:*:*")
    if "musl" in triple:
        yield component("musl", "as in zig, see toolchains.txt", "MIT", None)


def component(name, version, licence, cpe):
    part = {"type": "library", "bom-ref": f"other#{name}", "name": name, "version": version, "scope": "required"}
    part["licenses"] = [{"expression": licence}]
    return part | ({"cpe": cpe} if cpe else {})


def sbom(triple, raw, program=None):
    found = packages(triple)
    expected = {named(p) for p in found.values()}
    bill = json.loads(Path(raw).read_text().replace(f"path+file://{ROOT}#", "pkg:").replace("?download_url=file://.", ""))
    listed = {named(part) for part in [*bill["components"], bill["metadata"]["component"]]}
    differ("the bill of materials and Cargo.lock", listed, expected)
    if program:
        # cargo-auditable counts some of the macros and leaves out others.
        inside, needed = carried(program), {named(p) for p in packages(triple, macros=False).values()}
        differ("Cargo.lock and the program", expected & (inside | needed), inside)
    bill["components"] += other_parts(found, triple)
    text = json.dumps(bill, indent=1, ensure_ascii=False)
    if str(ROOT) in text or "serialNumber" in bill:
        fail(f"{raw} would differ from machine to machine")
    print(text)


def main():
    match sys.argv[1:]:
        case ["licences"]:
            licences()
        case ["sbom", triple, raw, *program] if len(program) < 2:
            sbom(triple, raw, *program)
        case _:
            sys.exit(__doc__.strip())


if __name__ == "__main__":
    main()
