"""The codebook of a VQ-VAE (van den Oord et al. 2017, "Neural discrete representation learning").

Its entries follow the encodings that choose them as running means (appendix A.1); entries that
none chooses start anew from one of the batch's encodings.
"""

import torch
from torch import Tensor, nn

DECAY = 0.99  # of the running means
DEAD = 0.05  # of the mean running count: an entry chosen less is dead
SMALLEST_COUNT = 1e-5


class Codebook(nn.Module):
    """K entries of Cz numbers, with their running counts (K) and sums (K x Cz).

    At first all are dead, so the first batch's encodings become the entries.
    """

    entries: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, num_entries: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("entries", torch.randn(num_entries, channels))
        self.register_buffer("counts", torch.zeros(num_entries))
        self.register_buffer("sums", torch.zeros(num_entries, channels))

    def find_nearest(self, z: Tensor) -> Tensor:
        """Return the index of the entry nearest to z (B x Cz x h x w) at each place: B x h x w."""
        rows = z.permute(0, 2, 3, 1)  # B x h x w x Cz
        # ||z - e||^2 less ||z||^2, which is the same for all entries
        distances = self.entries.square().sum(1) - 2 * rows @ self.entries.T
        return distances.argmin(-1)

    def look_up(self, indices: Tensor) -> Tensor:
        """Return the entries at indices (B x h x w): B x Cz x h x w."""
        return self.entries[indices].permute(0, 3, 1, 2)

    def quantise(self, z: Tensor) -> Tensor:
        """Return z (B x Cz x h x w) with the nearest entry in the place of each vector.

        A gradient goes on to z as if it were the entries (ibid., section 3.2).
        """
        entries = self.look_up(self.find_nearest(z.detach()))
        return entries + (z - z.detach()) if z.requires_grad else entries

    def measure_shares(self, indices: Tensor) -> Tensor:
        """Return the share of each entry among indices of any shape: K."""
        return self._tell_choices(indices).mean(0)

    @torch.no_grad()
    def follow(self, z: Tensor, indices: Tensor, chances: Tensor) -> None:
        """Move the entries, in place, towards the encodings z (B x Cz x h x w) that chose indices.

        counts and sums are running means of those of a batch. A dead entry becomes the encoding at
        its chance (K, in [0, 1)) along the batch's, with the count of an entry of mean use.
        """
        rows = z.permute(0, 2, 3, 1).flatten(0, 2)  # n x Cz
        choices = self._tell_choices(indices)
        self.counts.lerp_(choices.sum(0), 1 - DECAY)
        self.sums.lerp_(choices.T @ rows, 1 - DECAY)
        mean = self.counts.mean()
        dead = self.counts < DEAD * mean
        chosen = rows[(chances * len(rows)).long()]  # K x Cz
        self.counts.copy_(torch.where(dead, mean, self.counts))
        self.sums.copy_(torch.where(dead[:, None], mean * chosen, self.sums))
        self.entries.copy_(self.sums / self.counts.clamp(min=SMALLEST_COUNT)[:, None])

    def _tell_choices(self, indices: Tensor) -> Tensor:
        """Return 1 where an index is an entry's, else 0: n x K.

        A product with it adds up in the same order each time, which scattering on a GPU does not.
        """
        numbers = torch.arange(len(self.counts), device=indices.device)
        return (indices.flatten()[:, None] == numbers).to(self.counts.dtype)


def perplexity(shares: Tensor) -> Tensor:
    """exp(- sum_k p_k log p_k) of shares (K): how many entries are in use, K if all alike."""
    return torch.special.entr(shares).sum().exp()
