"""A student's target against the teacher's own steps, and students of a case that is known."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import diffusevae.training.checkpointer
from diffusevae.core.errors import InputError
from diffusevae.core.params import build
from diffusevae.models.predictions import target_of
from diffusevae.sampling.denoising import Way, predict_x_0
from diffusevae.sampling.samplers import sample
from diffusevae.sampling.solvers import ddim_step
from diffusevae.sampling.timesteps import choose_timesteps
from diffusevae.studies.distillation.distillation import (
    DistilConfig,
    Round,
    draw_lesson,
    find_target,
    fit_student,
    make_rounds,
)
from diffusevae.tracking.stage_logger import StageLogger
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.diffusion_training import Images
from diffusevae.training.stage_trainings import Training
from tests.support.exact_models import ExactGaussian
from tests.support.toy_models import make_diffusion, make_sampler
from tests.support.toy_trainings import make_optimiser

PLAIN = Way(0.0, "all", False, "plain")
MEAN, STD = 0.1, 0.2  # of every pixel, in the range of diffusion


def make_config(num_steps: tuple[int, ...], epochs: int = 1, **optimiser) -> DistilConfig:
    return DistilConfig(num_steps, epochs, 64, make_optimiser(**optimiser), (1, 4))


def make_training(folder: Path, log: StageLogger | None = None) -> Training:
    return Training(log or StageLogger(), Checkpointer(folder, print))


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "flow"])
@pytest.mark.parametrize(("most", "few"), [(8, 4), (6, 2), (4, 1)])
def test_one_step_with_the_target_leads_where_the_teacher_s_steps_lead(prediction, most, few):
    """Twice as many steps are Salimans and Ho's; here also three times and four times as many."""
    teacher = make_diffusion(prediction, scheduler_type="linear", beta_end=0.1, conditional=True)
    alpha_bars = [*teacher.schedule.alpha_bars.tolist(), 1.0]
    x_t, x_hat, per = noise(few, 1, 16, 16), noise(few, 1, 16, 16, seed=2), most // few
    target = find_target(teacher, Round(most, few, PLAIN), x_t, torch.arange(few), x_hat)
    stops, fine = ([*choose_timesteps(50, number), -1] for number in (few, most))
    assert set(stops) <= set(fine)
    for number in range(few):
        x = start = x_t[number : number + 1]
        for t, ahead in zip(fine[number * per :], fine[number * per + 1 :], strict=False):
            if t == stops[number + 1]:
                break
            with torch.no_grad():
                condition = [x_hat[number : number + 1]]
                x_0 = predict_x_0(teacher, x, torch.tensor([t]), condition, PLAIN)
            x = ddim_step(x, x_0, alpha_bars[t], alpha_bars[ahead], 0.0, x)
        t, ahead = stops[number], stops[number + 1]
        mine = target[number : number + 1]
        once = ddim_step(start, mine, alpha_bars[t], alpha_bars[ahead], 0.0, start)
        torch.testing.assert_close(once, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", ["v", "x0", "flow"])
def test_the_ordinary_loss_of_a_lesson_is_zero_for_who_answers_its_target(prediction):
    teacher = make_diffusion(prediction)
    round_ = Round(4, 2, PLAIN)
    x, eps, number = noise(6, 1, 16, 16).sigmoid(), noise(6, 1, 16, 16, seed=2), torch.arange(6) % 2
    taught, t, its_eps = draw_lesson(teacher, round_, (x, number, eps))
    assert t.tolist() == [49, 24] * 3
    x_0 = teacher.to_diffusion_range(taught)
    x_t = teacher.add_noise(teacher.to_diffusion_range(x), t, eps)
    torch.testing.assert_close(teacher.add_noise(x_0, t, its_eps), x_t)
    torch.testing.assert_close(x_0, find_target(teacher, round_, x_t, number))
    a, s = (of[t][:, None, None, None] for of in (teacher.sqrt_alpha_bars, teacher.sqrt_noise))
    answer = target_of(prediction, a, s, x_0, (x_t - a * x_0) / s)
    teacher.unet.forward = lambda *_: answer
    assert float(teacher.losses(taught, t, its_eps)["loss"]) < 1e-9


def test_where_the_teacher_is_sure_of_black_so_is_the_target():
    """What is clipped to the end of the range stays there exactly, as open_ends asks."""
    teacher = make_diffusion("x0")
    teacher.unet.forward = lambda x, *_: torch.full_like(x, -3.0)
    way = Way(0.0, "all", True, "plain")
    x, eps = torch.rand(4, 1, 16, 16), noise(4, 1, 16, 16)
    taught, _, _ = draw_lesson(teacher, Round(8, 4, way), (x, torch.arange(4), eps))
    assert (taught == 0).all()


class Affine(nn.Module):
    """The exact denoiser of a Gaussian, its gain and shift at each timestep left to training."""

    image_shape, conditional, num_classes = (1, 8, 8), False, 0

    def __init__(self, exact: ExactGaussian) -> None:
        super().__init__()
        a = exact.alpha_bars.sqrt()
        gain = a * exact.std**2 / (a**2 * exact.std**2 + 1 - a**2)
        self.gain, self.shift = nn.Parameter(gain), nn.Parameter(exact.mean * (1 - gain * a))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.gain[t][:, None, None, None] * x_t + self.shift[t][:, None, None, None]


@pytest.fixture
def gaussian():
    """A teacher that is exact for pixels ~ N(MEAN, STD^2), and what its ODE makes of noise."""
    teacher = make_diffusion("x0", num_timesteps=400)
    teacher.unet = Affine(ExactGaussian(teacher.schedule.alpha_bars, MEAN, STD))
    a = float(teacher.schedule.alpha_bars[-1]) ** 0.5
    spread = math.sqrt(a**2 * STD**2 + 1 - a**2)  # of x_T: the ODE keeps each quantile
    return teacher, lambda x_t: MEAN + STD / spread * (x_t - a * MEAN)


def test_the_target_of_one_step_from_noise_is_the_end_of_the_ode(gaussian):
    teacher, follow = gaussian
    x_t = noise(50, 1, 8, 8)
    first = torch.zeros(50, dtype=torch.long)
    errors = []
    for most in (50, 200):
        target = find_target(teacher, Round(most, 1, PLAIN), x_t, first)
        errors.append(float((target - follow(x_t)).abs().max()))
    assert errors[1] < 0.02 and errors[1] < errors[0] / 2


def test_a_student_of_one_step_maps_noise_as_the_ode_does(gaussian, tmp_path):
    """The teacher's one step comes to the mean for any noise; its student has learned to spread."""
    teacher, follow = gaussian
    data = ((noise(64, 1, 8, 8) * STD + MEAN + 1) / 2 * 255).round().to(torch.uint8)
    rounds = (80, 20, 5, 1)
    config = make_config(rounds, epochs=10, learning_rate=0.05, learning_rate_decay="cosine")
    student = teacher
    for number, round_ in enumerate(make_rounds(config, make_sampler(clip=False))):
        images, training = Images(data), make_training(tmp_path / str(number))
        student, history = fit_student(student, round_, config, images, images, 0, training)
    assert history[-1]["validation_loss"] < history[0]["validation_loss"] < 0.01
    config = make_sampler(num_steps=1)
    drawn: list[Tensor] = []
    made = sample(student, config, 50, 0, callback=lambda t, x_t, x_0: drawn.append(x_t))
    expected = teacher.to_unit_range(follow(drawn[0]))
    assert float((made - expected).abs().mean()) < 0.01  # the spread of pixels is STD / 2
    one = sample(teacher, config, 50, 0)
    assert float(one.std()) < 1e-3 and float(made.std()) == pytest.approx(STD / 2, rel=0.1)


def test_a_distillation_that_is_broken_off_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(diffusevae.training.checkpointer, "SECONDS_BETWEEN", 0)
    teacher = make_diffusion("v", conditional=True)
    shown = (noise(8, 1, 16, 16).sigmoid() * 255).to(torch.uint8)
    images = Images(shown, shown.float() / 255)
    config = make_config((4, 2), epochs=2, ema_decay=0.5)
    [round_] = make_rounds(config, make_sampler())

    class Breaker(StageLogger):
        def batch(self, epoch, done, total, epochs):
            if (epoch, done) == (2, 1):
                raise KeyboardInterrupt

    def run(folder: str, log: StageLogger | None = None) -> tuple[dict[str, Tensor], list]:
        training = make_training(tmp_path / folder, log)
        student, history = fit_student(teacher, round_, config, images, images, 0, training)
        return student.state_dict(), history

    before = {name: weights.clone() for name, weights in teacher.state_dict().items()}
    whole, history = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", Breaker())
    resumed, its_history = run("broken")
    assert its_history == history
    assert all(torch.equal(resumed[name], weights) for name, weights in whole.items())
    assert all(torch.equal(teacher.state_dict()[name], w) for name, w in before.items())
    assert not all(torch.equal(whole[name], weights) for name, weights in before.items())


def test_only_the_first_teacher_is_guided():
    sampler = make_sampler(guidance=2.0, guided_by="x_hat", clip=False)
    rounds = make_rounds(make_config((8, 4, 1)), sampler)
    assert [(each.most, each.few, each.way.guidance) for each in rounds] == [(8, 4, 2), (4, 1, 0)]
    assert {(each.way.hidden, each.way.clip) for each in rounds} == {("x_hat", False)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_steps": [4]}, "num_steps \\[4\\]: expected those of the teacher, then fewer"),
        ({"num_steps": [6, 4]}, "which must divide the number before"),
        ({"num_steps": [2, 2]}, "then fewer"),
        ({"num_steps": [2, 4]}, "then fewer"),
        ({"compared_steps": []}, "compared_steps: expected one or more"),
    ],
)
def test_steps_that_do_not_divide_are_one_line(changes, said):
    values = {
        "num_steps": [4, 2, 1],
        "epochs": 1,
        "num_train_images": 8,
        "optimiser": vars(make_optimiser()),
        "compared_steps": [1],
    }
    with pytest.raises(InputError, match=f"place.*{said}"):
        build(DistilConfig, values | changes, "place")


def test_a_teacher_of_eps_is_refused(tmp_path):
    config = make_config((2, 1))
    [round_] = make_rounds(config, make_sampler())
    images = Images(torch.zeros(4, 1, 16, 16, dtype=torch.uint8))
    with pytest.raises(InputError, match="predicts eps.*set diffusion.prediction to v, x0 or flow"):
        fit_student(
            make_diffusion("eps"), round_, config, images, images, 0, make_training(tmp_path)
        )
