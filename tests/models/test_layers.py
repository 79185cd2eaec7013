"""The blocks' defining properties."""

import math

import pytest
import torch
import torch.nn.functional as F

from diffusevae.core.errors import InputError
from diffusevae.models.layers import (
    ResidualBlock,
    SelfAttention,
    Upsample,
    check_halving,
    time_embedding,
)
from diffusevae.models.normalisation import SumNorm, group_norm

LAST = torch.channels_last


def test_attention_is_the_identity_at_first_and_mixes_positions_after():
    torch.manual_seed(0)
    attention = SelfAttention(8, num_heads=2)
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(attention(x), x)
    torch.nn.init.normal_(attention.out.weight)
    changed = x.clone()
    changed[:, :, 0, 0] += 1
    assert (attention(changed) - attention(x))[:, :, 3, 3].abs().max() > 1e-4


def test_attention_equals_softmax_of_scaled_products():
    torch.manual_seed(0)
    attention = SelfAttention(8)
    torch.nn.init.normal_(attention.out.weight)
    x = torch.randn(1, 8, 2, 3)
    q, k, v = attention.qkv(attention.norm(x)).flatten(2).chunk(3, dim=1)  # each 1 x 8 x 6
    weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(8), dim=-1)
    expected = x + attention.out((v @ weights.transpose(1, 2)).reshape(1, 8, 2, 3))
    torch.testing.assert_close(attention(x), expected)


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="8 channels cannot be split into 3 heads"):
        SelfAttention(8, num_heads=3)


def test_residual_block_has_an_identity_shortcut_only_where_channels_stay():
    x = torch.randn(1, 8, 4, 4)
    block = ResidualBlock(8, 8, dropout=0.0)
    for parameter in block.conv2.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)
    assert ResidualBlock(8, 16, dropout=0.0)(x).shape == (1, 16, 4, 4)


def test_one_time_for_all_images_is_that_time_for_each():
    torch.manual_seed(0)
    block, x, embedding = ResidualBlock(8, 16, 0.0, 4), torch.randn(3, 8, 4, 4), torch.randn(1, 4)
    expected = block(x, embedding.expand(3, -1))
    torch.testing.assert_close(block(x, embedding), expected)
    with torch.no_grad():  # SiLU then works in its input's place, which must not be x
        before = x.clone()
        torch.testing.assert_close(block(x, embedding), expected.detach())
        assert torch.equal(x, before)


def test_time_embedding_is_the_paper_formula():
    t = torch.tensor([0, 7, 999])
    embedding = time_embedding(t, 6)
    for row, time in enumerate([0, 7, 999]):
        angles = [time / 10_000 ** (i / 3) for i in range(3)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert embedding[row].tolist() == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="even"):
        time_embedding(t, 5)


def test_sizes_that_cannot_be_halved_are_refused_by_name():
    check_halving((1, 32, 32), (1, 2, 4, 8))
    with pytest.raises(InputError, match="30 x 30 cannot be halved 2 times"):
        check_halving((1, 30, 30), (1, 2, 4))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("channels", "side"), [(16, 32), (3, 16), (24, 8), (64, 16)])
def test_group_norm_and_its_gradients_are_torch_s_in_float64(channels, side, layout):
    """Also where the mean is large beside the spread, as a sum of squares feels it."""
    torch.manual_seed(0)
    norm = group_norm(channels)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    x = 0.5 * torch.randn(3, channels, side, side) + torch.randn(3, channels, 1, 1) * 5
    dy = torch.randn_like(x)

    def differentiate(norm, x, dy):
        x = x.contiguous(memory_format=layout).requires_grad_()
        y = norm(x)
        return y, *torch.autograd.grad(y, [x, *norm.parameters()], dy)

    exact = torch.nn.GroupNorm(norm.num_groups, channels).double()
    exact.load_state_dict(norm.state_dict())
    exactly = differentiate(exact, x.double(), dy.double())
    for got, expected in zip(differentiate(norm, x, dy), exactly, strict=True):
        scale = expected.abs().max()
        torch.testing.assert_close(got / scale, (expected / scale).float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shift", [0, 5])
def test_group_norm_in_bfloat16_is_as_exact_as_its_output(shift):
    """As a GPU has it: images and gradients are rounded, sums are not."""
    torch.manual_seed(0)
    x, dy = (torch.randn(3, 16, 8, 8).bfloat16().to(memory_format=LAST) for _ in range(2))
    x = (x + shift).detach()
    given = [x, torch.rand(16) + 0.5, torch.randn(16)]

    def differentiate(function, given, dy):
        given = [each.clone().requires_grad_() for each in given]
        y = function(*given)
        return [y.detach(), *torch.autograd.grad(y, given, dy)]

    got = differentiate(lambda *given: SumNorm.apply(*given, 8, 1e-5), given, dy)
    assert [each.dtype for each in got] == [torch.bfloat16] * 2 + [torch.float32] * 2
    assert got[0].is_contiguous(memory_format=LAST) and got[1].is_contiguous(memory_format=LAST)
    exact = differentiate(
        lambda x, *rest: F.group_norm(x, 8, *rest), [each.double() for each in given], dy.double()
    )
    for ours, expected, error in zip(got, exact, (3e-3, 3e-3, 1e-5, 1e-5), strict=True):
        assert (ours - expected).norm() < error * expected.norm()


def test_upsampling_is_doubling_then_a_convolution():
    torch.manual_seed(0)
    up = Upsample(3, 5)
    x = torch.randn(2, 3, 4, 6, requires_grad=True)
    plain = up.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
    dy = torch.randn_like(plain)
    of = [x, up.conv.weight, up.conv.bias]
    torch.testing.assert_close(up(x), plain, rtol=1e-4, atol=1e-5)
    for got, expected in zip(
        torch.autograd.grad(up(x), of, dy), torch.autograd.grad(plain, of, dy), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert set(up.state_dict()) == {"conv.weight", "conv.bias"}
