"""The UNet's blocks: shapes, gradients to every weight and input, numbers of weights by hand."""

import pytest
import torch
from torch import nn

from diffusevae.models.layers import ResidualBlock, SelfAttention
from diffusevae.models.unet_levels import DownLevel, UpLevel
from tests.support.toy_models import make_unet, make_unet_config

WIDTHS = (8, 16)  # of make_unet_config's levels; embeddings have 16 numbers, images 1 channel
EMBEDDING = 16


def conv(inputs: int, outputs: int, side: int) -> int:
    """Return the weights of a convolution: side x side x inputs for each output, and its bias."""
    return side * side * inputs * outputs + outputs


def residual(inputs: int, outputs: int) -> int:
    """Return the weights of GN, conv 3x3, linear of the embedding, GN, conv 3x3, shortcut 1x1."""
    norms = 2 * inputs + 2 * outputs
    shortcut = 0 if inputs == outputs else conv(inputs, outputs, 1)
    embed = EMBEDDING * outputs + outputs
    return norms + conv(inputs, outputs, 3) + embed + conv(outputs, outputs, 3) + shortcut


def attention(channels: int) -> int:
    """Return the weights of GN, q k v and output by 1x1 convolutions."""
    return 2 * channels + conv(channels, 3 * channels, 1) + conv(channels, channels, 1)


def count(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def check_gradients(module: nn.Module, output: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    """Assert that every weight and every input moves the output, once nothing is zero."""
    of = [*inputs, *module.parameters()]
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad((output * weights).sum(), of)
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


def wake(module: nn.Module) -> nn.Module:
    """Return the block with random numbers where its attention starts as the identity."""
    for part in module.modules():
        if isinstance(part, SelfAttention):
            nn.init.normal_(part.out.weight)
    return module


@pytest.mark.parametrize("fuse", [(), ("down",)])
@pytest.mark.parametrize("level", [0, 1])
def test_a_level_of_the_way_down(level, fuse):
    """Two residual blocks, attention on level 1 alone, a convolution to half the size from 0."""
    torch.manual_seed(0)
    block = wake(DownLevel(make_unet_config(), fuse, 1, level, WIDTHS))
    inputs, width = 8, WIDTHS[level]  # level 1 gets the 8 channels of level 0
    expected = residual(inputs, width) + residual(width, width)
    expected += [conv(8, 8, 3), attention(16)][level]
    assert count(block) == expected + (conv(inputs + 1, inputs, 1) if fuse else 0)
    h = torch.randn(2, inputs, 8, 8, requires_grad=True)
    embedding = torch.randn(2, EMBEDDING, requires_grad=True)
    condition = torch.randn(2, 1, 16, 16)
    down, skip = block(h, embedding, condition, None)
    assert skip.shape == (2, width, 8, 8)
    assert down.shape == (2, width, *[(4, 4), (8, 8)][level])
    check_gradients(block, down, [h, embedding])


@pytest.mark.parametrize("fuse", [(), ("skip",)])
@pytest.mark.parametrize("level", [0, 1])
def test_a_level_of_the_way_up(level, fuse):
    """The skip connection beside what comes from below, then as on the way down, and doubling."""
    torch.manual_seed(0)
    block = wake(UpLevel(make_unet_config(), fuse, 1, level, WIDTHS))
    width = WIDTHS[level]
    expected = residual(2 * width, width) + residual(width, width)
    expected += [0, attention(16) + conv(16, 8, 3)][level]
    assert count(block) == expected + (conv(width + 1, width, 1) if fuse else 0)
    h, skip = (torch.randn(2, width, 8, 8, requires_grad=True) for _ in "hs")
    embedding = torch.randn(2, EMBEDDING, requires_grad=True)
    up = block(h, skip, embedding, torch.randn(2, 1, 16, 16), None)
    assert up.shape == [(2, 8, 8, 8), (2, 8, 16, 16)][level]
    check_gradients(block, up, [h, skip, embedding])


def test_the_middle_is_residual_attention_residual():
    unet = make_unet()
    middle = [unet.middle1, unet.middle_attention, unet.middle2]
    assert [count(part) for part in middle] == [residual(16, 16), attention(16), residual(16, 16)]
    h = torch.randn(2, 16, 4, 4, requires_grad=True)
    embedding = torch.randn(2, EMBEDDING, requires_grad=True)
    wake(unet.middle_attention)
    out = unet.middle2(unet.middle_attention(unet.middle1(h, embedding)), embedding)
    assert out.shape == h.shape
    check_gradients(nn.ModuleList(middle), out, [h, embedding])


def test_a_network_is_its_levels_and_what_is_around_them():
    """The unconditional network: MLP of time, first convolution, levels, middle, norm, last one."""
    time = 2 * (EMBEDDING * EMBEDDING + EMBEDDING)
    down = residual(8, 8) * 2 + conv(8, 8, 3) + residual(8, 16) + residual(16, 16) + attention(16)
    middle = 2 * residual(16, 16) + attention(16)
    up = residual(32, 16) + residual(16, 16) + attention(16) + conv(16, 8, 3)
    up += residual(16, 8) + residual(8, 8)
    ends = conv(1, 8, 3) + 2 * 8 + conv(8, 1, 3)
    assert count(make_unet(conditional=False)) == time + down + middle + up + ends


@pytest.mark.parametrize("channels", [(8, 8), (8, 16)])
def test_a_residual_block_has_a_path_around_it(channels):
    """With convolutions of zeros alone the gradient of the input is that of the shortcut."""
    torch.manual_seed(0)
    block = ResidualBlock(*channels, dropout=0.0)
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, channels[0], 4, 4, requires_grad=True)
    dy = torch.randn(1, channels[1], 4, 4)
    (found,) = torch.autograd.grad(block(x), x, dy)
    (expected,) = torch.autograd.grad(block.shortcut(x), x, dy)
    torch.testing.assert_close(found, expected)
    assert found.any()
