"""Pages in headless Chromium: as they are seen on a wide and a narrow screen, light and dark."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
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
MATCHES = "(element, selector) => element.matches(selector)"


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


def find_faults(page: "Page", known: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Return what keeps somebody from reading or using an open page: the rules of axe, among them
    contrast, names of pictures and controls, reach by keyboard; and what is wider than the screen.

    `known`: by rule a selector of elements that are not held to it.
    """
    from axe_playwright_python.sync_playwright import Axe

    page.add_style_tag(content=AT_REST)
    faults = [
        f"{found['id']}: {node['html'][:200]}"
        for found in Axe().run(page).response["violations"]
        for node in found["nodes"]
        if found["id"] not in known
        or not page.locator(node["target"][0]).evaluate(MATCHES, known[found["id"]])
    ]
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        faults.append("the page scrolls sideways")
    return faults


def find_faults_of_file(
    browser: "Browser", path: Path, known: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """Return the faults of a page in a file, on both screens, light and dark; among them each
    request to a host.
    """
    faults: list[str] = []
    for scheme in SCHEMES:
        for width in WIDTHS:
            with browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
            ) as context:
                page = context.new_page()
                asked: list[str] = []
                page.on("request", lambda request, asked=asked: asked.append(request.url))
                page.goto(path.as_uri())
                found = find_faults(page, known) + [url for url in asked if url.startswith("http")]
                faults += [f"{scheme}, {width}: {fault}" for fault in found]
    return faults
