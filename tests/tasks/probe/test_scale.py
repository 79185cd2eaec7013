"""An experiment scaled down."""

import pytest
from ruamel.yaml import YAML

from tasks.probe.scale import SCALES, choose_scales, scale_down
from tests.support.checkouts import ROOT

PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")


@pytest.mark.parametrize("name", PARAMS["experiments"])
def test_an_experiment_scaled_down_is_small_and_the_one_given_stays(name):
    sections = PARAMS["experiments"][name]
    dataset = PARAMS["datasets"][sections["dataset"]]
    sizes = {"train": 50_000, "validation": 5000, "test": 10_000}
    before = str(sections), str(dataset)
    images, few = scale_down(dataset, sections, sizes, 4)
    assert (str(sections), str(dataset)) == before
    assert few["train_vae"]["epochs"] == 1
    assert few["tune_ddpm"]["n_trials"] == min(1, sections["tune_ddpm"]["n_trials"])
    assert few["tune_vae"]["num_images"] <= images["images"]["train_images"] < 10_000
    assert few["sample"]["num_images"] <= images["images"]["test_images"] == 400


def test_what_is_small_is_tried_at_once_with_all_it_has():
    """So that to plan `smoke` takes less than to run it."""
    sections = {"diffusion_optimiser": {"batch_size": 32}}
    assert choose_scales(sections, {"train": 512}) == SCALES[1:]
    assert choose_scales(sections, {"train": 8 * 32 * 4 + 1}) == SCALES
