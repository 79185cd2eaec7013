"""An experiment's artifacts made of noise, small enough to draw in seconds."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from diffusevae.core.tensor_file import save_tensors, sha256_of
from diffusevae.figures.results import Results
from diffusevae.metrics.labels import RIVALS, WAYS
from diffusevae.metrics.metric import DISTRIBUTION, PAIRED
from diffusevae.models.diffusion import DiffusionModel, save_diffusion
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.latent_mixture import Mixture, save_mixture
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae import VAE, VAEConfig, save_vae

DIFFUSION = DiffusionConfig("cosine", 100, 1e-4, 0.02, "v", "centred", False)
UNET = UNetConfig(4, (1,), 1, (), 1, 4, 0.0, ("in",))
SHAPE = (1, 16, 16)


def make_images(count: int, seed: int = 0) -> torch.Tensor:
    """Return noise as images, count x 1 x 16 x 16 in [0, 1]."""
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def make_metrics(lpips: bool = True) -> dict:
    """Return a metrics.json whose numbers can be told apart in a page."""

    def entry(value: float, reach: float = 0.001) -> dict:
        return {"value": value, "low": value - reach, "high": value + reach}

    vae = {
        "mse": 0.00662,
        "psnr": 22.41,
        "ssim": 0.871,
        "lpips": 0.0652,
        "mae": 0.0361,
        "edge_sim": 0.142,
        "hist_sim": 0.387,
    }
    refined = {
        "mse": 0.00912,
        "psnr": 21.13,
        "ssim": 0.886,
        "lpips": 0.0543,
        "mae": 0.0361,
        "edge_sim": 0.171,
        "hist_sim": 0.093,
    }
    stretched = {
        "mse": 0.00612,
        "psnr": 22.61,
        "ssim": 0.891,
        "lpips": 0.0651,
        "mae": 0.0361,
        "edge_sim": 0.132,
        "hist_sim": 0.113,
    }
    paired = {
        "vae": {name: entry(vae[name]) for name in PAIRED},
        "stretched": {name: entry(stretched[name]) for name in PAIRED},
        "diffusevae": {name: entry(refined[name]) for name in PAIRED},
        "difference": {name: entry(refined[name] - vae[name]) for name in PAIRED},
        "control": {name: entry(refined[name] - stretched[name]) for name in PAIRED},
    }
    if not lpips:
        for table in paired.values():
            table["lpips"] = None
    generated = {
        way: {
            "frechet": entry(100.0 / (i + 1), 1.0),
            "frechet_inf": entry(90.0 / (i + 1), 1.0),
            "kid": entry(-0.5 + i),
            "precision": entry(0.5 + i / 20),
            "recall": entry(0.75 - i / 20),
            "density": entry(0.55 + i / 20),
            "coverage": entry(0.7 - i / 20),
        }
        for i, way in enumerate(WAYS)
    }
    assert set(generated["ddpm"]) == set(DISTRIBUTION)
    return {
        "num_images": 1234,
        "num_generated": 2345,
        "paired": paired,
        "generated": generated,
        "set": {
            "vae": {"hist_sim": 0.311, "psnr": 21.79, "hist_sim_unrounded": 0.287},
            "stretched": {"hist_sim": 0.034, "psnr": 21.93, "hist_sim_unrounded": 0.036},
            "diffusevae": {"hist_sim": 0.022, "psnr": 20.40, "hist_sim_unrounded": 0.023},
        },
        "classes": {
            "real": [235] * 9 + [230],
            "sets": {
                way: {"counts": [3, *[260] * 9], "p_value": 1.5e-48, "missed": [0]}
                for way in (*WAYS, "floor")
            },
        },
        "floor": {
            "frechet": entry(4.18, 5.0),
            "frechet_inf": entry(0.31, 4.0),
            "kid": entry(2e-5),
            "precision": entry(0.95),
            "recall": entry(0.94),
            "density": entry(0.99),
            "coverage": entry(0.87),
        },
        "gains": {rival: entry(-3.0 - i, 1.0) for i, rival in enumerate(RIVALS)},
        "intervals_of_sets": "mean over new draws of num_generated images",
        "warnings": [],
        "stretch": {"black": 0.02, "white": 0.94},
        "classifier": {"num_classes": 10, "test_accuracy": 0.9912, "num_features": 128},
        "lpips": {
            "backbone": "alexnet",
            "available": lpips,
            "reason": "" if lpips else "no source had the network",
        },
    }


def make_trials() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (trials, importances) of a study with a pruned trial and a conditional parameter."""
    trials = pd.DataFrame(
        {
            "number": range(5),
            "state": ["complete", "pruned", "complete", "complete", "complete"],
            "value": [0.5, 0.1, 0.3, 0.4, 0.25],
            "epochs": [2, 1, 2, 2, 2],
            "diffusion_optimiser.learning_rate": [1e-5, 1e-4, 3e-4, 5e-4, 1e-3],
            "diffusion.scheduler_type": ["linear", "cosine", "linear", "cosine", "linear"],
            "diffusion.beta_end": [0.01, np.nan, 0.02, np.nan, 0.03],
        }
    )
    names = ["diffusion_optimiser.learning_rate", "diffusion.scheduler_type"]
    return trials, pd.DataFrame({"name": names, "importance": [0.7, 0.3]})


def make_results(num_codes: int = 40, lpips: bool = True) -> Results:
    """Return results of two epochs each; the codes are two clusters that follow the labels."""
    labels = torch.arange(num_codes) % 2
    noise = torch.randn(num_codes, 6, generator=torch.Generator().manual_seed(1))
    mu = noise + 20 * labels[:, None]
    vae = {
        epoch: {
            "real": make_images(20),
            "reconstruction": make_images(20, epoch),
            "samples": make_images(20, 10 + epoch),
            "mu": mu,
            "labels": labels,
        }
        for epoch in (1, 2)
    }
    ddpm = {epoch: {"samples": make_images(20, 20 + epoch)} for epoch in (1, 2)}
    refined = {
        epoch: {
            "real": make_images(20),
            "x_hat": make_images(20, 1),
            "samples": make_images(20, 30 + epoch),
        }
        for epoch in (1, 2)
    }
    per_image = pd.DataFrame(
        {
            "index": [*range(16)] * 2,
            "label": [*range(8)] * 4,
            "model": ["vae"] * 16 + ["diffusevae"] * 16,
        }
    )
    for i, name in enumerate(PAIRED):
        per_image[name] = np.random.default_rng(i).random(32)
    if not lpips:
        per_image["lpips"] = np.nan
    pairs = {name: make_images(16, seed) for seed, name in enumerate(("real", "vae", "diffusevae"))}
    return Results(
        diffusion=DIFFUSION,
        snapshots={"vae": vae, "ddpm": ddpm, "diffusevae": refined},
        histories={
            name: pd.DataFrame(
                {"epoch": [1, 2], "train_loss": [0.9, 0.5], "validation_loss": [0.6, 0.45]}
            )
            for name in ("vae", "ddpm", "diffusevae")
        },
        tuning={
            "tune_vae": (make_trials()[0].iloc[:0], make_trials()[1].iloc[:0]),
            "tune_ddpm": make_trials(),
        },
        pairs=pairs | {"labels": torch.arange(16) % 8},
        generated={way: make_images(24, 50 + i) for i, way in enumerate(WAYS)},
        trajectory={
            "t": torch.tensor([99, 49, -1]),
            "x_t": make_images(9).reshape(3, 3, *SHAPE),
            "x_0": make_images(9, 1).reshape(3, 3, *SHAPE),
            "x_hat": make_images(3),
        },
        per_image=per_image,
        metrics=make_metrics(lpips),
    )


def write_artifacts(folder: Path) -> dict[str, Path]:
    """Write the results as the stages would; return each stage's folder by its name."""
    results = make_results()
    folders = {
        stage: folder / stage
        for stage in (
            "train_vae",
            "train_ddpm",
            "train_diffusevae",
            "tune_vae",
            "tune_ddpm",
            "sample",
            "evaluate",
        )
    }
    for name, snapshots in results.snapshots.items():
        stage = folders[f"train_{name}"]
        stage.mkdir(parents=True, exist_ok=True)
        shown = stage / "snapshots" if name == "vae" else folders["sample"] / "snapshots" / name
        for epoch, tensors in snapshots.items():
            save_tensors(shown / f"epoch_{epoch:04d}.safetensors", tensors)
        results.histories[name].to_csv(stage / "history.csv", index=False)
    vae = VAE(VAEConfig(2, 4, (1, 1), (), 0.0, "mse", 1e-5), SHAPE)
    save_vae(folders["train_vae"] / "model.safetensors", vae)
    save_tensors(
        folders["train_vae"] / "prior.safetensors",
        {"weights": torch.ones(1)},
        {"latent_shape": vae.latent_shape},
    )
    for name in ("ddpm", "diffusevae"):
        model = DiffusionModel(DIFFUSION, UNET, SHAPE, conditional=name == "diffusevae")
        save_diffusion(folders[f"train_{name}"] / "model.safetensors", model)
    best = {"tune_vae": {}, "tune_ddpm": {"diffusion_optimiser": {"learning_rate": 0.001}}}
    for stage, (trials, importances) in results.tuning.items():
        folders[stage].mkdir(parents=True)
        trials.to_csv(folders[stage] / "trials.csv", index=False)
        importances.to_csv(folders[stage] / "importances.csv", index=False)
        (folders[stage] / "best.yaml").write_text(json.dumps(best[stage]))  # JSON is YAML
    for name in ("pairs", "generated", "trajectory"):
        save_tensors(folders["sample"] / f"{name}.safetensors", getattr(results, name))
    folders["evaluate"].mkdir()
    results.per_image.to_csv(folders["evaluate"] / "per_image.csv", index=False)
    (folders["evaluate"] / "metrics.json").write_text(json.dumps(results.metrics))
    return folders


def change_code(file: str, old: str, new: str) -> None:
    """Replace the link src in the folder at hand by a copy in which one file reads otherwise."""
    source = Path("src").resolve()
    Path("src").unlink()
    shutil.copytree(source, "src", ignore=shutil.ignore_patterns("__pycache__"))
    path = Path("src/diffusevae") / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def write_models(folder: Path) -> dict[str, Path]:
    """Write untrained models that belong together; return their stages' folders by name."""
    folders = {stage: folder / stage for stage in ("train_vae", "train_ddpm", "train_diffusevae")}
    torch.manual_seed(0)
    vae = VAE(VAEConfig(2, 4, (1, 1), (), 0.0, "mse", 1e-5), SHAPE)
    vae_path = folders["train_vae"] / "model.safetensors"
    save_vae(vae_path, vae)
    d = 2 * 8 * 8
    mixture = Mixture(torch.ones(1), torch.zeros(1, d), torch.ones(1, d), vae.latent_shape)
    save_mixture(folders["train_vae"] / "prior.safetensors", mixture)
    for name in ("ddpm", "diffusevae"):
        model = DiffusionModel(DIFFUSION, UNET, SHAPE, conditional=name == "diffusevae")
        save_diffusion(
            folders[f"train_{name}"] / "model.safetensors",
            model,
            sha256_of(vae_path) if name == "diffusevae" else None,
        )
    return folders
