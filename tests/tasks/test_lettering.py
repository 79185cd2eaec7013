"""By which fonts names of any script are written."""

import io
import warnings

from matplotlib import rc_context
from matplotlib.figure import Figure

from diffusevae.figures.drawing import figure_style, save_figure
from tasks.lettering import find_families

APL, TIBETAN = "\u2336", "\u0f40"  # of the bundled fonts DejaVu Sans Mono alone has the first


def test_another_font_writes_what_dejavu_lacks(bundled_fonts):
    assert find_families(["cats", "\u00e9t\u00e9", "\u043a\u043e\u0442"]) == (
        ["DejaVu Sans"],
        set(),
    )
    families, missing = find_families(["cats", APL, TIBETAN])
    assert families[0] == "DejaVu Sans" and len(families) == 2 and missing == {TIBETAN}
    with figure_style(), rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of boxes
        figure = Figure()
        figure.text(0, 0, f"cats {APL}", weight="bold")
        save_figure(figure, io.BytesIO())


def test_a_font_that_cannot_be_used_writes_nothing(bundled_fonts, monkeypatch):
    def refuse(path: str) -> None:
        raise RuntimeError("invalid pixel size")

    monkeypatch.setattr("tasks.lettering.get_font", refuse)
    assert find_families(["cats"]) == (["DejaVu Sans"], set("cats"))
