"""LPIPS, the learned perceptual distance (Zhang et al., 2018), from local AlexNet features.

Nothing here touches the network: the learned heads come with the lpips package, the backbone is a
file that the download stage has verified.
"""

import importlib.util
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import load_tensors
from diffusevae.data.dataset import in_batches

BACKBONE = "alexnet"
FEATURES_FILE = "features.safetensors"
MISSING_FILE = "missing.txt"
SMALLEST_SIDE = 32


def unavailable(folder: Path, side: int = SMALLEST_SIDE) -> str | None:
    """Return in one line why images of `side` pixels have no LPIPS, or None where they have.

    `folder` holds features.safetensors, or missing.txt with the reason why no source had it.
    Raises InputError where it holds neither.
    """
    if side < SMALLEST_SIDE:
        return f"images of {side} x {side} are smaller than the {SMALLEST_SIDE} it needs"
    if importlib.util.find_spec("lpips") is None:
        return "the lpips package is not installed"
    if (folder / FEATURES_FILE).is_file():
        return None
    if (folder / MISSING_FILE).is_file():
        return " ".join((folder / MISSING_FILE).read_text().split()) or "no reason is given"
    raise InputError(
        f"{folder}: holds neither {FEATURES_FILE} nor {MISSING_FILE}; run the download stage"
    )


def load_where_possible(
    folder: Path, side: int, device: torch.device
) -> tuple[nn.Module | None, str]:
    """Return LPIPS and no reason, or None and why there is none for images of `side` pixels."""
    reason = unavailable(folder, side)
    return (load_lpips(folder).to(device), "") if reason is None else (None, reason)


def load_lpips(folder: Path) -> nn.Module:
    """Return the LPIPS network (version 0.1) in evaluation mode, on the CPU.

    Raises InputError if the features are missing or not AlexNet's.
    """
    path = folder / FEATURES_FILE
    features = load_tensors(path)
    model = _build()
    # The package cuts the features into slices and keeps their numbers: 3.weight -> slice2.3.weight
    net = model.get_submodule("net")
    names = {key.split(".", 1)[1]: key for key in net.state_dict()}
    try:
        if names.keys() != features.keys():
            raise ValueError(f"keys {', '.join(sorted(features)) or '(none)'}")
        net.load_state_dict({names[key]: value for key, value in features.items()})
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not AlexNet's features ({reason}); run the download stage again"
        ) from error
    return model.eval()


@torch.inference_mode()
def lpips(x: Tensor, y: Tensor, model: nn.Module) -> Tensor:
    """Return the LPIPS of each pair of images, B values >= 0.

    x and y are B x C x H x W in [0, 1], C 1 or 3; grey is repeated to three channels, the range
    mapped to [-1, 1], the size kept (no resize). Raises ValueError below 32 x 32: the backbone
    cannot take less. The mean over a test set is divided by the number of images once.
    """
    if x.shape != y.shape or x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            "LPIPS compares images B x C x H x W of 1 or 3 channels, got shapes "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    if min(x.shape[2:]) < SMALLEST_SIDE:
        raise ValueError(
            f"LPIPS needs images of {SMALLEST_SIDE} x {SMALLEST_SIDE} or more, got "
            f"{x.shape[2]} x {x.shape[3]}; resize them first"
        )
    if len(x) == 0:
        raise ValueError("LPIPS needs at least one pair of images")
    x, y = x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)
    parts = zip(in_batches(x), in_batches(y), strict=True)
    return torch.cat([model(a, b, normalize=True).flatten() for a, b in parts])


def _build() -> nn.Module:
    """Return the package's network, its backbone still random."""
    from diffusevae.core.torchvision_import import ensure_torchvision

    ensure_torchvision()
    import lpips as lpips_package

    # The random weights are overwritten: they must not move the caller's random numbers.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torchvision's renamed `pretrained` argument
        return lpips_package.LPIPS(net="alex", pnet_rand=True, verbose=False)
