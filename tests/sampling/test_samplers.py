"""Samplers on a Gaussian whose exact denoiser is known, and against each other."""

import dataclasses
from typing import get_args

import pytest
import torch
from torch import nn

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.sampler_config import SamplerName
from diffusevae.sampling.samplers import SAMPLERS, sample
from tests.support.exact_models import ExactGaussian
from tests.support.toy_models import make_diffusion, make_sampler, make_unet_config

MEAN, STD = 0.2, 0.3  # of the Gaussian "images", in the range of diffusion


def exact_model(num_timesteps=200) -> DiffusionModel:
    model = make_diffusion("x0", num_timesteps=num_timesteps)
    model.unet = ExactGaussian(model.schedule.alpha_bars, MEAN, STD)
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "ddim"},
        {"sampler": "ddim", "eta": 1.0},
        {"sampler": "ddpm"},
        {"sampler": "ddpm", "variance": "beta"},
        {"sampler": "ddim", "num_steps": 100},
        {"sampler": "ddim", "spacing": "linspace"},
        {"sampler": "ddim_ahead", "num_steps": 100},
        {"sampler": "dpmpp_2m", "num_steps": 20},
        {"sampler": "unipc", "num_steps": 20},
        {"sampler": "unipc", "clip": False, "num_steps": 20},
        {"sampler": "heun", "num_steps": 61},
    ],
)
def test_with_the_exact_denoiser_the_samples_have_the_datas_mean_and_spread(changes):
    images = sample(exact_model(), make_sampler(**changes), 256, seed=0)
    values = 2 * images - 1  # 16,384 values; clamping at +-1 hardly touches N(0.2, 0.3^2)
    assert float(values.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(values.std()) == pytest.approx(STD, rel=0.05)


class ExactFlow(ExactGaussian):
    """The best velocity E[eps - x_0 | y] for x_0 ~ N(MEAN, STD^2), of y = (1 - u) x_0 + u eps."""

    def forward(self, y, t):
        u = ((t + 1) / len(self.alpha_bars))[:, None, None, None]
        weight = (u - (1 - u) * STD**2) / ((1 - u) ** 2 * STD**2 + u**2)
        return weight * (y - (1 - u) * MEAN) - MEAN


@pytest.mark.parametrize(
    "changes",
    [{"sampler": name} for name in SAMPLERS if name != "ddim_ahead"]
    + [{"sampler": "ddim_ahead", "num_steps": 100}, {"sampler": "heun", "num_steps": 60}],
)
def test_a_flow_is_sampled_by_every_sampler(changes):
    """From pure noise, where bar_alpha is 0."""
    model = make_diffusion("flow", num_timesteps=200, scheduler_type="flow")
    model.unet = ExactFlow(model.schedule.alpha_bars, MEAN, STD)
    values = 2 * sample(model, make_sampler(**changes), 256, seed=0) - 1
    assert float(values.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(values.std()) == pytest.approx(STD, rel=0.05)


def test_ddim_is_euler_s_and_heun_heun_s_method_along_a_flow():
    """dy/du = v(y, u) from u = 1 to 0, integrated here by hand."""
    model = make_diffusion("flow", num_timesteps=8, scheduler_type="flow").eval()
    start, found = [], {}
    for name, steps in {"ddim": 4, "heun": 7}.items():
        config = make_sampler(sampler=name, num_steps=steps, clip=False)
        found[name] = sample(model, config, 3, 0, callback=lambda t, x, x_0: start.append(x))
    y = {name: start[0] for name in found}
    for t in (7, 5, 3, 1):  # u = 1, 3/4, 1/2, 1/4
        with torch.inference_mode():
            v = {name: model.unet(y[name], torch.tensor([t])) for name in y}
            if t > 1:
                ahead = model.unet(y["heun"] - v["heun"] / 4, torch.tensor([t - 2]))
                v["heun"] = (v["heun"] + ahead) / 2
        y = {name: y[name] - v[name] / 4 for name in y}
    for name, images in found.items():
        torch.testing.assert_close(images, model.to_unit_range(y[name]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found["ddim"], found["heun"], atol=1e-3)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 6, 7])
def test_heun_runs_the_network_as_often_as_asked(num_steps):
    model, runs = make_diffusion("v").eval(), []
    model.unet.register_forward_hook(lambda *_: runs.append(1))
    sample(model, make_sampler(sampler="heun", num_steps=num_steps), 2, 0)
    assert len(runs) == num_steps


class ExactShifted(ExactGaussian):
    """The best denoiser of Formulation 2 for x_0 ~ N(MEAN + x_hat / 2, STD^2), which sees x_t."""

    config, conditional = make_unet_config(fuse=("shift",)), True

    def forward(self, x_t, t, condition):
        return condition / 2 + super().forward(x_t - condition * (1 + self.signal(t) / 2), t)

    def signal(self, t):
        return self.alpha_bars[t].sqrt()[:, None, None, None]


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "ddpm"},
        {"sampler": "ddim"},
        {"sampler": "ddim", "eta": 1.0},
        {"sampler": "dpmpp_2m", "num_steps": 20},
        {"sampler": "unipc", "num_steps": 20},
    ],
)
def test_formulation_2_samples_the_gaussian_around_each_x_hat(changes):
    model = make_diffusion("x0", num_timesteps=200, conditional=True)
    model.unet = ExactShifted(model.schedule.alpha_bars, MEAN, STD)
    x_hat = torch.tensor([0.1, 0.3, 0.5]).repeat(100)[:, None, None, None].expand(-1, 1, 8, 8)
    values = 2 * sample(model, make_sampler(**changes), 300, 0, x_hat) - 1
    for start, centre in enumerate((-0.8, -0.4, 0.0)):  # of x_hat, in the range of diffusion
        some = values[start::3]
        assert float(some.mean()) == pytest.approx(MEAN + centre / 2, abs=0.015)
        assert float(some.std()) == pytest.approx(STD, rel=0.06)


def test_every_name_has_its_sampler():
    assert tuple(SAMPLERS) == get_args(SamplerName)


def test_without_added_noise_the_ancestral_sampler_loses_spread():
    images = sample(exact_model(), make_sampler(sampler="ddpm", variance="zero"), 64, seed=0)
    assert float((2 * images - 1).std()) < 0.8 * STD


def test_the_callback_sees_every_step_and_the_result():
    seen = []
    images = sample(
        exact_model(),
        make_sampler(num_steps=5),
        3,
        seed=1,
        callback=lambda t, x_t, x_0: seen.append((t, x_0)),
    )
    assert [t for t, _ in seen] == [199, 159, 119, 79, 39, -1]
    assert torch.equal(seen[-1][1], images)


class LinearInTime(nn.Module):
    """Predicts an x_0 that falls by 0.001 from each timestep to the one after it in time."""

    image_shape = (1, 4, 4)

    def forward(self, x_t, t):
        return (0.5 - 0.001 * t.float())[:, None, None, None].expand_as(x_t)


def test_looking_ahead_ends_where_one_step_more_would():
    model = make_diffusion("x0", num_timesteps=200)
    model.unet = LinearInTime()
    seen = []
    images = sample(
        model,
        make_sampler(sampler="ddim_ahead", num_steps=4),
        2,
        0,
        callback=lambda t, x_t, x_0: seen.append(t),
    )
    assert seen == [199, 159, 119, 79, -1]  # of five steps all but 39
    expected = sample(model, make_sampler(num_steps=5), 2, 0)
    torch.testing.assert_close(images, expected)
    assert float(expected.mean()) == pytest.approx((1 + 0.5 - 0.039) / 2, abs=1e-5)


def test_looking_ahead_needs_a_timestep_to_look_to():
    model, config = make_diffusion("x0", num_timesteps=10), make_sampler(sampler="ddim_ahead")
    assert sample(model, dataclasses.replace(config, num_steps=9), 1, 0).isfinite().all()
    alone = sample(model, dataclasses.replace(config, num_steps=1), 1, 0)  # no line through one
    assert torch.equal(alone, sample(model, make_sampler(num_steps=1), 1, 0))
    with pytest.raises(InputError, match="num_steps 10: ddim_ahead .* use at most 9"):
        sample(model, dataclasses.replace(config, num_steps=10), 1, 0)


def test_the_seed_decides_the_images_and_x_hat_conditions_them():
    model = make_diffusion("v", conditional=True).eval()
    config = make_sampler(num_steps=4, batch_size=2)
    x_hat = torch.rand(3, 1, 16, 16, generator=generator(5))
    first = sample(model, config, 3, 0, x_hat)
    assert first.shape == (3, 1, 16, 16) and 0 <= first.min() and first.max() <= 1
    assert torch.equal(first, sample(model, config, 3, 0, x_hat))
    assert not torch.equal(first, sample(model, config, 3, 1, x_hat))
    assert not torch.equal(first, sample(model, config, 3, 0, 1 - x_hat))


def test_labels_are_refused_by_a_model_without_classes_and_change_what_one_with_them_makes():
    labels = torch.tensor([0, 1, 1])
    config = make_sampler(num_steps=2, batch_size=2)
    with pytest.raises(InputError, match="^labels: this model knows no classes"):
        sample(make_diffusion("v").eval(), config, 3, 0, labels=labels)
    model = make_diffusion("v", num_classes=2).eval()
    made = sample(model, config, 3, 0, labels=labels)
    assert not torch.equal(made, sample(model, config, 3, 0, labels=1 - labels))
    assert torch.equal(made[2:], sample(model, config, 3, 0, labels=torch.tensor([1, 0, 1]))[2:])
    guided = make_sampler(num_steps=2, guidance=1.0)
    with pytest.raises(InputError, match="^guidance 1: needs a model trained without its cond"):
        sample(model, guided, 3, 0, labels=labels)


def test_guidance_is_refused_where_the_condition_was_never_hidden():
    model, x_hat = make_diffusion("v", conditional=True).eval(), torch.rand(2, 1, 16, 16)
    guided = make_sampler(num_steps=2, guidance=1.0)
    with pytest.raises(InputError, match="^guidance 1: needs a model trained without its cond"):
        sample(model, guided, 2, 0, x_hat)
    model.p_uncond = 0.1
    unguided = sample(model, make_sampler(num_steps=2), 2, 0, x_hat)
    assert not torch.equal(sample(model, guided, 2, 0, x_hat), unguided)
    alone = make_diffusion("v").eval()  # without a condition there is nothing to be guided by
    assert torch.equal(sample(alone, guided, 2, 0), sample(alone, make_sampler(num_steps=2), 2, 0))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_noise_is_shared_and_scaled_where_asked(sampler):
    model = make_diffusion("v", conditional=False).eval()
    config = make_sampler(sampler=sampler, num_steps=4, eta=0.5, batch_size=2)
    shared = sample(model, dataclasses.replace(config, shared_noise=True), 3, 0)
    torch.testing.assert_close(shared, shared[:1].expand(3, -1, -1, -1))  # over two batches
    assert float(sample(model, config, 2, 0).diff(dim=0).abs().max()) > 0.1
    seen = []
    sample(
        model,
        dataclasses.replace(config, temperature=0.5),
        64,
        0,
        callback=lambda t, x_t, x_0: seen.append(x_t),
    )
    assert float(seen[0].std()) == pytest.approx(0.5, rel=0.05)


def test_without_clipping_the_prediction_may_leave_its_range():
    model = make_diffusion("x0", num_timesteps=200)
    torch.nn.init.zeros_(model.unet.conv_out.weight)
    torch.nn.init.constant_(model.unet.conv_out.bias, 1.5)
    seen = []
    for clip in (True, False):
        config = make_sampler(num_steps=3, clip=clip)
        sample(model, config, 1, 0, callback=lambda t, x_t, x_0: seen.append(x_t))
    assert float(seen[3].max()) == 1 and float(seen[-1].max()) == 1.5
