"""Known lines, and how far latents move them."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from diffusevae.core.errors import InputError
from diffusevae.latents.spectra.spectra_chapter import judge_common_latent
from diffusevae.latents.spectra.spectral_lines import (
    KNOWN_LINES,
    check_lines,
    find_common_latent,
    find_sharers,
    measure_line,
    measure_lines,
    rank_latents,
    summarise_lines,
    traverse_all,
)
from tests.support.toy_spectra import toy


@pytest.mark.parametrize("mineral", KNOWN_LINES)
def test_the_known_lines_are_maxima_of_the_measured_spectra(raw, mineral):
    mean = raw.of(mineral).mean((0, 1)).numpy()
    for line, _ in KNOWN_LINES[mineral]:
        near = np.flatnonzero(np.abs(raw.shift - line) <= 8)
        top = near[mean[near].argmax()]
        assert near[0] < top < near[-1], f"{mineral} {line}: no maximum near"


def test_other_minerals_or_another_axis_are_refused(raw):
    with pytest.raises(InputError, match="none of Hematite, Forsterite, Zircon, whose lines"):
        check_lines(toy([0, 1, 2]))
    with pytest.raises(InputError, match="from 250 to 1249 cm.*lie from 206 to 1135"):
        check_lines(dataclasses.replace(raw, shift=raw.shift + 50))


class Drawing(nn.Module):
    """Latent 0 is the height at 400 cm^-1; latent 1 a third of it, and that at 500; 2 nothing."""

    def encode(self, x):
        return torch.zeros(len(x), 3), torch.zeros(len(x), 3)

    def decode(self, z):
        x = torch.zeros(len(z), 1, 8)
        x[:, 0, 2] = (z[:, 0] + z[:, 1] / 3) / 10
        x[:, 0, 3] = -z[:, 1] / 10
        return x


def test_a_traversal_moves_one_latent_and_leaves_the_others():
    codes = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    decoded = traverse_all(Drawing(), codes, 3)
    assert decoded.shape == (2, 3, 3, 8)
    assert decoded[0, 0, :, 2].tolist() == pytest.approx([(z + 2 / 3) / 10 for z in (-3, 0, 3)])
    assert decoded[0, 0, :, 3].tolist() == pytest.approx([-0.2] * 3)
    assert decoded[0, 1, :, 3].tolist() == pytest.approx([0.3, 0, -0.3])
    assert decoded[1, 2].abs().max() == 0


def test_a_line_is_the_mean_of_its_window():
    spectrum = torch.arange(8.0)
    shift = np.arange(200.0, 1000, 100)
    assert measure_line(spectrum, shift, 400, 0) == 2
    assert measure_line(spectrum, shift, 430, 100) == 2.5
    with pytest.raises(InputError, match="line_window: 20 .* no channel at 430"):
        measure_line(spectrum, shift, 430, 20)


def test_six_other_minerals_share_gypsum_s_strongest_line(raw):
    assert find_sharers(raw, "Gypsum", 1008, 3) == [
        "Augite",
        "Diopside",
        "Enstatite",
        "Hedenbergite",
        "Jarosite",
        "Zircon",
    ]
    assert find_sharers(raw, "Quartz", 464, 3) == []


def test_which_latent_moves_which_line_is_measured(monkeypatch):
    lines = {"Gypsum": ((400, "a"), (500, "b"))}
    monkeypatch.setattr("diffusevae.latents.spectra.spectral_lines.KNOWN_LINES", lines)
    spectra = toy([0, 0, 0, 1])
    table = measure_lines(Drawing(), spectra, 5, 10, 0)
    swings = table.pivot_table("swing", "line", "latent")
    assert swings.loc["Gypsum 400"].tolist() == pytest.approx([0.6, 0.2, 0])
    assert swings.loc["Gypsum 500"].tolist() == pytest.approx([0, 0.6, 0])
    assert table["share"].tolist() == pytest.approx([0.75, 0.25, 0, 0, 1, 0])
    assert table["change"].tolist() == pytest.approx([0.6, 0.2, 0, 0, -0.6, 0])
    assert (table["num_spectra"] == 3).all() and (table["low"] <= table["swing"]).all()
    other = table.assign(share=table["share"] / 2, swing=table["swing"] / 3)
    pseudo = torch.full((2, 1, 8), 0.5)
    summary = summarise_lines([table, other, other], spectra, pseudo, 10).set_index("line")
    assert summary["shared_by"].tolist() == [0, 1]  # gypsum has no line at 500, calcite has one
    assert summary["measured"].tolist() == [1, 0] and summary["pseudo"].tolist() == [0.5, 0.5]
    assert summary.loc["Gypsum 400", ["top_share", "share_least", "share_greatest"]].tolist() == (
        pytest.approx([0.375, 0.375, 0.75])
    )
    assert summary.loc["Gypsum 500", "swing_greatest"] == pytest.approx(0.6)
    ranked = rank_latents(Drawing(), spectra, table).set_index("latent")
    assert ranked.loc[1, "furthest_line"] == "Gypsum 500"
    assert ranked.loc[0, "mean_swing"] == pytest.approx(0.3) and ranked["kl"].tolist() == [0] * 3
    assert find_common_latent(table, "Gypsum") == (0, 1)
    assert judge_common_latent([table], "Gypsum") == "fails"  # each line has a latent of its own
    alone = table.assign(share=(table["latent"] == 1) * 0.9, swing=(table["latent"] == 1) * 0.5)
    assert find_common_latent(alone, "Gypsum") == (1, 2)
    assert judge_common_latent([alone, alone], "Gypsum") == "holds"
    assert judge_common_latent([alone, table], "Gypsum") == "open"
