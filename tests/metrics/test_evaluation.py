import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import save_tensors
from diffusevae.data.dataset import Split, to_unit
from diffusevae.metrics.evaluation import EvaluateConfig, evaluate, flatten
from diffusevae.metrics.labels import RESTORERS, WAYS
from diffusevae.metrics.metric import DISTRIBUTION, PAIRED
from diffusevae.metrics.paired import hist_sim_of_set
from diffusevae.metrics.set_comparison import compare_generators, compare_sets
from diffusevae.models.classifier import Classifier, ClassifierConfig, save_classifier
from diffusevae.stages import evaluate as stage
from tests.support.toy_sets import blobs

CONFIG = EvaluateConfig(num_resamples=200, neighbours=3)
CPU = torch.device("cpu")


class Pixels(nn.Module):
    """A classifier whose features are 4 x 4 means and whose label is the first pixel's bit."""

    num_classes = 2

    def features(self, x):
        return nn.functional.avg_pool2d(x, 4).flatten(1)

    def forward(self, x):
        return nn.functional.one_hot((x[:, 0, 0, 0] > 0.5).long(), 10).float()


def make_split(number: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (number, 1, 16, 16), dtype=torch.uint8, generator=generator)
    return Split(images, (images[:, 0, 0, 0] > 127).long(), torch.arange(number))


def make_generated(number: int) -> dict[str, torch.Tensor]:
    """Return images of every way to generate: black ones of the prior, noise of the others."""
    ways = ("ddpm", "vae_gmm", "diffusevae_gmm", "diffusevae_prior")
    sets = {name: to_unit(make_split(number, 2 + i).images) for i, name in enumerate(ways)}
    return sets | {"vae_prior": torch.zeros(number, 1, 16, 16)}


@pytest.fixture
def inputs() -> dict:
    test = make_split(60, 1)
    real = to_unit(test.images[:20])
    return {
        "pairs": {
            "real": real,
            "vae": (real + 0.25).clamp(0, 1) * 0.75,
            "diffusevae": real.clone(),
            "labels": test.labels[:20],
        },
        "validation": {"real": real, "vae": (real + 0.25).clamp(0, 1) * 0.75},
        "generated": make_generated(40),
        "train": make_split(80, 0),
        "test": test,
        "classifier": Pixels(),
        "lpips_model": None,
        "lpips_reason": "not here",
        "config": CONFIG,
        "seed": 0,
        "device": CPU,
    }


def test_metrics_have_the_agreed_shape_and_fit_into_json(inputs):
    metrics, frame, _ = evaluate(**inputs)
    json.dumps(metrics, allow_nan=False)
    assert (metrics["num_images"], metrics["num_generated"]) == (20, 40)
    assert set(metrics["paired"]) == {"vae", "stretched", "diffusevae", "difference", "control"}
    for table in metrics["paired"].values():
        assert set(table) == set(PAIRED) and table["lpips"] is None
    assert set(metrics["generated"]) == set(WAYS)
    for table in (metrics["floor"], *metrics["generated"].values()):
        assert set(table) == set(DISTRIBUTION)
    assert metrics["classifier"] == {"num_classes": 2, "test_accuracy": 1.0, "num_features": 16}
    assert metrics["lpips"] == {"backbone": "alexnet", "available": False, "reason": "not here"}
    assert list(frame.columns) == ["index", "label", "model", *PAIRED]
    assert frame["model"].tolist() == [who for who in RESTORERS for _ in range(20)]
    assert frame["label"].tolist() == 3 * inputs["pairs"]["labels"].tolist()


def test_copies_are_a_warning_beside_the_numbers_and_few_training_images_are_none(inputs):
    assert evaluate(**inputs | {"train": make_split(8, 0)})[0]["warnings"] == []
    copies = to_unit(inputs["test"].images[:40])
    metrics = evaluate(**inputs | {"generated": inputs["generated"] | {"ddpm": copies}})[0]
    (warning,) = metrics["warnings"]
    assert warning.startswith("copies: images of ddpm lie at 40 of the held-out images")
    assert metrics["generated"]["ddpm"]["frechet"]["value"] >= 0


def test_a_perfect_refinement_is_seen_as_one(inputs):
    paired = evaluate(**inputs)[0]["paired"]
    assert paired["diffusevae"]["mse"] == {"value": 0, "low": 0, "high": 0}
    assert paired["diffusevae"]["psnr"]["value"] == pytest.approx(100)
    difference, vae = paired["difference"], paired["vae"]
    assert difference["mae"]["value"] == pytest.approx(-vae["mae"]["value"])
    assert difference["mae"]["high"] < 0 < difference["ssim"]["low"]


def test_the_control_is_chosen_on_validation_images_and_held_against_refinement(inputs):
    """x_hat here is clip(x + .25) * .75: darkest .1875 of 8-bit black, brightest .75."""
    metrics, frame, _ = evaluate(**inputs)
    black, white = metrics["stretch"]["black"], metrics["stretch"]["white"]
    assert (black, white) == (0.1, 0.9)  # as far as it goes
    x_hat = ((inputs["pairs"]["vae"] - black) / (white - black)).clamp(0, 1)
    expected = (x_hat - inputs["pairs"]["real"]).abs().mean()
    paired = metrics["paired"]
    assert paired["stretched"]["mae"]["value"] == pytest.approx(float(expected), rel=1e-5)
    # The refinement is perfect: its error less the control's is the control's, negative.
    assert paired["control"]["mae"]["value"] == pytest.approx(-float(expected), rel=1e-5)
    of_validation = evaluate(**inputs | {"validation": {"real": x_hat, "vae": x_hat}})[0]
    assert of_validation["stretch"] == {"black": 0, "white": 1}
    assert of_validation["paired"]["control"] == of_validation["paired"]["difference"]


def test_gains_are_differences_of_distances_at_infinity():
    """Of one shift: |m - m'|^2 = 16 s^2 for 16 features, and of one's own set 0."""
    rng = np.random.default_rng(0)
    reference, base = (rng.normal(size=(400, 16)) for _ in range(2))
    sets = {"diffusevae_gmm": base, "vae_gmm": base + 1.0, "stretched_gmm": base, "ddpm": base}
    gains = compare_generators(reference, sets)
    assert gains["stretched_gmm"] == {"value": 0, "low": 0, "high": 0}
    mean = 2 * (base.mean(0) - reference.mean(0)).sum()  # (m + 1 - r)^2 - (m - r)^2
    assert gains["vae_gmm"]["value"] == pytest.approx(-16 - mean, rel=1e-6)
    assert gains["vae_gmm"]["high"] < 0
    few = {name: each[:16] for name, each in sets.items()}
    assert set(compare_generators(reference, few).values()) == {None}


def test_set_values_are_not_means_over_images(inputs):
    metrics, frame, _ = evaluate(**inputs)
    mean_mse = frame.loc[frame["model"] == "vae", "mse"].mean()
    assert metrics["set"]["vae"]["psnr"] == pytest.approx(-10 * np.log10(mean_mse))
    assert metrics["set"]["vae"]["psnr"] < metrics["paired"]["vae"]["psnr"]["value"]  # Jensen
    sets, pairs = metrics["set"], inputs["pairs"]
    assert sets["diffusevae"]["hist_sim"] == 0
    assert sets["vae"]["hist_sim"] == hist_sim_of_set(pairs["vae"], pairs["real"])
    assert 0 < sets["vae"]["hist_sim"] < metrics["paired"]["vae"]["hist_sim"]["value"]


def test_images_of_the_same_distribution_stay_near_the_floor(inputs):
    metrics = evaluate(**inputs)[0]
    floor, ddpm, black = metrics["floor"], *(metrics["generated"][k] for k in ("ddpm", "vae_prior"))
    assert ddpm["frechet"]["low"] < floor["frechet"]["high"] < black["frechet"]["low"]
    assert black["precision"]["value"] == black["recall"]["value"] == 0
    assert min(ddpm["precision"]["value"], floor["precision"]["value"]) > 0.5


def test_the_floor_comes_from_the_train_images(inputs):
    train, test = inputs["train"], inputs["test"]
    white = torch.full_like(train.images, 255)
    inputs["train"] = Split(white, train.labels, train.indices)
    floor = evaluate(**inputs)[0]["floor"]
    assert floor["recall"]["value"] == 0
    # As many train images as test images, all of both: the floor compares exactly these sets.
    inputs["generated"] = make_generated(60)
    expected = compare_sets(test.images, {"white": white[:60]}, Pixels(), 3, CPU)["white"]
    assert evaluate(**inputs)[0]["floor"] == expected


def test_the_reference_itself_has_distance_zero(inputs):
    images = inputs["test"].images
    result = compare_sets(images, {"same": to_unit(images)}, Pixels(), 3, CPU)["same"]
    assert result["frechet"]["value"] == pytest.approx(0, abs=1e-9)
    assert result["precision"]["value"] == result["recall"]["value"] == 1


def test_lpips_is_the_mean_over_images_of_the_networks_value(inputs):
    class Distance(nn.Module):
        def forward(self, x, y, normalize):
            assert normalize
            return (x - y).abs().mean(dim=(1, 2, 3), keepdim=True)

    for name in ("real", "vae", "diffusevae"):
        inputs["pairs"][name] = nn.functional.interpolate(inputs["pairs"][name], size=32)
    metrics, frame, _ = evaluate(**inputs | {"lpips_model": Distance(), "lpips_reason": ""})
    assert metrics["paired"]["vae"]["lpips"]["value"] == pytest.approx(frame["lpips"][:20].mean())
    np.testing.assert_allclose(frame["lpips"], frame["mae"], atol=1e-6)
    assert frame["lpips"].nunique() > 20
    assert metrics["lpips"]["available"]


@pytest.mark.parametrize("name", ["ddpm", "floor", "reference"])
def test_sets_that_are_too_small_are_named(inputs, name):
    sets = {key: inputs["test"].images for key in ("ddpm", "floor", "reference")}
    sets[name] = sets[name][:3]
    with pytest.raises(InputError, match=f"{name}: 3 images.* at least 8"):
        compare_sets(sets.pop("reference"), sets, Pixels(), 3, CPU)


@pytest.mark.parametrize("shape", [(0, 1, 16, 16), (2, 1, 8, 8)])
def test_pairs_that_cannot_be_measured_are_refused(inputs, shape):
    inputs["pairs"] |= {name: torch.zeros(shape) for name in ("real", "vae", "diffusevae")}
    with pytest.raises(InputError, match="11 x 11"):
        evaluate(**inputs)


def test_flatten_names_every_value_once(inputs):
    metrics = evaluate(**inputs)[0]
    flat = flatten(metrics)
    assert flat["vae_mse"] == metrics["paired"]["vae"]["mse"]["value"]
    assert flat["floor_kid"] == metrics["floor"]["kid"]["value"]
    assert "vae_lpips" not in flat and len(flat) == 5 * 6 + 7 * 7 + 3


def test_the_stage_writes_the_same_bytes_again(inputs, tmp_path):
    save_tensors(tmp_path / "pairs", inputs["pairs"])
    save_tensors(tmp_path / "validation", inputs["validation"])
    save_tensors(tmp_path / "generated", inputs["generated"])
    for seed, name in enumerate(("train", "test")):
        smooth = {"images": (255 * blobs(60, size=16, seed=seed)).byte()}
        save_tensors(
            tmp_path / name,
            smooth | {key: getattr(inputs[name], key)[:60] for key in ("labels", "indices")},
        )
    torch.manual_seed(0)
    classifier = Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 10)
    save_classifier(tmp_path / "classifier", classifier)
    params = SimpleNamespace(seed=0, evaluate=CONFIG)
    messages = []
    say = messages.append
    log = SimpleNamespace(message=say, summary=say, artifact=say)
    names = ("pairs", "validation", "generated", "train", "test", "classifier", "lpips")
    paths = {name: tmp_path / name for name in names}
    for out in (tmp_path / "one", tmp_path / "two"):
        stage.run(params, **paths, out=out, log=log)
    for name in ("metrics.json", "per_image.csv", "corruptions.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert "16 x 16" in metrics["lpips"]["reason"] and metrics["lpips"]["reason"] in messages[0]
    frame = pd.read_csv(tmp_path / "one" / "per_image.csv")
    assert frame["lpips"].isna().all() and not frame.drop(columns="lpips").isna().any().any()
