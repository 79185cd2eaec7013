"""A small DiffuseVAE-like training with dropout, that can kill its own process on the way.

python -m tests.support.resumable FOLDER OUT [STEP]: go on from the checkpoints in FOLDER and write
the result to OUT; with STEP the process kills itself when so many batches of the training are done.
Under torchrun several processes do so together.
"""

import os
import signal
import sys
from pathlib import Path

import pandas as pd
import torch

import diffusevae.training.checkpointer
from diffusevae.models.diffusion import save_diffusion
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.unet import UNetConfig
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.distributed import ALONE, Group, join_group
from diffusevae.training.loop import Callbacks, OptimiserConfig

EPOCHS, BATCHES = 3, 4
CONFIG = DiffusionConfig("cosine", 100, 1e-4, 0.02, "v", "centred", True)
UNET = UNetConfig(4, (1, 2), 1, (), 1, 8, 0.2, ("in", "down", "skip"))
OPTIMISER = OptimiserConfig(5e-3, "cosine", 4, 1.0, 0.9)


def train(
    checkpointer: Checkpointer | None, out: Path, callbacks: Callbacks, group: Group = ALONE
) -> None:
    """Write model.safetensors and history.csv to `out`."""
    images = torch.randint(
        256, (4 * BATCHES, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    both = Images(images, images.float() / 255)
    model, history = fit_diffusion(
        CONFIG, UNET, OPTIMISER, both, both, EPOCHS, 0.3, 0, callbacks, checkpointer, group
    )
    if not group.is_first:
        return
    save_diffusion(out / "model.safetensors", model)
    pd.DataFrame(history).to_csv(out / "history.csv", index=False)


def main(folder: str, out: str, step: str = "-1") -> None:
    def on_batch(epoch: int, done: int, total: int, epochs: int) -> None:
        if (epoch - 1) * total + done == int(step):
            os.kill(os.getpid(), signal.SIGKILL)

    def on_resume(history: list, epoch: int, batch: int) -> None:
        print(f"epoch {epoch} batch {batch} history {len(history)}", flush=True)

    diffusevae.training.checkpointer.SECONDS_BETWEEN = 0  # a checkpoint after every batch
    train(
        Checkpointer(Path(folder), print),
        Path(out),
        Callbacks(on_batch=on_batch, on_resume=on_resume),
        join_group(torch.device("cpu")),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
