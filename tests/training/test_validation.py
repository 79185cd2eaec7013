"""Losses of a validation set in parts: the mean over its items, however many parts there are."""

import pytest
import torch

from diffusevae.training.validation import VALIDATION_BATCH, validate_in_parts

ITEMS = torch.arange(2.0 * VALIDATION_BATCH + 100)


def test_the_mean_is_that_of_all_items():
    parts = []

    def losses(part: slice, number: int) -> dict:
        parts.append((number, part.stop - part.start))
        assert torch.is_inference_mode_enabled()
        return {"loss": ITEMS[part].mean()}

    found = validate_in_parts(len(ITEMS), losses)
    assert found["loss"] == pytest.approx(float(ITEMS.mean()))
    assert parts == [(0, VALIDATION_BATCH), (1, VALIDATION_BATCH), (2, 100)]


def test_sums_of_parts_are_added_and_divided_by_the_total():
    def losses(part: slice, number: int) -> dict:
        return {"loss": ITEMS[part].sum()}

    found = validate_in_parts(len(ITEMS), losses, weight=lambda items: 1.0)
    assert found["loss"] == pytest.approx(float(ITEMS.mean()))
    found = validate_in_parts(len(ITEMS), losses, weight=lambda items: 0.5, total=2)
    assert found["loss"] == pytest.approx(float(ITEMS.sum()) / 4)
