"""The levels of the UNet: residual blocks, attention, and what is fused in (docs/study.md, 3)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffusevae.models.layers import Downsample, ResidualBlock, SelfAttention, Upsample
from diffusevae.models.tokens import CrossAttention

if TYPE_CHECKING:  # which imports this
    from diffusevae.models.unet import UNetConfig


class DownLevel(nn.Module):
    """Residual blocks (and attention) of one encoder level, then the way down to the next."""

    def __init__(
        self,
        config: "UNetConfig",
        fuse: Sequence[str],
        condition_channels: int,
        level: int,
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        width, before = widths[level], widths[max(level - 1, 0)]
        self.fuse = make_fusion(before, condition_channels) if "down" in fuse else None
        self.blocks = nn.ModuleList(
            ResidualBlock(before if i == 0 else width, width, config.dropout, config.time_emb_dim)
            for i in range(config.blocks_per_level)
        )
        attend = level in config.attention_levels
        self.attention = SelfAttention(width, config.num_heads) if attend else nn.Identity()
        self.cross = make_cross(config, width) if attend and "attend" in fuse else None
        self.downsample = Downsample(width) if level < len(widths) - 1 else nn.Identity()

    def forward(
        self, h: Tensor, embedding: Tensor, condition: Tensor | None, tokens: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.fuse is not None and condition is not None:
            h = self.fuse(concatenate_resized(h, condition))
        for block in self.blocks:
            h = block(h, embedding)
        skip = self.attention(h)
        if self.cross is not None and tokens is not None:
            skip = self.cross(skip, tokens)
        return self.downsample(skip), skip


class UpLevel(nn.Module):
    """Joins a level's skip connection, residual blocks (and attention), then the way up."""

    def __init__(
        self,
        config: "UNetConfig",
        fuse: Sequence[str],
        condition_channels: int,
        level: int,
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        width, after = widths[level], widths[max(level - 1, 0)]
        self.fuse_skip = make_fusion(width, condition_channels) if "skip" in fuse else None
        self.blocks = nn.ModuleList(
            ResidualBlock(
                2 * width if i == 0 else width, width, config.dropout, config.time_emb_dim
            )
            for i in range(config.blocks_per_level)
        )
        attend = level in config.attention_levels
        self.attention = SelfAttention(width, config.num_heads) if attend else nn.Identity()
        self.cross = make_cross(config, width) if attend and "attend" in fuse else None
        self.upsample = Upsample(width, after) if level > 0 else nn.Identity()

    def forward(
        self,
        h: Tensor,
        skip: Tensor,
        embedding: Tensor,
        condition: Tensor | None,
        tokens: Tensor | None,
    ) -> Tensor:
        if self.fuse_skip is not None and condition is not None:
            skip = self.fuse_skip(concatenate_resized(skip, condition))
        h = torch.cat([h, skip], dim=1)
        for block in self.blocks:
            h = block(h, embedding)
        h = self.attention(h)
        if self.cross is not None and tokens is not None:
            h = self.cross(h, tokens)
        return self.upsample(h)


def make_fusion(channels: int, condition_channels: int) -> nn.Conv2d:
    """Return what mixes a condition into channels, once they are side by side."""
    return nn.Conv2d(channels + condition_channels, channels, 1)


def concatenate_resized(h: Tensor, condition: Tensor) -> Tensor:
    """Return h (B x c x h x w) with the condition, resized to h x w, as further channels."""
    if condition.shape[-2:] != h.shape[-2:]:
        # What F.interpolate calls. Where torch is to be deterministic that has dozens of operations
        # on a GPU instead, for the sake of a gradient, which nobody takes here.
        condition = torch.ops.aten.upsample_bilinear2d.vec(condition, h.shape[-2:], False, None)
    return torch.cat([h, condition], dim=1)


def make_cross(config: "UNetConfig", width: int) -> CrossAttention:
    """Return the attention to tokens of a level so wide."""
    return CrossAttention(width, config.time_emb_dim, config.num_heads)
