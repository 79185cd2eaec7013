"""Every later stage works on each kind of first stage unchanged."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diffusevae.core.tensor_file import load_tensors
from diffusevae.models.latent_mixture import MixtureConfig
from diffusevae.sampling.generation import SampleConfig
from diffusevae.stages import sample, train_ddpm, train_diffusevae, train_vae
from diffusevae.tracking.stage_logger import StageLogger
from diffusevae.training.diffusion_training import TrainDiffusionConfig
from diffusevae.training.vae_training import TrainVAEConfig
from tests.support.toy_artifacts import DIFFUSION, UNET
from tests.support.toy_models import make_sampler, make_vae
from tests.support.toy_splits import write_split
from tests.support.toy_trainings import make_optimiser


class Noting(StageLogger):
    """Keeps the final numbers that stages tell."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = {}

    def summary(self, values):
        self.numbers |= values


def run_stages(kind: str, folder: Path) -> tuple[Path, dict[str, float]]:
    """Train a VAE of that kind, the DDPM and DiffuseVAE; return the folder of their samples, and
    the final numbers of the stages.
    """
    length = TrainDiffusionConfig(1, (1,), 0.0)
    params = SimpleNamespace(
        key="smoke",
        seed=0,
        vae=make_vae(kind=kind, codebook_size=8, attention_levels=()).config,
        vae_optimiser=make_optimiser(batch_size=16),
        train_vae=TrainVAEConfig(1, (1,), 8),
        prior=MixtureConfig(2, "diag", 5),
        diffusion=DIFFUSION,
        unet=UNET,
        diffusion_optimiser=make_optimiser(batch_size=16),
        train_ddpm=length,
        train_diffusevae=length,
        sampler=make_sampler(num_steps=2),
        sample=SampleConfig(8, 8),
    )
    for seed, name in enumerate(("train", "validation", "test")):
        write_split(folder / name, 32, seed)
    data = {"train": folder / "train", "validation": folder / "validation"}
    outs = {name: folder / name for name in ("train_vae", "train_ddpm", "train_diffusevae")}
    log = Noting()
    train_vae.run(params, **data, out=outs["train_vae"], log=log)
    train_ddpm.run(params, **data, out=outs["train_ddpm"], log=log)
    vae = outs["train_vae"] / "model.safetensors"
    train_diffusevae.run(params, **data, vae=vae, out=outs["train_diffusevae"], log=log)
    seen = {"validation": data["validation"], "test": folder / "test"}
    sample.run(params, **seen, **outs, out=folder / "sample", log=log)
    return folder / "sample", log.numbers


@pytest.mark.parametrize("kind", ["gaussian", "vq", "rae"])
def test_the_flow_goes_through_to_its_samples(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    samples, numbers = run_stages(kind, tmp_path)
    made = load_tensors(samples / "generated.safetensors")
    assert {"vae_prior", "vae_gmm", "diffusevae_prior", "diffusevae_gmm", "ddpm"} <= made.keys()
    assert all(images.shape == (8, 1, 16, 16) for images in made.values())
    assert all(torch.isfinite(images).all() for images in made.values())
    header = (tmp_path / "train_vae/history.csv").read_text().splitlines()[0]
    assert ("validation_perplexity" in header) == (kind == "vq")
    assert numbers["terminal_snr"] == DIFFUSION.schedule.terminal_snr
    assert ("active_units" in numbers) == (kind == "gaussian")
