"""The environment says where the networks compute and how exactly."""

import subprocess
import sys

import pytest
import torch

from diffusevae.core.device import (
    COMPILED_FROM,
    DEVICE_VARIABLE,
    LAUNCH_VARIABLE,
    PRECISION_VARIABLE,
    choose_device,
    launch,
    strictly_deterministic,
)
from diffusevae.core.errors import InputError
from diffusevae.models.unet import UNet
from tests.support.toy_models import make_unet_config, make_vae

# Tells how many pages of memory the kernel hands out for three steps that are like those before.
COUNT_PAGES = """
import resource, sys, torch
from diffusevae.core.device import choose_device
from diffusevae.models.layers import ResidualBlock
if sys.argv[1] == "kept":
    choose_device()
blocks = torch.nn.Sequential(*(ResidualBlock(16, 16, 0.0) for _ in range(4)))
x = torch.randn(128, 16, 32, 32)
def train(steps):
    for _ in range(steps):
        blocks(x).mean().backward()
train(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
train(3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize(
    ("variable", "value", "mend"),
    [
        (PRECISION_VARIABLE, "float16", "float32 or bfloat16"),
        (LAUNCH_VARIABLE, "fast", "plain or captured or compiled"),
    ],
)
@pytest.mark.fault("T12")
def test_a_way_to_compute_that_there_is_not_is_named_with_the_mend(
    variable, value, mend, monkeypatch
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"^{variable}: '{value}' is none; use {mend}$"):
        choose_device()


@pytest.mark.parametrize(("name", "inside"), [("cpu", "warn"), ("cuda", "error")])
def test_what_is_strict_on_a_gpu_is_so_for_a_while(name, inside):
    modes = ["default", "warn", "error"]
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    try:
        with pytest.raises(ZeroDivisionError), strictly_deterministic(torch.device(name)):
            assert modes[torch.get_deterministic_debug_mode()] == inside
            raise ZeroDivisionError
        assert modes[torch.get_deterministic_debug_mode()] == "warn"
    finally:
        torch.set_deterministic_debug_mode(before)


@pytest.mark.parametrize(("name", "made_current"), [("cuda", []), ("cuda:1", [1])])
def test_a_gpu_that_is_named_is_the_current_one(name, made_current, monkeypatch):
    monkeypatch.setenv(DEVICE_VARIABLE, name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    current: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: current.append(device.index))
    assert choose_device() == torch.device(name) and current == made_current


def test_steps_on_a_gpu_are_captured_and_compiled_where_that_pays(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert launch(cpu, 10 * COMPILED_FROM) == "plain"
    assert launch(gpu, COMPILED_FROM - 1) == "captured"
    assert launch(gpu, COMPILED_FROM) == "compiled"
    monkeypatch.setenv(LAUNCH_VARIABLE, "plain")
    assert launch(gpu, COMPILED_FROM) == "plain"


def test_the_networks_compute_in_the_precision_asked_for(monkeypatch):
    torch.manual_seed(0)
    unet = UNet(make_unet_config(), (1, 16, 16), conditional=False).eval()
    vae, x, t = make_vae(image_shape=(1, 16, 16)).eval(), torch.rand(4, 1, 16, 16), torch.arange(4)
    for last in (unet.conv_out, vae.decoder.layers[-1]):  # zero at first
        torch.nn.init.normal_(last.weight)
    computed = []
    unet.conv_in.register_forward_hook(lambda *arguments: computed.append(arguments[-1].dtype))

    def compute() -> list[torch.Tensor]:
        with torch.no_grad():
            return [unet(x, t), vae.encode(x)[0], vae.decode(vae.encode(x)[0])]

    exact = compute()
    monkeypatch.setenv(PRECISION_VARIABLE, "bfloat16")
    rounded = compute()
    assert computed == [torch.float32, torch.bfloat16]
    for got, expected in zip(rounded, exact, strict=True):
        assert got.dtype == expected.dtype == torch.float32
        assert 0 < (got - expected).abs().mean() < 0.1 * expected.abs().mean()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_kept_for_the_next_tensor():
    pages = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", COUNT_PAGES, how], check=True, capture_output=True, text=True
            ).stdout
        )
        for how in ("kept", "given back")
    }
    assert 3 * pages["kept"] < pages["given back"]


def test_float32_on_a_gpu_is_float32():
    torch.backends.cudnn.allow_tf32 = True  # as torch has it
    choose_device()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
