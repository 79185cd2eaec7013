"""Fields on Gaussians, for which the images that are wanted have a known distribution."""

import pytest
import torch
from torch import nn

from diffusevae.sampling.fields import want_labels, want_pixels
from diffusevae.sampling.samplers import sample
from tests.support.exact_pair import CORRELATION, COUNT, STD, observe, pair_model
from tests.support.toy_models import make_sampler

SAMPLER = make_sampler(sampler="ddpm", num_steps=400, clip=False, batch_size=COUNT)


def test_a_pixel_seen_with_noise_has_the_posterior_of_bayes_and_the_other_stays():
    """Of independent pixels the first is N(y s^2 / (s^2 + n^2), s^2 n^2 / (s^2 + n^2))."""
    model, noise = pair_model(correlation=0.0), 0.2
    field = want_pixels(model, *observe(0.4), variance=STD**2, noise=noise)
    images = 2 * sample(model, SAMPLER, COUNT, 0, field=field) - 1
    gain = STD**2 / (STD**2 + noise**2)
    first, second = images[:, 0, 0, 0], images[:, 0, 0, 1]
    assert float(first.mean()) == pytest.approx(gain * 0.4, abs=0.01)
    assert float(first.std()) == pytest.approx((gain * noise**2) ** 0.5, rel=0.05)
    assert float(second.mean()) == pytest.approx(0, abs=0.015)
    assert float(second.std()) == pytest.approx(STD, rel=0.05)


def test_what_was_not_seen_follows_what_was_as_far_as_they_go_together():
    """E[x_2 | x_1 = y] = correlation * y."""
    model = pair_model()
    field = want_pixels(model, *observe(0.3), variance=STD**2, noise=0.01)
    images = 2 * sample(model, SAMPLER, COUNT, 0, field=field) - 1
    assert float(images[:, 0, 0, 0].mean()) == pytest.approx(0.3, abs=0.01)
    assert float(images[:, 0, 0, 1].mean()) == pytest.approx(CORRELATION * 0.3, abs=0.03)


class ByBrightness(nn.Module):
    """log p(1 | x) - log p(0 | x) = 4 (x_1 - 1/2) for the first pixel x_1, in [0, 1]."""

    def forward(self, x):
        logit = 4 * (x[:, 0, 0, 0] - 0.5)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def test_labels_move_images_as_their_posterior_says_and_as_many_as_are_asked():
    """p(x) sigmoid(2 x) for x ~ N(0, s^2): by numbers, its mean is near s^2, that of -2 x -s^2."""
    model = pair_model(correlation=0.0)
    labels = torch.arange(COUNT) % 2
    field = want_labels(model, ByBrightness(), labels, weight=1.0)
    images = 2 * sample(model, SAMPLER, COUNT, 0, field=field) - 1
    x = torch.linspace(-3, 3, 6001).double()
    density = torch.exp(-0.5 * (x / STD) ** 2) * torch.sigmoid(2 * x)
    expected = float((density * x).sum() / density.sum())
    first = images[:, 0, 0, 0]
    assert float(first[labels == 1].mean()) == pytest.approx(expected, abs=0.02)
    assert float(first[labels == 0].mean()) == pytest.approx(-expected, abs=0.02)


def test_a_field_sees_the_images_of_its_batch_and_none_is_no_field():
    model = pair_model()
    config = make_sampler(num_steps=3, batch_size=2)
    seen = []

    def field(x_0, images, alpha_bar):
        seen.append((len(x_0), images.start))
        return 0 * x_0.flatten(1).sum(1)

    unmoved = sample(model, config, 3, 0, field=field)
    assert seen == [(2, 0)] * 3 + [(1, 2)] * 3
    torch.testing.assert_close(unmoved, sample(model, config, 3, 0))
