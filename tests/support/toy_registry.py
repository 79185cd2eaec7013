"""An experiment of untrained models, to be registered."""

import json
from pathlib import Path

import torch
from prefect.logging import disable_run_logger

from diffusevae.core.tensor_file import save_tensors, sha256_of
from diffusevae.experiments.experiment import Experiment
from diffusevae.models.diffusion import DiffusionModel, save_diffusion
from diffusevae.models.latent_mixture import Mixture, save_mixture
from diffusevae.models.vae import VAE, VAEConfig, save_vae
from tasks.parent_run import open_parent_run
from tasks.registry.registration import Registered, register
from tests.support.checkouts import ROOT
from tests.support.toy_artifacts import DIFFUSION, SHAPE, UNET, make_images, make_metrics
from tests.support.toy_splits import write_split

TOY = Experiment("toy", "toy_data", "mnist")
SAMPLER = """\
experiments:
  toy:
    seed: 0
    registered_sampler: params
    frontier: {num_steps: [2, 7], num_images: 6}
    sampler: {sampler: ddim, num_steps: 2, spacing: trailing, eta: 0.0, variance: zero, clip: true,
              guidance: 0.0, temperature: 1.0, shared_noise: false, batch_size: 8}
"""


def write_toy(tmp_path: Path) -> None:
    """Write the outputs of the toy experiment, in a folder that is worked in."""
    (tmp_path / "params.yaml").write_text(SAMPLER)
    (tmp_path / "constraints.txt").write_text((ROOT / "constraints.txt").read_text())
    (tmp_path / "src").symlink_to(ROOT / "src")
    vae = VAE(VAEConfig(2, 4, (1, 1), (), 0.0, "mse", 1e-5), SHAPE)
    save_vae(TOY.output("train_vae", "model.safetensors"), vae)
    write_prior(0.0)
    write_diffusevae(sha256_of(TOY.output("train_vae", "model.safetensors")))
    save_tensors(TOY.output("sample", "pairs.safetensors"), {"real": make_images(4)})
    metrics = TOY.output("evaluate", "metrics.json")
    metrics.parent.mkdir(parents=True)
    metrics.write_text(json.dumps(make_metrics()))
    write_split(TOY.data("prepared", "validation.safetensors"), 100, 0)
    classifier = TOY.data("train_classifier", "model.safetensors")
    classifier.parent.mkdir(parents=True)
    classifier.touch()


def write_prior(mean: float) -> None:
    """Write a mixture of one Gaussian."""
    d = 2 * 8 * 8
    mixture = Mixture(torch.ones(1), torch.full((1, d), mean), torch.ones(1, d), (2, 8, 8))
    save_mixture(TOY.output("train_vae", "prior.safetensors"), mixture)


def write_diffusevae(vae_sha256: str) -> None:
    """Write an untrained DiffuseVAE that belongs to a VAE."""
    model = DiffusionModel(DIFFUSION, UNET, SHAPE, conditional=True)
    save_diffusion(TOY.output("train_diffusevae", "model.safetensors"), model, vae_sha256)


def register_toy() -> Registered:
    """Register the toy, in a parent run of its own."""
    with open_parent_run("toy", "toy_data") as parent, disable_run_logger():
        return register.fn(TOY, parent.id)
