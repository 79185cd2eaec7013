"""The variants of an ablation: what each has otherwise than the experiment, as an argument."""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import override
from diffusevae.models.conditions import GREY
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.unet import Fuse, UNetConfig, check_tokens

Told = Literal["x_hat", "code", "both", "none"]  # what the network is given of the VAE
NAME = re.compile(r"[\w+-]{1,60}")


@dataclass(frozen=True)
class Variant:
    """What one training has otherwise: values of unet.fuse and of the section diffusion.

    fuse: that of unet where it is None. condition: whether the network is given x_hat, the code z
    that it is decoded from, or both; z is resized as x_hat is, so fuse says where it enters. Where
    fuse has attend, the places of z are tokens, and beside x_hat it is nothing else. With none it
    is a DDPM, whose images refine nothing: of its columns those of the model compare. labels:
    whether it is told the class too, by time's embedding, and as a token where fuse has attend.
    """

    name: str
    fuse: tuple[Fuse, ...] | None = None
    condition: Told = "x_hat"
    labels: bool = False
    diffusion: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name[:60]!r}: use letters, digits, +, - and _")


def name_fuse(fuse: tuple[Fuse, ...]) -> str:
    """Return e.g. in+down+skip."""
    return "+".join(fuse)


def apply_variant(
    variant: Variant, diffusion: DiffusionConfig, unet: UNetConfig
) -> tuple[DiffusionConfig, UNetConfig]:
    """Return the sections as the variant has them. Raises InputError where they do not fit."""
    place = f"ablate.variants {variant.name}"
    if variant.fuse is not None:
        try:
            unet = dataclasses.replace(unet, fuse=variant.fuse)
        except ValueError as error:
            raise InputError(f"{place}: {error}") from error
    if variant.condition == "none" and variant.fuse is not None:
        raise InputError(f"{place}: condition none enters nowhere; leave out fuse")
    if "shift" in unet.fuse and variant.condition == "code":
        raise InputError(
            f"{place}: fuse shift adds x_hat, which condition code leaves out; use condition both"
        )
    if variant.condition != "none":
        told = {"image": variant.condition != "code", "code": variant.condition != "x_hat"}
        try:
            check_tokens(unet.fuse, **told, labels=variant.labels)
        except InputError as error:
            raise InputError(f"{place}: {error}") from error
    return override(diffusion, variant.diffusion, f"{place}.diffusion"), unet


def make_condition(
    told: Told, x_hat: Tensor, code: Tensor | None, attended: bool = False
) -> Tensor | None:
    """Return what the network is given, x_hat (N x C x H x W in [0,1]) first.

    code: N x Cz x h x w of mean 0 and spread 1. It is mapped as [-1,1] is to [0,1], for the network
    undoes that; so a hidden one is its mean. Beside x_hat it has that one's size; one that is
    attended to repeats its places, from which the network takes it back.
    """
    if told in ("x_hat", "none"):
        return x_hat if told == "x_hat" else None
    assert code is not None, "no codes for a variant that is given them"
    mapped = GREY + code / 2
    if told == "code":
        return mapped
    size = x_hat.shape[-2:]
    if attended:
        resized = F.interpolate(mapped, size=size, mode="nearest")
    else:
        resized = F.interpolate(mapped, size=size, mode="bilinear", align_corners=False)
    return torch.cat([x_hat, resized], dim=1)
