"""Train four objectives of disentanglement on sprites and score them by the known factors.

python -m diffusevae.stages sprites latents_smoke \\
    --source src/diffusevae/latents/sprites/dsprites.json \\
    --out artifacts/latents_smoke/sprites

The source can also be dSprites' original .npz file.
"""

from pathlib import Path
from typing import get_args

from diffusevae.core.device import choose_device
from diffusevae.latents.models.threads import use_one_thread
from diffusevae.latents.page.chapter import write_chapter
from diffusevae.latents.sprites.disentangling import NAMES, ObjectiveName, fit_disentangling
from diffusevae.latents.sprites.dsprites import SIDE, DrawnSprites, number_images, read_sprites
from diffusevae.latents.sprites.sprites_chapter import tell_sprites
from diffusevae.latents.sprites.sprites_figures import save_pictures
from diffusevae.latents.sprites.sprites_study import (
    SCORES,
    Run,
    SpritesConfig,
    choose_images,
    measure_run,
    summarise_runs,
    tabulate_runs,
)
from diffusevae.training.stage_trainings import open_trainings

ROOT = "latent_studies"
SECTIONS = {"seed": int, "sprites": SpritesConfig}


def run(params, *, source: Path, out: Path, log) -> None:
    """Write chapter.json with its tables and pictures to `out`."""
    use_one_thread()
    device = choose_device()
    log.dataset(source, "training")
    config = params.sprites
    sprites = read_sprites(source)
    images = choose_images(sprites, config, params.seed)
    train, validation = images.train.to(device), images.validation.to(device)

    with open_trainings("sprites", params, [source], device, log) as open_one:

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

        runs = [
            train_one(objective, seed)
            for objective in get_args(ObjectiveName)
            for seed in config.seeds
        ]
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
        chapter = tell_sprites(
            config, table, shown, number_images(sprites.values), isinstance(sprites, DrawnSprites)
        )
        write_chapter(out, chapter)
        log.summary(
            {
                f"{name}_{score}": value
                for score in SCORES
                for name, value in table.groupby("objective")[score].median().items()
            }
        )
    log.artifact(out)
