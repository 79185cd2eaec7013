"""Figures made of images: what the models make, and the forward process."""

import dataclasses
from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.core.randomness import generator
from diffusevae.figures.drawing import COLOURS, INK, Strip, draw_strips
from diffusevae.metrics.labels import WAYS
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.schedule import Scheduler
from diffusevae.models.unet import UNetConfig

Tensors = Mapping[str, Tensor]
Snapshots = Mapping[int, Tensors]  # by epoch

NUM_CLASSES = 10  # whose images `draw_classes` shows
FORWARD_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of T: t = 100 .. 900 where T is 1000
ONE_CHANNEL = UNetConfig(
    base_channels=1,
    channel_multipliers=(1,),
    blocks_per_level=1,
    attention_levels=(),
    num_heads=1,
    time_emb_dim=2,
    dropout=0.0,
    fuse=("concat",),
)


def choose_images(labels: Tensor, num_images: int) -> Tensor:
    """Return places of num_images images (fewer if there are fewer): the first of each class first.

    The rule knows nothing of how well an image came out.
    """
    classes = labels.tolist()
    firsts = [classes.index(each) for each in sorted(set(classes))]
    others = [i for i in range(len(classes)) if i not in set(firsts)]
    return torch.tensor((firsts + others)[:num_images])


def find_shown(labels: Tensor, label: int) -> int:
    """Return the place of the first image of a class, or of the first image where there is none."""
    return max(range(len(labels)), key=lambda place: int(labels[place]) == label)


def draw_classes(real: Tensor, labels: Tensor, num_images: int) -> Figure:
    """Return the first num_images images of each class, a row for each of the first ten classes.

    The places of a class that has fewer stay white. real: N x C x H x W in [0, 1], labels: N.
    """
    shown = labels.unique()[:NUM_CLASSES]
    rows = torch.ones(len(shown), num_images, *real.shape[1:])
    for row, label in zip(rows, shown, strict=True):
        own = real[labels == label][:num_images]
        row[: len(own)] = own
    title = f"Test images of class {', '.join(map(str, shown.tolist()))}, a row for each"
    return draw_strips([Strip(title, rows.flatten(0, 1), COLOURS["real"])], num_images)


def draw_grid(images: Tensor, columns: int, model: str, title: str) -> Figure:
    """Return images of a model below each other, so many to a row."""
    return draw_strips([Strip(title, images, COLOURS[model])], columns)


def draw_reconstructions(pairs: Tensors, num_images: int) -> Figure:
    """Return real test images, the VAE's reconstructions and DiffuseVAE's refinements of those."""
    shown = choose_images(pairs["labels"], num_images)
    return draw_strips(_strips_of_pairs({name: t[shown] for name, t in pairs.items()}), num_images)


def draw_gallery(pairs: Tensors, generated: Tensors, columns: int) -> Figure:
    """Return test images, their reconstructions and refinements, and each way to generate."""
    return draw_strips([*_strips_of_pairs(pairs), *_strips_of(generated)], columns)


def draw_generated(real: Tensor, generated: Tensors, num_images: int) -> Figure:
    """Return two rows of real images and of each way to generate, not chosen by hand."""
    count = 2 * num_images
    shown = {name: images[:count] for name, images in generated.items()}
    strips = [Strip("Real test images", real[:count], COLOURS["real"]), *_strips_of(shown)]
    return draw_strips(strips, num_images)


def _strips_of_pairs(pairs: Tensors) -> list[Strip]:
    return [
        Strip("Real test images", pairs["real"], COLOURS["real"]),
        Strip("VAE: its reconstruction", pairs["vae"], COLOURS["vae"]),
        Strip("DiffuseVAE: the reconstruction refined", pairs["diffusevae"], COLOURS["diffusevae"]),
    ]


def _strips_of(generated: Tensors) -> list[Strip]:
    return [
        Strip(title, generated[name], COLOURS[model])
        for name, (title, model) in WAYS.items()
        if name in generated
    ]


def draw_refinements(snapshots: Snapshots, num_images: int) -> Figure:
    """Return test images, x_hat, and DiffuseVAE's samples at the first and last snapshot."""
    epochs = first_and_last(snapshots)
    last = snapshots[epochs[-1]]
    strips = [
        Strip("Real test images", last["real"][:num_images], COLOURS["real"]),
        Strip(r"VAE: $\hat{x}$, the condition", last["x_hat"][:num_images], COLOURS["vae"]),
    ]
    strips += [
        Strip(
            f"DiffuseVAE after epoch {epoch}",
            snapshots[epoch]["samples"][:num_images],
            COLOURS["diffusevae"],
        )
        for epoch in epochs
    ]
    return draw_strips(strips, num_images)


def draw_vae_reconstructions(snapshots: Snapshots, num_images: int) -> Figure:
    """Return validation images and their reconstructions at the first and last snapshot."""
    epochs = first_and_last(snapshots)
    strips = [
        Strip("Real validation images", snapshots[epochs[0]]["real"][:num_images], COLOURS["real"])
    ]
    strips += [
        Strip(
            f"Reconstructed after epoch {epoch}",
            snapshots[epoch]["reconstruction"][:num_images],
            COLOURS["vae"],
        )
        for epoch in epochs
    ]
    return draw_strips(strips, num_images)


def draw_samples(snapshots: Snapshots, model: str, num_images: int) -> Figure:
    """Return two rows of samples of a model at the first and last snapshot."""
    strips = [
        Strip(f"After epoch {epoch}", snapshots[epoch]["samples"][: 2 * num_images], COLOURS[model])
        for epoch in first_and_last(snapshots)
    ]
    return draw_strips(strips, num_images)


def draw_trajectory(trajectory: Tensors, num_images: int = 3) -> Figure:
    """Return x_t and the predicted x_0 at each recorded t, one row per image, x_hat in front."""
    times = trajectory["t"].tolist()
    headings = [r"$\hat{x}$", *("end" if t < 0 else f"t = {t}" for t in times)]

    def rows(values: Tensor) -> Tensor:
        """Return images in reading order: for each image x_hat, then k moments."""
        moments = torch.cat([trajectory["x_hat"][None], values])  # 1 + k x n x C x H x W
        return moments[:, :num_images].transpose(0, 1).flatten(0, 1)

    strips = [
        Strip(r"$x_t$: the noisy image on its way to a clean one", rows(trajectory["x_t"]), INK),
        Strip(
            r"$x_0$: the clean image the model predicts at that moment",
            rows(trajectory["x_0"]),
            COLOURS["diffusevae"],
        ),
    ]
    return draw_strips(strips, len(headings), headings)


def draw_forward(image: Tensor, config: DiffusionConfig, seed: int) -> Figure:
    """Return x_t of one image (C x H x W in [0, 1]) at five t, under both schedules and the used.

    All show the same noise. Values outside the range of clean images are clipped for showing.
    """
    steps = [round(share * config.num_timesteps) for share in FORWARD_SHARES]
    eps = torch.randn(image.shape, generator=generator(seed, "figures", "forward"))
    strips = []
    for name in dict.fromkeys(("linear", "cosine", config.scheduler_type)):
        process = forward_process(config, name, image.shape)
        # Index t of a schedule is step t + 1 of the chain.
        t = torch.tensor([step - 1 for step in steps])
        x_0 = process.to_diffusion_range(image).expand(len(steps), *image.shape)
        x_t = process.add_noise(x_0, t, eps.expand_as(x_0))
        used = ", used here" if name == config.scheduler_type else ""
        strips.append(
            Strip(
                f"{name.capitalize()} schedule{used}",
                torch.cat([image[None], process.to_unit_range(x_t)]),
                COLOURS[name],
            )
        )
    return draw_strips(strips, 1 + len(steps), ["image", *(f"t = {step}" for step in steps)])


def forward_process(
    config: DiffusionConfig, scheduler_type: Scheduler, image_shape: tuple[int, ...]
) -> DiffusionModel:
    """Return a diffusion model for its forward process; its network is the least there can be."""
    config = dataclasses.replace(config, scheduler_type=scheduler_type)
    return DiffusionModel(config, ONE_CHANNEL, image_shape, conditional=False)


def first_and_last(snapshots: Snapshots) -> list[int]:
    """Return the first and the last epoch, once if they are the same."""
    return sorted({min(snapshots), max(snapshots)})
