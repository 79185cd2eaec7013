"""The beta-VAE study: shapes, effects, agreement, archetypes by facts found by hand; the stage."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from diffusevae.core.errors import InputError
from diffusevae.latents.digits.archetypes import Archetypes, find_class_archetypes
from diffusevae.latents.digits.digits_study import BetaVAEConfig
from diffusevae.latents.digits.digits_verdicts import judge_neuron
from diffusevae.latents.measures.agreement import (
    chance_of_concordance,
    concordance,
    match_latents,
    rank,
)
from diffusevae.latents.measures.shapes import measure_shapes
from diffusevae.latents.measures.traversals import (
    entanglement,
    largest_step,
    measure_effects,
    name_meaning,
    traverse,
)
from diffusevae.latents.models.beta_vae import (
    VectorVAE,
    VectorVAEConfig,
    beta_vae_loss,
    kl_of_latents,
    load_vector_vae,
    save_vector_vae,
)
from diffusevae.latents.models.deterministic import AutoencoderConfig, ConvolutionalAutoencoder
from diffusevae.latents.page.chapter import read_chapter
from diffusevae.models.classifier import Classifier, ClassifierConfig, save_classifier
from diffusevae.models.vae import VAE, VAEConfig, kl_divergence, save_vae
from diffusevae.stages import beta_vae as stage
from diffusevae.tracking.stage_logger import StageLogger
from diffusevae.training.loop import OptimiserConfig
from tests.support.toy_splits import write_split

STUDY = VectorVAEConfig(10, (32, 64), (), "bce", 4.0, "sum")


def bar(top: int, left: int, height: int, width: int) -> torch.Tensor:
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, top : top + height, left : left + width] = 1
    return image


# The model and its loss


def test_the_study_s_architecture_has_its_number_of_parameters():
    """docs/study.md, B1, by hand: 4 x 4 convolutions with biases, and three linear layers."""
    encoder = (1 * 32 * 16 + 32) + (32 * 64 * 16 + 64) + 2 * (4096 * 10 + 10)
    decoder = (10 * 4096 + 4096) + (64 * 32 * 16 + 32) + (32 * 1 * 16 + 1)
    model = VectorVAE(STUDY, (1, 32, 32))
    assert sum(p.numel() for p in model.parameters()) == encoder + decoder == 193_685


def test_the_loss_is_the_sum_of_the_cross_entropy_and_beta_kl():
    torch.manual_seed(0)
    model = VectorVAE(STUDY, (1, 32, 32))
    x, eps = torch.rand(3, 1, 32, 32), torch.randn(3, 10)
    mu, logvar = model.encode(x)
    z = mu + (0.5 * logvar).exp() * eps
    p = model.decode(z).double()
    entropy = -(x * p.log() + (1 - x) * (1 - p).log()).sum()
    kl = (0.5 * (mu**2 + logvar.exp() - 1 - logvar)).sum()
    found = beta_vae_loss(model, x, eps)
    torch.testing.assert_close(found["loss"].double(), entropy + 4 * kl.double(), rtol=1e-5, atol=0)
    mean = VectorVAE(VectorVAEConfig(10, (32, 64), (), "bce", 4.0, "mean"), (1, 32, 32))
    mean.load_state_dict(model.state_dict())
    torch.testing.assert_close(beta_vae_loss(mean, x, eps)["loss"], found["loss"] / 3)


def test_kl_of_the_latents_adds_up_to_the_vae_s():
    mu, logvar = torch.randn(5, 4), torch.randn(5, 4)
    torch.testing.assert_close(kl_of_latents(mu, logvar).sum(1), kl_divergence(mu, logvar))
    assert kl_of_latents(torch.zeros(1, 1), torch.zeros(1, 1)) == 0
    assert kl_of_latents(torch.full((1, 1), 2.0), torch.zeros(1, 1)) == 2.0  # mu^2 / 2


def test_a_spectrum_goes_in_and_out():
    config = VectorVAEConfig(3, (4, 8), (16,), "mse", 1.0, "mean")
    model = VectorVAE(config, (1, 1000))
    assert model.reconstruct(torch.rand(2, 1, 1000)).shape == (2, 1, 1000)


def test_a_length_that_cannot_be_halved_is_one_clear_line():
    with pytest.raises(InputError, match=r"channels \[4, 4\]: 30 x 30 cannot be halved 2 times"):
        VectorVAE(VectorVAEConfig(3, (4, 4), (), "mse", 1.0, "mean"), (1, 30, 30))


def test_a_checkpoint_comes_back_and_another_kind_is_refused(tmp_path):
    model = VectorVAE(STUDY, (1, 32, 32))
    save_vector_vae(tmp_path / "m.safetensors", model)
    again = load_vector_vae(tmp_path / "m.safetensors")
    assert again.config == STUDY and again.shape == (1, 32, 32)
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(again.reconstruct(x), model.reconstruct(x))
    save_vae(
        tmp_path / "v.safetensors", VAE(VAEConfig(4, 8, (1, 2), (), 0.0, "mse", 1e-5), (1, 8, 8))
    )
    with pytest.raises(InputError, match="no model with a vector of latents"):
        load_vector_vae(tmp_path / "v.safetensors")


# Shapes


def test_an_upright_bar_has_its_area_width_and_no_slant():
    found = {name: float(v) for name, v in measure_shapes(bar(6, 10, 20, 4)).items()}
    assert found["area"] == 80
    assert abs(found["slant"]) < 1e-9
    # The variance of w adjacent pixels is (w^2 - 1) / 12: the width is sqrt(w^2 - 1).
    assert found["width"] == pytest.approx(math.sqrt(15))
    # Forward differences count one corner once, by its diagonal: the perimeter is 2 (20 + 4) less
    # two sides of 1 plus a diagonal of sqrt(2).
    assert found["thickness"] == pytest.approx(2 * 80 / (48 - 2 + math.sqrt(2)))


def test_a_thicker_and_a_paler_bar():
    thin, thick = bar(2, 10, 28, 2), bar(2, 10, 28, 4)
    one, two = measure_shapes(thin), measure_shapes(thick)
    assert 1.8 < float(two["thickness"] / one["thickness"]) < 2.0
    pale = measure_shapes(0.5 * thick)
    assert float(pale["thickness"]) == pytest.approx(float(two["thickness"]))
    assert float(pale["area"]) == pytest.approx(float(two["area"]) / 2)


def test_a_line_that_leans_to_the_right_by_45_degrees():
    leaning = torch.eye(32).flip(1)[None, None]  # bottom left to top right
    found = measure_shapes(torch.cat([leaning, leaning.flip(3)]))
    np.testing.assert_allclose(found["slant"], [45, -45], atol=1e-6)
    np.testing.assert_allclose(found["width"], 0, atol=1e-4)  # nothing is left when it is upright


def test_a_blank_image_has_no_shape():
    assert all(float(value) == 0 for value in measure_shapes(torch.zeros(1, 1, 32, 32)).values())


# Traversals and effects


class BarModel:
    """Decodes (left edge, thickness) of an upright bar; a third latent does nothing."""

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return torch.cat([bar(4, 10 + round(float(a)), 24, 4 + round(float(b))) for a, b, _ in z])


class Half(nn.Module):
    """Says which half of the image has more ink."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[..., :16].sum((1, 2, 3)), x[..., 16:].sum((1, 2, 3))], 1)


def test_a_traversal_moves_one_latent_evenly_and_leaves_the_others():
    codes = torch.tensor([[1.0, 2.0, 0.0]])
    path = traverse(BarModel(), codes, 1, 7)
    assert path.shape == (1, 7, 1, 32, 32)
    assert [float(image.sum()) for image in path[0]] == [24.0 * (4 + b) for b in range(-3, 4)]
    assert codes.tolist() == [[1.0, 2.0, 0.0]]
    wider = traverse(BarModel(), codes, 0, 3, centre=1.0, scale=2.0)[0]
    assert [int(image.nonzero()[0, -1]) for image in wider] == [10 - 5, 10 + 1, 10 + 7]


def test_a_latent_out_of_range_is_one_clear_line():
    with pytest.raises(InputError, match="latent 3: the code has the latents 0 to 2"):
        traverse(BarModel(), torch.zeros(1, 3), 3, 5)


def test_the_largest_step_of_an_even_path_is_its_mean():
    even = torch.arange(5.0).view(1, 5, 1, 1, 1)
    jump = torch.tensor([0.0, 0, 0, 0, 1]).view(1, 5, 1, 1, 1)
    still = torch.zeros(1, 5, 1, 1, 1)
    assert largest_step(torch.cat([even, jump, still])).tolist() == [1, 4, 1]


def test_effects_are_what_the_model_was_built_to_do():
    spread = {"thickness": 1.0, "slant": 1.0, "width": 2.0, "area": 24.0}
    codes = torch.zeros(2, 3)
    codes[:, 0] = 1
    thicker = measure_effects(traverse(BarModel(), codes, 1, 7), Half(), spread)
    assert thicker["area"].tolist() == [6.0, 6.0]  # from 1 to 7 columns of 24 pixels, per 24
    assert thicker["width"] == pytest.approx([math.sqrt(48) / 2] * 2)
    assert thicker["slant"] == pytest.approx([0, 0])
    assert thicker["jump"] == pytest.approx([1, 1])  # a column more at every step
    moved = measure_effects(traverse(BarModel(), codes, 0, 7, 4.0, 1.0), Half(), spread)
    assert moved["class"].tolist() == [1.0, 1.0]  # it crosses the middle
    assert moved["area"].tolist() == [0.0, 0.0]
    nothing = measure_effects(traverse(BarModel(), codes, 2, 7), Half(), spread)
    assert nothing["class"].tolist() == nothing["pixels"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("effects", "kl", "meaning"),
    [
        ({"slant": 2.0, "width": 0.5}, 1.0, "slant"),
        ({"slant": -1.0, "width": 0.6}, 1.0, "slant, width"),
        ({"area": 0.1}, 1.0, "detail"),
        ({"area": 5.0}, 0.01, "unused"),
        ({"thickness": 0.4, "class": 0.8}, 1.0, "thickness, class"),
    ],
)
def test_meanings(effects, kl, meaning):
    card = {
        f"effect_{name}": effects.get(name, 0.0)
        for name in ("thickness", "slant", "width", "area", "class")
    }
    assert name_meaning(card | {"kl": kl}) == meaning


def test_entanglement_of_independent_equal_and_constant_codes():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4000))
    assert entanglement(np.stack([a, b], 1)) < 0.05
    assert entanglement(np.stack([a, -a], 1)) == pytest.approx(1)
    assert entanglement(np.stack([a, 0 * a], 1)) == 0


# Agreement between seeds


def test_kendall_s_w_of_equal_opposite_and_tied_orders():
    order = np.arange(6.0)
    assert concordance(np.stack([order, 2 * order, order**3])) == pytest.approx(1)
    assert concordance(np.stack([order, -order])) == pytest.approx(0)
    # Two judges: W = (1 + Spearman's rho) / 2, with ties too.
    from scipy.stats import spearmanr

    one, two = np.array([1.0, 2, 2, 4, 5]), np.array([2.0, 1, 3, 3, 5])
    expected = (1 + spearmanr(one, two).statistic) / 2
    assert concordance(np.stack([one, two])) == pytest.approx(expected, abs=0.01)


def test_the_permutation_test_knows_agreement_from_chance():
    rng = np.random.default_rng(1)
    assert chance_of_concordance(np.tile(np.arange(8.0), (4, 1)), 0) < 0.001
    # Of two orders of two things, all agree or none does: half of the shuffles agree.
    assert chance_of_concordance(np.array([[0.0, 1], [0, 1]]), 0) == pytest.approx(0.5, abs=0.03)
    assert chance_of_concordance(rng.standard_normal((3, 8)), 0) > 0.01


def test_latents_are_matched_whatever_their_order_and_sign():
    codes = np.random.default_rng(2).standard_normal((500, 4))
    codes[:, 3] = 0
    columns, likeness = match_latents(codes, -3 * codes[:, [2, 0, 3, 1]])
    assert columns.tolist()[:3] == [1, 3, 0]
    np.testing.assert_allclose(likeness, [1, 1, 1, 0], atol=1e-9)


def test_ranks_count_from_the_largest():
    assert rank([0.1, 5.0, 2.0]).tolist() == [3, 1, 2]


def test_the_dominant_neuron_is_judged_by_every_seed():
    def table(leaders):
        rows = [
            {"seed": seed, "latent": i, "kl": float(i == leader), "pixels": float(i == leader)}
            for seed, leader in enumerate(leaders)
            for i in range(10)
        ]
        return pd.DataFrame(rows)

    assert judge_neuron(table([3] * 5))["verdict"] == "holds"
    assert judge_neuron(table([2] * 5))["verdict"] == "holds"  # counted from 1
    failed = judge_neuron(table([3, 3, 0, 1, 9]))
    assert (failed["verdict"], failed["hits"], failed["num_seeds"]) == ("fails", 2, 5)
    # Two or more of five at one chance in ten: 1 - 0.9^5 - 5 x 0.1 x 0.9^4.
    assert failed["by_chance"] == pytest.approx(1 - 0.9**5 - 0.5 * 0.9**4)


# Archetypes


def test_an_archetype_is_the_mean_code_of_its_class_and_recognises_it():
    mu = torch.tensor([[0.0, 0.0], [2.0, 0.0], [10.0, 10.0]])
    model = VectorVAE(VectorVAEConfig(2, (), (4,), "mse", 1.0, "mean"), (1, 2, 2))
    found = find_class_archetypes(model, mu, torch.tensor([7, 7, 4]))
    assert found.labels.tolist() == [4, 7]
    torch.testing.assert_close(found.codes, torch.tensor([[10.0, 10.0], [1.0, 0.0]]))
    with torch.inference_mode():
        torch.testing.assert_close(found.images, model.decode(found.codes))
    assert found.recognise(torch.tensor([[9.0, 9.0], [0.0, 1.0]]), "codes").tolist() == [4, 7]
    by_pixels = Archetypes(found.codes, torch.tensor([[[[0.0]]], [[[1.0]]]]), found.labels)
    assert by_pixels.recognise(torch.tensor([[[[0.9]]], [[[0.2]]]]), "images").tolist() == [7, 4]


def test_the_autoencoder_pools_32_pixels_down_to_256_numbers():
    model = ConvolutionalAutoencoder(AutoencoderConfig(32, (16, 32)), (1, 32, 32))
    assert model.encoder[-1].in_features == 256
    assert model.decode(model.encode(torch.rand(2, 1, 32, 32))).shape == (2, 1, 32, 32)
    with pytest.raises(InputError, match="cannot be halved 3 times"):
        ConvolutionalAutoencoder(AutoencoderConfig(32, (16, 32)), (1, 28, 28))


# The stage

CONFIG = BetaVAEConfig(
    VectorVAEConfig(3, (4,), (), "bce", 1.0, "sum"),
    AutoencoderConfig(4, (4,)),
    OptimiserConfig(1e-3, "none", 8, 1e6, 0.9),
    1,
    (0, 1),
    5,
    4,
    20,
    3,
    (0.0, 0.5),
)


def test_the_stage_studies_every_seed_and_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {name: tmp_path / name for name in ("train", "validation", "test")}
    for seed, (path, count) in enumerate(zip(paths.values(), (40, 8, 24), strict=True)):
        write_split(path, count, seed)
    torch.manual_seed(0)
    save_classifier(tmp_path / "judge", Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 10))
    params = SimpleNamespace(key="toy", seed=0, beta_vae=CONFIG)

    class Stopping(StageLogger):
        def trial(self, number, values):
            if number == "autoencoder-0":
                raise KeyboardInterrupt
            return super().trial(number, values)

    def run(folder: str, log: StageLogger) -> None:
        stage.run(params, **paths, classifier=tmp_path / "judge", out=tmp_path / folder, log=log)

    run("out", StageLogger())
    with pytest.raises(KeyboardInterrupt):
        run("again", Stopping())
    run("again", StageLogger())
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert not list((tmp_path / "scratch/progress").glob("*"))
    found = read_chapter(tmp_path / "out")
    assert {part.file for part in (*found.pictures, *found.tables)} < set(files)
    cards = pd.read_csv(tmp_path / "out/cards.csv")
    assert cards["latent"].tolist() == [0, 1, 2]
    ranking = pd.read_csv(tmp_path / "out/ranking.csv")
    assert len(ranking) == 6 and (ranking.loc[ranking["seed"] == 0, "likeness"] > 0.999).all()
    table = pd.read_csv(tmp_path / "out/comparison.csv", index_col="number")
    assert table.loc["latents in use", "autoencoder"] == 4
    np.testing.assert_allclose(
        table.loc["KL in nats", "beta_vae_low"], ranking.groupby("seed")["kl"].sum().min()
    )
    assert load_vector_vae(tmp_path / "out/model.safetensors").config == CONFIG.model


@pytest.mark.parametrize("field", ["seeds", "noise_levels"])
def test_nothing_to_compare_is_refused(field):
    with pytest.raises(ValueError, match=f"{field}: expected one or more, each once"):
        BetaVAEConfig(**(vars(CONFIG) | {field: ()}))
