"""Somebody who looks at the page in a browser, and notes whatever is wrong with it."""
import json
import re

from playwright.sync_api import Error

import tools
from bench import wait_until

DESKTOP, PHONE = dict(width=1280, height=900), dict(width=360, height=740)
# What is said aloud, kept; and what shows whether a page is still the one that was opened.
WATCH = """window.said = []; window.kept = true; document.addEventListener('DOMContentLoaded', () => {
    const place = document.getElementById('say');
    new MutationObserver(() => said.push(place.textContent)).observe(place, { childList: true, characterData: true, subtree: true }); });"""
# Chromium writes these by itself: a gateway that is away, and an answer that is a refusal.
OF_THE_BROWSER = re.compile(r"Failed to load resource: (net::ERR_|the server responded with a status of (409|404|502|429|401|503))")


class Visitor:
    """A browser's page, and everything that it complained of or asked for."""

    def __init__(self, browser, bench, viewport=None, scheme="light", motion="reduce"):
        self.bench, self.problems, self.requests = bench, [], []
        self.context = browser.new_context(viewport=viewport or DESKTOP, color_scheme=scheme, reduced_motion=motion)
        self.page = page = self.context.new_page()
        page.set_default_timeout(20_000)
        page.add_init_script(WATCH)
        page.on("console", lambda message: self.console(message))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(bench.url)
        self.until("document.getElementById('beat').textContent === 'Live'")

    def console(self, message):
        if message.type in ("error", "warning") and not OF_THE_BROWSER.match(message.text):
            self.problems.append(f"console: {message.text}")

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def until(self, expression, argument=None):
        """Asked from outside, time and again: Playwright's own waiting evaluates text within the page, which its policy forbids."""
        wait_until(expression, lambda: self.asked(expression, argument))

    def asked(self, expression, argument=None):
        try:
            return self.page.evaluate(expression, argument)
        except Error as error:
            if "context was destroyed" in str(error):  # The page is just being replaced by its newer self.
                return None
            raise

    def shows(self, selector, part):
        """Waits until an element says something."""
        try:
            self.until("([at, part]) => [...document.querySelectorAll(at)].some(one => one.textContent.includes(part))", [selector, part])
        except AssertionError as error:
            raise AssertionError(f"{selector} does not say {part!r} but {self.page.locator(selector).all_inner_texts()}") from error

    def says(self, part):
        self.until("part => said.some(one => one.includes(part))", part)

    def value(self, sensor, place=0):
        return self.page.locator(f"#s-{sensor} .value").nth(place).inner_text()

    def turn(self, name, on):
        """By the page's own switch."""
        switch = self.page.locator(f"#o-{name} .switch")
        if switch.get_attribute("aria-checked") != ("true" if on else "false"):
            switch.click()
        self.until("([name, on]) => document.querySelector(`#o-${name} .switch`).getAttribute('aria-checked') === on && "
                   "!document.querySelector(`#o-${name} [aria-busy]`)", [name, "true" if on else "false"])

    def close(self):
        self.context.close()
        elsewhere = [url for url in self.requests if not url.startswith((self.bench.url, "data:"))]
        assert not self.problems, self.problems
        assert not elsewhere, f"asked elsewhere: {elsewhere}"

    def axe(self, what):
        self.page.evaluate(tools.axe())
        found = self.page.evaluate("axe.run().then(result => result.violations.map(one => [one.id, one.help, one.nodes.map(n => n.html.slice(0, 160) + ' ' + "
                                   "n.failureSummary.slice(0, 300))]))")
        assert not found, f"axe-core, {what}: {json.dumps(found, indent=1, ensure_ascii=False)}"

    def fits(self, what):
        wide, there = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= there, f"{what}: it is {wide} wide on {there}"
