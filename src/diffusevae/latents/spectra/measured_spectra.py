"""Measured Raman spectra: read, checked, scaled, split into folds, fitted.

The spectra are those of the RRUFF project (Lafuente et al., "The power of databases: the RRUFF
project", 2015). There are few of them: some minerals have three.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import Count, PositiveCount, Range
from diffusevae.core.randomness import generator, seed_of
from diffusevae.latents.models.beta_vae import VectorVAE, VectorVAEConfig, beta_vae_loss
from diffusevae.latents.spectra.augmentation import AugmentationConfig, augment
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.loop import Callbacks, Fit, OptimiserConfig, fit

FILE = "rruff_27minerals_200-1199cm.npz"
FIELDS = ("shift", "spectra", "label", "names")


@dataclass(frozen=True)
class SpectraConfig:
    """The study: models for every seed, on all spectra and on those of each fold.

    copies: how often an epoch shows each training spectrum, augmented anew each time.
    noise_levels: standard deviations of the white noise on spectra to recognise, in their strongest
    line. traversal_steps: codes from -3 to +3. line_window: half the width of a line in cm^-1.
    """

    vae: VectorVAEConfig
    optimiser: OptimiserConfig
    augmentation: AugmentationConfig
    epochs: PositiveCount
    copies: PositiveCount
    seeds: tuple[Count, ...]
    num_folds: Annotated[int, Range(2, 100)]
    noise_levels: tuple[Annotated[float, Range(0, 10)], ...]
    traversal_steps: Annotated[int, Range(2, 1000)]
    line_window: Annotated[float, Range(0, 100)]

    def __post_init__(self) -> None:
        for name in ("seeds", "noise_levels"):
            values = getattr(self, name)
            if not values or list(values) != sorted(set(values)):
                raise ValueError(f"{name}: expected one or more in rising order, each once")


@dataclass(frozen=True, eq=False)
class Spectra:
    """N spectra: intensities N x 1 x L in [0, 1] at shift (L, cm^-1), labels N into names."""

    shift: np.ndarray
    intensities: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def of(self, mineral: str) -> Tensor:
        """Return the spectra of a mineral, n x 1 x L. Raises ValueError where none is named so."""
        return self.intensities[self.labels == self.names.index(mineral)]


def read_spectra(folder: Path) -> Spectra:
    """Return the spectra of FILE in a folder. Raises InputError that says what was found."""
    path = folder / FILE
    try:
        with path.open("rb") as raw, NpzFile(raw, allow_pickle=False) as file:
            found = sorted(file.files)
            arrays = {name: file[name] for name in FIELDS if name in found}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise _unusable(path, f"cannot be read ({' '.join(str(error).split())[:200]})") from error
    if found != sorted(FIELDS):
        raise _unusable(path, f"holds {', '.join(found)}, expected {', '.join(FIELDS)}")
    if fault := find_fault(**arrays):
        raise _unusable(path, fault)
    intensities = scale(torch.from_numpy(arrays["spectra"].astype(np.float32)))
    return Spectra(
        arrays["shift"].astype(np.float64),
        intensities.unsqueeze(1),
        torch.from_numpy(arrays["label"].astype(np.int64)),
        tuple(map(str, arrays["names"])),
    )


def find_fault(
    shift: np.ndarray, spectra: np.ndarray, label: np.ndarray, names: np.ndarray
) -> str | None:
    """Return what is wrong with the fields of a file, or None."""
    for name, array, rank, kinds in (
        ("shift", shift, 1, "iuf"),
        ("spectra", spectra, 2, "iuf"),
        ("label", label, 1, "iu"),
        ("names", names, 1, "U"),
    ):
        if array.ndim != rank or array.dtype.kind not in kinds or not array.size:
            what = {"iuf": "numbers", "iu": "whole numbers", "U": "text"}[kinds]
            return (
                f"{name} is {array.dtype} {list(array.shape)}, expected {what} in "
                f"{rank} dimension{'s' * (rank > 1)}"
            )
    if spectra.shape != (len(label), len(shift)):
        return (
            f"spectra are {list(spectra.shape)}, expected {[len(label), len(shift)]} for "
            f"{len(label)} labels and {len(shift)} shifts"
        )
    if not np.isfinite(shift).all() or (np.diff(shift) <= 0).any():
        return "shift does not increase from channel to channel, expected cm^-1 in rising order"
    if len(bad := np.flatnonzero(~np.isfinite(spectra).all(1))):
        return f"spectrum {bad[0]} has a value that is not finite, expected numbers throughout"
    if len(bad := np.flatnonzero(spectra.max(1) <= 0)):
        return f"spectrum {bad[0]} has no intensity above 0, expected a line at least"
    if label.min() < 0 or label.max() >= len(names):
        return (
            f"labels go from {label.min()} to {label.max()}, expected 0 to {len(names) - 1} "
            f"for {len(names)} names"
        )
    if len(set(names)) < len(names):
        return "names has a name twice, expected each once"
    return None


def scale(spectra: Tensor) -> Tensor:
    """Return spectra (... x L) in [0, 1]: the strongest line is 1, what lies below 0 becomes 0."""
    return spectra.clamp_min(0) / spectra.amax(-1, keepdim=True)


def drop_copies(spectra: Spectra) -> tuple[Spectra, list[tuple[int, int]]]:
    """Return every spectrum once, and the pairs (kept, dropped) of equal ones by their old index.

    Were a copy on the other side of a split, it would be recognised by itself. Of a spectrum that
    stands under two names the one with fewer spectra is kept: the narrower name.
    """
    counts = torch.bincount(spectra.labels, minlength=len(spectra.names))
    order = counts[spectra.labels].argsort(stable=True).tolist()
    first: dict[bytes, int] = {}
    pairs = []
    for index in order:
        kept = first.setdefault(spectra.intensities[index].numpy().tobytes(), index)
        if kept != index:
            pairs.append((kept, index))
    rows = sorted(first.values())
    distinct = Spectra(
        spectra.shift, spectra.intensities[rows], spectra.labels[rows], spectra.names
    )
    return distinct, sorted(pairs)


def split_folds(
    labels: Tensor, names: tuple[str, ...], num_folds: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Return (training indices, held-out indices) of each fold, every mineral on both sides.

    Raises InputError where a mineral has fewer spectra than there are folds.
    """
    counts = torch.bincount(labels, minlength=len(names))
    if num_folds > counts.min():
        raise InputError(
            f"spectra.num_folds: {num_folds}, but {names[int(counts.argmin())]} has "
            f"{counts.min()} spectra, of which each fold needs one; use fewer folds"
        )
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed_of(seed, "folds") % 2**32)
    return [
        (torch.from_numpy(train), torch.from_numpy(held_out))
        for train, held_out in folds.split(np.zeros(len(labels)), labels.numpy())
    ]


def fit_spectra(
    config: SpectraConfig,
    x: Tensor,
    labels: Tensor,
    seed: int,
    callbacks: Callbacks,
    checkpointer: Checkpointer | None = None,
) -> tuple[VectorVAE, list[dict[str, float]]]:
    """Train on spectra x, N x 1 x L in [0, 1], on the device to use; return (model, history).

    The best epoch is chosen by the training spectra as they were measured: of so few none can be
    spared, and held-out ones may not have a say. Same contract as `training.fit`.
    """
    torch.manual_seed(seed)  # initial weights
    model = VectorVAE(config.vae, x.shape[1:]).to(x.device)

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor, ...]:
        rng = generator(seed, "spectra", epoch, batch, device=x.device)
        clean, seen = augment(x, labels, indices % len(x), config.augmentation, rng)
        eps = torch.randn(len(indices), config.vae.latents, generator=rng, device=x.device)
        return clean[rows], eps[rows], seen[rows]

    @torch.inference_mode()
    def validate(model: VectorVAE) -> dict[str, float]:
        rng = generator(seed, "spectra", "validation", device=x.device)
        eps = torch.randn(len(x), config.vae.latents, generator=rng, device=x.device)
        return {name: float(value) for name, value in beta_vae_loss(model, x, eps).items()}

    task = Fit(draw, beta_vae_loss, validate, len(x) * config.copies)
    model, history = fit(
        model, config.optimiser, config.epochs, seed, task, callbacks, checkpointer
    )
    return model.cpu(), history


def _unusable(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: {reason}; get it again with the stage download")
