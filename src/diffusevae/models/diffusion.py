"""The diffusion model (docs/study.md, sections 3 and 4): forward process, predictions, loss.

With a condition, which is the VAE's x_hat, it is DiffuseVAE; a model that takes none
(`condition=None`) is the DDPM. In Formulation 2 x_t stands for y_t = x_t - x_hat, which diffuses as
ever; x_hat is added where the network sees it. Images and conditions are in [0,1] outside this
module; inside, x_0 is 2x - 1 ("centred") or x itself ("unit", the study's).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from diffusevae.core.errors import InputError
from diffusevae.core.params import build, leave_out_defaults
from diffusevae.core.tensor_file import freeze, load_config, of_one_model, save_tensors
from diffusevae.models.conditions import GREY, Hidden, tell_apart
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.predictions import find_beyond, split_output, target_of
from diffusevae.models.unet import UNet, UNetConfig


class DiffusionModel(nn.Module):
    """A UNet with its noise schedule: p(x_{t-1} | x_t, condition) for t = T-1 .. 0.

    p_uncond: the share of images whose condition was hidden in training; 0 where that is unknown.
    """

    sqrt_alpha_bars: Tensor  # T
    sqrt_noise: Tensor  # T
    loss_weights: Tensor | None  # T

    def __init__(
        self,
        config: DiffusionConfig,
        unet_config: UNetConfig,
        image_shape: Sequence[int],
        conditional: bool,
        p_uncond: float = 0.0,
        condition_channels: int | None = None,
        num_classes: int = 0,
        code_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.p_uncond = p_uncond
        told = condition_channels, num_classes, code_shape
        self.unet = UNet(unet_config, image_shape, conditional, *told)
        self.schedule = config.schedule
        alpha_bars = self.schedule.alpha_bars
        self.register_buffer("sqrt_alpha_bars", alpha_bars.sqrt().float(), persistent=False)
        self.register_buffer("sqrt_noise", (1 - alpha_bars).sqrt().float(), persistent=False)
        weights = config.loss_weights
        self.register_buffer(
            "loss_weights", None if weights is None else weights.float(), persistent=False
        )

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
        """Return what the network predicts (`predictions`)."""
        a, s = self._at(self.sqrt_alpha_bars, t), self._at(self.sqrt_noise, t)
        return target_of(self.config.prediction, a, s, x_0, eps)

    def split(self, x_t: Tensor, t: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return (x_0, eps) from x_t and the network's output, whatever it predicts."""
        a, s = self._at(self.sqrt_alpha_bars, t), self._at(self.sqrt_noise, t)
        return split_output(self.config.prediction, a, s, x_t, output)

    def network(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        labels: Tensor | None = None,
        guidance: float = 0.0,
        hidden: Hidden = "all",
    ) -> Tensor:
        """Return the UNet's output, under classifier-free guidance where asked.

        (1 + w) f(x_t, condition, labels) - w f(x_t, ..) with w = guidance, the latter without what
        `hidden` names; w = 0 runs the network once. A flow's network sees
        x_t / (sqrt(abar) + sqrt(1 - abar)) = (1 - u) x_0 + u eps.
        """
        if self.config.prediction == "flow":
            x_t = x_t / (self._at(self.sqrt_alpha_bars, t) + self._at(self.sqrt_noise, t))
        output = self._answer(x_t, t, condition, labels)
        if guidance == 0 or (condition is None and labels is None):
            return output
        if condition is not None and hidden in ("all", "x_hat"):
            condition = torch.full_like(condition, GREY)
        if labels is not None and hidden in ("all", "labels"):
            labels = torch.full_like(labels, self.unet.num_classes)
        return (1 + guidance) * output - guidance * self._answer(x_t, t, condition, labels)

    def _answer(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None, labels: Tensor | None
    ) -> Tensor:
        """Return the UNet's output under a condition, the first channels of which may shift x_t."""
        given = {} if labels is None else {"labels": labels}
        if condition is not None:
            given["condition"] = 2 * condition - 1
            if "shift" in self.unet.config.fuse:
                x_t = x_t + self.to_diffusion_range(condition[:, : x_t.shape[1]])
        return self.unet(x_t, t, **given)

    def losses(self, x: Tensor, t: Tensor, eps: Tensor, *conditions: Tensor) -> dict[str, Tensor]:
        """Return loss = E w_t || target - f(x_t, t) ||^2 and noise_mse, the error in units of eps.

        w_t is 1 unless weights are asked for. x is B x C x H x W in [0,1]; conditions are what the
        network takes of x_hat (as x) and labels (B), in this order. With open_ends, a predicted x_0
        beyond the end of the range at which the true one lies counts as an error of 0.
        """
        x_0 = self.to_diffusion_range(x)
        x_t = self.add_noise(x_0, t, eps)
        output = self.network(x_t, t, *tell_apart(conditions, self.unet.conditional))
        error = output - self.target(x_0, t, eps)
        predicted_x_0, predicted_eps = self.split(x_t, t, output.detach())
        noise_error = predicted_eps - eps
        if self.config.open_ends:
            low, high = self.x_0_bounds
            beyond = find_beyond(x_0, predicted_x_0, low, high)
            error, noise_error = (e.masked_fill(beyond, 0) for e in (error, noise_error))
        squared = error.square()
        if self.loss_weights is not None:
            squared = self._at(self.loss_weights, t) * squared
        return {"loss": squared.mean(), "noise_mse": noise_error.square().mean()}

    def _at(self, values: Tensor, t: Tensor) -> Tensor:
        return values[t][:, None, None, None]


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
    if model.unet.num_classes:
        config["num_classes"] = model.unet.num_classes
    if model.unet.code_shape:
        config["code_shape"] = model.unet.code_shape
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
        config.get("num_classes", 0),
        config.get("code_shape"),
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
