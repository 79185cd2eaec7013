"""What masks leave of an image, and that none of another size is taken."""

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.studies.restoration.masks import MASKS, check_mask


@pytest.mark.parametrize(
    ("kind", "share"),
    [("right half", 1 / 2), ("lower half", 1 / 2), ("box", 9 / 64), ("every other row", 1 / 2)],
)
def test_a_mask_hides_its_share(kind, share):
    assert float((1 - MASKS[kind](16, 32)).mean()) == pytest.approx(share)


def test_what_is_hidden_lies_where_its_name_says():
    assert MASKS["right half"](4, 6)[:, 3:].sum() == 0 == MASKS["lower half"](4, 6)[2:].sum()
    assert MASKS["every other row"](4, 6)[:, 0].tolist() == [0, 1, 0, 1]
    assert MASKS["box"](16, 16)[8, 8] == 0 and MASKS["box"](16, 16)[0].all()
    scattered = MASKS["random half"](32, 32)
    assert 0.4 < float(scattered.mean()) < 0.6
    assert torch.equal(scattered, MASKS["random half"](32, 32))


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (torch.eye(8), "mask: 8 x 8 pixels, the images have 16 x 16; use one of their size"),
        (torch.ones(16, 16), "mask: expected pixels of 1, known, and of 0, unknown"),
        (torch.eye(16) / 2, "mask: expected pixels of 1"),
    ],
)
def test_a_mask_that_fits_no_image_is_one_line(known, reason):
    with pytest.raises(InputError, match=reason):
        check_mask(known, (1, 16, 16))
    assert check_mask(torch.eye(16), (3, 16, 16)).shape == (3, 16, 16)
