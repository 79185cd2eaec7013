"""The ablation: what differs between its variants, its table, and the whole stage."""

import dataclasses
import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.figures.drawing import figure_style
from diffusevae.models.vae import VAE as VAEModel
from diffusevae.models.vae import VAEConfig, save_vae
from diffusevae.stages import ablate as stage
from diffusevae.studies.ablation.ablation_figures import draw_variants
from diffusevae.studies.ablation.ablation_study import (
    MEASURED,
    VAE,
    AblateConfig,
    Pairs,
    run_variants,
    summarise_variants,
)
from diffusevae.studies.ablation.variants import Variant
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.resumable import CONFIG, OPTIMISER, UNET
from tests.support.toy_models import make_sampler
from tests.support.toy_splits import write_split

ABLATE = AblateConfig(
    variants=(("concat",), ("in", "skip")),
    seeds=(0, 1),
    epochs=1,
    num_train_images=12,
    num_test_images=6,
    p_uncond=0.0,
)


@pytest.fixture
def inputs(tmp_path, monkeypatch) -> dict:
    """Paths of the stage's inputs, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    paths = {name: tmp_path / name for name in ("train", "validation", "test", "vae")}
    for seed, (name, count) in enumerate({"train": 20, "validation": 8, "test": 9}.items()):
        write_split(paths[name], count, seed)
    torch.manual_seed(0)
    vae = VAEModel(VAEConfig(2, 4, (1, 1), (), 0.0, "mse", 1e-5), (1, 16, 16))
    torch.nn.init.normal_(vae.decoder.layers[-1].weight)  # else x_hat is grey, so "none"
    save_vae(paths["vae"], vae)
    return paths


def make_params(**changes) -> SimpleNamespace:
    return SimpleNamespace(
        key="toy",
        seed=0,
        diffusion=CONFIG,
        unet=UNET,
        diffusion_optimiser=OPTIMISER,
        sampler=make_sampler(num_steps=2),
        ablate=dataclasses.replace(ABLATE, **changes),
    )


def test_the_stage_trains_every_variant_with_every_seed(inputs, tmp_path):
    stage.run(make_params(), **inputs, out=tmp_path / "out", log=StageLogger())
    runs = pd.read_csv(tmp_path / "out/runs.csv")
    assert runs["variant"].tolist() == [VAE, "concat", "concat", "in+skip", "in+skip"]
    assert runs["seed"].tolist() == [0, 0, 1, 0, 1]
    parameters = runs.groupby("variant")["num_parameters"].first()
    assert parameters["concat"] != parameters["in+skip"] and parameters[VAE] == 0
    assert runs["mse"].nunique() == 5  # each variant and each seed gives other images
    shown = json.loads((tmp_path / "out/metrics.json").read_text())
    assert list(shown) == [VAE, "concat", "in+skip"] and list(shown[VAE]) == list(MEASURED)
    means = runs.groupby("variant")["mse"].mean()
    assert all(row["mse"] == pytest.approx(means[name], rel=1e-12) for name, row in shown.items())
    assert (tmp_path / "out/table.png").stat().st_size > 10_000
    assert (tmp_path / "out/images.png").stat().st_size > 1_000
    assert not list((tmp_path / "scratch/progress").glob("*"))


def test_guidance_is_for_variants_that_saw_no_condition_now_and_then(inputs, tmp_path):
    """Else nothing is trained; a variant's own p_uncond decides, and is what it is trained by."""
    params = make_params(variants=(("in",),), seeds=(0,))
    params.sampler = make_sampler(num_steps=2, guidance=1.0)
    with pytest.raises(InputError, match="^guidance 1: needs a model trained without its cond"):
        stage.run(params, **inputs, out=tmp_path / "out", log=None)  # no log: nothing is begun
    hidden = make_params(variants=(("in",),), seeds=(0,), p_uncond=0.5)
    hidden.sampler, params.sampler = params.sampler, make_sampler(num_steps=2)
    losses = set()
    for name, each in {"hidden": hidden, "seen": params}.items():
        stage.run(each, **inputs, out=tmp_path / name, log=StageLogger())
        losses.add(pd.read_csv(tmp_path / name / "runs.csv")["validation_loss"][1])
    assert len(losses) == 2


def test_a_killed_ablation_ends_with_the_same_bytes(inputs, tmp_path):
    class Stopping(StageLogger):
        def trial(self, number, params):
            if number == "in+skip-0":
                raise KeyboardInterrupt
            return super().trial(number, params)

    out = [tmp_path / "unbroken", tmp_path / "resumed"]
    stage.run(make_params(), **inputs, out=out[0], log=StageLogger())
    with pytest.raises(KeyboardInterrupt):
        stage.run(make_params(), **inputs, out=out[1], log=Stopping())
    stage.run(make_params(), **inputs, out=out[1], log=StageLogger())
    for file in ("runs.csv", "table.csv", "metrics.json", "table.png", "images.png"):
        assert (out[0] / file).read_bytes() == (out[1] / file).read_bytes()


def test_the_table_has_the_mean_and_the_ends_over_seeds():
    measured = {
        "mse": [1.0, 2.0, 6.0],
        "ssim": [0.1, 0.2, 0.6],
        "edge_sim": [3.0, 3.0, 3.0],
        "hist_sim": [0.5, 0.25, 0.75],
    }
    runs = pd.DataFrame(
        {"variant": ["in"] * 3, "seed": [0, 1, 2], "num_parameters": [7] * 3, **measured}
    )
    (row,) = summarise_variants(runs).to_dict("records")
    assert (row["variant"], row["num_seeds"], row["num_parameters"]) == ("in", 3, 7)
    assert (row["mse"], row["mse_low"], row["mse_high"]) == (3.0, 1.0, 6.0)
    assert (row["hist_sim_low"], row["hist_sim"], row["hist_sim_high"]) == (0.25, 0.5, 0.75)


def test_variants_share_everything_but_where_x_hat_enters():
    seen = []

    def train(setting, variant, seed):
        seen.append((setting, variant.fuse, seed))
        return {"variant": variant.name, "seed": seed}, torch.zeros(1)

    test = Pairs(torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16))
    setting = SimpleNamespace(test=test)
    runs, shown = run_variants(setting, ABLATE, train)
    assert [each[1:] for each in seen] == [
        (("concat",), 0),
        (("concat",), 1),
        (("in", "skip"), 0),
        (("in", "skip"), 1),
    ]
    assert all(each[0] is setting for each in seen)
    assert len(runs) == 5 and list(shown) == ["concat", "in+skip"]


def test_the_figure_has_a_plot_per_metric_and_a_row_per_variant():
    runs = pd.DataFrame(
        {
            "variant": [VAE, "in", "concat"],
            "mse": [1.0, 2, 3],
            "ssim": [0.1, 0.2, 0.3],
            "edge_sim": [1.0, 1, 1],
            "hist_sim": [0.1, 0.1, 0.2],
        }
    )
    with figure_style():
        figure = draw_variants(runs)
    assert len(figure.axes) == 4
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["in", "concat"]
    runs["straightness"] = [float("nan"), 0.1, 0.2]
    with figure_style():
        axes = draw_variants(runs).axes
    assert [each.get_visible() for each in axes] == [True] * 5 + [False]
    assert axes[4].get_title("left") == "Straightness of paths ↓"
    assert len(axes[4].lines) == len(axes[0].lines) - 1  # the VAE has no paths


def test_a_variant_is_given_the_code_or_both_or_another_objective(inputs, tmp_path):
    """Formulation 2, z instead of x_hat, beside it, attended to, the class, a flow, nothing."""
    variants = (
        ("shift",),
        Variant("code", ("in",), "code"),
        Variant("both", ("in", "shift"), "both"),
        Variant("attended", ("attend",), "code"),
        Variant("beside", ("in", "attend"), "both"),
        Variant("flow", ("in",), diffusion={"prediction": "flow", "scheduler_type": "flow"}),
        Variant("ddpm", condition="none"),
        Variant("class", ("in",), labels=True),
        Variant("token", ("in", "attend"), labels=True),
    )
    further = {"path_steps": 3, "bound_images": 4}
    params = make_params(variants=variants, seeds=(0,), p_uncond=0.5, **further)
    params.sampler = make_sampler(num_steps=2, guidance=1.0)
    params.diffusion = dataclasses.replace(CONFIG, num_timesteps=10)
    params.unet = dataclasses.replace(UNET, attention_levels=(1,))
    stage.run(params, **inputs, out=tmp_path / "out", log=StageLogger())
    runs = pd.read_csv(tmp_path / "out/runs.csv").set_index("variant")
    assert runs.index.tolist() == [VAE, *(each.name for each in params.ablate.listed)]
    added = runs["num_parameters"] - runs["num_parameters"]["shift"]
    assert added["flow"] == 1 * 1 + 1 * 1 + 1  # a 1x1 convolution of x_t and x_hat, its bias
    assert added["code"] == 1 + 2 + 1 and added["both"] == 1 + 1 + 2 + 1  # z has 2 channels
    assert added["ddpm"] == 0
    # z's 2 numbers come to 8, 64 places; 3 blocks of 8 channels: norm, q, k and v, output.
    attention = (2 * 8 + 8) + 64 * 8 + 3 * (2 * 8 + 9 * 8 + 9 * 16 + 9 * 8)
    assert added["attended"] == attention and added["beside"] == attention + added["flow"]
    # One class, or none: each an embedding of 8, and as a token another.
    assert added["class"] == added["flow"] + 2 * 8
    assert added["token"] == added["class"] + attention - (2 * 8 + 8) - 64 * 8 + 2 * 8
    assert runs.index[runs["class_bits"].notna()].tolist() == ["class", "token"]
    assert runs["mse"].nunique() == 10 and runs["mse"].notna().all()
    table = pd.read_csv(tmp_path / "out/table.csv").set_index("variant")
    for name in ("straightness", "bits_per_dim"):
        assert runs[name].isna().tolist() == table[name].isna().tolist() == [True] + [False] * 9


@pytest.mark.parametrize(
    "changes",
    [{"variants": ()}, {"seeds": (1, 1)}, {"variants": (("in",), Variant("in", ("skip",)))}],
)
def test_nothing_or_twice_the_same_is_refused(changes):
    with pytest.raises(ValueError, match="one or more, each once"):
        dataclasses.replace(ABLATE, **changes)
