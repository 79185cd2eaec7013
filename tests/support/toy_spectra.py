"""Toy spectra, and a model that does nothing."""

import numpy as np
import torch
from torch import nn

from diffusevae.latents.spectra.measured_spectra import Spectra


def toy(labels: list[int], length: int = 8) -> Spectra:
    """One channel of height 1 per label, at channel 2 + label, and a bit of each own elsewhere."""
    x = torch.zeros(len(labels), 1, length)
    for i, label in enumerate(labels):
        x[i, 0, 2 + label], x[i, 0, 0] = 1, i / 100
    names = ("Gypsum", "Calcite", "Quartz")[: max(labels) + 1]
    return Spectra(np.arange(length) * 100.0 + 200, x, torch.tensor(labels), names)


class Identity(nn.Module):
    """A model whose code is the spectrum."""

    def encode(self, x):
        return x.flatten(1), torch.zeros(x.flatten(1).shape)

    def decode(self, z):
        return z.unsqueeze(1)
