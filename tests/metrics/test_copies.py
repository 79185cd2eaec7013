"""Copies among generated images: named where they are, seldom where they are not."""

import pytest
import torch

from diffusevae.metrics.copies import chance_of_copies, count_copies, find_copies


def draw_blobs(num: int, seed: int) -> torch.Tensor:
    """Images of the same kind without end: a spot of any place, width and brightness."""
    rng = torch.Generator().manual_seed(seed)
    at, width, height = (torch.rand(num, k, 1, 1, generator=rng) for k in (2, 1, 1))
    axis = torch.arange(16).float()
    squares = (axis[None, :, None] - 4 - 8 * at[:, 0]) ** 2 + (
        axis[None, None, :] - 4 - 8 * at[:, 1]
    ) ** 2
    return ((0.5 + height[:, 0] / 2) * torch.exp(-squares / (2 + 6 * width[:, 0])))[:, None]


SIZES = [(40, 200, 400), (200, 60, 100), (400, 400, 50), (20, 20, 500)]  # training, test, generated


@pytest.mark.parametrize(("num_train", "num_test", "num_generated"), SIZES)
def test_generators_that_copy_nothing_are_seldom_named_whatever_the_sizes(
    num_train, num_test, num_generated
):
    level, named, num = 0.05, 0, 100
    for seed in range(num):
        sets = [
            draw_blobs(size, 3 * seed + i)
            for i, size in enumerate((num_generated, num_train, num_test))
        ]
        counts = count_copies(*sets, seed)
        named += chance_of_copies(counts["training"], counts["held-out"]) <= level
    assert named <= 12  # of 100 with 5 % each, 13 or more come up in 0.2 % of simulations


def test_nor_is_a_generator_that_learned_from_few_images():
    """A Gaussian with the mean and the covariance of 60 training images, and 500 drawn from it."""
    train, test = draw_blobs(60, 1), draw_blobs(300, 2)
    rows = train.flatten(1).double()
    factor = torch.linalg.cholesky(torch.cov(rows.T) + 1e-4 * torch.eye(256))
    noise = torch.randn(500, 256, generator=torch.Generator().manual_seed(3)).double()
    drawn = (rows.mean(0) + noise @ factor.T).clamp(0, 1).float().reshape(-1, 1, 16, 16)
    assert find_copies({"vae_gmm": drawn, "ddpm": draw_blobs(500, 4)}, train, test, 0) == []


@pytest.mark.parametrize("kind", ["training", "held-out"])
@pytest.mark.parametrize(("num_train", "num_test", "share"), [(60, 300, 1.0), (400, 300, 0.5)])
def test_copies_are_named_with_what_to_look_at(kind, num_train, num_test, share):
    real = {"training": draw_blobs(num_train, 1), "held-out": draw_blobs(num_test, 2)}
    copied = real[kind].repeat(10, 1, 1, 1)[:200]
    rng = torch.Generator().manual_seed(4)
    copied = (copied + 0.002 * torch.randn(copied.shape, generator=rng)).clamp(0, 1)
    images = torch.where(
        torch.rand(200, 1, 1, 1, generator=rng) < share, copied, draw_blobs(200, 3)
    )
    (line,) = find_copies({"ddpm": images}, real["training"], real["held-out"], 0)
    assert line.startswith("copies: images of ddpm lie at ")
    assert f"look at them beside their nearest {kind} images" in line
