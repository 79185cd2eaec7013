"""The VAE's new images early and late in its training (the main source's figures 7.1 and 7.2).

The source shows images of N(0, I) after 5 and after 50 epochs and lets the eye judge. Here each
epoch that was kept has its distance from test images, and whether it is better than the first.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import load_tensors
from diffusevae.data.dataset import to_unit
from diffusevae.metrics.frechet_intervals import frechet_difference, frechet_interval
from diffusevae.metrics.set_comparison import extract_features
from diffusevae.models.classifier import Classifier
from diffusevae.studies.theory.early import judge

ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))


def read_drawn(train_vae: Path) -> dict[int, Tensor]:
    """Return by epoch the new images that the training kept, n x C x H x W in [0, 1].

    None where it kept no epoch. Raises InputError for snapshots without such images.
    """
    drawn = {}
    for path in sorted((train_vae / "snapshots").glob("epoch_*.safetensors")):
        tensors = load_tensors(path)
        if "drawn" not in tensors:
            raise InputError(f"{path}: has no new images; make it again with the stage train_vae")
        drawn[int(path.stem.removeprefix("epoch_"))] = to_unit(tensors["drawn"])
    return drawn


def compare_epochs(
    drawn: Mapping[int, Tensor], real: Tensor, classifier: Classifier, say: Callable[[str], None]
) -> pd.DataFrame:
    """Return a row for each epoch: Fréchet distance to real images, its change from the first's.

    Both with 95 % intervals, the change extrapolated to infinitely many images: the images of each
    epoch are decoded from the same codes. real: N x C x H x W in [0, 1].
    """
    device = next(classifier.parameters()).device
    reference = extract_features(classifier, real, device)
    found = {epoch: extract_features(classifier, each, device) for epoch, each in drawn.items()}
    rows: list[dict[str, object]] = []
    for epoch, features in found.items():
        entry = frechet_interval(reference, features)
        row: dict[str, object] = {"epoch": epoch, "num_drawn": len(features)}
        row |= {f"frechet_new{end}": entry[key] for end, key in ENDS}
        if epoch != min(found):
            change = frechet_difference(reference, features, found[min(found)])
            row |= {f"since_first{end}": change[key] for end, key in ENDS}
            row["verdict"] = judge(change, "lower")
            say(f"VAE after epoch {epoch}, new images, against the first kept: {row['verdict']}")
        rows.append(row)
    return pd.DataFrame(rows)
