"""The first ten minutes on a board, as README.md gives them: each command of that chapter, word for word, in a user's shell.

A block of commands (```sh) runs as one script in a login shell of `pi`, who presses Return where something is asked. The lines
of the block behind it (```text, or a comment `<!-- seen: … -->` where the reader need not see them) must then be seen, in this
order; others may lie between. Where neither follows, nothing may be printed. In what is shown `…` stands for anything, and a
time, a run, a sequence number or a decimal number for any other of its kind. What carries the comment "Ctrl-C ends it" runs
until all that was shown is seen, and is interrupted.
"""
import base64
import re
import time
from dataclasses import dataclass, field

from stand import Trouble

CHAPTER = "## The first ten minutes on a board"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$|^<!-- seen: (.*?) -->$", re.DOTALL | re.MULTILINE)
# What looks like a command outside such a block: other fences, indented lines, and in running text words that begin one.
UNRUN = re.compile(r"^(?:```|~~~| {4}).*|`(?:sudo|apt|fieldgate|systemctl|journalctl|mosquitto_\w+) [^`]*`", re.MULTILINE)
ENDLESS = "# Ctrl-C ends it"
SECONDS = 400  # for one block: the board is slow, above all with packages

# What is shown, and what else may stand there.
KINDS = (
    ("…", ".*"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
    (r'"run":"[0-9a-f]{8}"', '"run":"[0-9a-f]{8}"'),
    (r'"seq":\d+', r'"seq":\d+'),
    (r"(?<![\d.])\d+\.\d+(?![\d.])", r"-?\d+(\.\d+)?"),
)
SPLIT = re.compile("(" + "|".join(shown for shown, _ in KINDS) + ")")

RELAY = 27  # the pin of the README's output, active-low
PURGE = "apt purge"
# Files where programs are installed and keep things, and who is who; but not the lists of dpkg, apt and systemd, nor what the
# broker of the README saves when the board is switched off.
LEFT = (r"find /etc /usr /var/lib \( -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd -o -path /var/lib/mosquitto \)"
        " -prune -o -print;"
        "find /run /var/lib/systemd -name '*fieldgate*'; sed s/^/account:/ /etc/passwd /etc/group")


@dataclass
class Block:
    """Commands, and what is shown of what they print."""

    commands: str
    shown: list = field(default_factory=list)


def chapter(readme):
    """The blocks of the chapter, in order; whatever in it could be taken for a command and is none of them is refused."""
    _, found, rest = readme.partition(f"\n{CHAPTER}\n")
    text = rest.split("\n## ", 1)[0]
    unrun = UNRUN.search(FENCED.sub("", text))
    if unrun or not found:
        raise Trouble(f"README.md: nothing runs {unrun[0]!r}" if unrun else f"README.md has lost {CHAPTER!r}")
    blocks = []
    for language, content, seen in FENCED.findall(text):
        if language == "sh":
            blocks.append(Block(content))
        elif (language == "text" or seen) and blocks and not blocks[-1].shown:
            blocks[-1].shown = [line for line in (content or seen).splitlines() if line.strip()]
        else:
            raise Trouble(f"README.md: nothing runs the block {content!r}")
    return blocks


def pattern(shown):
    """What a line must look like to be the one that is shown."""
    meant = lambda word: next((other for kind, other in KINDS if re.fullmatch(kind, word)), re.escape(word))
    return re.compile("".join(meant(word) for word in SPLIT.split(shown)))


def unseen(shown, printed):
    """The first line of `shown` that was not printed after those before it, or None."""
    lines = iter(re.split("[\r\n]+", printed))
    return next((line for line in shown if not any(pattern(line).fullmatch(each) for each in lines)), None)


def as_pi(commands):
    """A script for the board that runs the commands in a login shell, and stops at the first that fails."""
    coded = base64.b64encode(commands.encode()).decode()
    return f"base64 -d <<<{coded} >/run/walk.sh; yes '' 2>/dev/null | su -l pi -c 'set -e; . /run/walk.sh'"


def run_to_its_end(s, block):
    """A block that ends by itself: nothing it does may fail."""
    done = s.board.run(as_pi(block.commands), SECONDS)
    if done.code:
        return f"status {done.code}: {done.text}"
    missing = unseen(block.shown, done.text)
    if not block.shown and done.text.strip():
        return f"it prints what README.md does not show: {done.text}"
    return missing and f"{missing!r} is not in: {done.text}"


def run_until_seen(s, block):
    """A block whose last command never ends: it runs beside this until all is seen."""
    s.board.run(f"cat >/run/walk-watch <<'X'\n{as_pi(block.commands)}\nX\n"
                "systemd-run -q --unit=walk --collect -p StandardOutput=truncate:/run/walk.out -p StandardError=inherit"
                " bash /run/walk-watch").ok()
    end, missing = time.monotonic() + 120, True
    while missing and time.monotonic() < end:
        time.sleep(0.5)
        printed = s.board.run("cat /run/walk.out").text
        missing = unseen(block.shown, printed)
    ended = s.board.run("systemctl kill -s INT walk; for i in $(seq 50); do systemctl is-active -q walk || exit 0; sleep 0.1; done;"
                        "systemctl stop walk; exit 1")
    if missing:
        return f"{missing!r} is not in: {printed}"
    return "Ctrl-C does not end it" if ended.code else None


def installed(s):
    """The service runs, will be started with the board, and has touched no pin."""
    state, enabled, user = s.show("ActiveState", "UnitFileState", "User")
    place = s.board.bench("gpio-get", "-v", str(RELAY)).strip()
    s.check("installed, it runs as its own user, is enabled and drives nothing",
            (state, enabled, user) == ("active", "enabled", "fieldgate") and place.endswith("input"),
            f"{state}, {enabled}, {user}, GPIO{RELAY}: {place}")


def switched(s):
    """The relay of the README."""
    place = s.board.bench("gpio-get", "-v", str(RELAY)).strip()
    s.check(f"the first output: GPIO{RELAY} is driven low", place == "0 output", place)


def purged(s):
    """Files and accounts are those of before."""
    after = set(s.board.run(LEFT, 120).ok().splitlines())
    s.check("a purge leaves nothing behind and takes nothing else away", after == s.before,
            " ".join([f"+{line}" for line in sorted(after - s.before)] + [f"-{line}" for line in sorted(s.before - after)]))
    unit = s.board.run("systemctl cat fieldgate")
    s.check("systemd has forgotten the unit", unit.code != 0, unit.text.strip())


# What is looked at from outside behind the block with these words; each must be in the chapter once.
LOOKS = (("apt install ./fieldgate", installed), ("/pump/reply -m on", switched), (PURGE, purged))


def walk(s, blocks):
    """These blocks, in their order; what comes after one that fails would say little."""
    for block in blocks:
        begun = time.monotonic()
        wrong = (run_until_seen if ENDLESS in block.commands else run_to_its_end)(s, block)
        first = block.commands.strip().splitlines()[0]
        if not s.check(f"README.md: {first}", wrong is None, wrong or f"{time.monotonic() - begun:.0f} s"):
            raise Trouble("the walk ends here")
        for words, look in LOOKS:
            if words in block.commands:
                look(s)


def first_minutes(s):
    """The chapter up to the purge. Behind it the board is as just installed, but for the configuration, and not started."""
    blocks = chapter((s.sources / "README.md").read_text())
    for words, _ in LOOKS:
        if sum(words in block.commands for block in blocks) != 1:
            raise Trouble(f"README.md does not say once how to {words!r}")
    s.before = set(s.board.run(LEFT, 120).ok().splitlines())
    purge = next(at for at, block in enumerate(blocks) if PURGE in block.commands)
    s.last = blocks[purge:]
    walk(s, blocks[:purge])
    as_installed(s)


def package_installed(s):
    """The package alone, for a board on which nobody takes the walk."""
    s.board.run(f"DEBIAN_FRONTEND=noninteractive dpkg --install /home/pi/{s.package}", SECONDS).ok()
    s.check("the package can be installed", s.show("ActiveState", "UnitFileState") == ["active", "enabled"])
    as_installed(s)


def as_installed(s):
    """Without what the service has stored, and not started."""
    s.board.run("systemctl stop fieldgate && rm -rf /var/lib/fieldgate/* /run/fieldgate/*").ok()


def last_minute(s):
    """The purge, when the service has lived through all the other phases."""
    walk(s, s.last)
