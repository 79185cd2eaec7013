"""Codes drawn at random."""

import torch

from diffusevae.core.randomness import generator
from diffusevae.latents.autoencoders.holes import BOX, GAUSSIAN, STANDARD, draw_codes


def test_codes_are_drawn_with_the_spread_that_was_asked_for():
    rng = generator(0)
    mix = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0]])
    codes = torch.randn(4000, 2, generator=rng) @ mix + torch.tensor([5.0, -1, 3])
    fitted = draw_codes(codes, GAUSSIAN, 40_000, rng)
    assert torch.allclose(torch.cov(fitted.T), torch.cov(codes.T), atol=0.15)
    assert torch.allclose(fitted.mean(0), codes.mean(0), atol=0.05)
    assert float(fitted[:, 2].std()) < 1e-3  # a number that never varies
    box = draw_codes(codes, BOX, 40_000, rng)
    assert (box >= codes.amin(0)).all() and (box <= codes.amax(0)).all()
    assert torch.allclose(box.mean(0), (codes.amin(0) + codes.amax(0)) / 2, atol=0.1)
    standard = draw_codes(codes, STANDARD, 40_000, rng)
    assert torch.allclose(torch.cov(standard.T), torch.eye(3), atol=0.05)
