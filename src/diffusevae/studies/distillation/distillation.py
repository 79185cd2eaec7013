"""Progressive distillation: a student does in one step of DDIM what its teacher does in several.

Salimans and Ho 2022, algorithm 2 (docs/study.md, section 3). The student begins as a copy of the
teacher, stays an ordinary diffusion model, and is the teacher of the next one.
"""

import copy
import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import PositiveCount
from diffusevae.core.randomness import generator
from diffusevae.data.dataset import count_at_once
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.denoising import Way, predict_x_0
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.sampling.timesteps import choose_timesteps
from diffusevae.training.diffusion_training import Images
from diffusevae.training.loop import Fit, History, Losses, OptimiserConfig, fit
from diffusevae.training.stage_trainings import Training
from diffusevae.training.validation import validate_in_parts


@dataclass(frozen=True)
class DistilConfig:
    """The teacher's steps and each student's, which is taught by the one before it.

    Every number divides the one before. epochs, num_train_images, optimiser: of each student.
    compared_steps: of the first teacher in the table, in which the most are the measure.
    """

    num_steps: tuple[PositiveCount, ...]
    epochs: PositiveCount
    num_train_images: PositiveCount
    optimiser: OptimiserConfig
    compared_steps: tuple[PositiveCount, ...]

    def __post_init__(self) -> None:
        before = self.num_steps[:-1]
        if not before or any(
            most <= few or most % few for most, few in zip(before, self.num_steps[1:], strict=True)
        ):
            raise ValueError(
                f"num_steps {list(self.num_steps)}: expected those of the teacher, then fewer for "
                "each student, which must divide the number before"
            )
        if not self.compared_steps:
            raise ValueError("compared_steps: expected one or more")


@dataclass(frozen=True)
class Round:
    """A student of `few` steps and its teacher of `most`, which predicts in a certain way."""

    most: int
    few: int
    way: Way


def make_rounds(config: DistilConfig, sampler: SamplerConfig) -> list[Round]:
    """Return the rounds. The first teacher is guided as the sampler says, its students know how."""
    guided = Way(sampler.guidance, sampler.guided_by, sampler.clip, "plain")
    plain = dataclasses.replace(guided, guidance=0.0)
    pairs = zip(config.num_steps[:-1], config.num_steps[1:], strict=True)
    return [Round(*pair, plain if number else guided) for number, pair in enumerate(pairs)]


@torch.no_grad()
def find_target(
    teacher: DiffusionModel, round_: Round, x_t: Tensor, number: Tensor, *conditions: Tensor
) -> Tensor:
    """Return the x_0 with which one step leads where most / few steps of the teacher lead.

    x_t: B x C x H x W in the range of diffusion, at the student's stop of that number (B, from 0),
    its steps being trailing ones. A step of DDIM adds (a'/s' - a/s) x_0 to x / s: so this is the
    mean of what the teacher predicts on the way, weighed by what each of its steps adds to a / s.
    """
    stops = choose_timesteps(teacher.schedule.num_timesteps, round_.most)
    times = torch.tensor(stops, device=x_t.device)
    roots, noise = teacher.sqrt_alpha_bars[times], teacher.sqrt_noise[times]
    roots = torch.cat([roots, torch.ones_like(roots[:1])])  # the finished image comes last
    noise = torch.cat([noise, torch.zeros_like(noise[:1])])
    per = round_.most // round_.few
    first = number * per
    a_0, s_0 = (_spread(each[first]) for each in (roots, noise))
    target, x = torch.zeros_like(x_t), x_t
    for at in (first + step for step in range(per)):
        x_0 = predict_x_0(teacher, x, times[at], conditions, round_.way)
        a, a_next, s, s_next = (_spread(of[i]) for of in (roots, noise) for i in (at, at + 1))
        share = (a_next * s - a * s_next) * s_0 / ((a_next * s_0 - a_0 * s_next) * s)
        target = target + share * (x_0 - target)
        x = a_next * x_0 + s_next * (x - a * x_0) / s
    return target


def draw_lesson(
    teacher: DiffusionModel, round_: Round, drawn: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return what `DiffusionModel.losses` takes, x and eps being those that the teacher leads to.

    drawn: images in [0,1], the number of a student's stop for each, eps, and the conditions. x_t
    is made of these. It is also that of the target and the eps that goes with it, so the ordinary
    loss teaches any prediction.
    """
    x, number, eps, *conditions = drawn
    stops = choose_timesteps(teacher.schedule.num_timesteps, round_.few)
    t = torch.tensor(stops, device=x.device)[number]
    x_t = teacher.add_noise(teacher.to_diffusion_range(x), t, eps)
    target = find_target(teacher, round_, x_t, number, *conditions)
    a, s = (_spread(each[t]) for each in (teacher.sqrt_alpha_bars, teacher.sqrt_noise))
    low, high = teacher.x_0_bounds
    return (target - low) / (high - low), t, (x_t - a * target) / s, *conditions


def fit_student(
    teacher: DiffusionModel,
    round_: Round,
    config: DistilConfig,
    train: Images,
    validation: Images,
    seed: int,
    training: Training,
) -> tuple[DiffusionModel, History]:
    """Train a student of the round; see `training.fit`. Raises InputError for one of eps.

    Noise is drawn anew in every epoch, for validation the same.
    """
    require_teachable(teacher)
    student = copy.deepcopy(teacher).requires_grad_(True)
    student.p_uncond = 0.0
    student.loss_weights = None  # the first step counts most: min-SNR would weigh it by 0
    device = train.x.device

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor, ...]:
        rng = generator(seed, "distil", epoch, batch, device=device)
        drawn = _draw(train, indices, round_, rng)
        return draw_lesson(teacher, round_, tuple(each[rows] for each in drawn))

    def validate(model: DiffusionModel) -> dict[str, float]:
        def losses(part: slice, number: int) -> Losses:
            rng = generator(seed, "distil", "validation", part.start, device=device)
            return model.losses(*draw_lesson(teacher, round_, _draw(validation, part, round_, rng)))

        at_once = count_at_once(validation.x.shape[1:])
        return validate_in_parts(len(validation.x), losses, at_once=at_once)

    task = Fit(draw, DiffusionModel.losses, validate, train.num_images, True, train.flips)
    optimiser, epochs = config.optimiser, config.epochs
    return fit(student, optimiser, epochs, seed, task, training.callbacks(), training.checkpointer)


def require_teachable(teacher: DiffusionModel) -> None:
    """Raise InputError for a model that predicts eps: from noise alone that says nothing of x_0."""
    if teacher.config.prediction == "eps":
        raise InputError(
            "distil: train_diffusevae predicts eps, from which the first of few steps learns "
            "nothing of the image; set diffusion.prediction to v, x0 or flow"
        )


def _draw(
    images: Images, indices: Tensor | slice, round_: Round, rng: torch.Generator
) -> tuple[Tensor, ...]:
    """Return images in [0,1], the number of a stop for each, eps, and what is told of them."""
    x, *told = images.at(indices)
    number = torch.randint(round_.few, (len(x),), generator=rng, device=rng.device)
    eps = torch.randn(*x.shape, generator=rng, device=rng.device)
    return x, number, eps, *(each for each in told if each is not None)


def _spread(values: Tensor) -> Tensor:
    return values[:, None, None, None]
