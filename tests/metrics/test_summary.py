"""What `dvc metrics` is given of a table."""

import json

import pandas as pd

from diffusevae.metrics.summary import save_summary


def test_rows_go_by_their_names_and_what_is_missing_is_left_out(tmp_path):
    table = pd.DataFrame({"size": ["2 x 2", "ü"], "mse": [0.1, 1 / 3], "bound": [None, 2]})
    save_summary(tmp_path / "metrics.json", table.assign(other=0), "size", ["mse", "bound"])
    text = (tmp_path / "metrics.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"2 x 2": {"mse": 0.1}, "ü": {"mse": 1 / 3, "bound": 2.0}}
    assert list(json.loads(text)) == ["2 x 2", "ü"] and text.endswith("}\n")
