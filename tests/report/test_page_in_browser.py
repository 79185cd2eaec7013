"""The pages of a finished run in a browser: who reads them, on what, and how."""

import pytest

from tests.support.checkouts import SmokeRun
from tests.support.pages import find_faults_of_file


@pytest.mark.parametrize("name", ["smoke", "smoke-rerun"])
def test_everybody_can_read_and_use_the_page(browser, smoke_run: SmokeRun, name):
    assert find_faults_of_file(browser, smoke_run.checkout / f"reports/{name}.html") == []
