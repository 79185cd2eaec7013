"""The damages do what their names say."""

import pytest
import torch

from diffusevae.studies.robustness.damages import FOREIGN, RESTORABLE, cut_out, invert, move

IMAGES = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_quarter_of_the_area_is_a_square_of_half_the_side():
    cut = cut_out(torch.ones(1, 2, 16, 16), 0.25)
    assert cut.sum() == 2 * (16 * 16 - 8 * 8) and cut[0, 0, 4, 4] == 0 and cut[0, 0, 3, 4] == 1


def test_a_moved_image_is_the_same_further_right():
    moved = move(IMAGES, 3)
    assert torch.equal(moved[..., 3:], IMAGES[..., :-3]) and (moved[..., :3] == 0).all()


def test_half_way_to_the_negative_all_is_grey():
    torch.testing.assert_close(invert(IMAGES, 0.5), torch.full_like(IMAGES, 0.5))
    torch.testing.assert_close(invert(invert(IMAGES, 1), 1), IMAGES)


@pytest.mark.parametrize("kind", RESTORABLE | FOREIGN)
def test_more_damage_is_further_from_the_image_and_still_an_image(kind):
    _, damage, strengths = (RESTORABLE | FOREIGN)[kind]
    smooth = torch.nn.functional.interpolate(IMAGES, scale_factor=4, mode="bilinear")
    damaged = [damage(smooth, strength) for strength in strengths]
    errors = [float((each - smooth).square().mean()) for each in damaged]
    assert errors[0] > 0 and errors == sorted(errors)
    assert all(each.min() >= 0 and each.max() <= 1 for each in damaged)
