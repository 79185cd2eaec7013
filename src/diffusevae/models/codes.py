"""The VAE's codes in two dimensions (t-SNE), and how well they separate the classes as a number."""

import numpy as np
from threadpoolctl import threadpool_limits

MAX_POINTS = 3000  # the study's; t-SNE's time grows faster than the number of points
NUM_COMPONENTS = 50  # of the PCA before t-SNE (van der Maaten and Hinton, 2008, section 4.2)


def embed_codes(mu: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Return the t-SNE of codes mu (m x D): m x 2.

    With few codes the perplexity is lowered to (m - 1) / 3, the most that leaves distant points
    apart. Runs on one thread: sums over several threads differ in their last digits. Needs m >= 4;
    raises ValueError below.
    """
    if len(mu) < 4:
        raise ValueError(f"{len(mu)} codes; t-SNE needs at least 4")
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    components = min(NUM_COMPONENTS, *mu.shape)
    with threadpool_limits(1):
        pca = PCA(components, svd_solver="randomized", random_state=seed)
        reduced = pca.fit_transform(mu.astype(np.float64))
        tsne = TSNE(
            perplexity=choose_perplexity(len(mu), perplexity),
            n_jobs=1,
            random_state=seed,
            init="pca" if components >= 2 else "random",
            max_iter=500,
            angle=0.7,
        )
        return tsne.fit_transform(reduced)


def choose_perplexity(num_points: int, wanted: float) -> float:
    """Return the wanted perplexity, or (m - 1) / 3 where there are too few points for it."""
    return min(wanted, (num_points - 1) / 3)


def knn_accuracy(mu: np.ndarray, labels: np.ndarray, k: int = 5) -> float:
    """Return the share of codes (m x D) whose k nearest other codes vote for their class."""
    return float(np.mean(find_named(mu, labels, k)))


def find_named(mu: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Return of which codes (m x D) the k nearest other codes name the class: m booleans.

    Leave-one-out, Euclidean distance in all D dimensions, a tie goes to the smaller label. Measures
    the codes, not their picture. Needs m >= 2.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(k, len(mu) - 1)
    with threadpool_limits(1):
        neighbours = NearestNeighbors(n_neighbors=k).fit(mu).kneighbors(return_distance=False)
    votes = np.array([np.bincount(row).argmax() for row in labels[neighbours]])
    return votes == labels
