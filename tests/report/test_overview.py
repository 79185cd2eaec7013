"""The overview of the latent studies: whole in itself, escaped, true to the chapters."""

import base64
import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from diffusevae.core.errors import InputError
from diffusevae.latents.page.cards import read_cards
from diffusevae.latents.page.chapter import Claim, Headline, Picture
from diffusevae.latents.page.sliders import SCRIPT, draw_sliders
from diffusevae.report.overview import build_overview, read_study, show_table
from diffusevae.report.timings import add_timings
from tests.support.page import Page
from tests.support.toy_latents import CARDS, LATENTS, make_chapter, make_model, write_study
from tests.support.toy_overview import PARAMS, STUDIES, write_overview

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> str:
    return write_overview(tmp_path_factory.mktemp("studies")).read_text()


def test_the_page_loads_nothing_from_elsewhere_and_runs_its_own_script_alone(html):
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "base")
        assert attributes.get("src", "data:").startswith("data:image/png;base64,") or tag != "img"
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import", html)
    [policy] = [
        a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    [script] = re.findall("<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    assert script == SCRIPT


@pytest.mark.fault("S10")
def test_what_comes_from_files_is_escaped(tmp_path):
    chapter = make_chapter(
        title=EVIL,
        summary=(EVIL,),
        headlines=(Headline(EVIL, 1.5, None, None, EVIL),),
        claims=(Claim(EVIL, EVIL, "holds", EVIL),),
        pictures=(Picture("noise.png", EVIL, EVIL), Picture("noise.png", '"><b', "")),
    )
    folder = write_study(tmp_path / "one", chapter)
    (folder / "cards.csv").write_text(CARDS.replace("slant", EVIL))
    sliders = draw_sliders(
        make_model(),
        read_cards_of(CARDS.replace(",slant,", f",{EVIL},"), tmp_path),
        torch.zeros(1, LATENTS),
        [EVIL],
    )
    html = build_overview(EVIL, dict.fromkeys(PARAMS, EVIL), [read_study(folder, "one", sliders)])
    html = add_timings(html, {EVIL: {"seconds": 1.0}}, EVIL)
    assert html.count("<script") == 1 and 'alt=""><b"' not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 15


def read_cards_of(text: str, folder: Path):
    path = folder / "some_cards.csv"
    path.write_text(text)
    return read_cards(path, LATENTS)


def test_headlines_and_claims_of_all_studies_stand_together(html):
    page = Page(html)
    assert page.row("a score") == ["a score", "0.123 | 0.100 to 0.200", "median of 5 seeds"]
    assert page.row("a count") == ["a count", "7", "one run"]
    assert page.row("slant is latent 3") == [
        "slant is latent 3 | the study",
        "fails",
        "it is latent 1",
    ]
    assert html.count('class="verdict fails"') == 4
    assert "4 studies, 4 claims. 0 hold, 4 fail, 0 stay open." in " ".join(page.text.split())
    for name in STUDIES:
        assert f"About {name}" in page.text
        assert ("section", {"id": name}) in page.tags and f'href="#{name}"' in html


def test_a_table_joins_a_number_with_its_interval_and_rounds_both():
    table = pd.DataFrame(
        {
            "name": ["a", "b"],
            "seeds": [5, 3],
            "error": [0.012345, np.nan],
            "low": [0.01, np.nan],
            "high": [0.02, np.nan],
            "effect_x": [-1234.5678, 2.0],
            "effect_x_low": [-1300.0, 1.0],
            "effect_x_high": [-1200.0, 3.0],
            "p": [1.2345e-7, 1.0],
        }
    )
    shown = show_table("Title", "Caption", table)
    assert shown.columns == ["name", "seeds", "error", "effect x", "p"]
    assert shown.numeric == [False, True, True, True, True]
    cells = [[(cell.value, cell.interval) for cell in row] for row in shown.rows]
    assert cells[0] == [
        ("a", ""),
        ("5", ""),
        ("0.0123", "0.0100 to 0.0200"),
        ("−1,235", "−1,300 to −1,200"),
        ("1.23 · 10⁻⁷", ""),
    ]
    assert cells[1][2] == ("–", "") and cells[1][3] == ("2", "1 to 3")
    assert show_table("", "", pd.DataFrame({"i": range(100)})).left_out == 40


def test_the_sliders_show_what_the_model_decodes(tmp_path):
    model, code = make_model(), torch.tensor([0.2, -9.0, 1.3, 0.0])
    html = draw_sliders(model, read_cards_of(CARDS, tmp_path), code[None], ["one"])
    sheet, steps = re.search(
        r'class="sheet" src="data:image/png;base64,(\S+)".*data-steps="(.*?)"', html
    ).groups()
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(sheet))))
    assert pixels.shape == (4 * 16, 13 * 16)
    assert steps == "-3 0 1.5 0"  # of the latents 1, 3, 2, 0, at steps of 0.5
    for row, latent, column, value in ((0, 1, 0, -3.0), (2, 2, 12, 3.0), (3, 0, 7, 0.5)):
        moved = code.clone()
        moved[latent] = value
        expected = (model.decode(moved[None])[0, 0] * 255).round().numpy()
        shown = pixels[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        assert np.abs(shown - expected).max() <= 1
    folded = html.partition("<details>")[2]
    assert 'id="latent-0"' in folded and 'id="latent-1"' not in folded


def test_the_same_studies_give_the_same_page_to_the_byte(tmp_path):
    assert write_overview(tmp_path).read_bytes() == write_overview(tmp_path, "again").read_bytes()


def test_timings_find_their_place(html):
    assert "1 min 05 s" in add_timings(html, {"sprites": {"seconds": 65.0}}, "CPU, 2 cores")


def test_a_study_whose_files_are_gone_is_one_line(tmp_path):
    folder = write_study(tmp_path / "one")
    (folder / "noise.png").unlink()
    with pytest.raises(InputError, match="noise.png: cannot be read .*with the stage one"):
        read_study(folder, "one")
