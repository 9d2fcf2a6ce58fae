"""`fieldgate scan` on a board with chips on it, beside the running service."""
import json


def scan(s):
    """Who is there is found, who is known is named, and what is printed as a configuration passes the check."""
    result = s.board.run("fieldgate scan --json", 120)
    if not s.check("`fieldgate scan` ends well", result.code == 0, result.text[-400:]):
        return
    found = json.loads(result.text)
    adapters = {adapter["device"]: adapter for adapter in found["i2c"]}
    chips = {chip["address"]: chip for chip in adapters["/dev/i2c-1"]["chips"]}
    s.check("the chips that are soldered to i2c-1 are found", {"0x44", "0x45", "0x48", "0x4c", "0x70", "0x76"} <= set(chips),
            ", ".join(chips))
    s.check("nobody else is", "0x23" not in chips and len(chips) < 12, ", ".join(chips))
    s.check("a chip with an id is known", chips["0x76"]["driver"] == "bme280", json.dumps(chips["0x76"]))
    s.check("one without is reported as possible", {"lm75", "tmp102"} <= set(chips["0x48"]["possible"]), json.dumps(chips["0x48"]))
    s.check("one that the kernel has bound is reported with its driver", chips["0x4c"]["kernel_driver"] == "tmp421",
            json.dumps(chips["0x4c"]))
    holders = [line["holder"] for chip in found["gpio"] for line in chip["lines"]]
    s.check("lines are listed with who uses them", "gpiomon" in holders and "fieldgate" in holders,
            ", ".join(sorted({holder for holder in holders if holder})))
    checked = s.board.run("fieldgate scan --yaml >/tmp/scanned.yaml && fieldgate check --config /tmp/scanned.yaml", 180)
    s.check("`scan --yaml` prints what `check` accepts", checked.code == 0 and "bme280" in checked.text, checked.text[-600:])
    s.check("the service goes on meanwhile", s.reading("rack") and s.reading("air")["temperature"] == 25.08)
    print("info  " + s.board.run("fieldgate scan", 120).text.replace("\n", "\n      "), flush=True)
