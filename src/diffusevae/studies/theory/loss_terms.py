"""What each term of the VAE's loss does to its codes: reconstruction alone, KL alone, both.

The main source's figure 3.2 (section 3.3.2), with codes of two numbers, so that the picture is the
code itself. Images are made 16 x 16 for it.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffusevae.core.params import override
from diffusevae.core.randomness import generator, seed_of
from diffusevae.data.dataset import Split, in_batches, to_unit
from diffusevae.data.resizing import resize
from diffusevae.metrics.bootstrap import interval
from diffusevae.metrics.frechet_intervals import frechet_interval
from diffusevae.metrics.paired import mse
from diffusevae.models.codes import find_named
from diffusevae.models.vae import VAE
from diffusevae.models.vae_config import VAEConfig
from diffusevae.models.vae_losses import kl_divergence, reparameterise
from diffusevae.studies.theory.theory_config import TheoryConfig
from diffusevae.training.loop import OptimiserConfig
from diffusevae.training.stage_trainings import OpenTraining
from diffusevae.training.vae_training import fit_vae

SIDE = 16  # which four halvings bring to 1
NEIGHBOURS = 5
Codes = tuple[np.ndarray, np.ndarray]  # N x 2, and labels N


def list_losses(config: VAEConfig, kl_weight: float) -> dict[str, VAEConfig]:
    """Return the VAE with a code of two numbers, under each of the three losses."""
    sized = {
        "kind": "gaussian",
        "latent_channels": 2,
        "channel_multipliers": [1, 2, 4, 8, 8],
        "attention_levels": [],
    }
    weights = {"reconstruction": (1.0, 0.0), "KL": (0.0, 1.0), "both": (1.0, kl_weight)}
    return {
        name: override(config, sized | {"reconstruction_weight": error, "kl_weight": kl}, "theory")
        for name, (error, kl) in weights.items()
    }


def shrink(split: Split, count: int | None = None) -> Split:
    """Return a split, or its first images, with images of 16 x 16."""
    some = slice(count)
    images = resize(split.images[some], SIDE, "bilinear", antialias=True)
    return Split(images, split.labels[some], split.indices[some])


@torch.inference_mode()
def draw_codes(vae: VAE, x: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return z ~ q(z|x) (N x 2), mu (N x 2), KL (N) and the images decoded from z, on the CPU.

    x: N x C x 16 x 16 in [0, 1]. What a decoder is given is z: at KL alone mu differs by less than
    its noise, and a class that can be told from mu cannot be told from z.
    """
    device = next(vae.parameters()).device
    found = []
    for number, part in enumerate(in_batches(x)):
        mu, logvar = vae.encode(part.to(device))
        eps = torch.randn(mu.shape, generator=generator(seed, "theory", "codes", number)).to(device)
        z = reparameterise(mu, logvar, eps)
        found.append((z.flatten(1), mu.flatten(1), kl_divergence(mu, logvar), vae.decode(z)))
    z, mu, kl, decoded = (torch.cat(each).cpu() for each in zip(*found, strict=True))
    return z, mu, kl, decoded


def measure_codes(
    vae: VAE, test: Split, seed: int, num_resamples: int
) -> tuple[dict[str, float], Codes]:
    """Return what the codes of small test images are worth, and the codes z.

    recognised: share of z whose 5 nearest others name its class (of mu: mu_recognised); mse of what
    is decoded from z; kl in nats; distance: the squared Fréchet distance of all z from N(0, I),
    which is what new codes are drawn from. Each with its 95 % interval over images.
    """
    x, labels = to_unit(test.images), test.labels.numpy()
    z, mu, kl, decoded = draw_codes(vae, x, seed)
    values = {
        "recognised": find_named(z.numpy(), labels, NEIGHBOURS),
        "mu_recognised": find_named(mu.numpy(), labels, NEIGHBOURS),
        "mse": mse(x, decoded).double().numpy(),
        "kl": kl.double().numpy(),
    }
    row: dict[str, float] = {}
    for name, found in values.items():
        entry = interval(found, seed_of(seed, "theory", "codes"), num_resamples)
        row |= {name: entry["value"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
    normal = torch.randn(z.shape, generator=generator(seed, "theory", "normal"))
    entry = frechet_interval(normal.numpy(), z.numpy())
    row |= {"distance": entry["value"]} | {f"distance_{e}": entry[e] for e in ("low", "high")}
    return row, (z.numpy(), labels)


def compare_losses(
    vae: VAEConfig,
    optimiser: OptimiserConfig,
    config: TheoryConfig,
    splits: Mapping[str, Split],
    seed: int,
    device: torch.device,
    open_one: OpenTraining,
    say: Callable[[str], None],
) -> tuple[pd.DataFrame, dict[str, Codes]]:
    """Train a VAE under each loss; return a row for each, and its codes by its name.

    splits: train, validation and test.
    """
    train = shrink(splits["train"], config.num_train_images).images.to(device)
    validation = shrink(splits["validation"]).images.to(device)
    test = shrink(splits["test"], config.num_images)
    rows, codes = [], {}
    for name, loss in list_losses(vae, config.kl_weight).items():
        with open_one(name, {"loss": name}) as training:
            fitted, _ = fit_vae(
                loss,
                optimiser,
                train,
                validation,
                config.epochs,
                seed,
                training.callbacks(),
                training.checkpointer,
            )
        row, codes[name] = measure_codes(fitted, test, seed, config.num_resamples)
        rows.append({"loss": name, "num_images": len(test)} | row)
        say(f"loss {name}: {row['recognised']:.1%} of codes recognised")
    return pd.DataFrame(rows), codes
