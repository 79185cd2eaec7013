"""Measured spectra: what is in the file, what is refused, folds."""

import dataclasses

import numpy as np
import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.latents.spectra.measured_spectra import (
    FILE,
    drop_copies,
    fit_spectra,
    read_spectra,
    scale,
    split_folds,
)
from diffusevae.latents.spectra.spectral_lines import check_lines
from diffusevae.sources.pinned import ASSETS
from diffusevae.training.loop import Callbacks


def test_the_file_is_what_is_said_of_it(raw):
    assert [file.name for file in ASSETS["raman"].files] == [FILE]
    assert raw.intensities.shape == (322, 1, 1000) and len(raw.names) == 27
    assert raw.shift[0] == 200 and raw.shift[-1] == 1199
    assert raw.intensities.min() == 0 and (raw.intensities.amax((1, 2)) == 1).all()
    assert len(raw.of("Gypsum")) == 6
    check_lines(raw)


def test_copies_are_dropped_also_under_another_name(raw):
    spectra, pairs = drop_copies(raw)
    assert len(pairs) == 19 and len(spectra.labels) == 303
    other = [
        (raw.names[raw.labels[a]], raw.names[raw.labels[b]])
        for a, b in pairs
        if raw.labels[a] != raw.labels[b]
    ]
    assert other.count(("Labradorite", "Anorthite")) == 13
    assert other.count(("Bytownite", "Anorthite")) == 4 and len(other) == 17
    assert all(torch.equal(raw.intensities[a], raw.intensities[b]) for a, b in pairs)
    assert len(spectra.intensities.unique(dim=0)) == 303
    assert spectra.labels.tolist() == sorted(spectra.labels.tolist())  # the order is the file's


GOOD = {
    "shift": np.arange(200.0, 208.0),
    "spectra": np.eye(8)[:4] + 0.1,
    "label": np.array([0, 0, 1, 1]),
    "names": np.array(["a", "b"]),
}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"mass": np.zeros(3)},
            "holds label, mass, names, shift, spectra, expected shift, spectra",
        ),
        ({"label": None}, "holds names, shift, spectra, expected"),
        ({"shift": np.arange(7.0)}, r"spectra are \[4, 8\], expected \[4, 7\]"),
        ({"label": np.array([0, 1, 1])}, r"spectra are \[4, 8\], expected \[3, 8\]"),
        ({"label": np.array([0, 0, 1, 2])}, "labels go from 0 to 2, expected 0 to 1 for 2 names"),
        ({"label": np.array([-1, 0, 1, 1])}, "labels go from -1 to 1"),
        ({"label": np.array([0.0, 0, 1, 1])}, r"label is float64 \[4\], expected whole numbers"),
        ({"shift": GOOD["shift"][::-1]}, "shift does not increase"),
        ({"shift": GOOD["shift"] // 2}, "shift does not increase"),
        ({"shift": np.full(8, np.nan)}, "shift does not increase"),
        (
            {"spectra": np.where(np.eye(8)[:4] == 1, np.nan, 1)},
            "spectrum 0 has a value that is not",
        ),
        (
            {"spectra": np.ones((4, 8)) * [[1], [1], [-1], [1]]},
            "spectrum 2 has no intensity above 0",
        ),
        ({"spectra": np.ones(8)}, r"spectra is float64 \[8\], expected numbers in 2 dimensions"),
        ({"spectra": np.full((4, 8), "x")}, "spectra is <U1 .*expected numbers"),
        ({"names": np.array(["a", "a"])}, "names has a name twice"),
        ({"names": np.array(["a", None], dtype=object)}, "cannot be read .*allow_pickle"),
        ({"names": np.array([], dtype=str)}, r"names is <U1 \[0\], expected text"),
    ],
)
def test_a_file_that_is_something_else_is_refused_in_one_line(tmp_path, changes, reason):
    arrays = {name: array for name, array in (GOOD | changes).items() if array is not None}
    np.savez(tmp_path / FILE, **arrays)
    with pytest.raises(InputError, match=reason) as caught:
        read_spectra(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path / FILE) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 broken", b"no archive at all"])
def test_a_file_that_is_missing_or_damaged_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_spectra(tmp_path)


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / FILE)
    with pytest.raises(InputError, match="cannot be read"):
        read_spectra(tmp_path)


def test_scaling_cuts_below_zero_and_the_strongest_line_is_one():
    scaled = scale(torch.tensor([[-1.0, 1.0, 4.0], [0.0, 0.1, 0.05]]))
    assert torch.allclose(scaled, torch.tensor([[0, 0.25, 1], [0, 1, 0.5]]))


def test_folds_share_nothing_and_hold_out_every_spectrum_once(raw):
    spectra, _ = drop_copies(raw)
    folds = split_folds(spectra.labels, spectra.names, 3, 0)
    held = torch.cat([held_out for _, held_out in folds])
    assert sorted(held.tolist()) == list(range(303))
    for train, held_out in folds:
        assert not set(train.tolist()) & set(held_out.tolist())
        assert len(train) + len(held_out) == 303
        for part in (train, held_out):
            assert len(spectra.labels[part].unique()) == 27
    again = split_folds(spectra.labels, spectra.names, 3, 0)
    other = split_folds(spectra.labels, spectra.names, 3, 1)
    assert torch.equal(again[0][0], folds[0][0]) and not torch.equal(other[0][1], folds[0][1])
    with pytest.raises(InputError, match="num_folds: 4, but Anorthite has 3 spectra"):
        split_folds(spectra.labels, spectra.names, 4, 0)


def test_training_sees_nothing_but_the_spectra_it_is_given(raw, smoke):
    """The same spectra and seed give the same model, whatever lies beside them in memory."""
    x, labels = raw.intensities[::10].clone(), raw.labels[::10]
    config = dataclasses.replace(smoke.spectra, epochs=2)
    weights = [
        fit_spectra(config, x, labels, seed, Callbacks())[0].state_dict() for seed in (0, 0, 1)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["to_mu.weight"], weights[2]["to_mu.weight"])
