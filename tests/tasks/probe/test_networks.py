"""What drawn networks cost."""

import pytest
from ruamel.yaml import YAML

from diffusevae.experiments.experiment import load_experiment
from tasks.probe.networks import (
    _count_kept,
    cost_of_drawn_networks,
    memory_of_code,
    memory_of_steps,
)
from tests.support.checkouts import ROOT
from tests.support.toy_models import make_vae


def test_networks_drawn_from_a_space_cost_what_their_flops_do(tmp_path, monkeypatch):
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    smoke = params["experiments"]["smoke"]
    smoke["tune_ddpm"]["space"] = {"unet": {"base_channels": {"choices": [16]}}}
    smoke["tune_vae"]["space"] = {"vae": {"dropout": {"low": 0.0, "high": 0.3}}}
    with open(tmp_path / "params.yaml", "w") as file:
        YAML().dump(params, file)
    monkeypatch.chdir(tmp_path)
    experiment = load_experiment("smoke")
    # Twice the channels: four times the work, but for the ends and the attention map: twice.
    assert 3 < cost_of_drawn_networks(experiment, "tune_ddpm@smoke", (1, 32, 32)) < 4
    assert cost_of_drawn_networks(experiment, "tune_vae@smoke", (1, 32, 32)) == 1


def test_the_memory_of_a_step_is_what_the_backward_pass_keeps_and_what_is_held_of_the_weights(
    monkeypatch,
):
    vae = make_vae()
    kept, own = _count_kept(vae.config, (1, 32, 32))
    assert own == 4 * sum(each.numel() for each in vae.parameters())
    first = 4 * 8 * 32 * 32  # bytes of one of the widest feature maps
    assert kept > 10 * first
    assert _count_kept(vae.config, (1, 64, 64))[0] == pytest.approx(
        4 * kept, rel=0.2
    )  # but for attention
    monkeypatch.chdir(ROOT)
    experiment = load_experiment("smoke")
    small, large = (memory_of_steps(experiment, (1, side, side)) for side in (32, 64))
    assert small.keys() == large.keys() == {"vae", "unet"}
    assert all(large[kind] > 2 * small[kind] for kind in small)


def test_a_code_is_there_in_float32_and_four_times_in_float64(monkeypatch):
    monkeypatch.chdir(ROOT)
    # smoke: 4 channels at a quarter of the side
    assert memory_of_code(load_experiment("smoke"), (1, 32, 32)) == (4 + 4 * 8) * 4 * 8 * 8
