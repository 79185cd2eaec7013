"""Cross-attention against torch's own, and what a UNet makes of the tokens that it attends to."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffusevae.core.errors import InputError
from diffusevae.models.diffusion import load_diffusion, save_diffusion
from diffusevae.models.layers import SelfAttention
from diffusevae.models.tokens import CrossAttention, Tokens
from diffusevae.models.unet import UNet
from tests.support.toy_models import make_diffusion, make_unet_config

CODE = (3, 2, 4)  # Cz x h x w
X, T = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 40])


def wake(module: nn.Module) -> nn.Module:
    """Set what starts at zero to random numbers, so that it says something."""
    torch.manual_seed(1)
    for each in module.modules():
        if isinstance(each, CrossAttention | SelfAttention):
            nn.init.normal_(each.out.weight, std=0.3)
    if isinstance(module, UNet):
        nn.init.normal_(module.conv_out.weight, std=0.3)
    return module


def make_unet(fuse=("attend",), told="code", num_classes=0, **changes) -> UNet:
    """Return a network that is told a code, x_hat, or both of them, and classes."""
    channels = {"code": CODE[0], "both": 1 + CODE[0], "x_hat": 1}[told]
    code_shape = None if told == "x_hat" else CODE
    torch.manual_seed(0)
    config = make_unet_config(fuse=fuse, **changes)
    return wake(UNet(config, (1, 16, 16), True, channels, num_classes, code_shape))


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_cross_attention_is_torch_s_own(heads):
    torch.manual_seed(0)
    block = wake(CrossAttention(8, 6, heads))
    x, tokens = torch.randn(2, 8, 3, 5), torch.randn(2, 7, 6)
    places = block.norm(x).flatten(2).permute(2, 0, 1)  # (h w) x B x C
    # The queries by the block's own map, so that theirs is the identity.
    queries = F.linear(places, block.to_q.weight[:, :, 0, 0], block.to_q.bias)
    to_k, to_v = block.to_kv.weight.chunk(2)
    given = tokens.transpose(0, 1)
    expected, _ = F.multi_head_attention_forward(
        queries,
        given,
        given,
        8,
        heads,
        None,
        torch.cat([torch.zeros(8), block.to_kv.bias]),
        None,
        None,
        False,
        0.0,
        block.out.weight[:, :, 0, 0],
        block.out.bias,
        use_separate_proj_weight=True,
        q_proj_weight=torch.eye(8),
        k_proj_weight=to_k,
        v_proj_weight=to_v,
    )
    expected = x + expected.permute(1, 2, 0).reshape(x.shape)
    torch.testing.assert_close(block(x, tokens), expected)
    last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(block(last, tokens), expected)


def test_it_starts_as_the_identity():
    x = torch.randn(2, 8, 3, 5)
    assert torch.equal(CrossAttention(8, 6, 2)(x, torch.randn(2, 4, 6)), x)


def test_tokens_are_the_places_of_the_code_and_the_class():
    torch.manual_seed(0)
    tokens = Tokens(CODE, 4, 6)
    code, labels = draw(2, *CODE), torch.tensor([1, 4])
    found = tokens(code, labels, 2)
    assert found.shape == (2, 2 * 4 + 1, 6)
    for row in range(2):
        for column in range(4):
            place = 4 * row + column
            one = tokens.from_code(code[:, :, row, column]) + tokens.places[place]
            torch.testing.assert_close(found[:, place], one)
    assert torch.equal(found[:, -1], tokens.from_label.weight[labels])
    same = Tokens(None, 4, 6)(None, torch.tensor([2]), 3)  # the same class of all
    assert same.shape == (3, 1, 6) and torch.equal(same[0], same[2])


def test_where_a_token_lies_is_told_by_its_embedding_alone():
    unet = make_unet()
    code = draw(2, *CODE)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    turned = code.flatten(2)[:, :, order].reshape(code.shape)
    with torch.no_grad():
        assert not torch.allclose(unet(X, T, code), unet(X, T, turned), atol=1e-4)
        unet.tokens.places.zero_()
        torch.testing.assert_close(unet(X, T, code), unet(X, T, turned), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(unet(X, T, code), unet(X, T, 2 * code), atol=1e-4)


def test_gradients_reach_the_tokens_from_every_level_that_attends():
    unet = make_unet(num_classes=4)
    code = draw(2, *CODE).requires_grad_()
    unet(X, T, code, torch.tensor([1, 2])).square().sum().backward()
    assert (code.grad.abs() > 0).all()
    learned = [unet.tokens.places, unet.tokens.from_code.weight]
    crosses = [each for each in unet.modules() if isinstance(each, CrossAttention)]
    assert len(crosses) == 3  # down, middle, up: attention_levels is [1]
    learned += [each.to_kv.weight for each in crosses] + [each.to_q.weight for each in crosses]
    assert all((weight.grad.abs() > 0).any() for weight in learned)
    assert (
        unet.tokens.from_label.weight.grad.abs().sum(1).gt(0).tolist()
        == [False, True, True] + [False] * 2
    )


def test_beside_x_hat_the_code_is_attended_to_and_nothing_else():
    """Laid out in the size of x_hat it is what it was; x_hat is fused in as without it."""
    both, alone = make_unet(("in", "skip", "attend"), "both"), make_unet(("in", "skip"), "x_hat")
    x_hat, code = draw(2, 1, 16, 16), draw(2, *CODE)
    laid_out = code.repeat_interleave(8, 2).repeat_interleave(4, 3)
    condition = torch.cat([x_hat, laid_out], 1)
    seen = []
    both.tokens.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        output = both(X, T, condition)
        assert torch.equal(seen[0], code)
        other = torch.cat([x_hat, laid_out.flip(1)], 1)
        assert not torch.allclose(both(X, T, other), output, atol=1e-4)
        # Without what the attention adds it is the network that is told x_hat alone.
        both.load_state_dict(alone.state_dict(), strict=False)
        for each in both.modules():
            if isinstance(each, CrossAttention):
                each.out.weight.zero_()
        torch.testing.assert_close(both(X, T, condition), alone(X, T, x_hat))


@pytest.mark.parametrize("conditional", [False, True])
def test_a_class_alone_is_a_token(conditional):
    """Of DiffuseVAE and of the DDPM; none is a token too, which guidance goes by."""
    torch.manual_seed(0)
    config = make_unet_config(fuse=("in", "attend"))
    unet = wake(UNet(config, (1, 16, 16), conditional, None, 4))
    given = {"condition": draw(2, 1, 16, 16)} if conditional else {}
    with torch.no_grad():
        unet.label_embedding.weight.zero_()  # the other way in
        first, second = (unet(X, T, labels=torch.tensor([i, i]), **given) for i in (1, 2))
        none = unet(X, T, **given)
        assert torch.equal(none, unet(X, T, labels=torch.tensor([4, 4]), **given))
    assert not torch.allclose(first, second, atol=1e-4)
    assert not torch.allclose(first, none, atol=1e-4)


def test_a_ddpm_that_is_told_nothing_attends_to_nothing():
    unet = UNet(make_unet_config(fuse=("attend",)), (1, 16, 16), False)
    assert unet.tokens is None and not any(isinstance(m, CrossAttention) for m in unet.modules())
    assert unet(X, T).shape == X.shape


def test_guidance_hides_the_tokens_of_the_code():
    """(1 + w) f(code) - w f(its mean), which is a code of zeros."""
    model = make_diffusion(
        fuse=("attend",), conditional=True, condition_channels=CODE[0], code_shape=CODE
    )
    wake(model.unet)
    code = draw(2, *CODE)
    with torch.no_grad():
        told, hidden = model.unet(X, T, 2 * code - 1), model.unet(X, T, torch.zeros_like(code))
        found = model.network(X, T, code, guidance=2.0)
    assert not torch.allclose(told, hidden, atol=1e-4)
    torch.testing.assert_close(found, 3 * told - 2 * hidden)


def test_a_model_that_attends_is_what_it_was_once_it_is_loaded(tmp_path):
    model = make_diffusion(
        fuse=("in", "attend"),
        conditional=True,
        condition_channels=1 + CODE[0],
        num_classes=4,
        code_shape=CODE,
    )
    wake(model.unet)
    save_diffusion(tmp_path / "model.safetensors", model)
    loaded = load_diffusion(tmp_path / "model.safetensors")
    condition, labels = draw(2, 1 + CODE[0], 16, 16), torch.tensor([0, 3])
    with torch.no_grad():
        expected = model.network(X, T, condition, labels)
        torch.testing.assert_close(loaded.network(X, T, condition, labels), expected)


def test_what_cannot_attend_is_refused():
    with pytest.raises(ValueError, match="attention_levels is empty, so nothing attends"):
        make_unet_config(fuse=("attend",), attention_levels=())
    with pytest.raises(InputError, match="fuse attend: x_hat has no tokens; use condition code"):
        make_unet(("in", "attend"), "x_hat")
    for told, classes in (("both", 0), ("x_hat", 4)):
        with pytest.raises(InputError, match="fuse attend alone: x_hat enters nowhere; name one"):
            make_unet(("attend",), told, classes)
