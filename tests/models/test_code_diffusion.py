"""The diffusion over codes: its range, and that it learns where codes are."""

import pytest
import torch

from diffusevae.models.code_diffusion import CodeDiffusion
from diffusevae.sampling.samplers import sample
from diffusevae.training.loop import Callbacks, Fit, fit
from tests.support.toy_artifacts import DIFFUSION
from tests.support.toy_models import make_sampler
from tests.support.toy_trainings import make_optimiser


def make_codes(count: int) -> torch.Tensor:
    """Return codes count x 2 x 1 x 2, of which the second number is minus the first one."""
    drawn = torch.randn(count, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    return torch.cat([3 * drawn + 5, -drawn], dim=3)


def test_codes_come_back_from_the_range_of_diffusion():
    codes = make_codes(500)
    model = CodeDiffusion(DIFFUSION, 8, codes)
    x = model.to_unit(codes)
    assert x.min() >= 0 and x.max() <= 1
    assert model.to_diffusion_range(x).std(0).flatten().tolist() == pytest.approx([1] * 4, rel=0.02)
    torch.testing.assert_close(model.to_codes(x), codes, rtol=1e-3, atol=1e-3)


def test_what_it_draws_is_distributed_as_the_codes():
    codes, rng = make_codes(512), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = CodeDiffusion(DIFFUSION, 32, codes)
    task = Fit(
        lambda indices, epoch, batch, rows: model.draw(codes[indices], rng),
        CodeDiffusion.losses,
        lambda judged: {"loss": float(judged.losses(*judged.draw(codes, rng))["loss"].detach())},
        len(codes),
    )
    optimiser = make_optimiser(learning_rate=3e-3, batch_size=64, ema_decay=0.98)
    model, _ = fit(model, optimiser, 40, 0, task, Callbacks())
    drawn = model.to_codes(sample(model, make_sampler(num_steps=20), 500, 0))
    assert drawn.mean((0, 1, 2)).tolist() == pytest.approx([5, 0], abs=0.4)
    assert drawn.std((0, 1, 2)).tolist() == pytest.approx([3, 1], rel=0.2)
    both = drawn.permute(3, 0, 1, 2).flatten(1)
    assert float(torch.corrcoef(both)[0, 1]) < -0.95
