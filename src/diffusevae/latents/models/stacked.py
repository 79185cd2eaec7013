"""The network of the stacked autoencoder: layers whose weights go both ways.

Hinton and Salakhutdinov (2006), with ReLU.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TiedLayer(nn.Module):
    """a = f(W x + b) and back: x' = g(W^T a + c), with one W (outputs x inputs) for both ways.

    The activations: f is ReLU, or nothing for the code (`last`); g is the sigmoid for pixels
    (`first`), else ReLU, so that x' has the range of the x it stands for.
    """

    def __init__(self, inputs: int, outputs: int, first: bool, last: bool) -> None:
        super().__init__()
        self.first, self.last = first, last
        self.weight = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(outputs, inputs), a=5**0.5))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.bias_back = nn.Parameter(torch.zeros(inputs))

    def encode(self, x: Tensor) -> Tensor:
        """Return a, B x outputs."""
        a = F.linear(x, self.weight, self.bias)
        return a if self.last else F.relu(a)

    def decode(self, a: Tensor) -> Tensor:
        """Return x', B x inputs."""
        x = F.linear(a, self.weight.T, self.bias_back)
        return torch.sigmoid(x) if self.first else F.relu(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class StackedAutoencoder(nn.Module):
    """Tied layers on top of each other: B x pixels in [0, 1] to the code and back."""

    def __init__(self, layers: Sequence[TiedLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    @property
    def _tied(self) -> Sequence[TiedLayer]:
        return cast(Sequence[TiedLayer], self.layers)  # torch's list does not say of what it is

    def encode(self, x: Tensor) -> Tensor:
        """Return the code, B x widths[-1]."""
        for layer in self._tied:
            x = layer.encode(x)
        return x

    def decode(self, code: Tensor) -> Tensor:
        """Return B x pixels in [0, 1]."""
        for layer in reversed(self._tied):
            code = layer.decode(code)
        return code

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))
