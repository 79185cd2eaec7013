"""Refine test images and generate new ones with every model: the expensive part of evaluation.

python -m diffusevae.stages sample smoke --test data/prepared/mnist_tiny/test.safetensors \\
    --vae artifacts/smoke/train_vae/model.safetensors \\
    --prior artifacts/smoke/train_vae/prior.safetensors \\
    --ddpm artifacts/smoke/train_ddpm/model.safetensors \\
    --diffusevae artifacts/smoke/train_diffusevae/model.safetensors --out artifacts/smoke/sample
"""

from pathlib import Path

from diffusevae.checkpoint import save_tensors, sha256_of
from diffusevae.data import load_split
from diffusevae.device import choose_device
from diffusevae.diffusion import load_diffusion
from diffusevae.generation import (
    Models,
    SampleConfig,
    check_pair,
    generate,
    record_trajectory,
    refine,
)
from diffusevae.prior import load_prior
from diffusevae.sampling import SamplerConfig
from diffusevae.vae import load_vae

ROOT = "experiments"
SECTIONS = {"seed": int, "sampler": SamplerConfig, "sample": SampleConfig}


def run(
    params, *, test: Path, vae: Path, prior: Path, ddpm: Path, diffusevae: Path, out: Path, log
) -> None:
    """Write pairs.safetensors, generated.safetensors and trajectory.safetensors to `out`."""
    device = choose_device()
    log.dataset(test, "testing")
    check_pair(diffusevae, sha256_of(vae))
    models = Models(load_vae(vae, device), load_prior(prior), load_diffusion(ddpm, device),
                    load_diffusion(diffusevae, device))  # fmt: skip
    split = load_split(test)
    pairs = refine(models, params.sampler, split, params.sample.num_images, params.seed, log)
    save_tensors(out / "pairs.safetensors", pairs)
    generated = generate(models, params.sampler, params.sample.num_generated, params.seed, log)
    save_tensors(out / "generated.safetensors", generated)
    trajectory = record_trajectory(models, params.sampler, split, params.seed)
    save_tensors(out / "trajectory.safetensors", trajectory)
