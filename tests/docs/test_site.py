"""The docs as a site: each page read with ease on both screens, light and dark, with no network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkouts import ROOT
from tests.support.pages import find_faults_of_file

KNOWN = {  # the theme's own, which no line of CSS mends
    # Two landmarks have the same name: the navigation's parts and their titles, blocks of code.
    "landmark-unique": ".md-nav, .md-code__nav",
    # What scrolls has no tabindex: browsers let the keyboard into it all the same.
    "scrollable-region-focusable": ".md-typeset__scrollwrap",
}
SERVED = "404.html"  # by a server alone: its links begin at the root


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("material", "mkdocstrings"):
        pytest.importorskip(package, reason="make docs installs it")
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", place],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.slow
def test_each_page_is_read_with_ease_and_asks_no_host(site, browser):
    pages = [page for page in sorted(site.rglob("*.html")) if page.name != SERVED]
    faults = {page: find_faults_of_file(browser, page, KNOWN) for page in pages}
    assert len(pages) > 40
    assert {str(page.relative_to(site)): found for page, found in faults.items() if found} == {}
