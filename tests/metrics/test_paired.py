import math

import numpy as np
import pytest
import torch

from diffusevae.metrics import paired
from diffusevae.metrics.metric import DISTRIBUTION, METRICS, PAIRED
from diffusevae.metrics.paired import measure_pairs
from tests.support.toy_sets import blobs, blurred, noisy

FUNCTIONS = {
    name: getattr(paired, name) for name in ("mse", "psnr", "ssim", "mae", "edge_sim", "hist_sim")
}


def constant(value: float, size: int = 16) -> torch.Tensor:
    return torch.full((1, 1, size, size), value)


def test_identical_images_reach_each_metrics_best_value():
    x = blobs(3)
    best = {"mse": 0, "psnr": 100, "ssim": 1, "mae": 0, "edge_sim": 0, "hist_sim": 0}
    for name, function in FUNCTIONS.items():
        assert function(x, x).tolist() == pytest.approx([best[name]] * 3, abs=1e-6), name


def test_constant_images_by_hand():
    x, y = constant(0.2), constant(0.5)
    assert paired.mse(x, y).item() == pytest.approx(0.09)
    assert paired.mae(x, y).item() == pytest.approx(0.3)
    assert paired.psnr(x, y).item() == pytest.approx(10 * math.log10(1 / 0.09), rel=1e-5)
    # No variance: only the luminance term (2 a b + C1) / (a^2 + b^2 + C1) is left.
    assert paired.ssim(x, y).item() == pytest.approx((0.2 + 1e-4) / (0.29 + 1e-4), rel=1e-5)


def test_ssim_of_an_image_and_its_negative_is_negative():
    x = noisy(constant(0.5, 32), 0.2)
    assert paired.ssim(x, 1 - x).item() < -0.5


@pytest.mark.parametrize("channels, height, width", [(1, 32, 32), (3, 24, 40), (1, 11, 11)])
def test_ssim_inside_and_psnr_equal_torchmetrics(channels, height, width):
    from diffusevae.core.torchvision_import import ensure_torchvision

    ensure_torchvision()
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    x = blobs(8, channels, size=max(height, width))[..., :height, :width]
    for y in (noisy(x, 0.1), blurred(x, 2), 1 - x, torch.zeros_like(x)):
        _, similarity = structural_similarity_index_measure(
            y.double(), x.double(), data_range=1.0, return_full_image=True
        )
        # torchmetrics also counts windows over a mirrored border of 5 pixels; we do not.
        expected = similarity[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
        torch.testing.assert_close(paired.ssim(x, y).double(), expected, atol=1e-5, rtol=0)
        expected = peak_signal_noise_ratio(y, x, 1.0, reduction="none", dim=(1, 2, 3))
        torch.testing.assert_close(paired.psnr(x, y), expected, atol=1e-3, rtol=0)


def test_edge_sim_of_a_single_bright_pixel():
    # Against black, the 8 neighbours have squared magnitudes 4 (sides) and 1 + 1 (corners): 24.
    y = constant(0.0)
    x = y.clone()
    x[0, 0, 8, 8] = 0.5
    assert paired.edge_sim(x, y).item() == pytest.approx(24 * 0.25 / 256)


def test_edge_sim_of_a_ramp():
    # Slope 1/16 per pixel gives 8/16 inside; where the rows end the filter loses one of 4 weights.
    x = (torch.arange(16) / 16).expand(1, 1, 16, 16)
    inside = paired._sobel_magnitude(x)[0, 0, 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.full((14, 14), 0.5))


def test_edge_sim_is_64_mse_at_most_and_stripes_come_close():
    phase = torch.arange(512) * (math.pi / 2)
    stripes = (0.5 + 0.4 * torch.cos(phase)).expand(1, 1, 512, 512).contiguous()
    flat = torch.full_like(stripes, 0.5)
    ratio = (paired.edge_sim(stripes, flat) / paired.mse(stripes, flat)).item()
    assert 62 < ratio <= 64


def test_hist_sim_by_hand():
    x = constant(0.0)
    x[..., :8] = 1.0  # h_x = (1/2, 1/2), h_y = (1, 0): (1/4) / (3/2) + (1/4) / (1/2)
    assert paired.hist_sim(x, constant(0.0)).item() == pytest.approx(1 / 6 + 1 / 2)
    assert paired.hist_sim(constant(1.0), constant(0.0)).item() == pytest.approx(2)


def test_hist_sim_is_of_8_bits_where_nearly_black_is_not_black():
    """0.003 is the grey value 1 of 255; in bins of equal width, the study's, it is with black."""
    nearly, black = constant(0.003), constant(0.0)
    assert paired.hist_sim(nearly, black).item() == pytest.approx(2)
    assert paired.hist_sim(nearly, black, rounded=False).item() == 0
    assert paired.hist_sim(constant(0.0019), black).item() == 0  # a viewer sees black
    grey = torch.arange(256).reshape(1, 1, 16, 16) / 255  # of 8 bits: both ways are one
    assert paired.hist_sim(grey, grey.flip(3), rounded=False).item() == 0


def test_hist_sim_per_image_and_per_set_differ():
    x = torch.cat([constant(0.0), constant(1.0)])
    y = x.flip(0)
    assert paired.hist_sim(x, y).tolist() == pytest.approx([2, 2])
    assert paired.hist_sim_of_set(x, y) == 0


def test_histograms_equal_numpy():
    x = torch.rand(4, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    x[0, 0, 0, :3] = torch.tensor([0.0, 1.0, 255 / 256])
    expected = [np.histogram(image, 256, (0, 1))[0] / image.size for image in x.numpy()]
    np.testing.assert_allclose(paired._histograms(x, rounded=False).numpy(), expected)
    counts = [
        np.bincount(np.rint(image.flatten() * 255).astype(int), minlength=256)
        for image in x.numpy()
    ]
    np.testing.assert_allclose(paired._histograms(x).numpy(), np.array(counts) / x[0].numel())


def test_eight_bit_grey_levels_have_a_bin_each():
    x = (torch.arange(256).float() / 255).reshape(1, 1, 16, 16)
    assert (paired._histograms(x) == 1 / 256).all()


def test_values_do_not_depend_on_the_batch(monkeypatch):
    x = blobs(7)
    whole = measure_pairs(x, noisy(x, 0.1))
    monkeypatch.setattr("diffusevae.data.dataset.AT_ONCE", 1)
    parts = measure_pairs(x, noisy(x, 0.1))
    assert list(whole) == [name for name in PAIRED if name != "lpips"]
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_growing_corruption_moves_each_metric_away_from_better(name):
    x = blobs(16)
    sign = 1 if METRICS[name].better == "higher" else -1
    for corrupted in (
        [noisy(x, sigma) for sigma in (0.01, 0.05, 0.1, 0.2, 0.4)],
        [blurred(x, times) for times in (1, 2, 4, 8)],
    ):
        means = [sign * FUNCTIONS[name](x, y).mean().item() for y in (x, *corrupted)]
        assert all(a > b for a, b in zip(means, means[1:], strict=False)), means


@pytest.mark.parametrize("name", FUNCTIONS)
def test_metrics_are_symmetric(name):
    x, y = blobs(4), noisy(blobs(4, seed=5), 0.1)
    torch.testing.assert_close(FUNCTIONS[name](x, y), FUNCTIONS[name](y, x))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "y", [constant(1.01), constant(-0.01), constant(float("nan")), constant(0.5, 12)]
)
def test_images_that_cannot_be_compared_are_refused(name, y):
    with pytest.raises(ValueError):
        FUNCTIONS[name](constant(0.5), y)


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="11 x 11"):
        paired.ssim(constant(0.5, 10), constant(0.5, 10))


def test_every_metric_has_an_entry():
    assert set(METRICS) == set(PAIRED) | set(DISTRIBUTION)
    assert METRICS["edge_sim"].better == METRICS["hist_sim"].better == "lower"
