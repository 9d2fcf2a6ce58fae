#!/usr/bin/env python3
"""Drives the gateway's page in a real Chromium, as `sh deploy/test.sh --page` starts it.

    tests/page/page.py [PART…]                       against the mock
    tests/page/page.py --program FILE [PART…]        against the program on a simulated bus
    tests/page/page.py --url URL [PART…]             against a gateway that runs; nothing is moved

PART is a part of a check's name. Debian's chromium is needed; Playwright and axe-core are installed once, below target/page.
"""
import argparse
import gzip
import os
import re
import sys
import traceback

import tools

tools.ready()
from playwright.sync_api import sync_playwright  # noqa: E402
import bench as benches  # noqa: E402
from bench import wait_until  # noqa: E402
from visitor import DESKTOP, PHONE, Visitor  # noqa: E402

LIMIT = 30_000
CHECKS = []


def check(needs="any"):
    """`any` gateway, one that can be steered (`moves`), or the `mock` only."""
    def register(function):
        CHECKS.append((needs, function))
        return function
    return register


@check()
def the_page_is_small_and_has_one_script_and_one_style_inside(visit):
    page = benches.HERE.parents[1] / "src/http/page/index.html"
    text = page.read_text()
    assert len(gzip.compress(text.encode(), 9)) <= LIMIT
    for tag in ("script", "style"):
        assert len(re.findall(rf"<{tag}\b", text)) == 1 and f"<{tag}>" in text, tag
    assert not re.findall(r"<[^>]*\s(?:on\w+|style|src)=", text.split("<script>")[0])


@check()
def values_are_shown_and_nothing_is_asked_elsewhere(visit):
    visitor = visit()
    for sensor in visitor.bench.state()["sensors"][:20]:
        shown = visitor.page.locator(f"#s-{sensor['name']} .row").count()
        assert shown == len(sensor["values"]), f"{sensor['name']}: {shown} of {len(sensor['values'])}"
    assert visitor.text("#name") == visitor.bench.state()["name"]
    visitor.close()


@check("moves")
def a_value_changes_and_moves_nothing_beside_it(visit):
    visitor = visit()
    visitor.bench.set_air(8.55)
    visitor.shows("#s-air .value", "8.5")
    # From the top of all of it, for what is said above it may come and go.
    places = ("[...document.querySelectorAll('.sensor h3, .unit, .sensor .age, .output .does')].map(one => { const box = one.getBoundingClientRect(); "
              "return [box.left, box.top - document.querySelector('.both').getBoundingClientRect().top]; })")
    before = visitor.page.evaluate(places)
    # Above what the rule frost waits for: that would show itself at its output.
    visitor.bench.set_air(-4.25)
    visitor.shows("#s-air .value", "−4.")
    assert visitor.page.evaluate(places) == before, "something jumped"
    visitor.close()


@check("moves")
def a_switch_sends_its_request_and_shows_the_answer(visit):
    visitor = visit()
    visitor.turn("heater", False)
    visitor.turn("pump", True)
    assert visitor.bench.is_on("pump")
    visitor.shows("#o-pump .answer", "Done: on")
    visitor.shows("#o-pump .does", "on")
    visitor.shows("#o-pump .because", "a command asked for it")
    visitor.says("pump: Done: on")
    visitor.turn("pump", False)
    assert not visitor.bench.is_on("pump")
    visitor.close()


@check("moves")
def a_refused_command_shows_the_reason_and_the_switch_stays(visit):
    visitor = visit()
    visitor.turn("pump", False)
    visitor.turn("heater", True)
    visitor.page.locator("#o-pump .switch").click()
    visitor.shows("#o-pump .answer", "Refused: interlock: ")
    assert "no" in visitor.page.locator("#o-pump .answer").get_attribute("class").split()
    assert visitor.page.locator("#o-pump .switch").get_attribute("aria-checked") == "false"
    assert not visitor.bench.is_on("pump")
    visitor.says("pump: Refused: interlock")
    visitor.turn("heater", False)
    visitor.close()


@check("moves")
def a_dimmer_is_moved_by_keys_with_one_request(visit):
    visitor = visit()
    slider = visitor.page.locator("#o-fan input")
    visitor.page.locator("#o-fan .push").click()
    visitor.shows("#o-fan .does", "0 %")
    visitor.until("!document.querySelector('#o-fan [aria-busy]')")
    asked = len([url for url in visitor.requests if url.endswith("actuators/fan")])
    slider.focus()
    for _ in range(3):
        slider.press("ArrowRight")
    visitor.shows("#o-fan .does", "3 %")
    wait_until("the fan to turn", lambda: visitor.bench.output("fan")["value"] == 3)
    assert len([url for url in visitor.requests if url.endswith("actuators/fan")]) == asked + 1
    visitor.close()


@check("moves")
def a_cover_and_a_gate_are_moved(visit):
    visitor = visit()
    visitor.page.get_by_role("button", name="Open blind").click()
    visitor.shows("#o-blind .does", "open")
    visitor.page.get_by_role("button", name="Push gate").click()
    visitor.shows("#o-gate .answer", "Done: on")
    visitor.page.get_by_role("button", name="Stop blind").click()
    visitor.shows("#o-blind .answer", "Done: ")
    visitor.close()


@check("moves")
def an_output_is_switched_for_a_time(visit):
    visitor = visit()
    visitor.turn("pump", False)
    visitor.turn("heater", False)
    visitor.page.locator("#o-heater summary").click()
    visitor.page.get_by_label("How long heater is to be on").select_option("1m")
    with visitor.page.expect_request(lambda request: request.method == "POST") as sent:
        visitor.page.get_by_role("button", name="Switch on for heater").click()
    assert sent.value.post_data_json == {"value": "on", "for": "1m"}
    visitor.shows("#o-heater .does", "on")
    visitor.turn("heater", False)
    visitor.close()


@check("moves")
def variables_and_rules_are_set(visit):
    visitor = visit()
    visitor.page.get_by_label("New value of target").fill("18.5")
    visitor.page.get_by_role("button", name="Set target").click()
    visitor.shows("#variables .does", "18.5 °C")
    visitor.page.get_by_label("New value of mode").select_option("away")
    visitor.page.get_by_role("button", name="Set mode").click()
    visitor.shows("#variables .does", "away")
    rule = visitor.page.get_by_role("switch", name="Rule frost")
    for word in ("false", "true"):
        rule.click()
        visitor.until("word => document.querySelector('[aria-label=\"Rule frost\"]').getAttribute('aria-checked') === word && !document.querySelector('#rules [aria-busy]')", word)
    visitor.close()


@check("moves")
def a_sensor_that_is_down_is_seen_with_reason_and_remedy_and_comes_back(visit):
    visitor = visit()
    visitor.bench.break_air()
    visitor.until("document.querySelector('#s-air').classList.contains('down')")
    visitor.shows("#s-air .word", "Down for ")
    visitor.shows("#s-air .why", "0x76")
    visitor.shows("#s-air .fix", "Check ")
    visitor.shows("#troubles", "air is down")
    visitor.shows("#verdict", "1 of ")
    assert visitor.page.title().startswith("1 down")
    visitor.says("air is down")
    visitor.bench.mend_air()
    visitor.until("!document.querySelector('#s-air').classList.contains('down')")
    visitor.says("air is well again")
    visitor.close()


@check("moves")
def a_gateway_that_is_killed_is_late_and_comes_back_by_itself(visit):
    visitor = visit()
    visitor.bench.kill()
    visitor.until("/^Last heard \\d+ s ago$/.test(document.getElementById('beat').textContent)")
    visitor.shows("#silent", "does not answer")
    visitor.says("The gateway does not answer.")
    if visitor.page.locator("#o-pump .switch").count():
        visitor.page.locator("#o-pump .switch").click()
        visitor.shows("#o-pump .answer", "no answer came")
    visitor.axe("late")
    visitor.bench.start()
    visitor.shows("#beat", "Live")
    visitor.says("The gateway is heard again.")
    visitor.bench.set_air(17.75)
    visitor.shows("#s-air .value", "17.7")
    assert visitor.page.evaluate("window.kept") is True
    visitor.close()


@check("mock")
def a_stream_that_falls_silent_is_noticed_without_an_error(visit):
    visitor = visit()
    visitor.bench.steer(silent=True)
    visitor.until("/^Last heard (9|\\d\\d) s ago$/.test(document.getElementById('beat').textContent)")
    visitor.bench.steer(silent=False)
    visitor.shows("#beat", "Live")
    visitor.close()


@check("mock")
def a_refusal_of_the_gateway_is_shown_in_its_words(visit):
    visitor = visit()
    visitor.bench.steer(deny=[429, "too many wrong passwords; try again in 30 s"])
    visitor.shows("#silent", "too many wrong passwords")
    visitor.bench.steer(deny=None)
    visitor.shows("#beat", "Live")
    visitor.close()


@check("mock")
def a_newer_program_brings_its_own_page(visit):
    visitor = visit()
    visitor.page.evaluate("window.old = true")
    visitor.bench.kill()
    visitor.bench.start("--version", "0.2.0")
    visitor.until("window.old === undefined && document.getElementById('beat').textContent === 'Live'")
    visitor.close()


@check()
def axe_core_finds_nothing_in_light_dark_and_on_a_phone(visit):
    for scheme in ("light", "dark"):
        for viewport in (DESKTOP, PHONE):
            visitor = visit(viewport=viewport, scheme=scheme)
            first = visitor.page.locator("button.what").first
            first.click()
            for summary in visitor.page.locator("summary").all():
                summary.click()
            visitor.axe(f"{scheme}, {viewport['width']}")
            visitor.fits(f"{scheme}, {viewport['width']}")
            visitor.close()


@check("mock")
def axe_core_finds_nothing_in_trouble(visit):
    tools.trouble(visit.bench)
    for scheme in ("light", "dark"):
        for viewport in (DESKTOP, PHONE, dict(width=320, height=640)):
            visitor = visit(viewport=viewport, scheme=scheme)
            visitor.page.locator(".down button.what").first.click()
            visitor.axe(f"trouble, {scheme}, {viewport['width']}")
            visitor.fits(f"trouble, {scheme}, {viewport['width']}")
            visitor.close()


FOCUSABLE = "[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex=\"0\"]')].filter(one => one.checkVisibility())"
# What has the focus: its number among all, whether it is in view, and whether something shows that it has it.
FOCUSED = """() => { const one = document.activeElement, all = %s, box = one.getBoundingClientRect();
    const x = box.left + Math.min(box.width, innerWidth) / 2, y = box.top + box.height / 2, top = document.elementFromPoint(x, y);
    const ring = ['', '::after'].some(part => { const style = getComputedStyle(one, part || null); return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2; });
    return [all.indexOf(one), !!top && (one.contains(top) || top.contains(one)), ring, one.outerHTML.slice(0, 120)]; }""" % FOCUSABLE


@check()
def everything_is_reached_by_tab_alone_in_view_and_with_a_ring(visit):
    for viewport in (DESKTOP, PHONE):
        visitor = visit(viewport=viewport)
        count, seen = visitor.page.evaluate(FOCUSABLE + ".length"), []
        for _ in range(count):
            visitor.page.keyboard.press("Tab")
            place, visible, ring, what = visitor.page.evaluate(FOCUSED)
            assert visible, f"out of view: {what}"
            assert ring, f"without a ring: {what}"
            seen.append(place)
        assert seen == sorted(seen), "not in the order of the page"
        assert set(seen) == set(range(count)), f"not reached: {set(range(count)) - set(seen)}"
        visitor.close()


@check("moves")
def keys_alone_switch_and_open_a_curve(visit):
    visitor = visit()
    visitor.turn("heater", False)
    visitor.turn("pump", False)
    visitor.page.locator("#o-pump .switch").focus()
    visitor.page.keyboard.press("Space")
    visitor.shows("#o-pump .does", "on")
    visitor.turn("pump", False)
    curve = visitor.page.locator("#s-air button.what").first
    curve.focus()
    visitor.page.keyboard.press("Enter")
    assert curve.get_attribute("aria-expanded") == "true"
    assert visitor.page.locator("#s-air .plot path.line").get_attribute("d")
    visitor.close()


@check("mock")
def two_hundred_sensors_and_thirty_outputs_touch_only_what_changes(visit):
    with visit.other("--sensors", "200", "--outputs", "30") as bench:
        visitor = visit(bench)
        bench.steer(still=True)
        visitor.until("document.querySelectorAll('.sensor').length === 200 && document.querySelectorAll('#outputs article').length === 30")
        visitor.shows("#s-air .value", "")
        names = visitor.page.locator(".sensor h3").all_inner_texts()
        assert names.index("air_2") < names.index("air_10"), names[:30]
        # The last hour comes by itself, in one piece.
        visitor.until("document.querySelector('path.line[d]') !== null")
        # What changes elsewhere than in the one card within one message; the clocks that count on are left out.
        visitor.page.evaluate("""() => { window.touched = []; new MutationObserver(list => list.forEach(one => {
            const at = (one.target.closest ? one.target : one.target.parentElement).closest('article, header, main > *, #say');
            if (!one.target.closest?.('.age, .because, .answer, .word, dd, #beat, .state, #say, #silent') && one.target !== document.body) touched.push(at?.id); }))
            .observe(document, { subtree: true, childList: true, attributes: true, characterData: true }); }""")
        bench.set_air(3.25)
        visitor.shows("#s-air .value", "3.25")
        touched = visitor.page.evaluate("touched")
        assert set(touched) <= {"s-air"}, touched
        assert len(touched) <= 12, touched
        # Of a thousand curves only those in view are drawn.
        drawn = visitor.page.evaluate("[...document.querySelectorAll('.sensor')].filter(one => one.querySelector('path.line')?.getAttribute('d')).length")
        assert 0 < drawn < 60, drawn
        visitor.page.get_by_label("Find").fill("co2")
        assert visitor.page.locator(".sensor:visible").count() == 20
        visitor.close()


@check("mock")
def a_clock_that_is_set_is_shown_without_loading_again(visit):
    visitor = visit()
    visitor.bench.steer(clock="unsynchronised")
    visitor.shows("#b-gateway dd.bad", "Not synchronised")
    visitor.bench.steer(clock="synchronised")
    visitor.until("!document.querySelector('#b-gateway dd.bad')")
    visitor.close()


@check("mock")
def what_changes_is_put_upon_what_was_there(visit):
    """After many changes, of values, of what is wrong, and of both, a page shows what one shows that is opened now."""
    picture = ("[...document.querySelectorAll('.sensor')].map(one => [one.id, one.className, one.querySelector('.why').textContent, "
               "...[...one.querySelectorAll('.value')].map(value => value.textContent)])")
    visitor, bench = visit(), visit.bench
    bench.steer(still=True)
    visitor.shows("#s-air .value", "")
    for nth in range(1, 13):
        bench.steer(burst=3, values={["air", "co2", "mains", "button"][nth % 4]: {}})
        bench.steer(down={"cellar": "no answer" if nth % 2 else None})
        bench.steer(degraded={"soil": f"slow for the {nth}th time"}, values={"soil": {"voltage_0": nth / 8}})
    bench.steer(values={"air": {"temperature": 77.25}})
    visitor.shows("#s-air .value", "77.25")
    shown, fresh = visitor.page.evaluate(picture), visit()
    fresh.shows("#s-air .value", "77.25")
    assert len(shown) == 10 and fresh.page.evaluate(picture) == shown, (shown, fresh.page.evaluate(picture))
    bench.steer(down={"soil": None, "tank": None}, still=False)
    fresh.close()
    visitor.close()


@check("mock")
def a_page_that_stays_open_keeps_nothing_of_what_it_was_sent(visit):
    """As many updates as half an hour has, or with FIELDGATE_FAULTS=long a day: values, lines of the log, a sensor that goes and comes."""
    each, rounds = 720, 480 if os.environ.get("FIELDGATE_FAULTS") == "long" else 10
    visitor = visit()
    visitor.bench.steer(still=True)
    session = visitor.context.new_cdp_session(visitor.page)

    def kept(nth):
        visitor.bench.steer(burst=each, values={"air": {"temperature": nth + 0.25}})
        visitor.shows("#s-air .value", f"{nth}.25")
        session.send("HeapProfiler.collectGarbage")
        found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return found["JSHeapUsedSize"], found["Nodes"], found["JSEventListeners"]

    session.send("Performance.enable")
    # What is made once is made by then: all lines of the log, all sentences.
    first = kept(0)
    last = [kept(nth) for nth in range(1, rounds)][-1]
    print(f"      {each * (rounds - 1)} updates: {last[0] - first[0]} bytes, {last[1] - first[1]} nodes", flush=True)
    assert last[0] - first[0] < 500_000 and last[1] <= first[1] + 50 and last[2] <= first[2] + 10, (first, last)
    session.detach()
    visitor.close()


@check("mock")
def a_slider_of_an_output_whose_state_nobody_knows_is_dim_and_says_so(visit):
    visitor = visit()
    slider = "document.querySelector('#o-fan input')"
    visitor.until(f"{slider}.getAttribute('aria-valuetext') === '40 %' && !{slider}.classList.contains('unknown')")
    visitor.bench.steer(outputs={"fan": dict(value=None, cause="safe_state")})
    visitor.until(f"{slider}.getAttribute('aria-valuetext') === 'unknown' && {slider}.classList.contains('unknown')")
    visitor.shows("#o-fan .slide output", "–")
    visitor.axe("unknown")
    visitor.close()


@check("mock")
def without_control_there_is_nothing_to_press(visit):
    with visit.other("--no-control") as bench:
        visitor = visit(bench)
        assert visitor.page.locator(".switch, .push, input:visible, select").count() == 0
        visitor.shows("#watch", "Control is off")
        visitor.axe("no control")
        visitor.close()


@check("moves")
def an_output_that_a_rule_protects_has_no_control_and_says_so(visit):
    visitor = visit()
    # It does while it is active.
    visitor.bench.set_air(-10.25)
    protected = lambda: next((one["name"] for one in visitor.bench.state()["outputs"] if one["protected_by"] == "frost"), None)  # noqa: E731
    name = wait_until("an output that frost protects", protected)
    visitor.shows(f"#o-{name}", "The rule frost lets no command take it.")
    assert visitor.page.locator(f"#o-{name} .switch, #o-{name} .push").count() == 0
    visitor.close()


@check()
def who_wants_no_motion_gets_none(visit):
    visitor = visit()
    moving = visitor.page.evaluate("[...document.querySelectorAll('*')].flatMap(one => ['', '::after', '::before'].map(part => getComputedStyle(one, part || null)))"
                                   ".filter(style => style.transitionDuration.split(', ').some(time => time !== '0s') || style.animationName !== 'none').length")
    assert moving == 0
    visitor.close()


class Visit:
    """Opens pages of one gateway."""

    def __init__(self, browser, bench):
        self.browser, self.bench = browser, bench

    def __call__(self, bench=None, **wishes):
        return Visitor(self.browser, bench or self.bench, **wishes)

    def other(self, *arguments):
        return tools.closing(benches.Mock(*arguments))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program")
    parser.add_argument("--url")
    parser.add_argument("parts", nargs="*")
    options = parser.parse_args()
    make = (lambda: benches.Program(options.program)) if options.program else (lambda: benches.Elsewhere(options.url)) if options.url else benches.Mock
    failed, done = [], 0
    with sync_playwright() as play:
        browser = tools.launch(play)
        for needs, function in CHECKS:
            if options.parts and not any(part in function.__name__ for part in options.parts):
                continue
            bench = make()
            try:
                if needs == "mock" and not bench.is_mock or needs == "moves" and not bench.can_steer:
                    continue
                function(Visit(browser, bench))
                done += 1
                print(f"ok    {function.__name__}", flush=True)
            except Exception:
                failed.append(function.__name__)
                print(f"FAIL  {function.__name__}\n{traceback.format_exc()}", flush=True)
            finally:
                bench.close()
        browser.close()
    print(f"{done} passed, {len(failed)} failed")
    assert done or failed, "no such check"
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
