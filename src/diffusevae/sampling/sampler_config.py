"""Which sampler, and how: the section of params.yaml that it goes by."""

from dataclasses import dataclass
from typing import Annotated, Literal

from diffusevae.core.errors import InputError
from diffusevae.core.params import PositiveCount, Range, Share
from diffusevae.models.conditions import Hidden
from diffusevae.sampling.timesteps import starts_without_noise

SamplerName = Literal["ddpm", "ddim", "ddim_ahead", "heun", "dpmpp_2m", "unipc"]


@dataclass(frozen=True)
class SamplerConfig:
    """Which reverse process, in how many steps, which are runs of the network.

    "ddpm" is the ancestral sampler with sigma^2 = beta_t ("beta"), tilde_beta_t ("posterior") or
    0 ("zero"); "ddim" has eta in [0,1] (DDIM, eq. 16); "ddim_ahead" is DDIM in one step more, the
    last of which is not computed but read off the line through the two predictions before it, for
    the very few steps (docs/performance.md); "heun" is Heun's method, of which DDIM without noise
    is Euler's, two steps of it making one; "dpmpp_2m" (DPM-Solver++) and "unipc" are second-order
    solvers too. These three draw no noise on the way. spacing: `choose_timesteps`. clip: whether
    the predicted x_0 is kept in its range. temperature multiplies all noise that is drawn;
    shared_noise draws it once for all images. guidance is the w of classifier-free guidance, which
    only a model trained with p_uncond above 0 knows.
    """

    sampler: SamplerName
    num_steps: Annotated[int, Range(1, 10_000)]
    spacing: Literal["trailing", "leading", "linspace"]
    eta: Share
    variance: Literal["beta", "posterior", "zero"]
    clip: bool
    guidance: Annotated[float, Range(0, 100)]
    temperature: Annotated[float, Range(0, 10)]
    shared_noise: bool
    batch_size: PositiveCount
    guided_by: Hidden = "all"

    def __post_init__(self) -> None:
        if starts_without_noise(self.sampler, self.num_steps, self.spacing):
            raise ValueError(
                f"num_steps 1 with spacing {self.spacing} is a step at t = 0, where "
                "the model has seen no noise to start from; use trailing, or 2 steps"
            )


def check_guidance(config: SamplerConfig, p_uncond: float) -> None:
    """Raise InputError for guidance of a model that never had its condition hidden in training.

    What such a network answers to "none" means nothing, and guidance moves away from it.
    """
    if config.guidance > 0 and p_uncond == 0:
        raise InputError(
            f"guidance {config.guidance:g}: needs a model trained without its "
            "condition too; set guidance to 0, or train one with p_uncond above 0"
        )
