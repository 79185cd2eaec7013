"""The control: a VAE's pictures with their grey values stretched."""

import pytest
import torch

from diffusevae.metrics.grey_stretch import GreyStretch, fit_stretch
from diffusevae.metrics.paired import ssim


def draw_images(seed: int) -> torch.Tensor:
    """Return 20 images of 16 x 16 with a black ground, a grey and a white square."""
    images = torch.zeros(20, 1, 16, 16)
    places = torch.randint(0, 8, (20, 2), generator=torch.Generator().manual_seed(seed))
    for image, (row, column) in zip(images, places, strict=True):
        image[0, row : row + 5, column : column + 5] = 0.5
        image[0, row + 2 : row + 8, column + 3 : column + 8] = 1.0
    return images


@pytest.mark.parametrize(("black", "white"), [(0.02, 0.94), (0.07, 0.98), (0.0, 1.0)])
def test_a_picture_whose_grey_values_alone_are_wrong_is_restored(black, white):
    real = draw_images(0)
    squeezed = black + (white - black) * real
    found = fit_stretch(real, squeezed)
    assert (found.black, found.white) == pytest.approx((black, white))
    torch.testing.assert_close(found.apply(squeezed), real)
    other = draw_images(1)  # chosen on some images, it mends others
    torch.testing.assert_close(found.apply(black + (white - black) * other), other)


def test_a_stretch_is_never_worse_than_none_on_the_images_it_is_chosen_by():
    real, noise = draw_images(0), torch.rand(20, 1, 16, 16) * 0.3
    blurred = (0.7 * real + noise).clamp(0, 1)
    stretched = fit_stretch(real, blurred).apply(blurred)
    assert ssim(real, stretched).mean() >= ssim(real, blurred).mean()


def test_a_stretch_by_hand():
    values = torch.tensor([0.0, 0.02, 0.25, 0.48, 0.94, 1.0])
    expected = torch.tensor([0.0, 0.0, 0.25, 0.5, 1.0, 1.0])
    torch.testing.assert_close(GreyStretch(0.02, 0.94).apply(values), expected)
