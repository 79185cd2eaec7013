"""Variables and files of odd content are one line that names them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diffusevae import study_storage
from diffusevae.checkpoint import save_tensors
from diffusevae.classifier import load_classifier
from diffusevae.device import choose_device
from diffusevae.diffusion import load_diffusion
from diffusevae.errors import InputError
from diffusevae.latents.vector_vae import load_vector_vae
from diffusevae.prior import load_prior
from diffusevae.search_space import apply_best
from diffusevae.tracking import Recorder
from diffusevae.vae import load_vae
from tests.test_training import make_optimiser


@pytest.mark.parametrize(
    ("variable", "value", "use"),
    [("DIFFUSEVAE_DEVICE", "meta", choose_device), ("DIFFUSEVAE_DEVICE", "cpux", choose_device),
     ("DIFFUSEVAE_RECORDER", "/none", Recorder), ("DIFFUSEVAE_RECORDER", "x" * 200, Recorder),
     ("DIFFUSEVAE_OPTUNA_STORAGE", "postgresql://u:p@h:port/d", study_storage.connect)],
)  # fmt: skip
def test_an_odd_variable_is_named(monkeypatch, variable, value, use):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=variable):
        use()


@pytest.mark.parametrize("text", ["optimiser: 3", "optimiser: [1]", "seed: {a: 1}", "none: {}",
                                  "3: {}", "optimiser: {1: 2}"])  # fmt: skip
def test_a_best_yaml_of_another_shape_is_named(tmp_path: Path, text):
    path = tmp_path / "best.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="best.yaml"):
        apply_best(SimpleNamespace(seed=0, optimiser=make_optimiser()), path)


@pytest.mark.parametrize("load", [load_vae, load_diffusion, load_classifier, load_prior,
                                  load_vector_vae])  # fmt: skip
@pytest.mark.parametrize("config", [{}, [], 3, {"vae": 1, "diffusion": {}, "latent_shape": 7}])
def test_a_checkpoint_of_another_kind_is_named(tmp_path: Path, load, config):
    save_tensors(tmp_path / "model", {"x": torch.ones(1)}, config)
    with pytest.raises(InputError, match="model"):
        load(tmp_path / "model")
