"""Training of the data set's own classifier."""

import torch
import torch.nn.functional as F
from torch import Tensor

from diffusevae.data.dataset import add_mirrored, to_unit
from diffusevae.models.classifier import Classifier, ClassifierConfig, classify
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.loop import Callbacks, Fit, History, Losses, OptimiserConfig, fit


def fit_classifier(
    config: ClassifierConfig,
    optimiser: OptimiserConfig,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    seed: int,
    callbacks: Callbacks,
    checkpointer: Checkpointer | None = None,
    flips: bool = False,
) -> tuple[Classifier, History]:
    """Train on (uint8 images N x C x H x W, labels N from 0 on), both on the device to use.

    With flips the images are mirrored at random. With one class there is nothing to learn: the
    features stay those of the random first weights.
    """
    images, labels = train
    num_images = len(images)
    if flips:
        images, labels = add_mirrored(images), labels.repeat(2)

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor, Tensor]:
        return to_unit(images[indices[rows]]), labels[indices[rows]]

    def losses(model: Classifier, x: Tensor, label: Tensor) -> Losses:
        return {"loss": F.cross_entropy(model(x), label)}

    def validate(model: Classifier) -> dict[str, float]:
        logits = classify(model, validation[0])
        accuracy = (logits.argmax(1) == validation[1]).float().mean()
        return {"loss": float(F.cross_entropy(logits, validation[1])), "accuracy": float(accuracy)}

    torch.manual_seed(seed)  # initial weights
    num_classes = 1 + int(max(labels.max(), validation[1].max()))
    model = Classifier(config, images.shape[1:], num_classes).to(images.device)
    task = Fit(draw, losses, validate, num_images, in_parts=True, flips=flips)
    return fit(model, optimiser, config.epochs, seed, task, callbacks, checkpointer)
