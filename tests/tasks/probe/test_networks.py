"""What drawn networks cost."""

from ruamel.yaml import YAML

from diffusevae.experiments.experiment import load_experiment
from tasks.probe.networks import cost_of_drawn_networks
from tests.support.checkouts import ROOT


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
