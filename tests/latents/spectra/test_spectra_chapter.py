"""Verdicts of the chapter on spectra."""

import pandas as pd
import pytest

from diffusevae.latents.spectra.spectra_chapter import judge_recognition


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ([(0.1, 0.2), (0.01, 0.3)], "holds"),
        ([(-0.3, -0.1), (-0.1, 0.2)], "fails"),
        ([(-0.3, -0.1), (0.1, 0.2)], "open"),
        ([(-0.1, 0.1), (-0.1, 0.2)], "open"),
    ],
)
def test_a_verdict_follows_from_the_intervals(bounds, verdict):
    rows = [
        {"method": "archetype", "noise": 0.1, "difference_low": low, "difference_high": high}
        for low, high in bounds
    ]
    rows.append({"method": "archetype", "noise": 0.0, "difference_low": -1, "difference_high": -1})
    assert judge_recognition(pd.DataFrame(rows), "archetype") == verdict
