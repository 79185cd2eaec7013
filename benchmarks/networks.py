"""The product's networks and those of public peers, of nearly the same size.

A peer's widths are chosen so that its parameters and its FLOPs come nearest to those of the
product's network written plainly, of torch's own layers: what else the peer has (blocks,
embeddings, norms) is its own.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.setting import IMAGE_SHAPE, Setting
from diffusevae.core.torchvision_import import ensure_torchvision
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.models.layers import Upsample
from diffusevae.models.normalisation import GroupNorm
from diffusevae.models.vae import VAE
from diffusevae.models.vae_losses import reparameterise

WIDTH_STEP = 8  # channels: GroupNorm wants multiples, and kernels are slow at others
TIME_STEP = 500  # any: costs do not depend on it
Widths = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """Trainable numbers of a network, and the FLOPs of one item that goes through it."""

    parameters: int
    flops: float


@dataclass(frozen=True)
class Network:
    """How to build a network, and how to run it on a batch of images (B x C x H x W)."""

    build: Callable[[], nn.Module]
    run: Callable[[nn.Module, Tensor], Tensor]
    widths: Widths


Make = Callable[[Setting, Widths], Network]


def count_cost(network: Network, batch_size: int, backward: bool = True) -> Cost:
    """Return the cost of one image of a batch, forward (and backward); nothing is computed."""
    with torch.device("meta"):
        module, x = network.build(), torch.empty(batch_size, *IMAGE_SHAPE)
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
            output = network.run(module, x)
            if backward:
                output.sum().backward()
    return Cost(sum(p.numel() for p in module.parameters()), counter.get_total_flops() / batch_size)


def match_widths(make: Callable[[Widths], Network], widths: Widths, target: Cost) -> Network:
    """Return the network whose cost is nearest to the target, step by step from these widths."""

    @cache
    def miss(widths: Widths) -> float:
        cost = count_cost(make(widths), batch_size=1, backward=False)
        return max(
            abs(math.log(cost.parameters / target.parameters)),
            abs(math.log(cost.flops / target.flops)),
        )

    while True:
        changed = [
            (*widths[:i], width + step, *widths[i + 1 :])
            for i, width in enumerate(widths)
            for step in (-WIDTH_STEP, WIDTH_STEP)
            if width + step > 0
        ]
        best = min(changed, key=miss)
        if miss(best) >= miss(widths):
            return make(widths)
        widths = best


def find_unets(setting: Setting, known: Mapping[str, Widths] | None = None) -> dict[str, Network]:
    """Return the unconditional UNets by package; of peers only those in `known`, where it is given.

    Their widths are then not searched for. "plain" is the product's network, written plainly.
    """
    product = find_product_unet(setting)
    peers = {"diffusers": make_diffusers_unet, "denoising-diffusion-pytorch": make_lucidrains_unet}
    return _with_peers(peers, setting, product, known)


def find_product_unet(setting: Setting) -> Network:
    """Return the product's unconditional UNet, in its diffusion model."""
    config, diffusion = setting.params.unet, setting.params.diffusion
    return Network(
        lambda: DiffusionModel(diffusion, config, IMAGE_SHAPE, False),
        lambda model, x: model.unet(x, _times(x)),
        _widths(config),
    )


def find_vaes(setting: Setting, known: Mapping[str, Widths] | None = None) -> dict[str, Network]:
    """Return the VAEs by package, as `find_unets` does.

    pythae comes with no such network: its own models and trainer get the product's, written plainly
    as a user of pythae would.
    """
    config = setting.params.vae
    product = Network(lambda: VAE(config, IMAGE_SHAPE), _run_vae, _widths(config))
    found = _with_peers({"diffusers": make_diffusers_vae}, setting, product, known)
    try:
        import pythae  # noqa: F401  (whether it is there)
    except ImportError as error:
        say_absent("pythae", error)
        return found
    return found | {"pythae": found["plain"]}


def write_plainly(network: Network) -> Network:
    """Return the product's network made of torch's own GroupNorm, doubling and convolution."""

    def build() -> nn.Module:
        module = network.build()
        for owner in list(module.modules()):
            for name, layer in owner.named_children():
                if isinstance(layer, GroupNorm | Upsample):
                    setattr(owner, name, write_layer_plainly(layer))
        return module

    return Network(build, network.run, network.widths)


def write_layer_plainly(layer: GroupNorm | Upsample) -> nn.Module:
    """Return torch's own GroupNorm, or doubling and convolution, with a layer's weights."""
    if isinstance(layer, Upsample):
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), layer.conv)
    plain = nn.GroupNorm(layer.num_groups, layer.num_channels, layer.eps)
    plain.load_state_dict(layer.state_dict())
    return plain


def make_diffusers_unet(setting: Setting, widths: Widths) -> Network:
    """Return diffusers' UNet2DModel, with attention at the product's levels."""
    ensure_torchvision()
    from diffusers import UNet2DModel

    config = setting.params.unet
    kinds = ["Attn" if level in config.attention_levels else "" for level in range(len(widths))]
    return Network(
        lambda: UNet2DModel(
            sample_size=IMAGE_SHAPE[-1],
            in_channels=IMAGE_SHAPE[0],
            out_channels=IMAGE_SHAPE[0],
            layers_per_block=config.blocks_per_level,
            block_out_channels=widths,
            down_block_types=[f"{kind}DownBlock2D" for kind in kinds],
            up_block_types=[f"{kind}UpBlock2D" for kind in reversed(kinds)],
            attention_head_dim=max(1, widths[-1] // config.num_heads),
            norm_num_groups=WIDTH_STEP,
        ),
        lambda unet, x: unet(x, _times(x)).sample,
        widths,
    )


def make_lucidrains_unet(setting: Setting, widths: Widths) -> Network:
    """Return denoising-diffusion-pytorch's Unet; full attention at its last level, as it comes."""
    ensure_torchvision()
    from denoising_diffusion_pytorch import Unet

    config = setting.params.unet
    first, *others = widths  # the first is that of the level before any halving
    return Network(
        lambda: Unet(
            dim=WIDTH_STEP,
            init_dim=first,
            dim_mults=[width // WIDTH_STEP for width in others],
            channels=IMAGE_SHAPE[0],
            attn_heads=config.num_heads,
            attn_dim_head=max(1, others[-1] // config.num_heads),
            dropout=config.dropout,
            flash_attn=True,
        ),
        lambda unet, x: unet(x, _times(x)),
        widths,
    )


def make_diffusers_vae(setting: Setting, widths: Widths) -> Network:
    """Return diffusers' AutoencoderKL, with one block for each level as the product has."""
    ensure_torchvision()
    from diffusers import AutoencoderKL

    config, levels = setting.params.vae, len(widths)

    def run(vae: nn.Module, x: Tensor) -> Tensor:
        code = vae.encode(x).latent_dist
        return vae.decode(code.mean + code.std * torch.randn_like(code.std)).sample

    return Network(
        lambda: AutoencoderKL(
            in_channels=IMAGE_SHAPE[0],
            out_channels=IMAGE_SHAPE[0],
            down_block_types=["DownEncoderBlock2D"] * levels,
            up_block_types=["UpDecoderBlock2D"] * levels,
            block_out_channels=widths,
            layers_per_block=1,
            latent_channels=config.latent_channels,
            norm_num_groups=WIDTH_STEP,
            sample_size=IMAGE_SHAPE[-1],
        ),
        run,
        widths,
    )


def say_absent(package: str, error: ImportError) -> None:
    """Print that a peer is left out, and why."""
    print(f"{package}: left out, it cannot be imported ({error})", flush=True)


@cache
def _match(make: Make, setting: Setting, widths: Widths, target: Cost) -> Network:
    return match_widths(lambda widths: make(setting, widths), widths, target)


def _with_peers(
    peers: Mapping[str, Make],
    setting: Setting,
    product: Network,
    known: Mapping[str, Widths] | None,
) -> dict[str, Network]:
    plain = write_plainly(product)
    found = {"product": product, "plain": plain}
    if known is not None:
        return found | {
            package: peers[package](setting, known[package])
            for package in peers
            if package in known
        }
    target = count_cost(plain, batch_size=1, backward=False)
    for package, make in peers.items():
        start = product.widths
        if make is make_lucidrains_unet:
            start = (start[0], *start)
        try:
            found[package] = _match(make, setting, start, target)
        except ImportError as error:
            say_absent(package, error)
    return found


def _run_vae(vae: VAE, x: Tensor) -> Tensor:
    mu, logvar = vae.encode(x)
    return vae.decode(reparameterise(mu, logvar, torch.randn_like(mu)))


def _times(x: Tensor) -> Tensor:
    return torch.full((len(x),), TIME_STEP, device=x.device)


def _widths(config) -> Widths:
    return tuple(config.base_channels * m for m in config.channel_multipliers)
