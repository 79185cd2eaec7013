"""The denoising UNet and the ways x_hat conditions it (docs/study.md, sections 3 and 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusevae.core.device import autocast
from diffusevae.core.errors import InputError
from diffusevae.core.params import Range, Share
from diffusevae.models.layers import (
    ResidualBlock,
    SelfAttention,
    check_halving,
    check_widths,
    time_embedding,
    zero_init,
)
from diffusevae.models.normalisation import group_norm
from diffusevae.models.tokens import Tokens
from diffusevae.models.unet_levels import (
    DownLevel,
    UpLevel,
    concatenate_resized,
    make_cross,
    make_fusion,
)

Fuse = Literal["concat", "in", "down", "skip", "shift", "attend"]


@dataclass(frozen=True)
class UNetConfig:
    """Architecture; one level per entry of channel_multipliers, and where x_hat is fused in.

    fuse: "concat" feeds x_t and x_hat side by side to the first convolution (DiffuseVAE paper,
    Formulation 1). The study's multi-scale condition is ["in", "down", "skip"]: a 1x1 convolution
    after concatenation with x_hat at the input, at every encoder level, in every skip connection.
    "shift" is Formulation 2: x_hat is added to x_t before anything else (`DiffusionModel.network`),
    alone or with the others. "attend" lets the attention levels, and the middle, look up tokens:
    the places of a code, and the class. labels: whether it is told the class of an image, too.
    """

    base_channels: Annotated[int, Range(1, 1024)]
    channel_multipliers: tuple[Annotated[int, Range(1, 64)], ...]
    blocks_per_level: Annotated[int, Range(1, 8)]
    attention_levels: tuple[Annotated[int, Range(0, 16)], ...]
    num_heads: Annotated[int, Range(1, 64)]
    time_emb_dim: Annotated[int, Range(2, 4096)]
    dropout: Share
    fuse: tuple[Fuse, ...]
    labels: bool = False

    def __post_init__(self) -> None:
        check_widths(self.base_channels, self.channel_multipliers)
        if self.time_emb_dim % 2:
            raise ValueError(f"time_emb_dim {self.time_emb_dim} is odd; use an even number")
        if not self.fuse:
            raise ValueError(
                "fuse is empty; name at least one of concat, in, down, skip, shift, attend"
            )
        if "attend" in self.fuse and not self.attention_levels:
            raise ValueError(
                "fuse attend: attention_levels is empty, so nothing attends; name a level"
            )
        levels = [*self.attention_levels, len(self.channel_multipliers) - 1]
        for level in levels:
            if level >= len(self.channel_multipliers):
                raise ValueError(
                    f"attention_levels: there is no level {level}; "
                    f"levels count from 0 to {len(self.channel_multipliers) - 1}"
                )
            width = self.base_channels * self.channel_multipliers[level]
            if width % self.num_heads:
                raise ValueError(
                    f"num_heads {self.num_heads} does not divide the {width} "
                    f"channels of level {level}"
                )


def check_tokens(fuse: Sequence[str], image: bool, code: bool, labels: bool) -> None:
    """Raise InputError where a conditional network with this fuse attends to nothing, or x_hat
    enters nowhere; the others say what it is told.
    """
    if "attend" in fuse and not (code or labels):
        raise InputError(
            "fuse attend: x_hat has no tokens; use condition code or both (a variant of ablate), "
            "or set unet.labels to true"
        )
    if image and set(fuse) == {"attend"}:
        raise InputError(
            "fuse attend alone: x_hat enters nowhere; name one of concat, in, down, skip, shift "
            "too, or use condition code (a variant of ablate)"
        )


class UNet(nn.Module):
    """Maps x_t (B x C x H x W) at times t (B, or 1 for all images) to a prediction of that shape.

    `conditional` says whether it takes a condition (B x C x H x W, in [-1,1]) too: without, it is
    the unconditional DDPM's network. A condition of zeros says nothing (classifier-free guidance).
    One that is no image has `condition_channels`, and any height and width. With `num_classes` it
    takes labels (B) as well, of which num_classes says nothing. Where it attends to a code
    (Cz x h x w is `code_shape`), that is the last of the condition's channels: the whole of it, or
    behind an image, which alone is fused in otherwise, each place repeated over that image's size.
    Raises InputError where it would attend to nothing.
    """

    def __init__(
        self,
        config: UNetConfig,
        image_shape: Sequence[int],
        conditional: bool,
        condition_channels: int | None = None,
        num_classes: int = 0,
        code_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_halving(image_shape, config.channel_multipliers)
        self.config, self.conditional, self.num_classes = config, conditional, num_classes
        self.image_shape = tuple(image_shape)
        told = condition_channels or image_shape[0]
        beside = told - code_shape[0] if code_shape else 0  # channels of an image with the code
        if conditional:
            check_tokens(
                config.fuse, not code_shape or beside > 0, bool(code_shape), num_classes > 0
            )
        ways = config.fuse if conditional else {"attend"} if num_classes else ()
        self.fuse = [way for way in config.fuse if way in ways]
        attends = "attend" in self.fuse
        widths = [config.base_channels * m for m in config.channel_multipliers]
        image_channels, dim = image_shape[0], config.time_emb_dim
        self.condition_channels, self.code_shape = told, code_shape and tuple(code_shape)
        self.time_mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label_embedding = nn.Embedding(num_classes + 1, dim) if num_classes else None
        self.tokens = Tokens(self.code_shape, num_classes, dim) if attends else None
        told = beside or told
        self.fuse_in = make_fusion(image_channels, told) if "in" in self.fuse else None
        inputs = image_channels + (told if "concat" in self.fuse else 0)
        self.conv_in = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            DownLevel(config, self.fuse, told, level, widths) for level in range(len(widths))
        )
        self.middle1 = ResidualBlock(widths[-1], widths[-1], config.dropout, dim)
        self.middle_attention = SelfAttention(widths[-1], config.num_heads)
        self.middle_cross = make_cross(config, widths[-1]) if attends else None
        self.middle2 = ResidualBlock(widths[-1], widths[-1], config.dropout, dim)
        self.up = nn.ModuleList(
            UpLevel(config, self.fuse, told, level, widths)
            for level in reversed(range(len(widths)))
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = zero_init(nn.Conv2d(widths[0], image_channels, 3, padding=1))

    def forward(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        assert (condition is not None) == self.conditional, "condition given to the wrong network"
        with autocast(x_t.device):
            return self._predict(x_t, t, condition, labels).float()

    def _predict(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None, labels: Tensor | None
    ) -> Tensor:
        embedding = self.time_mlp(time_embedding(t, self.config.time_emb_dim))
        if self.label_embedding is not None:
            if labels is None:
                labels = torch.full((1,), self.num_classes, device=x_t.device)
            embedding = embedding + self.label_embedding(labels)
        condition, code = self._part(condition)
        tokens = None if self.tokens is None else self.tokens(code, labels, len(x_t))
        h = x_t
        if self.fuse_in is not None and condition is not None:
            h = self.fuse_in(concatenate_resized(h, condition))
        if "concat" in self.fuse and condition is not None:
            h = concatenate_resized(h, condition)
        h = self.conv_in(h)
        skips = []
        for level in self.down:
            h, skip = level(h, embedding, condition, tokens)
            skips.append(skip)
        h = self.middle_attention(self.middle1(h, embedding))
        if self.middle_cross is not None and tokens is not None:
            h = self.middle_cross(h, tokens)
        h = self.middle2(h, embedding)
        for level in self.up:
            h = level(h, skips.pop(), embedding, condition, tokens)
        return self.conv_out(F.silu(self.norm_out(h)))

    def _part(self, condition: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return what of a condition is fused in, and the code that is attended to, in its size."""
        if condition is None or self.code_shape is None:
            return condition, None
        channels, height, width = self.code_shape
        code, image = condition[:, -channels:], condition[:, :-channels]
        rows, columns = code.shape[2] // height, code.shape[3] // width
        return image if image.shape[1] else condition, code[..., ::rows, ::columns]
