"""Images as a person has them: arrays, bytes or floats, checked before anything is trained."""

import numpy as np
import torch
from torch import Tensor

from diffusevae.core.device import choose_device
from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.data.dataset import to_unit

Array = Tensor | np.ndarray


def hold_out(images: Array, validation: Array | None, seed: int) -> tuple[Tensor, Tensor]:
    """Return uint8 images for training and for validation, on the device to use."""
    device = choose_device()
    pixels = in_bytes(images, "images").to(device)
    if validation is None:
        train, held_out = draw_held_out(len(pixels), seed)
        return pixels[train], pixels[held_out]
    others = in_bytes(validation, "validation").to(device)
    if others.shape[1:] != pixels.shape[1:]:
        raise InputError(
            f"validation {describe_shape(others)}: the images are {describe_shape(pixels)}; "
            "give such as these"
        )
    return pixels, others


def draw_held_out(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices of images to train on, and of the tenth that is held out."""
    if count < 2:
        raise InputError(f"images: {count}, of which one is to be held out; give at least 2")
    order = torch.randperm(count, generator=generator(seed, "held out"))
    held_out = max(1, count // 10)
    return order[held_out:], order[:held_out]


def in_bytes(images: Array, name: str) -> Tensor:
    """Return images as uint8, the nearest value of floats."""
    checked = _check(images, name)
    return checked if checked.dtype == torch.uint8 else (checked * 255).round().to(torch.uint8)


def in_unit(images: Array, name: str) -> Tensor:
    """Return images as float32 in [0, 1], on the CPU."""
    checked = _check(images, name).cpu()
    return to_unit(checked) if checked.dtype == torch.uint8 else checked.float()


def _check(images: Array, name: str) -> Tensor:
    """Return images as a tensor. Raises InputError, which names the argument."""
    try:
        tensor = torch.as_tensor(images).detach()
    except (TypeError, ValueError, RuntimeError) as error:  # of objects, of lists of any lengths
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"{name}: no array of numbers ({reason}); convert it") from error
    if tensor.ndim != 4 or tensor.shape[1] not in (1, 3) or not tensor.numel():
        raise InputError(
            f"{name} {describe_shape(tensor)}: expected N x C x H x W with C 1 or 3; "
            "images[:, None] adds the channel of grey ones"
        )
    if tensor.dtype == torch.uint8:
        return tensor
    if not tensor.is_floating_point():
        raise InputError(f"{name} {tensor.dtype}: expected uint8, or floats in [0, 1]; convert it")
    low, high = tensor.aminmax()
    if not (low >= 0 and high <= 1):  # so written that NaN fails too
        raise InputError(
            f"{name}: values from {float(low):g} to {float(high):g}; expected [0, 1], or uint8: "
            "scale them"
        )
    return tensor


def describe_shape(tensor: Tensor) -> str:
    """Return it as an error names it: 100 x 1 x 28 x 28."""
    return " x ".join(map(str, tensor.shape)) or "one number"
