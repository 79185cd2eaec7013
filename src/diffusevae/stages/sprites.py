"""Train four objectives of disentanglement on sprites and score them by the known factors.

python -m diffusevae.stages sprites latents_smoke \\
    --source src/diffusevae/latents/sprites/dsprites.json \\
    --out artifacts/latents_smoke/sprites

The source can also be dSprites' original .npz file.
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.latents.models.threads import use_one_thread
from diffusevae.latents.sprites.dsprites import read_sprites
from diffusevae.latents.sprites.sprites_results import list_medians, save_sprites, train_objectives
from diffusevae.latents.sprites.sprites_study import SpritesConfig, choose_images
from diffusevae.training.stage_trainings import open_trainings

ROOT = "latent_studies"
SECTIONS = {"seed": int, "sprites": SpritesConfig}


def run(params, *, source: Path, out: Path, log: StageLog) -> None:
    """Write chapter.json with its tables and pictures to `out`."""
    use_one_thread()
    device = choose_device()
    log.dataset(source, "training")
    sprites = read_sprites(source)
    images = choose_images(sprites, params.sprites, params.seed)
    with open_trainings("sprites", params, [source], device, log) as open_one:
        runs = train_objectives(params.sprites, images, device, open_one, log)
        table = save_sprites(out, params.sprites, runs, sprites, images)
    log.summary(list_medians(table))
    log.artifact(out)
