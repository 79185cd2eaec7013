"""The stacked autoencoder: its weights are tied, and every layer learns from the one below."""

import dataclasses

import pytest
import torch

from diffusevae.latents.autoencoders.stacked import StackedConfig, fine_tune, train_greedily
from diffusevae.latents.models.stacked import StackedAutoencoder, TiedLayer
from diffusevae.training.loop import Callbacks, OptimiserConfig

CONFIG = StackedConfig(4, (6, 3), 2, 2, OptimiserConfig(1e-2, "none", 8, 1e6, 0.0), 0)


def train(name, facts, fit):
    return fit(Callbacks(), None)[0]


def test_a_layer_decodes_with_the_transpose_of_the_weight_it_encodes_with():
    torch.manual_seed(0)
    layer = TiedLayer(4, 2, first=True, last=True)
    x = torch.rand(3, 4)
    a = x @ layer.weight.T + layer.bias
    assert torch.allclose(layer.encode(x), a)
    assert torch.allclose(layer.decode(a), torch.sigmoid(a @ layer.weight + layer.bias_back))
    # One matrix and two rows of offsets: there is no second matrix to come apart.
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "weight": (2, 4),
        "bias": (2,),
        "bias_back": (4,),
    }


def test_the_whole_stack_has_the_parameters_of_tied_weights():
    widths = (784, 1000, 500, 250, 30)
    stack = StackedAutoencoder(
        [
            TiedLayer(a, b, i == 0, i == 3)
            for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
        ]
    )
    once = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
    assert sum(p.numel() for p in stack.parameters()) == once + sum(widths[1:]) + sum(widths[:-1])
    assert stack.encode(torch.rand(2, 784)).shape == (2, 30)
    assert stack(torch.rand(2, 784)).shape == (2, 784)


def test_weights_stay_tied_when_the_whole_is_trained():
    x = torch.rand(32, 16, generator=torch.Generator().manual_seed(0))
    greedy = train_greedily(CONFIG, x, x, train)
    before = [layer.weight.clone() for layer in greedy.layers]
    tuned = fine_tune(CONFIG, greedy, x, x, train)
    for old, was, new in zip(greedy.layers, before, tuned.layers, strict=True):
        assert torch.equal(old.weight, was) and not torch.equal(new.weight, was)
    code, weights = torch.eye(3), [layer.weight for layer in tuned.layers]
    h = torch.relu(code @ weights[1] + tuned.layers[1].bias_back)
    expected = torch.sigmoid(h @ weights[0] + tuned.layers[0].bias_back)
    assert torch.allclose(tuned.decode(code), expected, atol=1e-6)


def test_layers_are_trained_one_by_one_on_the_code_of_the_layers_below():
    x = torch.rand(32, 16, generator=torch.Generator().manual_seed(0))
    seen = []

    def watch(name, facts, fit):
        model = train(name, facts, fit)
        seen.append((name, facts["outputs"], model))
        return model

    stack = train_greedily(dataclasses.replace(CONFIG, layer_epochs=60), x, x, watch)
    assert [one[:2] for one in seen] == [("stacked-layer-1", 6), ("stacked-layer-2", 3)]
    assert [one[2] for one in seen] == list(stack.layers)
    below = stack.layers[0].encode(x)
    torch.manual_seed(CONFIG.seed + 1)
    fresh = TiedLayer(6, 3, False, True)
    error = ((stack.layers[1](below) - below) ** 2).mean()
    assert error < 0.8 * ((fresh(below) - below) ** 2).mean()


def test_a_stack_needs_layers():
    with pytest.raises(ValueError, match="widths: expected one or more"):
        dataclasses.replace(CONFIG, widths=())
