"""What augmentation changes of a spectrum, and what it leaves."""

import dataclasses

import pytest
import torch

from diffusevae.core.randomness import generator
from diffusevae.latents.spectra.augmentation import AugmentationConfig, augment
from tests.support.toy_spectra import toy

STILL = AugmentationConfig(0, 0, 0, 0, 0)


def test_augmentation_by_zero_changes_nothing():
    spectra = toy([0, 0, 1])
    rows = torch.tensor([2, 0])
    for part in augment(spectra.intensities, spectra.labels, rows, STILL, generator(0)):
        assert torch.equal(part, spectra.intensities[rows])


def test_a_spectrum_is_mixed_with_its_own_mineral_alone():
    spectra = toy([0] * 3 + [1] * 3)
    config = dataclasses.replace(STILL, mix=1.0)
    rows = torch.arange(6).repeat(50)
    clean, seen = augment(spectra.intensities, spectra.labels, rows, config, generator(0))
    assert torch.equal(clean, seen)
    other = torch.where(spectra.labels[rows] == 0, clean[:, 0, 3], clean[:, 0, 2])
    assert (other == 0).all() and torch.allclose(clean.amax(2), torch.ones(300, 1))
    moved = (clean - spectra.intensities[rows])[:, 0, 0]
    assert (moved != 0).any() and moved.abs().max() <= 0.01 + 1e-6  # half way to two hundredths


def test_shift_and_gain_change_both_and_noise_and_baseline_what_is_seen_alone():
    spectra = toy([0] * 4)
    rows = torch.arange(4).repeat(100)
    config = dataclasses.replace(STILL, max_shift=2, max_gain=0.5)
    clean, seen = augment(spectra.intensities, spectra.labels, rows, config, generator(0))
    assert torch.equal(clean, seen)
    heights, places = clean[:, 0].max(1)
    assert set(places.tolist()) == {0, 1, 2, 3, 4}
    assert 0.5 <= heights.min() < 0.6 and 0.9 < heights.max() <= 1
    config = dataclasses.replace(STILL, max_baseline=0.2, max_noise=0.0)
    clean, seen = augment(spectra.intensities, spectra.labels, rows, config, generator(0))
    added = (seen - clean)[:, 0]
    assert torch.equal(clean, spectra.intensities[rows])
    assert added.min() >= 0 and 0.15 < added.max() <= 0.2
    assert added.diff(dim=1).diff(dim=1).abs().max() < 1e-6  # a straight line
    config = dataclasses.replace(STILL, max_noise=0.3)
    clean, seen = augment(spectra.intensities, spectra.labels, rows, config, generator(0))
    spread = (seen - clean).std()  # of deviations even from 0 to 0.3: their root mean square
    assert torch.equal(clean, spectra.intensities[rows])
    assert spread == pytest.approx(0.3 / 3**0.5, rel=0.1)
