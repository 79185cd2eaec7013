"""Classical ways to fill in pixels, where the right answer is known."""

import numpy as np
import pytest
import torch

from diffusevae.studies.restoration.classical_fills import (
    average_neighbours,
    diffuse,
    expect,
    expect_less_noise,
    fit_pixels,
)

KNOWN = torch.tensor([[[1.0, 0.0]]])


def draw_pairs(count: int) -> torch.Tensor:
    """Return images of two pixels: the second is half the first plus 0.2, and a little noise."""
    first, noise = torch.rand(2, count, generator=torch.Generator().manual_seed(0))
    return torch.stack([first, 0.2 + 0.5 * first + 0.01 * noise], dim=1).view(count, 1, 1, 2)


def test_an_unknown_pixel_that_hangs_together_linearly_is_found():
    train, test = draw_pairs(2000).split([1900, 100])
    filled = expect(fit_pixels(train), test * KNOWN, KNOWN, ridge=1e-6)
    torch.testing.assert_close(filled, test, atol=0.01, rtol=0)


def test_noise_is_taken_away_as_far_as_pixels_vary_less_than_it():
    pixels = fit_pixels(draw_pairs(2000))
    mean = pixels.mean.view(1, 1, 1, 2).float()
    torch.testing.assert_close(expect_less_noise(pixels, mean + 0.2, noise=100.0), mean)
    torch.testing.assert_close(expect_less_noise(pixels, mean, noise=0.1), mean)
    near = expect_less_noise(pixels, mean + 0.1, noise=1e-4)
    assert float(near[..., 0]) == pytest.approx(float(mean[..., 0]) + 0.1, abs=1e-3)


@pytest.mark.parametrize("count", [5, 40])  # fewer images than their 12 pixels, and more
def test_the_best_linear_estimate_is_the_textbook_s(count):
    train, known = torch.rand(count, 3, 2, 2), torch.tensor([1.0, 0, 0, 1]).expand(3, 4)
    pixels, seen = fit_pixels(train), known.flatten().bool().numpy()
    x, image = train.flatten(1).double().numpy(), torch.rand(1, 3, 2, 2)
    mean, covariance = x.mean(0), np.cov(x.T, bias=True)
    offset = image.flatten().double().numpy() - mean

    own = covariance[np.ix_(seen, seen)] + 0.01 * np.eye(seen.sum())
    wanted = mean + covariance[:, seen] @ np.linalg.solve(own, offset[seen])
    filled = expect(pixels, image * known.view(1, 3, 2, 2), known.view(3, 2, 2), ridge=0.01)
    np.testing.assert_allclose(filled.flatten()[~seen], wanted.clip(0, 1)[~seen], atol=1e-6)

    gain = covariance @ np.linalg.inv(covariance + 0.09 * np.eye(12))
    clean = expect_less_noise(pixels, image, noise=0.3)
    np.testing.assert_allclose(clean.flatten(), (mean + gain @ offset).clip(0, 1), atol=1e-6)


def test_the_mean_of_the_nearest_keeps_what_is_known():
    train = torch.tensor([[0.1, 1.0], [0.2, 0.0], [0.9, 0.7]]).view(3, 1, 1, 2)
    observed = torch.tensor([0.12, 0.0]).view(1, 1, 1, 2)
    filled = average_neighbours(train, observed, KNOWN, 2)
    assert filled.flatten().tolist() == pytest.approx([0.12, 0.5])
    assert average_neighbours(train, observed, KNOWN, 80).shape == observed.shape


def test_between_two_known_pixels_lies_a_straight_line():
    known = torch.tensor([[[1.0, 0, 0, 0, 1]]])
    filled = diffuse(torch.tensor([0.0, 0, 0, 0, 1]).view(1, 1, 1, 5), known)
    assert filled.flatten().tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=1e-4)
