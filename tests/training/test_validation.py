"""Losses of a validation set in parts: the mean over its items, however many parts there are."""

import math

import pytest
import torch

from diffusevae.models.vae import VAE, encode_all, reconstruct_all
from diffusevae.training.loop import Callbacks
from diffusevae.training.vae_training import fit_vae
from diffusevae.training.validation import validate_in_parts
from tests.support.toy_models import make_vae
from tests.support.toy_trainings import make_optimiser

PART = 500
ITEMS = torch.arange(2.0 * PART + 100)


def test_the_mean_is_that_of_all_items():
    parts = []

    def losses(part: slice, number: int) -> dict:
        parts.append((number, part.stop - part.start))
        assert torch.is_inference_mode_enabled()
        return {"loss": ITEMS[part].mean()}

    found = validate_in_parts(len(ITEMS), losses)
    assert found["loss"] == pytest.approx(float(ITEMS.mean()))
    assert parts == [(0, PART), (1, PART), (2, 100)]


def test_sums_of_parts_are_added_and_divided_by_the_total():
    def losses(part: slice, number: int) -> dict:
        return {"loss": ITEMS[part].sum()}

    found = validate_in_parts(len(ITEMS), losses, weight=lambda items: 1.0)
    assert found["loss"] == pytest.approx(float(ITEMS.mean()))
    found = validate_in_parts(len(ITEMS), losses, weight=lambda items: 0.5, total=2)
    assert found["loss"] == pytest.approx(float(ITEMS.sum()) / 4)


def test_large_images_pass_a_network_a_few_at_once(monkeypatch):
    """As many as have the pixels of 500 images of 32 x 32; in the training as in all after it."""
    seen = []
    encode = VAE.encode

    def watched(vae, x, labels=None):
        seen.append(len(x))
        return encode(vae, x, labels)

    monkeypatch.setattr(VAE, "encode", watched)
    images = torch.randint(256, (40, 1, 128, 128), dtype=torch.uint8)
    vae, history = fit_vae(
        make_vae((1, 128, 128), channel_multipliers=(1, 1, 1, 1), attention_levels=()).config,
        make_optimiser(),
        images[:4],
        images,
        1,
        0,
        Callbacks(),
    )
    assert seen == [4, 31, 9]
    assert math.isfinite(history[0]["validation_loss"])
    for run in (reconstruct_all, encode_all):
        seen.clear()
        assert len(run(vae, images)) == 40
        assert seen == [31, 9]
