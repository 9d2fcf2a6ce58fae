"""What was heard over the whole test, and what the table of drivers claims of it."""


def nothing_is_missing(s):
    """All that was heard: no number is missing, and each topic kept its order."""
    seen, newest, disorder, repeated = {}, {}, [], 0
    for heard in s.heard.all:
        topic = heard.topic.split("/")
        if topic[0] == "loss":
            loss = heard.json()
            seen.setdefault((loss["run"], loss["sensor"]), set()).update(range(loss["from_seq"], loss["to_seq"] + 1))
        if topic[0] not in ("sensors", "late") or len(topic) != 2:
            continue
        reading = heard.json()
        key, seq = (reading["run"], topic[1]), reading["seq"]
        numbers = seen.setdefault(key, set())
        repeated += seq in numbers
        if seq not in numbers and seq < newest.get((key, topic[0]), 0):
            disorder.append((heard.topic, seq))
        numbers.add(seq)
        newest[key, topic[0]] = seq
    holes = {key: sorted(set(range(1, max(numbers) + 1)) - numbers) for key, numbers in seen.items()}
    holes = {key: missing for key, missing in holes.items() if missing}
    total = sum(map(len, seen.values()))
    s.check("over the whole test no reading is missing", total > 100 and not holes,
            f"{total} readings, {repeated} repeated {holes or ''}")
    s.check("each topic kept its order", not disorder, str(disorder or ""))


PAGES = """fieldgate drivers | tail -n +2 | while read -r driver _; do
    fieldgate drivers "$driver" | sed -n "s/^  agrees with the kernel (\\(.*\\)) on the emulated board$/$driver|kernel|\\1/p;\
        s/^  reads the \\(.*\\) that QEMU emulates$/$driver|qemu|\\1/p"
done"""


def claims(s):
    """The program says of each driver what it was verified against; this test shows it, neither more nor less."""
    claimed = {tuple(line.split("|")) for line in s.board.run(PAGES).ok().splitlines()}
    shown = {claim for claim, good in s.proven.items() if good}
    words = lambda claims: ", ".join(" ".join(claim) for claim in sorted(claims))
    s.check("whatever a driver claims of this test was shown", claimed <= shown, words(claimed - shown))
    s.check("and whatever was shown is claimed", shown <= claimed, words(shown - claimed) or f"{len(shown)} claims")
