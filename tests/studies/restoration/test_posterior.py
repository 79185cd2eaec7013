"""One step to the expected image, and means of several answers."""

import pytest
import torch

from diffusevae.studies.restoration.posterior import average, expect_clean
from tests.support.exact_pair import STD, pair_model


def test_one_step_gives_the_mean_that_bayes_gives():
    """x ~ N(0, s^2) seen with noise n is expected at x s^2 / (s^2 + n^2)."""
    noise = 0.2
    noisy = torch.full((1, 1, 1, 2), 0.7)
    gain = STD**2 / (STD**2 + (2 * noise) ** 2)
    clean = expect_clean(pair_model(correlation=0.0), noisy, noise)
    torch.testing.assert_close(clean, 0.5 + gain * (noisy - 0.5), atol=0.005, rtol=0)


def test_answers_to_one_image_lie_beside_each_other():
    answers = torch.tensor([0.0, 0.2, 1.0, 0.6]).view(4, 1, 1, 1)
    mean = average(answers, 2)
    assert mean.images.flatten().tolist() == pytest.approx([0.1, 0.8])
    assert mean.setting == "mean of 2" and not mean.classical
