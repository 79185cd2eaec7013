"""What DiffuseVAE makes of an x_hat that is not a good reconstruction: does it repair or follow?

It was trained on the VAE's reconstructions of clean images. Here images are damaged before the VAE
sees them, or x_hat is damaged after it, ever more, and what comes out is held against what should.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pandas as pd
from torch import Tensor

from diffusevae.core.params import PositiveCount
from diffusevae.core.randomness import seed_of
from diffusevae.metrics.bootstrap import interval
from diffusevae.metrics.paired import mse, ssim
from diffusevae.metrics.set_comparison import classify
from diffusevae.models.classifier import Classifier
from diffusevae.models.vae import reconstruct_all
from diffusevae.sampling.generation import Pair
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.sampling.samplers import sample
from diffusevae.studies.robustness.damages import FOREIGN, RESTORABLE

IMAGE, X_HAT = "image", "x_hat"  # what is damaged: before the VAE, or after it
UNDAMAGED = "none"


@dataclass(frozen=True)
class RobustnessConfig:
    """How many test images are damaged in every way, and how often they are resampled."""

    num_images: PositiveCount
    num_resamples: PositiveCount


@dataclass(frozen=True, eq=False)
class Case:
    """One way to damage, and what the models see and should make of it.

    wanted: what the result is held against, N x C x H x W in [0, 1]; given: what was damaged, as it
    is now; x_hat: what DiffuseVAE is to refine.
    """

    place: str
    kind: str
    strength: float
    given: Tensor
    wanted: Tensor
    x_hat: Tensor


def list_cases(pair: Pair, real: Tensor) -> Iterator[Case]:
    """Yield every case of real images (N x C x H x W in [0, 1]), the undamaged one first.

    The image is what a restorable damage should lead back to. One that was moved or inverted is
    itself what should come out. x_hat gets restorable damages only.
    """
    clean = reconstruct_all(pair.vae, real).cpu()
    yield Case(IMAGE, UNDAMAGED, 0.0, real, real, clean)
    for kind, (_, damage, strengths) in (RESTORABLE | FOREIGN).items():
        for strength in strengths:
            given = damage(real, strength)
            wanted = real if kind in RESTORABLE else given
            seen = reconstruct_all(pair.vae, given).cpu()
            yield Case(IMAGE, kind, strength, given, wanted, seen)
    for kind, (_, damage, strengths) in RESTORABLE.items():
        for strength in strengths:
            given = damage(clean, strength)
            yield Case(X_HAT, kind, strength, given, real, given)


def measure_case(
    case: Case,
    refined: Tensor,
    labels: Tensor,
    classify: Callable[[Tensor], Tensor],
    seed: int,
    num_resamples: int,
) -> dict[str, object]:
    """Return a row of the table, each number with its 95 % interval (_low, _high) over images.

    x_hat_ssim and refined_ssim are those with what is wanted; repaired is by how much the
    refinement is nearer to it, MSE(x_hat) - MSE(refined); followed is SSIM(refined, x_hat);
    x_hat_right and refined_right are the shares that the classifier recognises. labels: N;
    classify gives the classes of images.
    """
    values = {
        "x_hat_ssim": ssim(case.wanted, case.x_hat),
        "refined_ssim": ssim(case.wanted, refined),
        "repaired": mse(case.wanted, case.x_hat) - mse(case.wanted, refined),
        "followed": ssim(case.x_hat, refined),
        "x_hat_right": classify(case.x_hat) == labels,
        "refined_right": classify(refined) == labels,
    }
    row: dict[str, object] = {"damaged": case.place, "kind": case.kind, "strength": case.strength}
    for name, found in values.items():
        entry = interval(found.double().numpy(), seed_of(seed, "robustness"), num_resamples)
        row |= {name: entry["value"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
    return row


def measure_robustness(
    pair: Pair,
    classifier: Classifier,
    sampler: SamplerConfig,
    config: RobustnessConfig,
    images: Tensor,
    labels: Tensor,
    seed: int,
    say: Callable[[str], None],
) -> tuple[pd.DataFrame, dict[tuple[str, str], tuple[Case, Tensor]]]:
    """Return a row for each case, and by place and kind the strongest with its refinements.

    images: N x C x H x W in [0, 1] on the CPU; all cases start from the same noise.
    """

    taken_for = partial(classify, classifier, device=pair.device)
    rows, shown = [], {}
    for case in list_cases(pair, images):
        refined = sample(pair.diffusevae, sampler, len(images), seed, case.x_hat.to(pair.device))
        row = measure_case(case, refined, labels, taken_for, seed, config.num_resamples)
        rows.append(row)
        shown[case.place, case.kind] = case, refined
        say(
            f"{case.place} {case.kind} {case.strength:g}  SSIM {row['x_hat_ssim']:.3f} -> "
            f"{row['refined_ssim']:.3f}"
        )
    return pd.DataFrame(rows), shown


def read_ladder(table: pd.DataFrame, place: str, kind: str) -> pd.DataFrame:
    """Return the rows of one kind of damage by strength, the undamaged case first."""
    chosen = (table["damaged"] == place) & (table["kind"] == kind)
    return pd.concat([table[table["kind"] == UNDAMAGED], table[chosen]])
