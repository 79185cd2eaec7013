"""Blocks that the VAE and the UNet share (docs/study.md, sections 2 and 3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusevae.core.errors import InputError
from diffusevae.models.normalisation import group_norm


def check_widths(base_channels: int, multipliers: Sequence[int]) -> None:
    """Raise ValueError unless there is a level and every width suits `group_norm`."""
    if not multipliers:
        raise ValueError("channel_multipliers is empty; give one number per level")
    for multiplier in multipliers:
        width = base_channels * multiplier
        if width > 8 and width % 8:
            raise ValueError(
                f"base_channels {base_channels} x {multiplier} makes {width} "
                "channels, which GroupNorm cannot split into 8 groups; "
                "use a multiple of 8"
            )


def zero_init(module: nn.Module) -> nn.Module:
    """Set the module's parameters to zero, so that the block it ends starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def check_halving(image_shape: Sequence[int], levels: Sequence[int]) -> None:
    """Raise InputError unless H and W can be halved once per level but the last."""
    times = len(levels) - 1
    if any(size % 2**times for size in image_shape[1:]):
        raise InputError(
            f"channel_multipliers {list(levels)}: images of {image_shape[1]} x "
            f"{image_shape[2]} cannot be halved {times} times; use fewer levels"
        )


class ResidualBlock(nn.Module):
    """GroupNorm SiLU conv3x3, then GroupNorm SiLU dropout conv3x3, plus a shortcut.

    Maps B x in_channels x h x w to B x out_channels x h x w. With `embedding_dim` the time
    embedding (B x embedding_dim; 1 x embedding_dim where it is the same for all images) is
    projected and added between the two convolutions. The shortcut is the identity, or a 1x1
    convolution where the channels change.
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
        h = _silu(self.norm1(x))
        if self.embed is None or embedding is None:
            h = self.conv1(h)
        else:
            projected = self.embed(F.silu(embedding))
            if len(projected) == 1:  # a pass over the images less
                h = F.conv2d(h, self.conv1.weight, self.conv1.bias + projected[0], padding=1)
            else:
                h = self.conv1(h) + projected[:, :, None, None]
        h = self.conv2(self.dropout(_silu(self.norm2(h))))
        return h + self.shortcut(x)


def _silu(normed: Tensor) -> Tensor:
    """Return SiLU of a norm's output: in its place, unless the gradient will want that."""
    return F.silu(normed, inplace=not torch.is_grad_enabled())


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
        # The channels of a position lie side by side, as the fused kernels want them, and where
        # the channels lie last nothing is copied on the way to them and back.
        rows = self.qkv(self.norm(x)).permute(0, 2, 3, 1)
        rows = rows.reshape(b, h * w, 3, self.num_heads, c // self.num_heads)
        q, k, v = (part.transpose(1, 2) for part in rows.unbind(2))  # B x heads x (h w) x ...
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return x + self.out(attended.reshape(b, h, w, c).permute(0, 3, 1, 2))


class Downsample(nn.Conv2d):
    """Stride-2 convolution that halves height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=1)


class Upsample(nn.Module):
    """Nearest-neighbour doubling of height and width, then a 3x3 convolution.

    Both are linear, so they are computed as one transposed convolution with stride 2, whose kernel
    is the 3x3 one spread over the 2x2 copies of each pixel: 4 products where there were 9.
    """

    spread: Tensor  # 9 x 16

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.register_buffer("spread", _spread_kernels(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernels = self.conv.weight.transpose(0, 1)  # in x out x 3 x 3
        spread = (kernels.reshape(-1, 9) @ self.spread).view(*kernels.shape[:2], 4, 4)
        return F.conv_transpose2d(x, spread, self.conv.bias, stride=2, padding=1)


def _spread_kernels() -> Tensor:
    """Return the matrix (9 x 16) that makes of a 3x3 kernel the 4x4 one of `Upsample`.

    The transposed convolution turns its kernel round, so the 3x3 one is turned before.
    """
    each = torch.eye(9).reshape(9, 1, 3, 3).flip(2, 3)
    return F.conv_transpose2d(each, torch.ones(1, 1, 2, 2)).reshape(9, 16)


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
