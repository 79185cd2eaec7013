"""How long the stages took: added to a copy, written for people."""

import pytest

from diffusevae.report.experiment_page import build_report
from diffusevae.report.timings import add_timings, format_seconds
from tests.support.page import Page
from tests.support.report_inputs import make_inputs


def test_timings_are_added_to_a_copy_and_can_be_replaced():
    html = build_report(make_inputs())
    assert "kept with its run in MLflow" in html
    timings = {
        "sample": {
            "seconds": 75.4,
            "peak_memory_mb": 1234.5,
            "diffusevae_seconds_per_image": 0.0123,
        },
        "download@mnist": {"seconds": 0.5, "images_per_second": 290.04},
    }
    timed = add_timings(html, timings, "CPU, 2 cores")
    page = Page(timed)
    assert page.row("sample") == [
        "sample",
        "1 min 15 s",
        "1,234 MB",
        "DiffuseVAE 12.3 ms per image",
    ]
    assert page.row("download@mnist") == ["download@mnist", "500 ms", "", "images per second 290"]
    assert page.row("all together")[1] == "1 min 16 s"
    assert "Measured on CPU, 2 cores" in timed and "kept with its run in MLflow" not in timed
    assert add_timings(timed, timings, "CPU, 2 cores") == timed
    with pytest.raises(ValueError, match="no section for timings"):
        add_timings("<html></html>", timings, "CPU")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0042, "4.2 ms"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (59.97, "1 min 00 s"),
        (754, "12 min 34 s"),
        (4800, "1 h 20 min"),
        (0, "0 ms"),
    ],
)
def test_durations_are_written_for_people(seconds, text):
    assert format_seconds(seconds) == text
