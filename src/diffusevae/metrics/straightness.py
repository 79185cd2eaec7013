"""How straight the paths of a sampler are."""

from collections.abc import Sequence

from torch import Tensor


def straightness(points: Tensor, u: Sequence[float]) -> Tensor:
    """Return S of each path, the mean over its values: 0 for straight lines at even speed.

    S = the integral over time of |Z_1 - Z_0 - dZ/dt|^2, dt = -du (Liu et al. 2023, "Flow straight
    and fast", section 2.2: "straight couplings"). points: K+1 x N x ..., each path at u, falling
    from 1 (noise) to 0 (image), in coordinates (1 - u) x_0 + u eps, in which a constant prediction
    is a straight line. Between two points a path is taken to be straight.
    """
    whole = (points[-1] - points[0]).double()
    total = 0.0 * whole
    for start, end, before, after in zip(points, points[1:], u, u[1:], strict=False):
        duration = (before - after) / (u[0] - u[-1])
        total += duration * (whole - (end - start).double() / duration) ** 2
    return total.flatten(1).mean(1)
