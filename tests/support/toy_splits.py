"""Small prepared data sets."""

from pathlib import Path

import torch

from diffusevae.core.tensor_file import save_tensors


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
