"""Cross-attention to tokens: what is known of an image, as vectors that every place looks up.

Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", section 3.3
(docs/study.md, section 3). Tokens are the places of the first stage's code, and the class.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusevae.models.layers import zero_init
from diffusevae.models.normalisation import group_norm


class Tokens(nn.Module):
    """Maps a code (B x Cz x h x w, row by row) and labels (B) to B x n x dim.

    n is h w for a network that is given codes of code_shape, and one more for one that is told
    num_classes classes (num_classes stands for none). Where a code lies is told by an embedding of
    its place alone.
    """

    def __init__(self, code_shape: Sequence[int] | None, num_classes: int, dim: int) -> None:
        super().__init__()
        self.from_code = self.places = self.from_label = None
        if code_shape is not None:
            channels, height, width = code_shape
            self.from_code = nn.Linear(channels, dim)
            self.places = nn.Parameter(0.02 * torch.randn(height * width, dim))
        if num_classes:
            self.from_label = nn.Embedding(num_classes + 1, dim)

    def forward(self, code: Tensor | None, labels: Tensor | None, count: int) -> Tensor:
        """Return the tokens of `count` images, of which code and labels may say the same of all."""
        tokens = []
        if self.from_code is not None and self.places is not None and code is not None:
            tokens.append(self.from_code(code.flatten(2).transpose(1, 2)) + self.places)
        if self.from_label is not None and labels is not None:
            tokens.append(self.from_label(labels)[:, None])
        return torch.cat([each.expand(count, -1, -1) for each in tokens], dim=1)


class CrossAttention(nn.Module):
    """Residual multi-head attention of the h x w places to tokens: softmax(q k^T / sqrt(c)) v.

    q comes from x (B x channels x h x w), k and v from the tokens (B x n x dim). The output starts
    at zero, so the block starts as the identity. `num_heads` must divide `channels`.
    """

    def __init__(self, channels: int, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = group_norm(channels)
        self.to_q = nn.Conv2d(channels, channels, 1)
        self.to_kv = nn.Linear(dim, 2 * channels)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        b, c, h, w = x.shape
        rows = self.to_q(self.norm(x)).permute(0, 2, 3, 1).reshape(b, h * w, c)
        k, v = self.to_kv(tokens).chunk(2, dim=-1)
        q, k, v = (self._split(part) for part in (rows, k, v))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return x + self.out(attended.reshape(b, h, w, c).permute(0, 3, 1, 2))

    def _split(self, rows: Tensor) -> Tensor:
        """Return B x n x c as B x heads x n x ..."""
        return rows.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
