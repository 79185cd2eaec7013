"""A causal transformer over the indices of a VQ-VAE's code: p(i_1) p(i_2 | i_1) ..., row by row.

So new codes are drawn one index after the other (van den Oord et al. 2017, section 4.1, which has a
PixelCNN; the transformer is that of Esser et al. 2021, section 3.2).
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

NUM_HEADS, NUM_LAYERS = 4, 2


class IndexPrior(nn.Module):
    """A distribution over n indices from 0 to K - 1, of `channels` numbers at each place."""

    mask: Tensor

    def __init__(self, num_entries: int, num_places: int, channels: int) -> None:
        super().__init__()
        self.num_entries, self.num_places = num_entries, num_places
        self.embed = nn.Embedding(num_entries + 1, channels)  # the last one stands before the first
        self.places = nn.Parameter(0.02 * torch.randn(num_places, channels))
        layer = nn.TransformerEncoderLayer(
            channels, NUM_HEADS, 4 * channels, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, NUM_LAYERS, enable_nested_tensor=False)
        self.out = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, num_entries))
        mask = torch.full((num_places, num_places), -torch.inf).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, indices: Tensor) -> Tensor:
        """Return the logits of m + 1 indices, B x (m + 1) x K, each from those before it.

        indices: B x m with m < n.
        """
        before = F.pad(indices, (1, 0), value=self.num_entries)
        length = before.shape[1]
        h = self.embed(before) + self.places[:length]
        # Not told that the mask is causal, torch compares it, and a GPU has to wait for the answer.
        return self.out(self.layers(h, self.mask[:length, :length], is_causal=True))

    def losses(self, indices: Tensor) -> dict[str, Tensor]:
        """Return loss = - log p in nats per index, for indices B x n."""
        logits = self(indices[:, :-1])
        return {"loss": F.cross_entropy(logits.flatten(0, 1), indices.flatten())}

    @torch.inference_mode()
    def sample(self, num: int, rng: Generator) -> Tensor:
        """Return num x n indices, drawn on the CPU, on the model's device."""
        drawn = torch.empty(num, 0, dtype=torch.long, device=self.places.device)
        for _ in range(self.num_places):
            odds = self(drawn)[:, -1].softmax(-1).cpu()
            chosen = torch.multinomial(odds, 1, generator=rng)
            drawn = torch.cat([drawn, chosen.to(drawn.device)], dim=1)
        return drawn
