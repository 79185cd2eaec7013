"""Training: images a second of the product's own loop, of the peers' and of a plain PyTorch loop.

All have the same batch and precision (the product's) and as many threads, each in a process of its
own, on images that are noise: time does not depend on what they show. What a side has to build and
load is not counted, nor are its first batches. The plain loop trains the product's network as
anybody would write both, of torch's own layers and with a DataLoader; so does pythae, by its own
trainer. diffusers and denoising-diffusion-pytorch get their batches ready-made.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measure import (
    Ratios,
    Side,
    clock,
    divide,
    fastest,
    processes,
    show_sides,
    take_turns,
)
from benchmarks.networks import Network, Widths, count_cost, find_unets, find_vaes
from benchmarks.setting import IMAGE_SHAPE, Setting
from diffusevae.core.device import autocast, choose_device
from diffusevae.models.vae_losses import vae_loss
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Callbacks
from diffusevae.training.vae_training import fit_vae

WARM_UP = 2  # batches
FINDERS = {"unet": find_unets, "vae": find_vaes}
OnBatch = Callable[[], None]
Train = Callable[[Setting, Network, OnBatch], None]


def measure(setting: Setting) -> Ratios:
    """Print how fast the UNet and the VAE are trained; return how many times faster ours are."""
    ratios: Ratios = {}
    for kind, find in FINDERS.items():
        networks = find(setting)
        names = [name for name, (package, _) in TRAININGS[kind].items() if package in networks]
        with processes(names) as calls:
            sides = [make_side(setting, kind, name, networks, calls[name]) for name in names]
            turns = take_turns(sides, setting.repeats)
        show_sides(f"Training step, {kind}", "image", sides, turns)
        ours, costs = turns["product"], {side.name: side.cost.flops for side in sides}
        peers = [name for name in names if name not in ("product", "plain-loop")]
        for name in [*peers, "plain-loop"]:
            ratios[f"{kind}_training_vs_{name}"] = divide(turns[name], ours)
        if peers:
            best = fastest(turns, peers)
            ratios[f"{kind}_training_vs_fastest_peer"] = divide(turns[best], ours)
            # A layer of ours that needs fewer FLOPs for the same result is not a smaller network.
            per_flop = [costs["plain-loop"] / costs[best] * seconds for seconds in turns[best]]
            ratios[f"{kind}_training_vs_fastest_peer_per_flop"] = divide(per_flop, ours)
    return ratios


def make_side(
    setting: Setting, kind: str, name: str, networks: dict[str, Network], call: Callable
) -> Side:
    """Return a training as a side; `call` lets the process that it has call a function."""
    network = networks[TRAININGS[kind][name][0]]
    arguments = (setting, kind, name, known_widths(kind, name, networks))
    return Side(
        name,
        lambda: call(time_training, *arguments),
        count_cost(network, batch_size_of(setting, kind)),
    )


def known_widths(kind: str, name: str, networks: dict[str, Network]) -> dict[str, Widths]:
    """Return the widths that another process needs to find a training's network."""
    package = TRAININGS[kind][name][0]
    return {package: networks[package].widths}


def prepare_training(
    setting: Setting, kind: str, name: str, known: dict[str, Widths]
) -> tuple[Train, Network]:
    """Return a training and its network, in the process that runs it."""
    package, train = TRAININGS[kind][name]
    if package == "product":
        choose_device()  # as its stages do
    return train, FINDERS[kind](setting, known)[package]


def time_training(setting: Setting, kind: str, name: str, known: dict[str, Widths]) -> float:
    """Return the seconds that a training takes for one image."""
    train, network = prepare_training(setting, kind, name, known)
    ends: list[float] = []
    train(setting, network, lambda: ends.append(clock(setting.device)))
    images = (len(ends) - WARM_UP) * batch_size_of(setting, kind)
    return (ends[-1] - ends[WARM_UP - 1]) / images


def batch_size_of(setting: Setting, kind: str) -> int:
    """Return how many images a step of the experiment has."""
    params = setting.params
    return (params.diffusion_optimiser if kind == "unet" else params.vae_optimiser).batch_size


def train_product_unet(setting: Setting, network: Network, on_batch: OnBatch) -> None:
    """Train the DDPM as the stage train_ddpm does."""
    params, x = setting.params, _noise(setting, "unet")
    fit_diffusion(
        params.diffusion,
        params.unet,
        params.diffusion_optimiser,
        Images(x),
        Images(x[:1]),
        1,
        0.0,
        0,
        Callbacks(on_batch=lambda *_: on_batch()),
    )


def train_product_vae(setting: Setting, network: Network, on_batch: OnBatch) -> None:
    """Train the VAE as the stage train_vae does."""
    params, x = setting.params, _noise(setting, "vae")
    fit_vae(
        params.vae, params.vae_optimiser, x, x[:1], 1, 0, Callbacks(on_batch=lambda *_: on_batch())
    )


def train_plainly(setting: Setting, network: Network, on_batch: OnBatch, kind: str) -> None:
    """Train the product's network by a plain loop: DataLoader, Adam, clipping, averaged weights."""
    model = network.build().to(setting.device)
    config = setting.params.diffusion_optimiser if kind == "unet" else setting.params.vae_optimiser
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    images = TensorDataset(_noise(setting, kind).cpu().float() / 255)
    for (x,) in DataLoader(images, config.batch_size, shuffle=True):
        x = x.to(setting.device)
        if kind == "unet":
            t = torch.randint(setting.params.diffusion.num_timesteps, (len(x),), device=x.device)
            loss = model.losses(x, t, torch.randn_like(x))["loss"]
        else:
            eps = torch.randn(len(x), *model.latent_shape, device=x.device)
            loss = vae_loss(model, x, eps)["loss"]
        _step(model, optimiser, loss)
        averaged.update_parameters(model)
        on_batch()


def train_diffusers_unet(
    setting: Setting, network: Network, on_batch: OnBatch, channels_last: bool = False
) -> None:
    """Train UNet2DModel as diffusers' example of unconditional generation does."""
    from benchmarks.schedulers import make_scheduler

    scheduler = make_scheduler(setting.params.diffusion, "DDPMScheduler")
    target = {
        "eps": lambda x, noise, t: noise,
        "x0": lambda x, noise, t: x,
        "v": scheduler.get_velocity,
    }[setting.params.diffusion.prediction]

    def loss(unet: nn.Module, x: Tensor) -> Tensor:
        noise = torch.randn_like(x)
        t = torch.randint(scheduler.config.num_train_timesteps, (len(x),), device=x.device)
        predicted = unet(scheduler.add_noise(x, noise, t), t).sample
        return F.mse_loss(predicted, target(x, noise, t))

    _train_diffusers(setting, network, on_batch, "unet", loss, channels_last)


def train_diffusers_vae(
    setting: Setting, network: Network, on_batch: OnBatch, channels_last: bool = False
) -> None:
    """Train AutoencoderKL on the error of its images and the KL term."""

    def loss(vae: nn.Module, x: Tensor) -> Tensor:
        code = vae.encode(x).latent_dist
        error = F.mse_loss(vae.decode(code.sample()).sample, x)
        return error + setting.params.vae.kl_weight * code.kl().mean()

    _train_diffusers(setting, network, on_batch, "vae", loss, channels_last)


def train_lucidrains_unet(setting: Setting, network: Network, on_batch: OnBatch) -> None:
    """Train denoising-diffusion-pytorch's Unet by the steps of its Trainer."""
    from ema_pytorch import EMA

    from benchmarks.schedulers import make_gaussian_diffusion

    model = make_gaussian_diffusion(setting.params.diffusion, network.build()).to(setting.device)
    config = setting.params.diffusion_optimiser
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
    averaged = EMA(model, beta=config.ema_decay, update_every=10)
    for x in _batches(setting, "unet"):
        with autocast(setting.device):
            loss = model(x)
        loss.item()
        _step(model, optimiser, loss)
        averaged.update()
        on_batch()


def train_pythae_vae(setting: Setting, network: Network, on_batch: OnBatch) -> None:
    """Train the product's encoder and decoder by pythae's model and trainer, for one epoch."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    from benchmarks.pythae_networks import Decoder, Encoder

    class Clock(TrainingCallback):
        def on_train_step_end(self, *_, **__) -> None:
            on_batch()

    logging.disable(logging.INFO)
    ours, config = network.build(), setting.params.vae_optimiser
    latent = torch.Size(ours.latent_shape)
    model = VAE(
        VAEConfig(input_dim=IMAGE_SHAPE, latent_dim=latent.numel()),
        Encoder(ours.encoder),
        Decoder(ours.decoder, latent),
    )
    images = _noise(setting, "vae").cpu().float() / 255
    with tempfile.TemporaryDirectory() as folder:
        trainer = BaseTrainer(
            model,
            BaseDataset(images, torch.zeros(len(images))),
            training_config=BaseTrainerConfig(
                folder,
                num_epochs=1,
                per_device_train_batch_size=config.batch_size,
                learning_rate=config.learning_rate,
                no_cuda=setting.device.type == "cpu",
            ),
            callbacks=[Clock()],
        )
        trainer.prepare_training()
        trainer.train_step(1)
    logging.disable(logging.NOTSET)


def _train_diffusers(
    setting: Setting,
    network: Network,
    on_batch: OnBatch,
    kind: str,
    loss: Callable[[nn.Module, Tensor], Tensor],
    channels_last: bool,
) -> None:
    from diffusers.training_utils import EMAModel

    model = network.build().to(setting.device)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    config = setting.params.diffusion_optimiser if kind == "unet" else setting.params.vae_optimiser
    averaged = EMAModel(model.parameters(), decay=config.ema_decay, foreach=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
    for x in _batches(setting, kind):
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with autocast(setting.device):
            mean = loss(model, x)
        _step(model, optimiser, mean)
        averaged.step(model.parameters())
        on_batch()


def _step(model: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def _noise(setting: Setting, kind: str) -> Tensor:
    """Return uint8 images for all batches of one repeat."""
    count = (WARM_UP + setting.batches) * batch_size_of(setting, kind)
    return torch.randint(256, (count, *IMAGE_SHAPE), dtype=torch.uint8, device=setting.device)


def _batches(setting: Setting, kind: str) -> Iterator[Tensor]:
    """Return the batches of one repeat, ready-made: float32 in [0, 1] on the device."""
    return iter((_noise(setting, kind).float() / 255).split(batch_size_of(setting, kind)))


# By kind and name: the package whose network is trained, and its loop.
TRAININGS: dict[str, dict[str, tuple[str, Train]]] = {
    "unet": {
        "product": ("product", train_product_unet),
        "plain-loop": ("plain", partial(train_plainly, kind="unet")),
        "diffusers": ("diffusers", train_diffusers_unet),
        "diffusers-channels-last": ("diffusers", partial(train_diffusers_unet, channels_last=True)),
        "denoising-diffusion-pytorch": ("denoising-diffusion-pytorch", train_lucidrains_unet),
    },
    "vae": {
        "product": ("product", train_product_vae),
        "plain-loop": ("plain", partial(train_plainly, kind="vae")),
        "diffusers": ("diffusers", train_diffusers_vae),
        "diffusers-channels-last": ("diffusers", partial(train_diffusers_vae, channels_last=True)),
        "pythae": ("pythae", train_pythae_vae),
    },
}
