"""Methods against the best classical one, by hand."""

import pandas as pd
import pytest
import torch

from diffusevae.studies.restoration.restored import Restored, compare_restored, count_won, error_of

REAL = torch.zeros(3, 1, 2, 2)
HALF = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])


def test_the_error_is_that_of_the_pixels_that_count():
    images = torch.tensor([[0.5, 9.0], [0.1, 9.0]]).expand(3, 1, 2, 2)
    assert error_of(images, REAL, HALF).tolist() == pytest.approx([(0.25 + 0.01) / 2] * 3)


def test_each_method_is_held_against_the_best_classical_one():
    restored = {
        "poor": Restored(REAL + 0.5, True, "3"),
        "good": Restored(REAL + 0.2, True),
        "ours": Restored(REAL + 0.1, False),
    }
    rows = compare_restored(restored, REAL, HALF, {"task": "inpainting"}, 0, 20)
    table = pd.DataFrame(rows).set_index("method")
    assert set(table["rival"]) == {"good"} and table.loc["poor", "setting"] == "3"
    assert table.loc["good", "less_rival"] == 0
    assert table.loc["ours", "less_rival"] == pytest.approx(0.01 - 0.04)
    assert table.loc["ours", "num_images"] == 3
    assert count_won(pd.DataFrame(rows), "ours") == (1, 1)
    assert count_won(pd.DataFrame(rows), "poor") == (0, 1)
