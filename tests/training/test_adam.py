"""The optimiser beside torch's own."""

import torch
from torch import nn

from diffusevae.core.randomness import generator
from diffusevae.training.adam import Adam


def test_it_is_torch_s_adam_bit_for_bit_and_goes_on_from_its_state():
    start = torch.randn(1000, generator=generator(0))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    mine, reference = Adam(ours, 0.1), torch.optim.Adam([theirs], lr=0.1, fused=True)
    for step in range(6):
        if step == 3:  # a resumed training
            state, mine = mine.state, Adam(ours, 0.1)
            mine.state = {name: value.clone() for name, value in state.items()}
        ours.grad = torch.randn(1000, generator=generator(1, step))
        theirs.grad = ours.grad.clone()
        reference.param_groups[0]["lr"] = 0.1 / (1 + step)
        mine.learning_rate.fill_(0.1 / (1 + step))
        mine.step()
        reference.step()
        assert torch.equal(ours, theirs)
    assert mine.state.keys() == reference.state[theirs].keys()
    for name, value in reference.state[theirs].items():
        assert torch.equal(mine.state[name], value)
