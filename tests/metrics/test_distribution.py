import numpy as np
import pytest
import torch

from diffusevae.metrics.distribution import frechet_distance, kid, require_features
from diffusevae.metrics.metric import METRICS
from tests.support.toy_sets import find_covered, normal


def precision_recall(real: np.ndarray, generated: np.ndarray, k: int = 3) -> tuple[np.ndarray, ...]:
    """Return precision per generated and recall per real image, as booleans."""
    real, generated = require_features(real, generated, k + 1)
    return find_covered(generated, real, k), find_covered(real, generated, k)


def whitened(number: int, dim: int) -> np.ndarray:
    """Features whose sample mean is 0 and whose sample covariance is I, exactly."""
    f = normal(number, dim)
    f -= f.mean(0)
    return f @ np.linalg.inv(np.linalg.cholesky(np.cov(f, rowvar=False))).T


class Flatten(torch.nn.Module):
    """A feature extractor for torchmetrics: the pixels themselves."""

    num_features = 12

    def forward(self, x):
        return x.double().flatten(1)[:, :12]


def torchmetrics_value(metric, f: np.ndarray, g: np.ndarray) -> float:
    metric.set_dtype(torch.float64)
    for features, real in ((f, True), (g, False)):
        metric.update(torch.from_numpy(features).reshape(-1, 3, 2, 2), real=real)
    value = metric.compute()
    return float(value[0] if isinstance(value, tuple) else value)


def unit_features(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).beta(2, 3 + seed, (number, 12))


def test_frechet_distance_of_gaussians_in_closed_form():
    f = whitened(200, 5)
    scale, shift = np.array([1.0, 2.0, 0.5, 3.0, 1.0]), np.array([0.0, 1.0, -2.0, 0.0, 0.0])
    expected = ((scale - 1) ** 2).sum() + (shift**2).sum()  # 5.25 + 5
    assert frechet_distance(f, f * scale + shift) == pytest.approx(expected)
    assert frechet_distance(f * scale + shift, f) == pytest.approx(expected)


def test_frechet_distance_of_covariances_that_do_not_commute():
    # tr (A B)^(1/2) is the sum of roots of the eigenvalues of the (unsymmetric) product A B.
    a, b = (normal(4, 4, seed) for seed in (1, 2))
    f = whitened(100, 4)
    product = np.linalg.eigvals((a.T @ a) @ (b.T @ b)).real
    expected = (a**2).sum() + (b**2).sum() - 2 * np.sqrt(product).sum()
    assert frechet_distance(f @ a, f @ b) == pytest.approx(expected)


def test_frechet_distance_and_kid_equal_torchmetrics():
    from diffusevae.core.torchvision_import import ensure_torchvision

    ensure_torchvision()
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    f, g = unit_features(60, 0), unit_features(60, 2)
    metric = FrechetInceptionDistance(Flatten(), normalize=True)
    assert frechet_distance(f, g) == pytest.approx(torchmetrics_value(metric, f, g), rel=1e-6)
    metric = KernelInceptionDistance(Flatten(), subsets=1, subset_size=60, normalize=True)
    assert kid(f, g) == pytest.approx(torchmetrics_value(metric, f, g), rel=1e-6)


def test_frechet_distance_of_fewer_images_than_features():
    f = normal(10, 64)
    assert frechet_distance(f, f) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(f, f + 1) == pytest.approx(64)
    constant = np.ones((10, 64))
    expected = np.trace(np.cov(f, rowvar=False)) + ((f.mean(0) - 1) ** 2).sum()
    assert frechet_distance(f, constant) == pytest.approx(expected)


def test_kid_is_the_mean_of_the_kernel_over_distinct_pairs():
    f, g = normal(5, 3), normal(7, 3, seed=1) + 1

    def mean_kernel(a, b, distinct):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not distinct or i != j]
        return np.mean([(a[i] @ b[j] / 3 + 1) ** 3 for i, j in pairs])

    expected = mean_kernel(f, f, True) + mean_kernel(g, g, True) - 2 * mean_kernel(f, g, False)
    assert kid(f, g) == pytest.approx(expected)


def test_kid_of_one_distribution_is_zero_on_average():
    values = [kid(normal(40, seed=2 * i), normal(40, seed=2 * i + 1)) for i in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)
    assert min(values) < 0


def test_sums_over_blocks_equal_the_whole(monkeypatch):
    f, g = normal(50), normal(41, seed=1)
    whole = kid(f, g), *precision_recall(f, g)
    monkeypatch.setattr("diffusevae.metrics.distribution.CHUNK", 7)
    for a, b in zip(whole, (kid(f, g), *precision_recall(f, g)), strict=True):
        np.testing.assert_allclose(a, b)


def test_identical_sets_have_precision_and_recall_one():
    f = normal(50)
    assert all(part.all() for part in precision_recall(f, f))


def test_far_away_sets_have_precision_and_recall_zero():
    assert not any(part.any() for part in precision_recall(normal(50), normal(60, seed=1) + 100))


def test_a_dropped_mode_lowers_recall_alone():
    real = np.concatenate([normal(100), normal(100, seed=1) + 50])
    precise, recalled = precision_recall(real, normal(200, seed=2))
    assert precise.mean() > 0.8
    assert recalled[:100].mean() > 0.8 and not recalled[100:].any()


def test_invented_images_lower_precision_alone():
    generated = np.concatenate([normal(100), normal(100, seed=1) + 50])
    precise, recalled = precision_recall(normal(100, seed=2), generated)
    assert precise[:100].mean() > 0.8 and not precise[100:].any()
    assert recalled.mean() > 0.8


def test_precision_by_hand():
    # On a line with k = 1 the reaches of 0, 1, 10 are 1, 1, 9; those of the generated are 17, 3, 3.
    real, generated = np.array([[0.0], [1], [10]]), np.array([[-1.5], [18], [21]])
    precise, recalled = precision_recall(real, generated, k=1)
    assert precise.tolist() == [False, True, False]
    assert recalled.tolist() == [True, True, True]


def test_precision_and_recall_equal_a_search_by_neighbour_trees():
    from sklearn.neighbors import NearestNeighbors

    real, generated, k = normal(80), normal(70, seed=1) * 1.2 + 0.5, 4

    def inside(points, centres):
        tree = NearestNeighbors(algorithm="ball_tree").fit(centres)
        reach = tree.kneighbors(n_neighbors=k)[0][:, -1]  # without arguments: itself excluded
        distances = np.linalg.norm(points[:, None] - centres, axis=-1)
        return (distances <= reach).any(axis=1)

    precise, recalled = precision_recall(real, generated, k)
    np.testing.assert_array_equal(precise, inside(generated, real))
    np.testing.assert_array_equal(recalled, inside(real, generated))
    assert 0 < precise.mean() < 1 and 0 < recalled.mean() < 1


def test_growing_corruption_moves_each_metric_away_from_better():
    real, clean = normal(200), normal(200, seed=1)
    for corrupt in (lambda f, level: f + level * normal(200, seed=2), lambda f, level: f + level):
        rows = [corrupt(clean, level) for level in (0.0, 1.0, 2.0, 4.0)]
        for name, values in {
            "frechet": [frechet_distance(real, f) for f in rows],
            "kid": [kid(real, f) for f in rows],
            "precision": [precision_recall(real, f)[0].mean() for f in rows],
        }.items():
            sign = 1 if METRICS[name].better == "higher" else -1
            assert (np.diff(np.multiply(values, sign)) < 0).all(), (name, values)
    recalls = [precision_recall(real, clean * scale)[1].mean() for scale in (1, 0.5, 0.1)]
    assert METRICS["recall"].better == "higher" and recalls[0] > recalls[1] > recalls[2]


@pytest.mark.parametrize("function", [frechet_distance, kid, precision_recall])
@pytest.mark.parametrize(
    "f, g",
    [
        (normal(10, 3), normal(10, 4)),
        (normal(1), normal(10)),
        (normal(10), np.full((10, 8), np.nan)),
        (np.zeros(8), np.zeros(8)),
    ],
)
@pytest.mark.fault("T9")
def test_sets_that_cannot_be_compared_are_refused(function, f, g):
    with pytest.raises(ValueError):
        function(f, g)
