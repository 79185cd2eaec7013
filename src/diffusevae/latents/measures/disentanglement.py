"""How well latents are disentangled: MIG, DCI and the FactorVAE score, of known factors.

Everywhere `factors` is N x factors, whole numbers from 0: of each image the value of each factor.
A factor that has one value only is left out.
"""

import math

import numpy as np
import torch
from sklearn.ensemble import RandomForestRegressor
from torch import Tensor

LEAST_VARIANCE = 1e-3  # of mu, where the prior's is 1: below it a latent says nothing
TREES, LEAF = 20, 10  # of a forest; images in a leaf
BINS = 4000  # of codes that are counted: q(z|x) can be a thousandth of q(z) wide
POINTS = 256  # of a grid at a time: few enough that most of the narrow densities are elsewhere


def varied(factors: Tensor) -> list[int]:
    """Return the columns of the factors that have more than one value."""
    return [k for k in range(factors.shape[1]) if len(factors[:, k].unique()) > 1]


# --- Mutual information gap (Chen et al., 2018, section 4) ---------------------------------------


def entropies(factors: Tensor) -> Tensor:
    """Return H(v_k) of every factor in nats."""
    shares = [torch.bincount(column).double() / len(column) for column in factors.T]
    return torch.stack([torch.special.entr(share).sum() for share in shares])


def information_by_quadrature(
    mu: Tensor, logvar: Tensor, factors: Tensor, points_per_deviation: float = 1.0
) -> Tensor:
    """Return I(z_j; v_k) in nats, latents x factors, z_j being drawn from q(z|x) of N images.

    q(z_j) and q(z_j|v_k) are mixtures of N normal densities, whose entropies are summed on a grid
    as fine as the narrowest of them: sums of smooth densities at equal steps converge faster than
    any power of the step. A density counts as 0 beyond 6 of its deviations.
    """
    result = torch.zeros(mu.shape[1], factors.shape[1], dtype=torch.float64)
    groups = [_sums_by_value(column) for column in factors.T]
    for j, (mean, deviation) in enumerate(zip(mu.T, torch.exp(0.5 * logvar).T, strict=True)):
        low, high = (mean - 6 * deviation).min(), (mean + 6 * deviation).max()
        steps = math.ceil(float((high - low) / deviation.min()) * points_per_deviation) + 1
        grid = torch.linspace(float(low), float(high), steps)
        width = (high - low) / (steps - 1)
        for part in grid.split(POINTS):
            near = (mean + 6 * deviation >= part[0]) & (mean - 6 * deviation <= part[-1])
            centre, sharp = mean[near, None], 1 / deviation[near, None]
            density = torch.exp(-0.5 * ((part - centre) * sharp) ** 2)
            density *= width * sharp / math.sqrt(2 * math.pi)
            whole = torch.special.entr(density.double().sum(0) / len(mean)).sum()
            for k, (sums, shares) in enumerate(groups):
                given = torch.special.entr((sums[:, near] @ density).double()).sum(1)
                result[j, k] += whole - (shares * given).sum()
    return result


def _sums_by_value(column: Tensor) -> tuple[Tensor, Tensor]:
    """Return the matrix, values x N, that averages over each value's images, and their shares."""
    one_hot = torch.nn.functional.one_hot(column.long()).T.float()
    one_hot = one_hot[one_hot.sum(1) > 0]
    counts = one_hot.sum(1)
    return one_hot / counts[:, None], counts.double() / len(column)


def information_by_sampling(
    mu: Tensor, logvar: Tensor, factors: Tensor, rng: torch.Generator, draws: int = 100
) -> Tensor:
    """Return I(z_j; v_k) in nats as `information_by_quadrature` does, by counting.

    Draws codes of every image and counts them in BINS intervals that hold as many codes each: fine
    where codes are dense, and never so many that most are empty. Counting alone makes information
    of nothing, about (bins - 1)(values - 1) / 2 N draws nats (Miller, 1955), which is taken off.
    """
    result = torch.zeros(mu.shape[1], factors.shape[1], dtype=torch.float64)
    for j, (mean, deviation) in enumerate(zip(mu.T, torch.exp(0.5 * logvar).T, strict=True)):
        eps = torch.randn(len(mean), draws, generator=rng)
        z = mean[:, None] + deviation[:, None] * eps
        share = -(-z.numel() // BINS)  # codes in an interval
        bins = torch.empty(z.numel(), dtype=torch.long)
        bins[z.flatten().argsort()] = torch.arange(z.numel()) // share
        bins, width = bins.view_as(z), -(-z.numel() // share)
        for k, column in enumerate(factors.T):
            count = int(column.max()) + 1
            cells = (
                torch.bincount((column[:, None] * width + bins).flatten(), minlength=count * width)
                .view(count, width)
                .double()
            )
            result[j, k] = _information_of_counts(cells)
    return result


def _information_of_counts(cells: Tensor) -> Tensor:
    """Return the mutual information of rows and columns of counts, in nats, less its bias."""
    total = cells.sum()
    entropy = [
        torch.special.entr(part / total).sum() for part in (cells.sum(0), cells.sum(1), cells)
    ]
    filled = [int((part > 0).sum()) for part in (cells.sum(0), cells.sum(1), cells)]
    bias = (filled[2] - filled[0] - filled[1] + 1) / (2 * total)
    return entropy[0] + entropy[1] - entropy[2] - bias


def mutual_information_gap(information: Tensor, factors: Tensor) -> float:
    """Return MIG, 0 to 1: by how much a factor's best latent knows more of it than the next.

    `information` is latents x factors; each gap is divided by H(v_k), and the mean taken.
    """
    kept = varied(factors)
    best = information[:, kept].topk(2, dim=0).values
    return float(((best[0] - best[1]) / entropies(factors[:, kept])).mean())


# --- Disentanglement, completeness, informativeness (Eastwood and Williams, 2018) ----------------


def importances(codes: Tensor, targets: list[Tensor], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how much each latent matters for each target (latents x targets) and how well all
    latents together tell it: R^2 on the second half of the images, learned on the first.

    Each target is N x numbers; a random forest predicts it, and a latent matters as much as it
    lessens the squared error there.
    """
    half = len(codes) // 2
    columns, told = [], []
    for target in targets:
        forest = RandomForestRegressor(TREES, min_samples_leaf=LEAF, random_state=seed, n_jobs=-1)
        forest.fit(codes[:half].numpy(), np.squeeze(target[:half].numpy()))
        forest.set_params(n_jobs=1)  # several would add their trees in the order they are done
        predicted = forest.predict(codes[half:].numpy()).reshape(target[half:].shape)
        actual = target[half:].numpy()
        error = ((predicted - actual) ** 2).sum() / ((actual - actual.mean(0)) ** 2).sum()
        columns.append(forest.feature_importances_)
        told.append(1 - error)
    return np.stack(columns, 1), np.array(told)


def disentanglement_completeness(importance: np.ndarray) -> tuple[float, float]:
    """Return both scores, 0 to 1, of importances latents x factors (2 or more of each).

    Disentanglement: does a latent matter for one factor alone, weighed by how much it matters;
    completeness: is a factor told by one latent alone.
    """
    total = importance.sum()
    if total == 0:
        return 0.0, 0.0
    by_latent, by_factor = importance.sum(1), importance.sum(0)
    disentangled = 1 - _entropy(importance / np.maximum(by_latent, 1e-300)[:, None], 1)
    complete = 1 - _entropy(importance / np.maximum(by_factor, 1e-300), 0)
    return (
        float((disentangled * by_latent).sum() / total),
        float((complete * (by_factor > 0)).mean()),
    )


def _entropy(shares: np.ndarray, axis: int) -> np.ndarray:
    """Return the entropy along an axis with its length as the base of the logarithm."""
    logs = np.log(np.where(shares > 0, shares, 1))
    return -(shares * logs).sum(axis) / math.log(shares.shape[axis])


# --- FactorVAE score (Kim and Mnih, 2018, section 4) ---------------------------------------------


def factor_vae_score(
    codes: Tensor, factors: Tensor, rng: torch.Generator, votes: int = 800, images: int = 64
) -> float:
    """Return the share of right guesses, 1 / factors to 1, of which factor was held fixed.

    A vote fixes a random factor at a random image's value and takes `images` images that have it;
    the latent with the least variance there, divided by its variance over all, is what is seen of
    them. The first `votes` say which factor each latent stands for; as many others are guessed by
    it. Latents without variance take no part; without any the score is that of a guess.
    """
    kept = varied(factors)
    variance = codes.var(0)
    active = torch.nonzero(variance > LEAST_VARIANCE).flatten()
    if not len(active):
        return 1 / len(kept)
    scaled = codes[:, active] / variance[active].sqrt()
    seen = torch.zeros(2, len(active), len(kept), dtype=torch.long)
    for vote in range(2 * votes):
        k = int(torch.randint(len(kept), (), generator=rng))
        image = int(torch.randint(len(codes), (), generator=rng))
        same = torch.nonzero(factors[:, kept[k]] == factors[image, kept[k]]).flatten()
        chosen = same[torch.randint(len(same), (images,), generator=rng)]
        seen[vote % 2, scaled[chosen].var(0).argmin(), k] += 1
    guess = seen[0].argmax(1)
    return float(seen[1].gather(1, guess[:, None]).sum() / votes)
