"""Captured steps denoise as plain ones do, to the byte where nothing is rounded otherwise."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from diffusevae.core.device import LAUNCH_VARIABLE, PRECISION_VARIABLE, choose_device
from diffusevae.core.randomness import generator
from diffusevae.sampling import denoising
from diffusevae.sampling.denoising import Way
from diffusevae.sampling.samplers import SAMPLERS, sample
from tests.support.toy_models import make_diffusion, make_sampler

WAY = Way(0.0, "all", True, "captured")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def make_refiner(p_uncond=0.1):
    """Return a frozen DiffuseVAE and conditions for five images."""
    model = make_diffusion("v", conditional=True).eval().requires_grad_(False)
    model.p_uncond = p_uncond
    return model, torch.rand(5, 1, 16, 16, generator=generator(5))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_captured_step_s_body_makes_the_same_bytes(sampler, monkeypatch):
    model, x_hat = make_refiner()
    config = make_sampler(sampler=sampler, num_steps=5, eta=0.5, batch_size=3, guidance=1.0)
    plain = sample(model, config, 5, 0, x_hat)  # batches of three and of two
    monkeypatch.setenv(LAUNCH_VARIABLE, "captured")
    for _ in range(2):
        assert torch.equal(sample(model, config, 5, 0, x_hat), plain)
    assert len(denoising._STEPS[model].captured) == 2
    model.unet.conv_out.weight.mul_(2)  # in its place: a step knows no other weights
    assert not torch.equal(sample(model, config, 5, 0, x_hat), plain)


def test_threads_that_share_a_step_do_not_disturb_each_other(monkeypatch):
    """As those of a server do."""
    model, x_hat = make_refiner()
    config = make_sampler(sampler="ddpm", num_steps=20, batch_size=5)
    monkeypatch.setenv(LAUNCH_VARIABLE, "captured")
    expected = [sample(model, config, 5, seed, x_hat) for seed in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda seed: sample(model, config, 5, seed, x_hat), range(4)))
    finally:
        sys.setswitchinterval(interval)
    for images, alone in zip(made, expected, strict=True):
        assert torch.equal(images, alone)


def test_the_steps_used_last_are_kept_as_long_as_the_model(monkeypatch):
    model, _ = make_refiner()
    steps = denoising._STEPS.setdefault(model, denoising.Steps(torch.device("cpu")))
    first = steps.find(model, [torch.float32], 1, WAY)
    for count in range(2, denoising.KEPT + 1):
        steps.find(model, [torch.float32], count, WAY)
    assert steps.find(model, [torch.float32], 1, WAY) is first
    steps.find(model, [torch.float32], denoising.KEPT + 1, WAY)
    assert len(steps.captured) == denoising.KEPT
    assert steps.find(model, [torch.float32], 1, WAY) is first
    assert steps.find(model, [torch.float32], 1, Way(0.0, "all", False, "captured")) is not first
    monkeypatch.setenv(PRECISION_VARIABLE, "bfloat16")
    assert steps.find(model, [torch.float32], 1, WAY) is not first
    kept = len(denoising._STEPS)
    del model
    gc.collect()
    assert len(denoising._STEPS) == kept - 1


def test_compiled_steps_are_traced_whole_and_make_the_same_images(monkeypatch):
    model, x_hat = make_refiner()
    config = make_sampler(num_steps=2, batch_size=5)
    plain = sample(model, config, 5, 0, x_hat)
    compile_, traced = torch.compile, []

    def trace(function, **options):
        traced.append(options)
        return compile_(function, backend="eager", fullgraph=True, **options)

    monkeypatch.setattr(torch, "compile", trace)
    monkeypatch.setenv(LAUNCH_VARIABLE, "compiled")
    assert torch.equal(sample(model, config, 5, 0, x_hat), plain)
    assert len(traced) == 1


@needs_gpu
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_s_images_are_the_same_on_a_gpu(sampler, monkeypatch):
    monkeypatch.setenv(PRECISION_VARIABLE, "float32")
    choose_device()
    model, x_hat = make_refiner()
    config = make_sampler(sampler=sampler, num_steps=8, eta=0.5, batch_size=3, guidance=1.0)
    expected = sample(model, config, 5, 0, x_hat)
    model.cuda()
    first = sample(model, config, 5, 0, x_hat)
    assert all(step.graph is not None for step in denoising._STEPS[model].captured.values())
    torch.testing.assert_close(first, expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(sample(model, config, 5, 0, x_hat), first)
