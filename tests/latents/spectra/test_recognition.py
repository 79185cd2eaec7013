"""Recognising spectra: each method by its own measure, hits and accuracy."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from diffusevae.latents.spectra.recognition import (
    METHODS,
    add_noise,
    average,
    build_archetypes,
    compare_archetypes,
    judge_fold,
    recognise,
    summarise_hits,
)
from tests.support.toy_spectra import Identity, toy


def test_averages_are_per_label():
    values = torch.tensor([[1.0, 0], [3, 0], [5, 7]])
    assert average(values, torch.tensor([0, 0, 1])).tolist() == [[2, 0], [5, 7]]


def test_noise_has_its_level_and_is_the_same_at_every_level():
    x = torch.ones(50, 1, 200)
    weak, strong = (add_noise(x, level, 0) - x for level in (0.1, 0.4))
    assert weak.std() == pytest.approx(0.1, rel=0.03)
    assert torch.allclose(4 * weak, strong, atol=1e-5)
    assert torch.equal(add_noise(x, 0.0, 0), x)


def test_every_method_names_the_nearest_by_its_own_measure():
    """Cosine looks at the direction alone, distance at the length too."""
    x = torch.tensor([[[1.0, 0.0]], [[0.4, 0.3]], [[0.2, 0.5]]])
    labels = torch.tensor([0, 1, 1])
    noisy = torch.tensor([[[0.3, 0.0]], [[4.0, 3.9]]])
    found = recognise(Identity(), x, labels, noisy)
    assert set(found) == set(METHODS)
    assert found["cosine"].tolist() == [0, 1] and found["denoised"].tolist() == [0, 1]
    assert found["code"].tolist() == [1, 0]  # 0.32 from (0.4, 0.3), 0.7 from (1, 0); 5.1 and 4.9
    assert found["archetype"].tolist() == [1, 0]  # label 1's is (0.3, 0.4)
    assert found["mean_cosine"].tolist() == [0, 1]


def test_hits_are_those_of_the_held_out_spectra():
    spectra = toy([0, 0, 0, 1, 1, 1])
    train, held_out = torch.tensor([0, 1, 3, 4]), torch.tensor([2, 5])
    hits = judge_fold(Identity(), spectra, train, held_out, (0.0, 50.0), 0)
    assert len(hits) == 2 * len(METHODS) * 2
    assert (hits[hits["noise"] == 0]["hit"] == 1).all()
    assert set(hits["spectrum"]) == {2, 5} and set(hits["mineral"]) == {"Gypsum", "Calcite"}
    wrong = dataclasses.replace(spectra, labels=torch.tensor([0, 0, 1, 1, 1, 0]))
    assert (judge_fold(Identity(), wrong, train, held_out, (0.0,), 0)["hit"] == 0).all()


def test_accuracy_is_balanced_over_minerals_and_compared_in_pairs():
    rows = []
    for seed in (0, 1):
        for spectrum in range(10):  # 8 of a, 2 of b
            for method in METHODS:
                hit = spectrum < 8 if method == "archetype" else spectrum % 2 == 0 or seed == 1
                rows.append((seed, 0.1, method, spectrum, "a" if spectrum < 8 else "b", int(hit)))
    columns = ["seed", "noise", "method", "spectrum", "mineral", "hit"]
    table = summarise_hits(pd.DataFrame(rows, columns=columns), 0).set_index("method")
    archetype, cosine = table.loc["archetype"], table.loc["cosine"]
    assert archetype["accuracy"] == pytest.approx(0.8)
    assert archetype["balanced_accuracy"] == pytest.approx(0.5)
    assert cosine["accuracy"] == pytest.approx(0.75)
    assert (cosine["least"], cosine["greatest"]) == (0.5, 1.0)
    assert archetype["difference"] == pytest.approx(0.05)
    assert archetype["difference_low"] < 0 < archetype["difference_high"]
    assert cosine["difference_low"] == cosine["difference_high"] == 0
    assert cosine["num_spectra"] == 10 and cosine["num_seeds"] == 2


def test_archetypes_are_decoded_mean_codes_and_compared_with_unseen_spectra():
    spectra = toy([0, 0, 1, 1])
    archetypes = build_archetypes(Identity(), spectra)
    assert torch.allclose(archetypes["codes"][0], spectra.intensities[:2, 0].mean(0))
    train, held_out = torch.tensor([0, 2]), torch.tensor([1, 3])
    compared = compare_archetypes(Identity(), spectra, train, held_out, 0)
    expected = [1 / np.sqrt(1 + 0.01**2), (1 + 0.02 * 0.03) / np.sqrt(1.0004 * 1.0009)]
    for name in ("pseudo", "mean", "single"):  # one training spectrum each: all the same
        assert compared[name].tolist() == pytest.approx(expected, abs=1e-6)
