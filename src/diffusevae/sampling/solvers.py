"""One step of each sampler, from one chosen timestep to the next (docs/study.md, section 3).

A noise level is told by its bar_alpha: x = a x_0 + s eps with a = sqrt(bar_alpha) and
s = sqrt(1 - bar_alpha); bar_alpha 1 is the finished image. The deterministic solvers work in
lambda = ln(a / s), in which the exact solution is a weighted integral of the predicted x_0.
"""

import math

from torch import Tensor

Past = list[tuple[float, Tensor]]  # (bar_alpha, predicted x_0) of the steps so far, latest last


def ddpm_step(
    x_t: Tensor, x_0: Tensor, alpha_bar: float, alpha_bar_prev: float, variance: str, noise: Tensor
) -> Tensor:
    """Return x at the previous chosen timestep by the ancestral step (DDPM, eq. 6 and 7).

    Between timesteps that are not neighbours, beta is 1 - bar_alpha / bar_alpha_prev. No noise is
    added at the last step, where bar_alpha_prev is 1.
    """
    beta = 1 - alpha_bar / alpha_bar_prev
    posterior = beta * (1 - alpha_bar_prev) / (1 - alpha_bar)
    mean = (alpha_bar_prev**0.5 * beta * x_0 + (1 - beta) ** 0.5 * (1 - alpha_bar_prev) * x_t) / (
        1 - alpha_bar
    )
    sigma2 = {"beta": beta, "posterior": posterior, "zero": 0.0}[variance]
    return mean if alpha_bar_prev == 1 else mean + sigma2**0.5 * noise


def ddim_step(
    x_t: Tensor, x_0: Tensor, alpha_bar: float, alpha_bar_prev: float, eta: float, noise: Tensor
) -> Tensor:
    """Return x at the previous chosen timestep by DDIM (Song et al. 2021, eq. 12 and 16)."""
    eps = (x_t - alpha_bar**0.5 * x_0) / (1 - alpha_bar) ** 0.5
    sigma2 = eta**2 * (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)
    direction = max(1 - alpha_bar_prev - sigma2, 0.0) ** 0.5 * eps
    return alpha_bar_prev**0.5 * x_0 + direction + sigma2**0.5 * noise


def look_ahead(past: list[tuple[int, Tensor]], t: int) -> Tensor:
    """Return the x_0 that would be predicted at timestep t, on the line through the last two.

    `past` holds (timestep, predicted x_0), latest last.
    """
    (t_before, x_0_before), (t_last, x_0) = past[-2:]
    return x_0 + (t_last - t) / (t_before - t_last) * (x_0 - x_0_before)


def dpmpp_2m_step(x_t: Tensor, past: Past, alpha_bar_prev: float) -> Tensor:
    """Return x at the previous chosen timestep by DPM-Solver++(2M) (Lu et al. 2022, algorithm 2).

    `past` ends with the prediction at x_t; one more before it makes the step second-order. The
    last step is of first order: its lambda is infinite.
    """
    alpha_bar, x_0 = past[-1]
    if alpha_bar_prev == 1:
        return x_0
    h = _lambda(alpha_bar_prev) - _lambda(alpha_bar)
    if len(past) > 1:
        alpha_bar_before, x_0_before = past[-2]
        h_before = _lambda(alpha_bar) - _lambda(alpha_bar_before)
        x_0 = x_0 + h / (2 * h_before) * (x_0 - x_0_before)
    return _first_order(x_t, x_0, alpha_bar, alpha_bar_prev)


def heun_step(
    x_t: Tensor, x_0: Tensor, x_ahead: Tensor, x_0_ahead: Tensor, alpha_bar: float, next_: float
) -> Tensor:
    """Return x at the previous chosen timestep, of bar_alpha next_, by Heun's method.

    It goes along y = x / (a + s) = (1 - u) x_0 + u eps with u = s / (a + s), where the ODE is
    dy/du = eps - x_0 = (y - x_0) / u, and a constant prediction is a straight line. `x_ahead` is
    where Euler's step leads, which is DDIM's without noise, and x_0_ahead the prediction there.
    """
    length, u = _length(alpha_bar), (1 - alpha_bar) ** 0.5 / _length(alpha_bar)
    length_next, u_next = _length(next_), (1 - next_) ** 0.5 / _length(next_)
    y, y_ahead = x_t / length, x_ahead / length_next
    velocity = ((y - x_0) / u + (y_ahead - x_0_ahead) / u_next) / 2
    return length_next * (y + (u_next - u) * velocity)


def unipc_correct(x_before: Tensor, past: Past) -> Tensor:
    """Return a better x_t, now that the prediction at it is known (UniPC, Zhao et al. 2023).

    `x_before` is x one step earlier; `past` ends with that step's prediction and the one at x_t.
    A third makes this UniC-2 instead of UniC-1, both with B(h) = e^h - 1.
    """
    (alpha_bar_before, x_0_before), (alpha_bar, x_0) = past[-2:]
    if len(past) == 2:
        mean = (x_0_before + x_0) / 2
    else:
        alpha_bar_earlier, x_0_earlier = past[-3]
        h = _lambda(alpha_bar) - _lambda(alpha_bar_before)
        r = (_lambda(alpha_bar_earlier) - _lambda(alpha_bar_before)) / h
        # The mean over the step, under the solution's weight e^lambda, of a parabola through all
        # three: first and second are the means of u and u^2, u in [0,1] being the way made.
        first = -1 / math.expm1(-h) - 1 / h
        second = -1 / math.expm1(-h) - 2 / h * first
        earlier = (first - second) / (1 - r)
        mean = (
            x_0_before
            + earlier / r * (x_0_earlier - x_0_before)
            + (first - earlier) * (x_0 - x_0_before)
        )
    return _first_order(x_before, mean, alpha_bar_before, alpha_bar)


def _first_order(x_t: Tensor, x_0: Tensor, alpha_bar: float, alpha_bar_prev: float) -> Tensor:
    """Return x at the previous chosen timestep, exact where the predicted x_0 is constant."""
    ratio = ((1 - alpha_bar_prev) / (1 - alpha_bar)) ** 0.5
    return ratio * x_t + (alpha_bar_prev**0.5 - ratio * alpha_bar**0.5) * x_0


def _length(alpha_bar: float) -> float:
    return alpha_bar**0.5 + (1 - alpha_bar) ** 0.5


def _lambda(alpha_bar: float) -> float:
    if alpha_bar == 0:  # all is noise: a step from there is of first order
        return -math.inf
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar))
