"""What each latent does to the image: traversals, and their effects as numbers (docs/study.md, B4).

A traversal fixes an image's code and moves one latent from -3 to +3, in standard deviations of the
prior for a VAE and of the codes themselves for a deterministic autoencoder.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import seed_of
from diffusevae.latents.measures import evidence
from diffusevae.latents.measures.shapes import SHAPES, measure_shapes

REACH = 3.0
FACTORS = (*SHAPES, "class")
USED = 0.05  # nats: a latent that carries less than this is unused
STRONG = 0.3  # standard deviations of the data, or share of changed classes
CHUNK = 500  # images decoded at once


class CodeDecoder(Protocol):
    """Anything that turns codes (B x latents) into images in [0, 1]."""

    def decode(self, z: Tensor) -> Tensor: ...


@torch.inference_mode()
def traverse(
    model: CodeDecoder,
    codes: Tensor,
    latent: int,
    steps: int,
    centre: float = 0.0,
    scale: float = 1.0,
) -> Tensor:
    """Return N x steps x C x H x W: codes (N x latents) decoded with one latent moved evenly.

    It goes from centre - 3 scale to centre + 3 scale. Raises InputError for a latent that the code
    does not have.
    """
    if not 0 <= latent < codes.shape[1]:
        raise InputError(f"latent {latent}: the code has the latents 0 to {codes.shape[1] - 1}")
    places = centre + scale * torch.linspace(-REACH, REACH, steps, device=codes.device)
    moved = codes.repeat_interleave(steps, 0)
    moved[:, latent] = places.repeat(len(codes))
    decoded = torch.cat([model.decode(part) for part in moved.split(CHUNK)])
    return decoded.unflatten(0, (len(codes), steps))


@torch.inference_mode()
def measure_effects(
    paths: Tensor, classifier: nn.Module, spread: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Return what a traversal (N x steps x C x H x W) does, for each of the N images.

    For a shape: its value at +3 less that at -3, in standard deviations of the data (`spread`). For
    "class": whether the predicted class is another at any step than at the first. "pixels": the
    root mean square difference of the two ends. "jump": `largest_step`. "confidence": the
    classifier's, averaged over the path.
    """
    num_images, steps = paths.shape[:2]
    ends = measure_shapes(paths[:, 0]), measure_shapes(paths[:, -1])
    effects = {name: ((ends[1][name] - ends[0][name]) / spread[name]).numpy() for name in SHAPES}
    logits = torch.cat([classifier(part) for part in paths.flatten(0, 1).split(CHUNK)])
    classes = logits.argmax(1).reshape(num_images, steps)
    effects["class"] = (classes != classes[:, :1]).any(1).double().numpy()
    effects["pixels"] = (paths[:, -1] - paths[:, 0]).flatten(1).square().mean(1).sqrt().numpy()
    effects["jump"] = largest_step(paths).numpy()
    effects["confidence"] = logits.softmax(1).amax(1).reshape(num_images, steps).mean(1).numpy()
    return effects


def largest_step(paths: Tensor) -> Tensor:
    """Return the largest change between neighbours of each path (N x steps x ...) over the mean.

    1 is a path that changes evenly, or not at all.
    """
    steps = (paths[:, 1:] - paths[:, :-1]).flatten(2).norm(dim=2).double()
    return torch.where(steps.amax(1) > 0, steps.amax(1) / steps.mean(1), 1.0)


def measure_spread(images: Tensor) -> dict[str, float]:
    """Return the standard deviation of each shape over real images, B x C x H x W in [0, 1]."""
    return {name: float(values.std()) for name, values in measure_shapes(images).items()}


def make_cards(
    effects: Mapping[int, Mapping[str, np.ndarray]], kl: np.ndarray, seed: int
) -> pd.DataFrame:
    """Return one row per latent: its KL, its meaning in words, every effect with its interval.

    The intervals (95 %) are of the mean over images.
    """
    rows = []
    for latent, values in effects.items():
        row: dict[str, Any] = {"latent": latent, "kl": float(kl[latent]), "meaning": ""}
        for name in FACTORS:
            row |= evidence.spread(values[name], seed_of(seed, "cards", latent), f"effect_{name}")
        row |= {name: float(values[name].mean()) for name in ("pixels", "jump", "confidence")}
        row["meaning"] = name_meaning(row)
        rows.append(row)
    return pd.DataFrame(rows)


def name_meaning(card: Mapping[str, float]) -> str:
    """Return e.g. "slant" or "width, class": the strongest shape, and others near it.

    A factor is named if its effect is STRONG and at least half the strongest one's; "class" where
    most traversals change it.
    """
    if card["kl"] < USED:
        return "unused"
    sizes = {name: abs(card[f"effect_{name}"]) for name in SHAPES}
    least = max(STRONG, max(sizes.values()) / 2)
    named = [
        name for name in sorted(sizes, key=sizes.__getitem__, reverse=True) if sizes[name] >= least
    ]
    if card["effect_class"] > 0.5:
        named.append("class")
    return ", ".join(named) or "detail"


def explain_shapes(codes: np.ndarray, images: Tensor) -> float:
    """Return how well the best single latent tells a shape: R^2, averaged over the shapes.

    codes N x latents of the images N x C x H x W.
    """
    shapes = measure_shapes(images)
    best = [
        max(_correlation(code, shapes[name].numpy()) ** 2 for code in codes.T) for name in SHAPES
    ]
    return float(np.mean(best))


def entanglement(codes: np.ndarray) -> float:
    """Return the mean |correlation| of two different latents over codes N x latents."""
    varying = codes[:, codes.std(0) > 1e-6]
    if varying.shape[1] < 2:
        return 0.0
    correlations = np.abs(np.corrcoef(varying, rowvar=False))
    return float(correlations[np.triu_indices(len(correlations), 1)].mean())


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def traverse_all(
    model: CodeDecoder,
    codes: Tensor,
    steps: int,
    classifier: nn.Module,
    spread: Mapping[str, float],
    places: Callable[[int], tuple[float, float]],
) -> dict[int, dict[str, np.ndarray]]:
    """Return the effects of every latent; `places` gives the centre and scale of its traversal."""
    return {
        latent: measure_effects(
            traverse(model, codes, latent, steps, *places(latent)), classifier, spread
        )
        for latent in range(codes.shape[1])
    }
