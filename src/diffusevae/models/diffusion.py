"""The diffusion model (docs/study.md, sections 3 and 4): forward process, predictions, loss.

With a condition, which is the VAE's x_hat, it is DiffuseVAE; a model that takes none
(`condition=None`) is the DDPM. In Formulation 2 x_t stands for y_t = x_t - x_hat, which diffuses as
ever; x_hat is added where the network sees it. Images and conditions are in [0,1] outside this
module; inside, x_0 is 2x - 1 ("centred") or x itself ("unit", the study's).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor, nn

from diffusevae.core.errors import InputError
from diffusevae.core.params import Range, build, leave_out_defaults
from diffusevae.core.tensor_file import freeze, load_config, of_one_model, save_tensors
from diffusevae.models.schedule import NoiseSchedule, Scheduler, make_schedule
from diffusevae.models.unet import UNet, UNetConfig

GREY = 0.5  # of a condition that says nothing: the network, which gets 2 * GREY - 1, is given zeros


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule, what the network predicts, the range in which images are diffused, the loss.

    prediction "flow" is the velocity eps - x_0 of rectified flow, from x_t as it lies on the
    straight line from x_0 to eps; the levels of scheduler_type "flow" are even along that line.
    open_ends: where a pixel is quite black or quite white, a prediction beyond that is no error,
    for the sampler clips it (as in DDPM, eq. 13, whose edge bins reach to infinity). So few steps
    of training make backgrounds exactly black; without it they are nearly so.
    """

    scheduler_type: Scheduler
    num_timesteps: Annotated[int, Range(2, 10_000)]
    beta_start: Annotated[float, Range(1e-8, 0.999)]
    beta_end: Annotated[float, Range(1e-8, 0.999)]
    prediction: Literal["eps", "v", "x0", "flow"]
    image_range: Literal["centred", "unit"]
    open_ends: bool

    def __post_init__(self) -> None:
        if self.beta_end <= self.beta_start:
            raise ValueError(f"beta_end {self.beta_end} must be above beta_start {self.beta_start}")
        if self.prediction == "eps" and self.scheduler_type == "flow":
            raise ValueError(
                "prediction eps: scheduler_type flow ends in noise alone, which is no news of x_0; "
                "use prediction flow, v or x0"
            )

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule these numbers describe."""
        return make_schedule(
            self.scheduler_type, self.num_timesteps, self.beta_start, self.beta_end
        )


class DiffusionModel(nn.Module):
    """A UNet with its noise schedule: p(x_{t-1} | x_t, condition) for t = T-1 .. 0.

    p_uncond: the share of images whose condition was hidden in training; 0 where that is unknown.
    """

    sqrt_alpha_bars: Tensor  # T
    sqrt_noise: Tensor  # T

    def __init__(
        self,
        config: DiffusionConfig,
        unet_config: UNetConfig,
        image_shape: Sequence[int],
        conditional: bool,
        p_uncond: float = 0.0,
        condition_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.p_uncond = p_uncond
        self.unet = UNet(unet_config, image_shape, conditional, condition_channels)
        self.schedule = config.schedule
        alpha_bars = self.schedule.alpha_bars
        self.register_buffer("sqrt_alpha_bars", alpha_bars.sqrt().float(), persistent=False)
        self.register_buffer("sqrt_noise", (1 - alpha_bars).sqrt().float(), persistent=False)

    @property
    def x_0_bounds(self) -> tuple[float, float]:
        """The range of a clean image in the space of diffusion."""
        return (-1.0, 1.0) if self.config.image_range == "centred" else (0.0, 1.0)

    def to_diffusion_range(self, x: Tensor) -> Tensor:
        """Map an image from [0,1] to the range in which it is diffused."""
        low, high = self.x_0_bounds
        return low + (high - low) * x

    def to_unit_range(self, x_0: Tensor) -> Tensor:
        """Map a clean image back to [0,1], clamped."""
        low, high = self.x_0_bounds
        return ((x_0 - low) / (high - low)).clamp(0, 1)

    def add_noise(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t = sqrt(bar_alpha_t) x_0 + sqrt(1 - bar_alpha_t) eps (DDPM, eq. 4); t is B."""
        return self._at(self.sqrt_alpha_bars, t) * x_0 + self._at(self.sqrt_noise, t) * eps

    def target(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Return what the network predicts: eps, x_0, v, or the flow eps - x_0.

        v = sqrt(abar) eps - sqrt(1 - abar) x_0 is from Salimans and Ho, "Progressive distillation",
        appendix D; the flow from Liu et al., "Flow straight and fast", eq. 1, and Lipman et al.,
        "Flow matching", section 4.1.
        """
        if self.config.prediction == "eps":
            return eps
        if self.config.prediction == "x0":
            return x_0
        if self.config.prediction == "flow":
            return eps - x_0
        return self._at(self.sqrt_alpha_bars, t) * eps - self._at(self.sqrt_noise, t) * x_0

    def split(self, x_t: Tensor, t: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return (x_0, eps) from x_t and the network's output, whatever it predicts."""
        a, s = self._at(self.sqrt_alpha_bars, t), self._at(self.sqrt_noise, t)
        if self.config.prediction == "eps":
            return (x_t - s * output) / a, output
        if self.config.prediction == "x0":
            return output, (x_t - a * output) / s
        if self.config.prediction == "flow":
            return (x_t - s * output) / (a + s), (x_t + a * output) / (a + s)
        return a * x_t - s * output, s * x_t + a * output

    def network(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None = None, guidance: float = 0.0
    ) -> Tensor:
        """Return the UNet's output, under classifier-free guidance where asked.

        (1 + w) f(x_t, condition) - w f(x_t, GREY) with w = guidance; w = 0 runs the network once.
        A flow's network sees x_t / (sqrt(abar) + sqrt(1 - abar)) = (1 - u) x_0 + u eps.
        """
        if self.config.prediction == "flow":
            x_t = x_t / (self._at(self.sqrt_alpha_bars, t) + self._at(self.sqrt_noise, t))
        if condition is None:
            return self.unet(x_t, t)
        output = self._answer(x_t, t, condition)
        if guidance == 0:
            return output
        alone = self._answer(x_t, t, torch.full_like(condition, GREY))
        return (1 + guidance) * output - guidance * alone

    def _answer(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return the UNet's output under a condition, the first channels of which may shift x_t."""
        if "shift" in self.unet.config.fuse:
            x_t = x_t + self.to_diffusion_range(condition[:, : x_t.shape[1]])
        return self.unet(x_t, t, 2 * condition - 1)

    def losses(
        self, x: Tensor, t: Tensor, eps: Tensor, condition: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return loss = E || target - f(x_t, t) ||^2 and noise_mse, the same error in units of eps.

        x and the condition are B x C x H x W in [0,1]. With open_ends, a predicted x_0 beyond the
        end of the range at which the true one lies counts as an error of 0.
        """
        x_0 = self.to_diffusion_range(x)
        x_t = self.add_noise(x_0, t, eps)
        output = self.network(x_t, t, condition)
        error = output - self.target(x_0, t, eps)
        predicted_x_0, predicted_eps = self.split(x_t, t, output.detach())
        noise_error = predicted_eps - eps
        if self.config.open_ends:
            low, high = self.x_0_bounds
            beyond = (x_0 <= low) & (predicted_x_0 < low) | (x_0 >= high) & (predicted_x_0 > high)
            error, noise_error = (e.masked_fill(beyond, 0) for e in (error, noise_error))
        return {"loss": error.square().mean(), "noise_mse": noise_error.square().mean()}

    def _at(self, values: Tensor, t: Tensor) -> Tensor:
        return values[t][:, None, None, None]


def hide(condition: Tensor, hidden: Tensor) -> Tensor:
    """Return conditions, B x C x H x W, of which the `hidden` ones (B, bool) say nothing."""
    return torch.where(hidden[:, None, None, None], GREY, condition)


def draw_noise(shape: Sequence[int], num_timesteps: int, rng: Generator) -> tuple[Tensor, Tensor]:
    """Return t (B), uniform over 0 .. T-1, and eps (B x C x H x W) ~ N(0, I)."""
    t = torch.randint(num_timesteps, (shape[0],), generator=rng, device=rng.device)
    return t, torch.randn(*shape, generator=rng, device=rng.device)


def save_diffusion(path: Path, model: DiffusionModel, vae_sha256: str | None = None) -> None:
    """Write the weights with their configuration; DiffuseVAE also names the hash of its VAE."""
    config = {
        "image_shape": model.unet.image_shape,
        "diffusion": leave_out_defaults(model.config),
        "unet": leave_out_defaults(model.unet.config),
        "conditional": model.unet.conditional,
        "p_uncond": model.p_uncond,
        "vae_sha256": vae_sha256,
    }
    if model.unet.condition_channels != model.unet.image_shape[0]:
        config["condition_channels"] = model.unet.condition_channels
    save_tensors(path, model.state_dict(), config)


@of_one_model
def load_diffusion(path: Path, device: torch.device | str = "cpu") -> DiffusionModel:
    """Return the model of a checkpoint in eval mode. Raises InputError if it cannot be read."""
    config = load_config(path)
    model = DiffusionModel(
        build(DiffusionConfig, config["diffusion"], str(path)),
        build(UNetConfig, config["unet"], str(path)),
        config["image_shape"],
        config["conditional"],
        config.get("p_uncond", 0.0),
        config.get("condition_channels"),
    )
    return freeze(model, path, device)


def check_pair(diffusevae: Path, vae_sha256: str) -> None:
    """Raise InputError unless this DiffuseVAE was trained on the VAE with that hash."""
    trained_on = load_config(diffusevae).get("vae_sha256")
    if trained_on != vae_sha256:
        raise InputError(
            f"{diffusevae}: was trained on the VAE {str(trained_on)[:12]}, not on "
            f"{vae_sha256[:12]}; load the pair that belongs together"
        )
