"""Variants: what they change, what they are given, what is refused."""

import dataclasses

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.params import build
from diffusevae.studies.ablation.variants import Variant, apply_variant, make_condition
from tests.support.resumable import CONFIG, UNET


def test_a_variant_changes_what_it_names_and_nothing_else():
    assert apply_variant(Variant("same"), CONFIG, UNET) == (CONFIG, UNET)
    variant = build(Variant, {"name": "a-b_1", "diffusion": {"num_timesteps": 7}}, "here")
    diffusion, unet = apply_variant(variant, CONFIG, UNET)
    assert diffusion.num_timesteps == 7 and diffusion.prediction == CONFIG.prediction
    assert unet is UNET


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        (Variant("a", ("shift",), "code"), "a: fuse shift adds x_hat, which condition code leaves"),
        (Variant("a", ("shift",), "none"), "a: condition none enters nowhere; leave out fuse"),
        (
            Variant("a", ("attend",), "code"),
            "a: fuse attend: attention_levels is empty, so nothing",
        ),
        (Variant("a", ()), "ablate.variants a: fuse is empty; name at least one of concat"),
        (Variant("a", diffusion={"predicts": "v"}), "a.diffusion.predicts: unknown key"),
        (Variant("a", diffusion={"prediction": "w"}), "a.diffusion.prediction: 'w' is none of"),
    ],
)
def test_what_does_not_fit_is_one_line(variant, said):
    with pytest.raises(InputError, match=said) as raised:
        apply_variant(variant, CONFIG, UNET)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("fuse", "told", "said"),
    [
        (("in", "attend"), "x_hat", "a: fuse attend: x_hat has no tokens; use condition code or"),
        (("attend",), "both", "a: fuse attend alone: x_hat enters nowhere; name one of concat"),
        (("attend", "shift"), "code", "a: fuse shift adds x_hat, which condition code leaves out"),
        (("attend",), "none", "a: condition none enters nowhere; leave out fuse"),
        (("attend",), "code", None),
        (("in", "attend"), "code", None),
        (("shift", "attend"), "both", None),
    ],
)
def test_who_attends_needs_tokens_and_x_hat_another_way_in(fuse, told, said):
    unet, variant = dataclasses.replace(UNET, attention_levels=(1,)), Variant("a", fuse, told)
    if said is None:
        assert apply_variant(variant, CONFIG, unet)[1].fuse == fuse
        return
    with pytest.raises(InputError, match=f"ablate.variants {said}"):
        apply_variant(variant, CONFIG, unet)


def test_a_class_is_a_token_beside_x_hat():
    unet = dataclasses.replace(UNET, attention_levels=(1,))
    variant = Variant("a", ("in", "attend"), labels=True)
    assert apply_variant(variant, CONFIG, unet)[1].fuse == ("in", "attend")


def test_a_code_that_is_attended_to_repeats_its_places_beside_x_hat():
    """So that the network takes it back as it was."""
    x_hat, code = torch.rand(2, 1, 8, 8), torch.randn(2, 3, 4, 2)
    both = make_condition("both", x_hat, code, attended=True)
    assert torch.equal(both[:, :1], x_hat)
    laid_out = 2 * both[:, 1:] - 1
    torch.testing.assert_close(laid_out[..., ::2, ::4], code)
    torch.testing.assert_close(laid_out, code.repeat_interleave(2, 2).repeat_interleave(4, 3))
    alone = make_condition("code", x_hat, code, attended=True)
    torch.testing.assert_close(2 * alone - 1, code)


def test_a_name_is_that_of_a_file():
    with pytest.raises(InputError, match="name 'a/b': use letters, digits"):
        build(Variant, {"name": "a/b"}, "here")


def test_a_code_reaches_the_network_as_it_is():
    """It undoes what maps a condition to [0,1]; x_hat comes first, for Formulation 2 adds that."""
    x_hat, code = torch.rand(2, 1, 8, 8), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(2 * make_condition("code", x_hat, code) - 1, code)
    both = make_condition("both", x_hat, code)
    assert torch.equal(both[:, :1], x_hat)
    torch.testing.assert_close(2 * both[:, 1:] - 1, code)
    assert make_condition("both", x_hat, code[..., ::4, ::4]).shape == (2, 4, 8, 8)
