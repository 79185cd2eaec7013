"""What is chosen of the VAE, and of the other first stages that have its networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from diffusevae.core.errors import InputError
from diffusevae.core.params import Range, Share, override
from diffusevae.models.layers import check_widths

Reconstruction = Literal["mse", "bce", "l1"]
Kind = Literal["gaussian", "vq", "rae"]


@dataclass(frozen=True)
class VAEConfig:
    """Architecture and loss of the VAE; one level per entry of channel_multipliers.

    kind: "gaussian" is the beta-VAE; "vq" has a codebook of codebook_size entries, its encoder
    being drawn to them with the weight commitment (van den Oord et al. 2017, eq. 3); "rae" knows
    no noise (Ghosh et al. 2020, eq. 5): kl_weight is that of ||z||^2 / 2, decoder_penalty that of
    the decoder's squared weights. reconstruction_weight 0 leaves what the code costs alone.
    open_ends: pixels are the decoder's numbers, clipped, and not their sigmoid, which is never
    quite black; at a pixel that is quite black or quite white a number beyond is no error, as in
    the diffusion's loss. Not of bce, which needs shares.
    """

    latent_channels: Annotated[int, Range(1, 1024)]
    base_channels: Annotated[int, Range(1, 1024)]
    channel_multipliers: tuple[Annotated[int, Range(1, 64)], ...]
    attention_levels: tuple[Annotated[int, Range(0, 16)], ...]
    dropout: Share
    reconstruction: Reconstruction
    kl_weight: Annotated[float, Range(0, 1000)]
    kind: Kind = "gaussian"
    codebook_size: Annotated[int, Range(2, 65_536)] = 256
    commitment: Annotated[float, Range(0, 1000)] = 0.25
    decoder_penalty: Annotated[float, Range(0, 1000)] = 1e-7
    reconstruction_weight: Share = 1.0
    open_ends: bool = False

    def __post_init__(self) -> None:
        if self.open_ends and self.reconstruction == "bce":
            raise ValueError(
                "open_ends: true is not of reconstruction bce, which needs shares; take mse or l1, "
                "or set open_ends to false"
            )
        check_widths(self.base_channels, self.channel_multipliers)
        levels = len(self.channel_multipliers)
        if any(level >= levels for level in self.attention_levels):
            raise ValueError(
                f"attention_levels {list(self.attention_levels)} go beyond "
                f"level {levels - 1}; levels count from 0"
            )


def size_vae(
    vae: VAEConfig,
    code: Sequence[int],
    image_size: int,
    channel_multipliers: Sequence[int],
    kl_weight: float,
    place: str,
) -> VAEConfig:
    """Return a configuration whose code (Cz x h x w) is that, of images image_size x image_size.

    It has as many levels of `channel_multipliers` as it takes to come down to h x w. Raises
    InputError, naming the params section `place`, where no number of halvings leads there.
    """
    levels = len(channel_multipliers)
    fitting = [n for n in range(levels) if code[1] * 2**n == image_size]
    if not fitting:
        raise InputError(
            f"{place}.codes: {list(code)}: images of {image_size} x {image_size} do "
            f"not come down to {code[1]} x {code[1]} in the {levels - 1} halvings that "
            f"{place}.channel_multipliers allow; change one of them"
        )
    values = {
        "latent_channels": code[0],
        "channel_multipliers": channel_multipliers[: fitting[0] + 1],
        "kl_weight": kl_weight,
    }
    return override(vae, values, place)
