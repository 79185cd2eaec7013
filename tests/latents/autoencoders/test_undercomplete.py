"""The autoencoder's loss, its training on pairs, and the comparison with PCA."""

import numpy as np
import pytest
import torch

from diffusevae.data.dataset import to_unit
from diffusevae.latents.autoencoders.part import Part, write_parts
from diffusevae.latents.autoencoders.undercomplete import UndercompleteConfig, compare_errors
from diffusevae.latents.measures.evidence import describe, judge, spread
from diffusevae.latents.models.autoencoder import apply, autoencoder_loss, fit_pairs, squared_error
from diffusevae.latents.models.beta_vae import VectorVAE, VectorVAEConfig
from diffusevae.training.loop import Callbacks, OptimiserConfig

CONFIG = VectorVAEConfig(2, (), (), "mse", 5.0, "mean")
OPTIMISER = OptimiserConfig(5e-2, "none", 8, 1e6, 0.0)


def test_the_autoencoder_s_loss_is_the_summed_error_without_noise_or_kl():
    torch.manual_seed(0)
    model = VectorVAE(CONFIG, (1, 4, 4))
    x = torch.rand(3, 1, 4, 4)
    losses = autoencoder_loss(model, x, torch.full((3, 2), 1e6))
    expected = ((model.decode(model.encode(x)[0]) - x) ** 2).sum() / 3
    assert losses["loss"].item() == pytest.approx(expected.item())


def test_fit_pairs_learns_what_maps_inputs_to_targets():
    torch.manual_seed(0)
    x = torch.randn(64, 2)
    y = x @ torch.tensor([[2.0, 0.0], [1.0, -1.0]])

    def pairs(part, indices, rng):
        return x[indices], y[indices]

    model, history = fit_pairs(
        torch.nn.Linear(2, 2), OPTIMISER, 60, 0, (64, 64), pairs, squared_error, Callbacks()
    )
    assert history[-1]["validation_loss"] < 1e-3
    assert torch.allclose(model.weight, torch.tensor([[2.0, 1.0], [0.0, -1.0]]), atol=0.02)


def test_the_squared_error_is_summed_over_the_numbers_of_each_item():
    assert squared_error(torch.zeros(2, 3), torch.tensor([[1.0, 2, 2], [0, 0, 3]])).tolist() == [
        9,
        9,
    ]


def test_apply_brings_uint8_to_unit_range_and_leaves_floats_alone():
    images = torch.tensor([[0, 255]], dtype=torch.uint8)
    assert torch.equal(apply(lambda x: 2 * x, images), 2 * to_unit(images))
    assert torch.equal(apply(lambda x: 2 * x, torch.tensor([[7.0]])), torch.tensor([[14.0]]))


def test_errors_are_compared_image_by_image_and_the_worst_seed_is_named():
    linear = np.array([1.0, 2.0, 3.0])
    row = compare_errors([linear - 0.5, linear + 0.1], linear, 0)
    assert row["mse"] == pytest.approx(1.8) and row["num_seeds"] == 2
    assert row["mse_change"] == pytest.approx(-0.2)  # the same for every image: no width
    assert row["mse_change_low"] == pytest.approx(-0.2)
    assert row["mse_change_high"] == pytest.approx(-0.2)
    assert row["mse_worst"] == pytest.approx(0.1)


def test_numbers_as_columns_and_as_text():
    row = spread(torch.tensor([1.0, 1.0]), 0, "mse")
    assert row == {"mse": 1, "mse_low": 1, "mse_high": 1}
    assert describe(row, "mse", 1) == "1.0 [1.0, 1.0]"


def test_verdicts():
    assert [judge(True, False), judge(False, True), judge(False, False)] == [
        "holds",
        "fails",
        "open",
    ]


@pytest.mark.parametrize("values", [{"latents": ()}, {"latents": (2, 2)}, {"seeds": ()}])
def test_impossible_comparisons_are_refused(values):
    with pytest.raises(ValueError, match="expected one or more, each once"):
        UndercompleteConfig(**({"latents": (2,), "seeds": (0,), "beta": 0.0} | values))


def test_parts_become_one_chapter_in_order(tmp_path):
    from diffusevae.latents.page.chapter import read_chapter

    write_parts(tmp_path, "Family", [Part(("One.",)), Part(("Two.", "Three."))])
    assert read_chapter(tmp_path).summary == ("One.", "Two.", "Three.")
