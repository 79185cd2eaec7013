"""RePaint on Gaussians, for which the distribution of unknown pixels is known."""

import pytest
import torch

from diffusevae.sampling.inpainting import repaint
from tests.support.exact_pair import CORRELATION, COUNT, STD, observe, pair_model
from tests.support.toy_models import make_diffusion, make_sampler

SAMPLER = make_sampler(num_steps=50, clip=False, batch_size=COUNT)


def fill(num_rounds: int) -> torch.Tensor:
    observed, known = observe(0.3)
    images = repaint(pair_model(), SAMPLER, observed, known, 0, num_rounds)
    return 2 * images[:, 0, 0] - 1


def test_unknown_pixels_have_the_conditional_distribution_and_known_ones_stay():
    """x_2 given x_1 = y is N(correlation y, s^2 (1 - correlation^2))."""
    pixels = fill(num_rounds=10)
    torch.testing.assert_close(pixels[:, 0], torch.full((COUNT,), 0.3))
    assert float(pixels[:, 1].mean()) == pytest.approx(CORRELATION * 0.3, abs=0.03)
    assert float(pixels[:, 1].std()) == pytest.approx(STD * (1 - CORRELATION**2) ** 0.5, rel=0.15)


def test_more_rounds_bring_the_unknown_nearer_to_what_the_known_say():
    far, near = (abs(float(fill(n)[:, 1].mean()) - CORRELATION * 0.3) for n in (1, 10))
    assert near < far


def test_a_seed_gives_the_same_images_and_the_last_batch_may_be_smaller():
    model, config = make_diffusion(conditional=True), make_sampler(num_steps=3, batch_size=2)
    observed, x_hat = torch.rand(2, 3, 1, 16, 16).unbind()
    known = (torch.arange(16) < 8).float().expand(3, 1, 16, 16)
    one, two = (repaint(model, config, observed, known, 0, 2, x_hat) for _ in range(2))
    assert torch.equal(one, two)
    torch.testing.assert_close(one * known, observed * known)


def test_a_chain_may_start_at_an_estimate_and_keeps_most_of_it_where_little_noise_is_added():
    model = pair_model()
    observed, known = observe(0.3)
    estimate = observed.clone()
    estimate[..., 1] = 0.9  # 0.8 in the range of diffusion, far from the 0.27 that 0.3 says
    starts = [(estimate, noise) for noise in (0.005, 0.5)]
    near, far = (
        2 * float(repaint(model, SAMPLER, observed, known, 0, 1, start=each)[..., 1].mean()) - 1
        for each in starts
    )
    assert near > 0.7 and abs(far - CORRELATION * 0.3) < 0.15
