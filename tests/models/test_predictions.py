"""Weights of the loss against values derived by hand; the rest is in test_diffusion."""

import pytest
import torch

from diffusevae.models.predictions import min_snr_weights, vlb_weights
from diffusevae.models.schedule import make_schedule


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


@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "flow"])
def test_the_bound_s_weight_of_eps_is_ddpm_s_and_others_follow(prediction):
    """beta_t^2 / (2 sigma_t^2 alpha_t (1 - bar_alpha_t)), sigma_t^2 the posterior's (DDPM, 12)."""
    schedule = make_schedule("linear", 20, 1e-3, 0.3)
    betas, alpha_bars = schedule.betas, schedule.alpha_bars
    sigma2 = betas[1:] * (1 - alpha_bars[:-1]) / (1 - alpha_bars[1:])
    of_eps = betas[1:] ** 2 / (2 * sigma2 * (1 - betas[1:]) * (1 - alpha_bars[1:]))
    # The decoder: |x_0 - x_0'|^2 / (2 beta_1), and |eps - eps'|^2 is that times (1 - beta) / beta.
    of_eps = torch.cat([1 / (2 * (1 - betas[:1])), of_eps])
    a, s = alpha_bars.sqrt(), (1 - alpha_bars).sqrt()
    eps_per_error = {"eps": a**0, "x0": a / s, "v": a, "flow": a / (a + s)}[prediction]
    found = vlb_weights(alpha_bars, prediction)
    torch.testing.assert_close(found, 20 * of_eps * eps_per_error**2)
    ends = vlb_weights(make_schedule("flow", 20, 1e-3, 0.3).alpha_bars, "flow")
    assert ends.isfinite().all() and (ends > 0).all()  # where all is noise, too
