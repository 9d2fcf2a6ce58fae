#!/usr/bin/env python3
"""Makes docs/pictures/page-*.png: the gateway's page in Chromium, at the mock that its tests use.

    docs/pictures/page.py
    apt-get install chromium fonts-inter pngquant

The mock's values are the same for the same second, so a picture differs from the one before by its curves alone.
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURES = Path(__file__).resolve().parent
sys.path.insert(0, str(PICTURES.parent.parent / "tests/page"))
import tools  # noqa: E402

tools.ready()
from playwright.sync_api import sync_playwright  # noqa: E402
import bench as benches  # noqa: E402

LARGEST = 100_000
# What a browser's own font would be elsewhere: Debian without a desktop has none that people know from their machines.
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><include>/etc/fonts/fonts.conf</include>
<match target="pattern"><edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match></fontconfig>"""


def picture(browser, bench, name, size, scheme, act=None):
    """What a visitor sees once everything is there, with as few bytes as a picture of it takes."""
    page = browser.new_page(viewport=dict(width=size[0], height=size[1]), color_scheme=scheme, reduced_motion="reduce")
    page.goto(bench.url)
    benches.wait_until("curves", lambda: page.evaluate("document.querySelectorAll('path.line[d]').length > 3 && document.getElementById('beat').textContent === 'Live'"))
    if act:
        act(page)
    file = PICTURES / f"page-{name}.png"
    page.screenshot(path=file)
    page.close()
    subprocess.run(["pngquant", "--force", "--strip", "--speed=1", "--nofs", "--output", file, "160", file], check=True)
    print(f"{file.name}: {file.stat().st_size} bytes")
    assert file.stat().st_size <= LARGEST, f"{file.name} is too large"


def opened(page):
    page.locator("#s-air button.what").first.click()


def outputs(page):
    page.locator("#outputs").scroll_into_view_if_needed()
    page.evaluate("document.getElementById('outputs').scrollIntoView()")


def late(bench):
    def act(page):
        bench.kill()
        benches.wait_until("the page to notice", lambda: "Last heard 4" in page.inner_text("#beat"))
    return act


def main():
    folder = tempfile.TemporaryDirectory()
    fonts = Path(folder.name) / "fonts.conf"
    fonts.write_text(FONTS)
    os.environ["FONTCONFIG_FILE"] = str(fonts)
    with folder, sync_playwright() as play:
        browser = tools.launch(play)
        with tools.closing(benches.Mock()) as bench:
            picture(browser, bench, "light", (1180, 760), "light", opened)
            picture(browser, bench, "dark", (1180, 760), "dark", opened)
            picture(browser, bench, "phone", (360, 720), "light")
            picture(browser, bench, "phone-outputs", (360, 720), "dark", outputs)
            tools.trouble(bench)
            picture(browser, bench, "trouble", (1180, 760), "light")
            picture(browser, bench, "late", (1180, 300), "light", late(bench))
        browser.close()


main()
