"""What figures share."""

import pandas as pd

from diffusevae.figures.drawing import draw_interval_bars, panels


def test_bars_have_the_intervals_of_their_column_each_end_its_own():
    table = pd.DataFrame({"mse": [1.0, 2.0], "mse_low": [0.5, 1.9], "mse_high": [1.1, 2.8]})
    _, ((axes,),) = panels(1, 1, 2.0)
    bars = draw_interval_bars(axes, ["a", "b"], table, "mse", ["#000000", "#ffffff"])
    assert [bar.get_width() for bar in bars] == [1.0, 2.0]
    ends = [segment[:, 0].tolist() for segment in bars.errorbar.lines[2][0].get_segments()]
    assert ends == [[0.5, 1.1], [1.9, 2.8]]
