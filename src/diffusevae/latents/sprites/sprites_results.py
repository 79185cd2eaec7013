"""Every objective trained with every seed, and the files that the study of sprites leaves."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pandas as pd
import torch

from diffusevae.core.stage_log import StageLog
from diffusevae.latents.page.chapter import write_chapter
from diffusevae.latents.sprites.disentangling import NAMES, ObjectiveName, fit_disentangling
from diffusevae.latents.sprites.dsprites import SIDE, DrawnSprites, Sprites, number_images
from diffusevae.latents.sprites.sprites_chapter import tell_sprites
from diffusevae.latents.sprites.sprites_figures import save_pictures
from diffusevae.latents.sprites.sprites_study import (
    SCORES,
    Run,
    SpriteImages,
    SpritesConfig,
    measure_run,
    summarise_runs,
    tabulate_runs,
)
from diffusevae.training.stage_trainings import OpenTraining


def train_objectives(
    config: SpritesConfig,
    images: SpriteImages,
    device: torch.device,
    open_one: OpenTraining,
    log: StageLog,
) -> list[Run]:
    """Return a run for each objective and seed."""
    train, validation = images.train.to(device), images.validation.to(device)

    def train_one(objective: ObjectiveName, seed: int) -> Run:
        name = f"{objective}-{seed}"
        with open_one(name, {"objective": objective, "seed": seed}) as training:
            model, _ = fit_disentangling(
                objective,
                config.objectives,
                config.vae,
                config.optimiser,
                train,
                validation,
                config.steps,
                seed,
                (SIDE / config.image_size) ** 2,
                training.callbacks(),
                training.checkpointer,
            )
            measured = measure_run(objective, seed, model, images)
            training.log.summary(measured.scores)
        log.message("  ".join(f"{key} {value:.3f}" for key, value in measured.scores.items()))
        return measured

    return [
        train_one(objective, seed) for objective in get_args(ObjectiveName) for seed in config.seeds
    ]


def save_sprites(
    out: Path, config: SpritesConfig, runs: Sequence[Run], sprites: Sprites, images: SpriteImages
) -> pd.DataFrame:
    """Write the tables, the pictures and the chapter; return the table of the runs."""
    table = tabulate_runs(runs)
    best = {
        name: max((one for one in runs if one.objective == name), key=lambda r: r.mean_score)
        for name in NAMES
    }
    shown = max(best.values(), key=lambda one: one.mean_score)
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "runs.csv", index=False)
    summarise_runs(table).to_csv(out / "table.csv", index=False)
    save_pictures(out, table, best, shown, images)
    is_drawn = isinstance(sprites, DrawnSprites)
    chapter = tell_sprites(config, table, shown, number_images(sprites.values), is_drawn)
    write_chapter(out, chapter)
    return table


def list_medians(table: pd.DataFrame) -> dict[str, float]:
    """Return every objective's median of each score, by the name of a metric."""
    return {
        f"{name}_{score}": value
        for score in SCORES
        for name, value in table.groupby("objective")[score].median().items()
    }
