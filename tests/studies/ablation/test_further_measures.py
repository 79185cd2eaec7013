"""Paths and bits of a variant's model."""

import dataclasses
import math

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.data.dataset import Split
from diffusevae.models.vae_losses import kl_divergence
from diffusevae.studies.ablation.further_measures import draw_codes, measure_bits, measure_paths
from tests.support.toy_models import make_diffusion, make_sampler, make_vae


def make_split(images: torch.Tensor) -> Split:
    order = torch.arange(len(images))
    return Split(images, order, order)


class Certain(torch.nn.Module):
    """Predicts the velocity of straight lines that all end at the image given as condition."""

    image_shape, num_timesteps, conditional = (1, 16, 16), 50, True

    def forward(self, y, t, condition):
        u = ((t + 1) / self.num_timesteps)[:, None, None, None]
        return (y - condition) / u


def test_paths_that_lead_straight_to_x_hat_are_straight():
    model = make_diffusion("flow", scheduler_type="flow", conditional=True)
    x_hat = torch.rand(5, 1, 16, 16, generator=generator(0))
    bent = measure_paths(model.eval(), make_sampler(batch_size=2), x_hat, None, 10, 0)
    model.unet = Certain()
    model.unet.config = make_diffusion().unet.config
    straight = measure_paths(model, make_sampler(batch_size=2), x_hat, None, 10, 0)
    assert straight["straightness"] == pytest.approx(0, abs=1e-8) and bent["straightness"] > 1e-3


def test_the_bits_of_a_diffusevae_have_those_of_its_code():
    vae = make_vae((1, 16, 16)).eval().requires_grad_(False)
    images = torch.randint(256, (3, 1, 16, 16), generator=generator(1)).to(torch.uint8)
    drawn = draw_codes(vae, make_split(images), seed=0)
    kl = kl_divergence(*vae.encode(images / 255))
    expected = kl.double() / 256 / math.log(2)
    torch.testing.assert_close(drawn.code_bits, expected, check_dtype=False)
    torch.testing.assert_close(drawn.x_hat, vae.decode(drawn.code))
    model = make_diffusion("v", conditional=True, num_timesteps=10).eval()
    bits = measure_bits(model, drawn.x_hat, drawn, False, 0)
    parts = [bits[f"{name}_bits"] for name in ("code", "prior", "chain", "decoder")]
    assert bits["bits_per_dim"] == pytest.approx(sum(parts)) and min(parts) >= 0
    alone = measure_bits(make_diffusion("v", num_timesteps=10).eval(), None, drawn, False, 0)
    assert "code_bits" not in alone


def test_the_bits_of_a_model_that_is_told_the_class_have_those_of_naming_it():
    """And its other terms are those of the image under its own class."""
    vae = make_vae((1, 16, 16)).eval().requires_grad_(False)
    drawn = draw_codes(vae, make_split(torch.full((3, 1, 16, 16), 128, dtype=torch.uint8)), 0)
    model = make_diffusion("x0", num_timesteps=10, num_classes=3).eval()
    told = measure_bits(model, None, drawn, True, 0)
    assert told["class_bits"] == pytest.approx(math.log2(3) / 256)
    parts = [told[f"{name}_bits"] for name in ("class", "prior", "chain", "decoder")]
    assert told["bits_per_dim"] == pytest.approx(sum(parts))
    torch.nn.init.normal_(model.unet.conv_out.weight)
    torch.nn.init.normal_(model.unet.label_embedding.weight)
    own = measure_bits(model, None, drawn, True, 0)["chain_bits"]
    other = dataclasses.replace(drawn, labels=drawn.labels.flip(0))
    assert measure_bits(model, None, other, True, 0)["chain_bits"] != own
    assert measure_bits(model, None, drawn, False, 0)["chain_bits"] != own


def test_bits_are_refused_of_a_first_stage_that_draws_no_code():
    vae = make_vae((1, 16, 16), kind="rae", decoder_penalty=1e-6).eval().requires_grad_(False)
    with pytest.raises(InputError, match="^ablate.bound_images 3: vae.kind rae draws no code"):
        draw_codes(vae, make_split(torch.zeros(3, 1, 16, 16, dtype=torch.uint8)), seed=0)
