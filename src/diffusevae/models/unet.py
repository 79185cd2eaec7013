"""The denoising UNet and the ways x_hat conditions it (docs/study.md, sections 3 and 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusevae.core.device import autocast
from diffusevae.core.params import Range, Share
from diffusevae.models.layers import (
    Downsample,
    ResidualBlock,
    SelfAttention,
    Upsample,
    check_halving,
    check_widths,
    time_embedding,
    zero_init,
)
from diffusevae.models.normalisation import group_norm

Fuse = Literal["concat", "in", "down", "skip", "shift"]


@dataclass(frozen=True)
class UNetConfig:
    """Architecture; one level per entry of channel_multipliers, and where x_hat is fused in.

    fuse: "concat" feeds x_t and x_hat side by side to the first convolution (DiffuseVAE paper,
    Formulation 1). The study's multi-scale condition is ["in", "down", "skip"]: a 1x1 convolution
    after concatenation with x_hat at the input, at every encoder level, in every skip connection.
    "shift" is Formulation 2: x_hat is added to x_t before anything else (`DiffusionModel.network`),
    alone or with the others. labels: whether it is told the class of an image, too.
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
            raise ValueError("fuse is empty; name at least one of concat, in, down, skip, shift")
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


class UNet(nn.Module):
    """Maps x_t (B x C x H x W) at times t (B, or 1 for all images) to a prediction of that shape.

    `conditional` says whether it takes a condition (B x C x H x W, in [-1,1]) too: without, it is
    the unconditional DDPM's network. A condition of zeros says nothing (classifier-free guidance).
    One that is no image has `condition_channels`, and any height and width. With `num_classes` it
    takes labels (B) as well, of which num_classes says nothing.
    """

    def __init__(
        self,
        config: UNetConfig,
        image_shape: Sequence[int],
        conditional: bool,
        condition_channels: int | None = None,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        check_halving(image_shape, config.channel_multipliers)
        self.config = config
        self.image_shape = tuple(image_shape)
        self.conditional = conditional
        self.fuse = config.fuse if conditional else ()
        widths = [config.base_channels * m for m in config.channel_multipliers]
        image_channels, dim = image_shape[0], config.time_emb_dim
        self.condition_channels = condition_channels or image_channels
        self.time_mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.num_classes = num_classes
        self.label_embedding = nn.Embedding(num_classes + 1, dim) if num_classes else None
        told = self.condition_channels
        self.fuse_in = _fuse(image_channels, told) if "in" in self.fuse else None
        inputs = image_channels + (told if "concat" in self.fuse else 0)
        self.conv_in = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            DownLevel(config, self.fuse, told, level, widths) for level in range(len(widths))
        )
        self.middle1 = ResidualBlock(widths[-1], widths[-1], config.dropout, dim)
        self.middle_attention = SelfAttention(widths[-1], config.num_heads)
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
        h = x_t
        if self.fuse_in is not None and condition is not None:
            h = self.fuse_in(_concatenate_resized(h, condition))
        if "concat" in self.fuse and condition is not None:
            h = _concatenate_resized(h, condition)
        h = self.conv_in(h)
        skips = []
        for level in self.down:
            h, skip = level(h, embedding, condition)
            skips.append(skip)
        h = self.middle2(self.middle_attention(self.middle1(h, embedding)), embedding)
        for level in self.up:
            h = level(h, skips.pop(), embedding, condition)
        return self.conv_out(F.silu(self.norm_out(h)))


class DownLevel(nn.Module):
    """Residual blocks (and attention) of one encoder level, then the way down to the next."""

    def __init__(
        self,
        config: UNetConfig,
        fuse: Sequence[str],
        condition_channels: int,
        level: int,
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        width, before = widths[level], widths[max(level - 1, 0)]
        self.fuse = _fuse(before, condition_channels) if "down" in fuse else None
        self.blocks = nn.ModuleList(
            ResidualBlock(before if i == 0 else width, width, config.dropout, config.time_emb_dim)
            for i in range(config.blocks_per_level)
        )
        attend = level in config.attention_levels
        self.attention = SelfAttention(width, config.num_heads) if attend else nn.Identity()
        self.downsample = Downsample(width) if level < len(widths) - 1 else nn.Identity()

    def forward(
        self, h: Tensor, embedding: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.fuse is not None and condition is not None:
            h = self.fuse(_concatenate_resized(h, condition))
        for block in self.blocks:
            h = block(h, embedding)
        skip = self.attention(h)
        return self.downsample(skip), skip


class UpLevel(nn.Module):
    """Joins a level's skip connection, residual blocks (and attention), then the way up."""

    def __init__(
        self,
        config: UNetConfig,
        fuse: Sequence[str],
        condition_channels: int,
        level: int,
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        width, after = widths[level], widths[max(level - 1, 0)]
        self.fuse_skip = _fuse(width, condition_channels) if "skip" in fuse else None
        self.blocks = nn.ModuleList(
            ResidualBlock(
                2 * width if i == 0 else width, width, config.dropout, config.time_emb_dim
            )
            for i in range(config.blocks_per_level)
        )
        attend = level in config.attention_levels
        self.attention = SelfAttention(width, config.num_heads) if attend else nn.Identity()
        self.upsample = Upsample(width, after) if level > 0 else nn.Identity()

    def forward(
        self, h: Tensor, skip: Tensor, embedding: Tensor, condition: Tensor | None
    ) -> Tensor:
        if self.fuse_skip is not None and condition is not None:
            skip = self.fuse_skip(_concatenate_resized(skip, condition))
        h = torch.cat([h, skip], dim=1)
        for block in self.blocks:
            h = block(h, embedding)
        return self.upsample(self.attention(h))


def _fuse(channels: int, condition_channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels + condition_channels, channels, 1)


def _concatenate_resized(h: Tensor, condition: Tensor) -> Tensor:
    """Return h (B x c x h x w) with the condition, resized to h x w, as further channels."""
    if condition.shape[-2:] != h.shape[-2:]:
        # What F.interpolate calls. Where torch is to be deterministic that has dozens of operations
        # on a GPU instead, for the sake of a gradient, which nobody takes here.
        condition = torch.ops.aten.upsample_bilinear2d.vec(condition, h.shape[-2:], False, None)
    return torch.cat([h, condition], dim=1)
