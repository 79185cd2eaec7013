"""Weights of the loss against values derived by hand; the rest is in test_diffusion."""

import pytest
import torch

from diffusevae.models.predictions import min_snr_weights


@pytest.mark.parametrize(
    ("prediction", "expected"),
    # bar_alpha 0.9, 0.5, 0.1: SNR 9, 1, 1/9; u = s / (a + s) is 1/4, 1/2, 3/4
    [
        ("x0", [5, 1, 1 / 9]),  # min(SNR, 5)
        ("eps", [5 / 9, 1, 1]),  # over SNR
        ("v", [5 / 10, 1 / 2, 1 / 10]),  # over SNR + 1
        ("flow", [5 / 16, 1 / 4, 1 / 16]),  # times u^2
    ],
)
def test_min_snr_at_three_levels(prediction, expected):
    alpha_bars = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    weights = min_snr_weights(alpha_bars, prediction, 5.0)
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))
