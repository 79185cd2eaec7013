"""Blocks that the VAE and the UNet share (SPEC sections 2 and 3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusevae.errors import InputError


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with min(8, channels) groups."""
    return nn.GroupNorm(min(8, channels), channels)


def check_widths(base_channels: int, multipliers: Sequence[int]) -> None:
    """Raise ValueError unless there is a level and every width suits `group_norm`."""
    if not multipliers:
        raise ValueError("channel_multipliers is empty; give one number per level")
    for multiplier in multipliers:
        width = base_channels * multiplier
        if width > 8 and width % 8:
            raise ValueError(f"base_channels {base_channels} x {multiplier} makes {width} "
                             "channels, which GroupNorm cannot split into 8 groups; "
                             "use a multiple of 8")


def zero_init(module: nn.Module) -> nn.Module:
    """Set the module's parameters to zero, so that the block it ends starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def check_halving(image_shape: Sequence[int], levels: Sequence[int]) -> None:
    """Raise InputError unless H and W can be halved once per level but the last."""
    times = len(levels) - 1
    if any(size % 2**times for size in image_shape[1:]):
        raise InputError(f"channel_multipliers {list(levels)}: images of {image_shape[1]} x "
                         f"{image_shape[2]} cannot be halved {times} times; use fewer levels")


class ResidualBlock(nn.Module):
    """GroupNorm SiLU conv3x3, then GroupNorm SiLU dropout conv3x3, plus a shortcut.

    Maps B x in_channels x h x w to B x out_channels x h x w. With `embedding_dim` the time
    embedding (B x embedding_dim) is projected and added between the two convolutions. The shortcut
    is the identity, or a 1x1 convolution where the channels change.
    """

    def __init__(
        self, in_channels: int, out_channels: int, dropout: float, embedding_dim: int = 0
    ) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.embed = nn.Linear(embedding_dim, out_channels) if embedding_dim else None
        self.norm2 = group_norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.embed is not None:
            h = h + self.embed(F.silu(embedding))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return h + self.shortcut(x)


class SelfAttention(nn.Module):
    """Residual multi-head self-attention over the h x w positions: softmax(q k^T / sqrt(c)) v.

    q, k, v and the output are 1x1 convolutions; the output starts at zero, so the block starts as
    the identity. `channels` must be divisible by `num_heads`.
    """

    def __init__(self, channels: int, num_heads: int = 1) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{channels} channels cannot be split into {num_heads} heads")
        self.num_heads = num_heads
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.num_heads, c // self.num_heads, h * w)
        q, k, v = qkv.transpose(-1, -2).unbind(1)  # each B x heads x (h w) x (c / heads)
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(attended.transpose(-1, -2).reshape(b, c, h, w))


class Downsample(nn.Conv2d):
    """Stride-2 convolution that halves height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=1)


class Upsample(nn.Module):
    """Nearest-neighbour doubling of height and width, then a 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


def time_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Return the sinusoidal embedding B x dim of the timesteps t (B): sines, then cosines.

    Frequencies fall geometrically from 1 to 1 / max_period ("Attention is all you need", 3.5;
    the study's eq. 2.34 up to the order of channels). `dim` must be even.
    """
    if dim % 2:
        raise ValueError(f"the time embedding needs an even dimension, got {dim}")
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t.float()[:, None] * max_period**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=1)
