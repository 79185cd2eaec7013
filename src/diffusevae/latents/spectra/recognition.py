"""Which mineral is this noisy spectrum of? Codes and archetypes against cosine similarity."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from diffusevae.core.randomness import generator
from diffusevae.latents.measures.evidence import spread
from diffusevae.latents.models.beta_vae import VectorVAE
from diffusevae.latents.spectra.measured_spectra import Spectra

METHODS = {
    "archetype": "nearest archetype, in latent space",
    "code": "nearest training spectrum, in latent space",
    "denoised": "decoded, then cosine with the training spectra",
    "cosine": "cosine with the training spectra",
    "mean_cosine": "cosine with the mean spectra",
}
BASELINE = "cosine"


def average(values: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of the values (N x ...) of every label, K x ...; each label occurs."""
    return torch.stack([values[labels == label].mean(0) for label in range(int(labels.max()) + 1)])


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine similarity of spectra n x 1 x L with spectra m x 1 x L: n x m."""
    return F.normalize(a.flatten(1), dim=1) @ F.normalize(b.flatten(1), dim=1).T


def add_noise(x: Tensor, level: float, seed: int) -> Tensor:
    """Return spectra (N x 1 x L) with white noise; the same noise, scaled, at every level."""
    return x + level * torch.randn(x.shape, generator=generator(seed, "noise"))


@torch.inference_mode()
def recognise(model: VectorVAE, x: Tensor, labels: Tensor, noisy: Tensor) -> dict[str, Tensor]:
    """Return the label that each of METHODS gives to noisy spectra, n, by training spectra x."""
    codes, _ = model.encode(x)
    found, _ = model.encode(noisy)
    return {
        "archetype": torch.cdist(found, average(codes, labels)).argmin(1),
        "code": labels[torch.cdist(found, codes).argmin(1)],
        "denoised": labels[cosine(model.decode(found), x).argmax(1)],
        "cosine": labels[cosine(noisy, x).argmax(1)],
        "mean_cosine": cosine(noisy, average(x, labels)).argmax(1),
    }


def judge_fold(
    model: VectorVAE,
    spectra: Spectra,
    train: Tensor,
    held_out: Tensor,
    levels: Sequence[float],
    seed: int,
) -> pd.DataFrame:
    """Return a row per held-out spectrum, noise level and method: hit is 1 or 0."""
    x, labels, truth = (spectra.intensities[train], spectra.labels[train], spectra.labels[held_out])
    rows = []
    for level in levels:
        noisy = add_noise(spectra.intensities, level, seed)[held_out]
        for method, given in recognise(model, x, labels, noisy).items():
            rows += [
                {
                    "seed": seed,
                    "noise": level,
                    "method": method,
                    "spectrum": index,
                    "mineral": spectra.names[label],
                    "hit": hit,
                }
                for index, label, hit in zip(
                    held_out.tolist(), truth.tolist(), (given == truth).int().tolist(), strict=True
                )
            ]
    return pd.DataFrame(rows)


def summarise_hits(hits: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return a row per noise level and method: accuracies, and the difference to BASELINE's.

    A spectrum's hit is its mean over the seeds (each with folds, noise and a model of its own);
    accuracy has its 95 % interval over spectra, balanced_accuracy (mean over the minerals of each
    one's accuracy) over minerals, difference over spectra, paired. least and greatest are the
    accuracies of the seeds that came off worst and best.
    """
    rows = []
    for level, at_level in hits.groupby("noise"):
        means = at_level.pivot_table("hit", ["mineral", "spectrum"], "method")
        for method in METHODS:
            own = at_level[at_level["method"] == method]
            per_seed = own.groupby("seed")["hit"].mean()
            row = {"noise": level, "method": method}
            for name, values in (
                ("accuracy", means[method]),
                ("balanced_accuracy", means[method].groupby("mineral").mean()),
                ("difference", means[method] - means[BASELINE]),
            ):
                row |= spread(values.to_numpy(), seed, name)
            row |= {
                "least": per_seed.min(),
                "greatest": per_seed.max(),
                "num_spectra": len(means),
                "num_seeds": len(per_seed),
            }
            rows.append(row)
    return pd.DataFrame(rows)


@torch.inference_mode()
def build_archetypes(model: VectorVAE, spectra: Spectra) -> dict[str, Tensor]:
    """Return codes (K x latents), the mean code of every mineral, and pseudo_spectra (K x 1 x L),
    those codes decoded.
    """
    mu, _ = model.encode(spectra.intensities)
    codes = average(mu, spectra.labels)
    return {"codes": codes, "pseudo_spectra": model.decode(codes)}


@torch.inference_mode()
def compare_archetypes(
    model: VectorVAE, spectra: Spectra, train: Tensor, held_out: Tensor, seed: int
) -> pd.DataFrame:
    """Return, for each held-out spectrum, its cosine with what stands for its mineral.

    pseudo: the pseudo-spectrum; mean: the mean of the training spectra; single: the training
    spectra one by one, on average.
    """
    x, labels = spectra.intensities[train], spectra.labels[train]
    mu, _ = model.encode(x)
    unseen, truth = spectra.intensities[held_out], spectra.labels[held_out]
    own = torch.arange(len(truth)), truth
    singles = cosine(unseen, x)
    same = (truth[:, None] == labels[None]).float()
    return pd.DataFrame(
        {
            "seed": seed,
            "spectrum": held_out.numpy(),
            "mineral": [spectra.names[label] for label in truth],
            "pseudo": cosine(unseen, model.decode(average(mu, labels)))[own].numpy(),
            "mean": cosine(unseen, average(x, labels))[own].numpy(),
            "single": ((singles * same).sum(1) / same.sum(1)).numpy(),
        }
    )


def summarise_archetypes(
    compared: pd.DataFrame, archetypes: Mapping[str, Tensor], spectra: Spectra
) -> pd.DataFrame:
    """Return a row per mineral: cosines with held-out spectra, the strongest line of both means.

    pseudo_line and measured_line are in cm^-1, of the pseudo-spectrum and the mean of all spectra.
    """
    table = compared.groupby("mineral")[["pseudo", "mean", "single"]].mean()
    means = average(spectra.intensities, spectra.labels)
    rows = []
    for label, mineral in enumerate(spectra.names):
        pseudo = archetypes["pseudo_spectra"][label, 0]
        rows.append(
            {
                "mineral": mineral,
                "num_spectra": len(spectra.of(mineral)),
                "pseudo_line": spectra.shift[pseudo.argmax()],
                "measured_line": spectra.shift[means[label, 0].argmax()],
            }
            | table.loc[mineral].to_dict()
        )
    return pd.DataFrame(rows)
