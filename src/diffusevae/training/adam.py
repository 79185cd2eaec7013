"""Adam (Kingma and Ba, 2015) of all weights in one vector.

It is torch's own fused step. Its class, torch.optim.Adam, imports what torch.compile needs only to
tell it that nothing is compiled: more than a second in each process.
"""

import torch
from torch import Tensor, nn
from torch.optim.adam import adam


class Adam:
    """Steps of weights, whose `grad` must be there; `state` is what a checkpoint needs of it.

    The learning rate is a tensor, which a captured step reads where it is: the kernel wants a
    double on a CPU, a float32 on a GPU.
    """

    def __init__(self, weights: nn.Parameter, learning_rate: float) -> None:
        self.weights = weights
        exact = torch.float64 if weights.device.type == "cpu" else torch.float32
        self.learning_rate = torch.full((), learning_rate, dtype=exact, device=weights.device)
        self.state = {
            "step": torch.zeros((), device=weights.device),
            "exp_avg": torch.zeros_like(weights),
            "exp_avg_sq": torch.zeros_like(weights),
        }

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights once."""
        gradient: Tensor | None = self.weights.grad
        assert gradient is not None
        adam(
            [self.weights],
            [gradient],
            [self.state["exp_avg"]],
            [self.state["exp_avg_sq"]],
            [],
            [self.state["step"]],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
