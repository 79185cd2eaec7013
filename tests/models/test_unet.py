"""The UNet: shapes, and that x_hat reaches the output through each path on its own."""

import pytest
import torch
import torch.nn.functional as F

from diffusevae.models.unet import UNet
from diffusevae.models.unet_levels import concatenate_resized
from tests.support.toy_models import make_unet, make_unet_config


@pytest.mark.parametrize("image_shape", [(1, 16, 16), (3, 32, 32)])
def test_output_has_the_shape_of_the_image(image_shape):
    unet = make_unet(image_shape=image_shape)
    x, t = torch.randn(2, *image_shape), torch.tensor([0, 9])
    assert unet(x, t, x).shape == x.shape
    assert make_unet(conditional=False, image_shape=image_shape)(x, t).shape == x.shape


def test_an_untrained_network_predicts_zero():
    torch.manual_seed(0)
    unet = UNet(make_unet_config(), (1, 16, 16), conditional=False)
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(unet(x, torch.tensor([1, 2])), torch.zeros_like(x))


@pytest.mark.parametrize("fuse", [("concat",), ("in",), ("down",), ("skip",)])
def test_the_output_depends_on_x_hat_through_each_path(fuse):
    unet = make_unet(fuse=fuse)
    x, t = torch.randn(1, 1, 16, 16), torch.tensor([3])
    a, b = (unet(x, t, torch.full_like(x, value)) for value in (-1.0, 1.0))
    assert (a - b).abs().max() > 1e-3


@pytest.mark.parametrize("fuse", [("concat",), ("in",), ("down",), ("skip",)])
def test_a_condition_that_is_no_image_enters_through_each_path(fuse):
    """The code z: of other channels, of another size."""
    torch.manual_seed(0)
    unet = UNet(make_unet_config(fuse=fuse), (1, 16, 16), True, condition_channels=3)
    torch.nn.init.normal_(unet.conv_out.weight)
    x, t = torch.randn(1, 1, 16, 16), torch.tensor([3])
    a, b = (unet(x, t, torch.full((1, 3, 4, 4), value)) for value in (-1.0, 1.0))
    assert a.shape == x.shape and (a - b).abs().max() > 1e-3


def test_the_output_depends_on_time():
    unet = make_unet()
    x = torch.randn(1, 1, 16, 16)
    assert (unet(x, torch.tensor([0]), x) - unet(x, torch.tensor([500]), x)).abs().max() > 1e-3


def test_the_unconditional_network_has_no_fusing_weights():
    names = [name for name, _ in make_unet(conditional=False).named_parameters()]
    assert not [name for name in names if "fuse" in name]


KINDS = [
    (fuse, conditional, num_classes)
    for fuse in (("concat",), ("in", "down", "skip"), ("in", "attend"))
    for conditional in (False, True)
    for num_classes in (0, 4)
    if num_classes or not (conditional and "attend" in fuse)  # which would attend to nothing
]


@pytest.mark.parametrize("fuse, conditional, num_classes", KINDS)
def test_a_network_has_no_weights_that_it_does_not_use(fuse, conditional, num_classes):
    config = make_unet_config(fuse=fuse)
    unet = UNet(config, (1, 16, 16), conditional, num_classes=num_classes)
    x, t = torch.randn(2, 1, 16, 16), torch.tensor([3, 9])
    given = {"condition": x} if conditional else {}
    if num_classes:
        given["labels"] = torch.tensor([1, 2])
    unet(x, t, **given).sum().backward()
    assert [name for name, weight in unet.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"fuse": ()}, "fuse is empty"),
        ({"time_emb_dim": 15}, "15 is odd"),
        ({"num_heads": 3}, "3 does not divide"),
        ({"attention_levels": (2,)}, "no level 2"),
        ({"channel_multipliers": ()}, "empty"),
        ({"base_channels": 12, "num_heads": 1}, "12 x 1 makes 12 channels"),
    ],
)
def test_configurations_that_do_not_fit_are_refused_by_name(changes, words):
    with pytest.raises(ValueError, match=words):
        make_unet_config(**changes)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_condition_is_resized_as_torch_does(precision):
    h, condition = torch.rand(2, 5, 8, 8), torch.rand(2, 3, 16, 16).to(precision)
    h = h.to(precision).contiguous(memory_format=torch.channels_last)
    expected = F.interpolate(condition, (8, 8), mode="bilinear", align_corners=False)
    assert torch.equal(concatenate_resized(h, condition), torch.cat([h, expected], 1))
