"""What is said of a code's use, by hand."""

import math

import pytest
import torch

from diffusevae.models.code_use import find_active, kl_by_number, measure_use

# Three images with a code of 1 x 1 x 3: the first number tells images apart, the second is noise
# alike for all, the third is noiseless and alike for all.
MU = torch.tensor([[-1.0, 0.0, 0.5], [0.0, 0.0, 0.5], [1.0, 0.0, 0.5]]).reshape(3, 1, 1, 3)
LOGVAR = torch.tensor([-2.0, 0.0, -4.0]).expand(3, 3).reshape(3, 1, 1, 3)


def test_kl_of_each_number_is_its_mean_over_images():
    first = (2 / 3 + math.exp(-2) - 1 + 2) / 2  # the mean square of -1, 0, 1 is 2/3
    third = (0.25 + math.exp(-4) - 1 + 4) / 2
    assert kl_by_number(MU, LOGVAR).tolist() == pytest.approx([first, 0, third])


def test_active_is_what_varies_between_images():
    assert find_active(MU).tolist() == [True, False, False]
    assert find_active(0.09 * MU).tolist() == [False] * 3  # its variance is 0.0081
    assert find_active(0.11 * MU).tolist() == [True, False, False]  # 0.0121


def test_the_numbers_told_of_a_code():
    use = measure_use(MU, LOGVAR)
    assert (use["latent_numbers"], use["active_units"]) == (3, 1)
    kl = sorted(kl_by_number(MU, LOGVAR).tolist())
    found = [use[f"kl_per_number_{name}"] for name in ("least", "median", "greatest")]
    assert found == pytest.approx(kl)
