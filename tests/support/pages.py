"""Pages in headless Chromium: as they are seen on a wide and a narrow screen, light and dark."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCHEMES, WIDTHS = ("light", "dark"), (1280, 400)
# Colours that are on their way from one scheme to the other are neither's.
AT_REST = "* { transition: none !important; animation: none !important }"


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A Chromium; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


def find_faults(page: "Page") -> list[str]:
    """Return what keeps somebody from reading or using an open page: the rules of axe, among them
    contrast, names of pictures and controls, reach by keyboard; and what is wider than the screen.
    """
    from axe_playwright_python.sync_playwright import Axe

    page.add_style_tag(content=AT_REST)
    faults = [
        f"{found['id']}: {node['html'][:200]}"
        for found in Axe().run(page).response["violations"]
        for node in found["nodes"]
    ]
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        faults.append("the page scrolls sideways")
    return faults


def find_faults_of_file(browser: "Browser", path: Path) -> list[str]:
    """Return the faults of a page in a file, on both screens, light and dark."""
    faults = []
    for scheme in SCHEMES:
        for width in WIDTHS:
            with browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
            ) as context:
                page = context.new_page()
                page.goto(path.as_uri())
                faults += [f"{scheme}, {width}: {fault}" for fault in find_faults(page)]
    return faults
