"""The trained models as priors: what is missing of test images, or noisy, is restored by them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from diffusevae.sampling.generation import Models
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.restoration.denoising_study import (
    denoise_by_models,
    filter_classically,
    make_noisy,
)
from diffusevae.studies.restoration.inpainting_study import fill_all_ways
from diffusevae.studies.restoration.masks import MASKS, check_mask
from diffusevae.studies.restoration.restoration_config import (
    RestoreConfig,
    ToRestore,
    choose_sampler,
)
from diffusevae.studies.restoration.restored import Restored, compare_restored

INPAINTING, DENOISING = "inpainting", "denoising"


@dataclass(frozen=True, eq=False)
class Restoration:
    """One kind of damage: what was given (N x C x H x W), and what each method makes of it.

    wanted: C x H x W, 1 where a pixel counts: those that were unknown, or all.
    """

    task: str
    kind: str
    given: Tensor
    wanted: Tensor
    restored: dict[str, Restored]


def inpaint(
    models: Models,
    sampler: SamplerConfig,
    config: RestoreConfig,
    images: ToRestore,
    kind: str,
    known: Tensor,
    seed: int,
) -> Restoration:
    """Return the case of a mask (C x H x W)."""
    restored = fill_all_ways(models, sampler, config, images, known, seed)
    return Restoration(INPAINTING, kind, images.test * known, 1 - known, restored)


def denoise(
    models: Models,
    sampler: SamplerConfig,
    config: RestoreConfig,
    images: ToRestore,
    noise: float,
    seed: int,
) -> Restoration:
    """Return the case of a level of noise."""
    noisy = make_noisy(images.test, noise, seed, "test")
    restored = filter_classically(images, noisy, noise, seed)
    restored |= denoise_by_models(models, sampler, config, images, noisy, noise, seed)
    wanted = torch.ones(noisy.shape[1:])
    return Restoration(DENOISING, f"noise {noise:g}", noisy.clamp(0, 1), wanted, restored)


def list_cases(
    models: Models, sampler: SamplerConfig, config: RestoreConfig, images: ToRestore, seed: int
) -> Iterator[Restoration]:
    """Yield the case of every mask and of every level of noise."""
    shape = images.test.shape[1:]
    for kind, make in MASKS.items():
        known = check_mask(make(*shape[1:]), shape)
        yield inpaint(models, sampler, config, images, kind, known, seed)
    for noise in config.noise_levels:
        yield denoise(models, sampler, config, images, noise, seed)


def measure_restoration(
    models: Models,
    sampler: SamplerConfig,
    config: RestoreConfig,
    images: ToRestore,
    seed: int,
    say: Callable[[str], None],
) -> tuple[pd.DataFrame, list[Restoration]]:
    """Return a row for each case and method, and the cases."""
    rows, cases = [], []
    for case in list_cases(models, choose_sampler(sampler, config), config, images, seed):
        facts = {"task": case.task, "kind": case.kind}
        found = compare_restored(
            case.restored, images.test, case.wanted, facts, seed, config.num_resamples
        )
        best = min(found, key=lambda row: row["mse"])
        say(f"{case.task} {case.kind}: {best['method']} {best['mse']:.4f}; {best['rival']}")
        rows += found
        cases.append(case)
    return pd.DataFrame(rows), cases
