"""Every sampler against diffusers' scheduler of the same name, over whole trajectories.

diffusers is the independent reference: given the same network and noise, both must pass through
the same images. Its schedulers keep some constants in float32; here they get ours in float64, so
that what is compared is the method and not the rounding.
"""

import math

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)

from diffusevae.core.randomness import generator
from diffusevae.models.predictions import split_output, target_of
from diffusevae.models.schedule import make_schedule
from diffusevae.sampling.solvers import (
    ddim_step,
    ddpm_step,
    dpmpp_2m_step,
    heun_step,
    unipc_correct,
)
from diffusevae.sampling.timesteps import choose_timesteps

SCHEDULES = [("linear", "linear"), ("cosine", "squaredcos_cap_v2")]  # ours, diffusers'
T = 1000


def network(x: torch.Tensor, alpha_bar: float) -> torch.Tensor:
    """Return an eps that depends on x and the noise level, as a trained network's does."""
    return torch.tanh(1.3 * x + 0.4) * math.sqrt(1 - alpha_bar) + 0.1 * math.sqrt(alpha_bar)


def predict_x_0(x: torch.Tensor, alpha_bar: float) -> torch.Tensor:
    return (x - math.sqrt(1 - alpha_bar) * network(x, alpha_bar)) / math.sqrt(alpha_bar)


def start() -> torch.Tensor:
    return torch.randn(2, 1, 4, 4, generator=generator(0), dtype=torch.float64)


def make(scheduler, name: str, **options):
    """Return diffusers' scheduler of that class with our float64 constants."""
    made = scheduler(
        num_train_timesteps=T,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule=name,
        timestep_spacing="trailing",
        **options,
    )
    return made


def pairs(kind: str, num_steps: int) -> list[tuple[int, float, float]]:
    """Return (t, bar_alpha, bar_alpha of the next step) of our trailing steps."""
    alpha_bars = make_schedule(kind, T, 1e-4, 0.02).alpha_bars.tolist()
    times = choose_timesteps(T, num_steps)
    return [
        (t, alpha_bars[t], alpha_bars[later] if later >= 0 else 1.0)
        for t, later in zip(times, [*times[1:], -1], strict=True)
    ]


@pytest.mark.parametrize(("ours", "theirs"), SCHEDULES)
def test_schedules_are_diffusers_to_float32(ours, theirs):
    schedule = make_schedule(ours, T, 1e-4, 0.02)
    reference = make(DDPMScheduler, theirs)
    np.testing.assert_allclose(schedule.betas, reference.betas, rtol=2e-4, atol=1e-7)
    np.testing.assert_allclose(schedule.alpha_bars, reference.alphas_cumprod, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize(("ours", "theirs"), SCHEDULES)
@pytest.mark.parametrize("num_steps", [20, 1000])
@pytest.mark.parametrize(
    ("variance", "theirs_called"), [("posterior", "fixed_small"), ("beta", "fixed_large")]
)
def test_ancestral_sampling_is_diffusers(ours, theirs, num_steps, variance, theirs_called):
    reference = make(DDPMScheduler, theirs, clip_sample=False, variance_type=theirs_called)
    reference.alphas_cumprod = make_schedule(ours, T, 1e-4, 0.02).alpha_bars
    reference.one = reference.one.double()
    reference.set_timesteps(num_steps)
    x = y = start()
    noises, rng = generator(1), generator(1)
    for t, alpha_bar, alpha_bar_prev in pairs(ours, num_steps):
        last = alpha_bar_prev == 1
        noise = (
            torch.zeros_like(x) if last else torch.randn(x.shape, generator=noises, dtype=x.dtype)
        )
        x = ddpm_step(x, predict_x_0(x, alpha_bar), alpha_bar, alpha_bar_prev, variance, noise)
        y = reference.step(network(y, alpha_bar), t, y, generator=rng).prev_sample
        if last and t > 0 and variance == "beta":
            break  # there diffusers adds noise to the finished image; DDPM adds none
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("ours", "theirs"), SCHEDULES)
@pytest.mark.parametrize("num_steps", [20, 1000])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_diffusers(ours, theirs, num_steps, eta):
    reference = make(DDIMScheduler, theirs, clip_sample=False, set_alpha_to_one=True)
    reference.alphas_cumprod = make_schedule(ours, T, 1e-4, 0.02).alpha_bars
    reference.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    reference.set_timesteps(num_steps)
    x = y = start()
    noises = generator(1)
    for t, alpha_bar, alpha_bar_prev in pairs(ours, num_steps):
        noise = torch.randn(x.shape, generator=noises, dtype=x.dtype)
        x = ddim_step(x, predict_x_0(x, alpha_bar), alpha_bar, alpha_bar_prev, eta, noise)
        y = reference.step(network(y, alpha_bar), t, y, eta=eta, variance_noise=noise).prev_sample
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("ours", "theirs"), SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 2, 5, 20, 100])
@pytest.mark.parametrize(
    ("sampler", "scheduler", "options"),
    [
        ("dpmpp_2m", DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
        ("unipc", UniPCMultistepScheduler, {"solver_type": "bh2"}),
    ],
)
def test_multistep_solvers_are_diffusers(ours, theirs, num_steps, sampler, scheduler, options):
    reference = make(scheduler, theirs, solver_order=2, final_sigmas_type="zero", **options)
    reference.set_timesteps(num_steps)
    steps = pairs(ours, num_steps)
    assert reference.timesteps.tolist() == [t for t, _, _ in steps]
    sigmas = [math.sqrt((1 - alpha_bar) / alpha_bar) for _, alpha_bar, _ in steps]
    reference.sigmas = torch.tensor([*sigmas, 0.0], dtype=torch.float64)
    x = y = before = start()
    past = []
    for t, alpha_bar, alpha_bar_prev in steps:
        past.append((alpha_bar, predict_x_0(x, alpha_bar)))
        if sampler == "unipc" and len(past) > 1:
            x = unipc_correct(before, past[-3:])
        before, x = x, dpmpp_2m_step(x, past, alpha_bar_prev)
        y = reference.step(network(y, alpha_bar), t, y).prev_sample
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


def test_a_constant_prediction_is_reached_exactly_by_every_solver():
    x_t, x_0 = start(), torch.full((2, 1, 4, 4), 0.3, dtype=torch.float64)
    eps = (x_t - math.sqrt(0.2) * x_0) / math.sqrt(0.8)
    expected = math.sqrt(0.7) * x_0 + math.sqrt(0.3) * eps
    torch.testing.assert_close(ddim_step(x_t, x_0, 0.2, 0.7, 0.0, x_t), expected)
    past = [(0.1, x_0), (0.2, x_0)]
    torch.testing.assert_close(dpmpp_2m_step(x_t, past, 0.7), expected)
    torch.testing.assert_close(heun_step(x_t, x_0, expected, x_0, 0.2, 0.7), expected)
    torch.testing.assert_close(unipc_correct(x_t, [*past, (0.7, x_0)]), expected)
    assert dpmpp_2m_step(x_t, past, 1.0) is x_0


MEAN, STD = 0.2, 0.7  # of Gaussian data, for which the probability-flow ODE can be solved by hand


def gaussian_x_0(x: torch.Tensor, alpha_bar: float) -> torch.Tensor:
    """Return E[x_0 | x_t], the exact prediction."""
    a = math.sqrt(alpha_bar)
    return MEAN + a * STD**2 / (alpha_bar * STD**2 + 1 - alpha_bar) * (x - a * MEAN)


def error_after(sampler: str, num_steps: int) -> float:
    """Return the error at bar_alpha 0.98, from 0.02 on, in steps that are even in lambda.

    For Gaussian data (x_t - a m) / sqrt(a^2 s^2 + 1 - a^2) stays what it was along the ODE.
    """
    lambdas = np.linspace(*(math.log(p / (1 - p)) / 2 for p in (0.02, 0.98)), num_steps + 1)
    levels = [1 / (1 + math.exp(-2 * value)) for value in lambdas]

    def exact(alpha_bar: float) -> torch.Tensor:
        spread = math.sqrt(alpha_bar * STD**2 + 1 - alpha_bar)
        return math.sqrt(alpha_bar) * MEAN + spread * start()

    x = before = exact(levels[0])
    past = []
    for alpha_bar, alpha_bar_prev in zip(levels, levels[1:], strict=False):
        past.append((alpha_bar, gaussian_x_0(x, alpha_bar)))
        if sampler == "ddim":
            x = ddim_step(x, past[-1][1], alpha_bar, alpha_bar_prev, 0.0, x)
            continue
        if sampler == "heun":
            x_0, ahead = past[-1][1], ddim_step(x, past[-1][1], alpha_bar, alpha_bar_prev, 0.0, x)
            x_0_ahead = gaussian_x_0(ahead, alpha_bar_prev)
            x = heun_step(x, x_0, ahead, x_0_ahead, alpha_bar, alpha_bar_prev)
            continue
        if sampler == "unipc" and len(past) > 1:
            x = unipc_correct(before, past[-3:])
        before, x = x, dpmpp_2m_step(x, past, alpha_bar_prev)
    return float((x - exact(levels[-1])).abs().max())


@pytest.mark.parametrize(
    ("sampler", "order"), [("ddim", 1), ("heun", 2), ("dpmpp_2m", 2), ("unipc", 3)]
)
def test_the_error_falls_with_the_steps_by_the_order_theory_gives(sampler, order):
    errors = [error_after(sampler, num_steps) for num_steps in (40, 80, 160)]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


def test_ddim_with_eta_1_is_the_ancestral_step_with_the_posterior_variance():
    rng = generator(0)
    x_t, x_0, noise = (torch.randn(2, 1, 4, 4, generator=rng, dtype=torch.float64) for _ in "abc")
    for alpha_bar, alpha_bar_prev in [(0.3, 0.5), (0.9, 0.95), (0.5, 1.0)]:
        torch.testing.assert_close(
            ddim_step(x_t, x_0, alpha_bar, alpha_bar_prev, 1.0, noise),
            ddpm_step(x_t, x_0, alpha_bar, alpha_bar_prev, "posterior", noise),
        )


def test_the_posterior_variance_is_bayes_rule_for_a_point_x_0():
    """q(x_{t-1}|x_t,x_0) from 1-D Gaussians: precisions add."""
    alpha_bars = make_schedule("linear", 100, 1e-4, 0.2).alpha_bars
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for t in (1, 50, 99):
        alpha_bar, alpha_bar_prev = alpha_bars[t].item(), alpha_bars[t - 1].item()
        alpha = alpha_bar / alpha_bar_prev
        expected = 1 / (1 / (1 - alpha_bar_prev) + alpha / (1 - alpha))
        deviation = ddpm_step(zero, zero, alpha_bar, alpha_bar_prev, "posterior", one)
        assert float(deviation) ** 2 == pytest.approx(expected)


@pytest.mark.parametrize(("x_0", "x_t"), [(0.0, 1.3), (0.7, 0.0), (-0.4, 2.1), (1.0, -1.0)])
def test_the_posterior_mean_is_bayes_rule_on_one_dimensional_gaussians(x_0, x_t):
    """q(x_{t-1}|x_t,x_0): the prior N(sqrt(abar_prev) x_0, 1 - abar_prev) and what x_t says of
    x_{t-1}, N(x_t / sqrt(alpha), beta / alpha); the means are weighed by their precisions.
    """
    for schedule in (make_schedule("linear", 100, 1e-4, 0.2), make_schedule("cosine", 100, 0, 1)):
        for t in range(1, 100):
            alpha_bar, alpha_bar_prev = schedule.alpha_bars[[t, t - 1]].tolist()
            alpha = 1 - schedule.betas[t].item()
            of_prior, of_x_t = 1 / (1 - alpha_bar_prev), alpha / (1 - alpha)
            expected = of_prior * alpha_bar_prev**0.5 * x_0 + of_x_t * x_t / alpha**0.5
            x = torch.tensor([x_t, x_0], dtype=torch.float64)
            mean = ddpm_step(x[:1], x[1:], alpha_bar, alpha_bar_prev, "zero", torch.ones(1))
            assert float(mean) == pytest.approx(expected / (of_prior + of_x_t), abs=1e-9)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_eps_x_0_v_mu_and_score_lead_to_each_other_and_back_at_every_timestep(schedule):
    """Within 1e-6 over all 1,000 timesteps (docs/study.md, 3; DDPM, eq. 7 and 11)."""
    constants = make_schedule(schedule, 1000, 1e-4, 0.02)
    alpha_bars, rng = constants.alpha_bars, generator(0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bars[:-1]])
    x_0 = torch.rand(1000, generator=rng, dtype=torch.float64) * 2 - 1
    eps = torch.randn(1000, generator=rng, dtype=torch.float64)
    a, s = alpha_bars.sqrt(), (1 - alpha_bars).sqrt()
    x_t = a * x_0 + s * eps
    exact = dict(rtol=0, atol=1e-6)
    for prediction in ("eps", "x0", "v"):
        found = split_output(prediction, a, s, x_t, target_of(prediction, a, s, x_0, eps))
        torch.testing.assert_close(found, (x_0, eps), **exact)
    score = -(x_t - a * x_0) / (1 - alpha_bars)  # of q(x_t | x_0) = N(a x_0, s^2)
    torch.testing.assert_close(-s * score, eps, **exact)
    mu = torch.stack(
        [
            ddpm_step(x_t[t], x_0[t], float(alpha_bars[t]), float(before[t]), "zero", x_t[t])
            for t in range(1000)
        ]
    )
    alphas, betas = 1 - constants.betas, constants.betas
    torch.testing.assert_close(mu, (x_t - betas / s * eps) / alphas.sqrt(), **exact)
    torch.testing.assert_close(mu, (x_t + betas * score) / alphas.sqrt(), **exact)
    back = (x_t - alphas.sqrt() * mu) * s / betas
    torch.testing.assert_close(back, eps, **exact)
    torch.testing.assert_close(split_output("eps", a, s, x_t, back)[0], x_0, **exact)


def test_ancestral_mean_is_the_textbook_formula():
    """x_{t-1} = (x_t - beta / sqrt(1 - bar_alpha) eps) / sqrt(alpha): DDPM, eq. 11."""
    alpha_bar, alpha_bar_prev = 0.42, 0.45
    alpha = alpha_bar / alpha_bar_prev
    x_0, eps = torch.tensor(0.3), torch.tensor(-1.1)
    x_t = alpha_bar**0.5 * x_0 + (1 - alpha_bar) ** 0.5 * eps
    expected = (x_t - (1 - alpha) / (1 - alpha_bar) ** 0.5 * eps) / alpha**0.5
    found = ddpm_step(x_t, x_0, alpha_bar, alpha_bar_prev, "zero", torch.tensor(5.0))
    assert float(found) == pytest.approx(float(expected))


def test_no_noise_at_the_last_step():
    arguments = torch.tensor(0.5), torch.tensor(0.4), 0.9, 1.0
    a, b = (ddpm_step(*arguments, "beta", torch.tensor(noise)) for noise in (0.0, 9.0))
    assert a == b == pytest.approx(0.4)


def shifted_chain(betas: torch.Tensor, x_hat: float, x_0: float) -> tuple[list, list]:
    """Return mean and variance of each x_t by the paper's kernels of Formulation 2.

    q(x_1 | x_0, x_hat) = N(sqrt(alpha_1) x_0 + x_hat, beta_1), and from then on
    q(x_t | x_(t-1), x_hat) = N(sqrt(alpha_t) x_(t-1) + (1 - sqrt(alpha_t)) x_hat, beta_t).
    """
    means, variances = [], []
    for beta in betas.tolist():
        alpha = math.sqrt(1 - beta)
        shift = x_hat if not means else (1 - alpha) * x_hat
        means.append(alpha * (means[-1] if means else x_0) + shift)
        variances.append((1 - beta) * (variances[-1] if variances else 0) + beta)
    return means, variances


def test_the_shifted_chain_is_the_plain_one_moved_by_x_hat():
    schedule, x_hat, x_0 = make_schedule("linear", 60, 1e-3, 0.2), 0.6, -0.3
    means, variances = shifted_chain(schedule.betas, x_hat, x_0)
    np.testing.assert_allclose(means, schedule.alpha_bars.sqrt() * x_0 + x_hat)
    np.testing.assert_allclose(variances, 1 - schedule.alpha_bars)
    assert means[-1] == pytest.approx(x_hat, abs=0.02)  # p(x_T | x_hat) = N(x_hat, I)


def test_the_posterior_of_formulation_2_is_the_ancestral_step_in_shifted_coordinates():
    """By Bayes' rule on a grid, with the paper's kernels: q(x_(t-1) | x_t, x_0, x_hat)."""
    schedule, x_hat, x_0, x_t, t = make_schedule("linear", 60, 1e-3, 0.2), 0.6, -0.3, 1.1, 20
    means, variances = shifted_chain(schedule.betas, x_hat, x_0)
    beta = float(schedule.betas[t])
    grid = np.linspace(-8, 8, 200_001)
    seen = math.sqrt(1 - beta) * grid + (1 - math.sqrt(1 - beta)) * x_hat
    log = -((x_t - seen) ** 2) / (2 * beta) - (grid - means[t - 1]) ** 2 / (2 * variances[t - 1])
    weights = np.exp(log - log.max())
    weights /= weights.sum()
    mean = float((weights * grid).sum())
    spread = math.sqrt(float((weights * (grid - mean) ** 2).sum()))
    y_t = torch.tensor(x_t - x_hat, dtype=torch.float64)
    levels = schedule.alpha_bars[t].item(), schedule.alpha_bars[t - 1].item()
    for noise in (0.0, 1.0):
        drawn = torch.tensor(noise, dtype=torch.float64)
        step = ddpm_step(y_t, torch.tensor(x_0), *levels, "posterior", drawn)
        assert float(step) + x_hat == pytest.approx(mean + noise * spread, abs=1e-6)
