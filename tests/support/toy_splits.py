"""Small prepared data sets, and folders in which stages run on them."""

from pathlib import Path

import torch

from diffusevae.core.tensor_file import save_tensors
from tests.support.checkouts import ROOT


def write_split(path: Path, count: int, seed: int, flips: bool = False) -> None:
    """Write a split of random images, 1 x 16 x 16, all with the label 0."""
    images = torch.randint(
        256, (count, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    save_tensors(
        path,
        {
            "images": images,
            "labels": torch.zeros(count, dtype=torch.long),
            "indices": torch.arange(count),
        },
        {"flips": True} if flips else None,
    )


def write_stage_folder(folder: Path) -> None:
    """Write small splits, and params.yaml with three trials and three epochs in smoke."""
    head, smoke = (ROOT / "params.yaml").read_text().split("  smoke:", 1)
    smoke = smoke.replace("n_trials: 2", "n_trials: 3").replace("epochs: 2\n", "epochs: 3\n")
    (folder / "params.yaml").write_text(f"{head}  smoke:{smoke}")
    for seed, (name, count) in enumerate({"train": 96, "validation": 16}.items()):
        write_split(folder / name, count, seed)
    (folder / "best.yaml").write_text("{}")
