"""What is chosen of a diffusion process, of what its network predicts, and of the loss."""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from diffusevae.core.params import Range
from diffusevae.models.predictions import Prediction, min_snr_weights, vlb_weights
from diffusevae.models.schedule import NoiseSchedule, Scheduler, end_in_noise, make_schedule


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule, what the network predicts, the range in which images are diffused, the loss.

    prediction "flow" is the velocity eps - x_0 of rectified flow, from x_t as it lies on the
    straight line from x_0 to eps; the levels of scheduler_type "flow" are even along that line.
    open_ends: where a pixel is quite black or quite white, a prediction beyond that is no error,
    for the sampler clips it (as in DDPM, eq. 13, whose edge bins reach to infinity). So few steps
    of training make backgrounds exactly black; without it they are nearly so.
    zero_terminal_snr: rescale the schedule so that nothing of the image is left at its end.
    min_snr_gamma: weigh timesteps by min-SNR with this gamma (5 in its paper). vlb_weighted: weigh
    them as the bound on the likelihood does (`metrics.bound`). Else they count alike.
    """

    scheduler_type: Scheduler
    num_timesteps: Annotated[int, Range(2, 10_000)]
    beta_start: Annotated[float, Range(1e-8, 0.999)]
    beta_end: Annotated[float, Range(1e-8, 0.999)]
    prediction: Prediction
    image_range: Literal["centred", "unit"]
    open_ends: bool
    zero_terminal_snr: bool = False
    min_snr_gamma: Annotated[float, Range(1e-3, 1000)] | None = None
    vlb_weighted: bool = False

    def __post_init__(self) -> None:
        if self.beta_end <= self.beta_start:
            raise ValueError(f"beta_end {self.beta_end} must be above beta_start {self.beta_start}")
        if self.vlb_weighted and self.min_snr_gamma is not None:
            raise ValueError("vlb_weighted and min_snr_gamma both weigh timesteps; leave one out")
        if self.zero_terminal_snr or self.scheduler_type == "flow":
            self._check_noise_alone("zero_terminal_snr" if self.zero_terminal_snr else "flow")

    def _check_noise_alone(self, why: str) -> None:
        """Raise ValueError for what makes no sense where the last bar_alpha is 0."""
        if self.prediction == "eps":
            raise ValueError(
                f"prediction eps: the schedule ({why}) ends in noise alone, where eps says nothing "
                "of x_0; use prediction v, x0 or flow"
            )
        if self.min_snr_gamma is not None:
            raise ValueError(
                f"min_snr_gamma: the schedule ({why}) ends in noise alone, which min-SNR weighs by "
                "0: the first step of sampling would not be learned; leave one of them out"
            )

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule these numbers describe."""
        schedule = make_schedule(
            self.scheduler_type, self.num_timesteps, self.beta_start, self.beta_end
        )
        return NoiseSchedule(end_in_noise(schedule.betas)) if self.zero_terminal_snr else schedule

    @property
    def loss_weights(self) -> Tensor | None:
        """T float64 weights of the squared error of the prediction; None where all count alike."""
        if self.vlb_weighted:
            return vlb_weights(self.schedule.alpha_bars, self.prediction)
        if self.min_snr_gamma is not None:
            return min_snr_weights(self.schedule.alpha_bars, self.prediction, self.min_snr_gamma)
        return None
