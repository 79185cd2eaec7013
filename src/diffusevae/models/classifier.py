"""The data set's own classifier: its features are where Frechet distance, KID and recall live."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from diffusevae.core.params import PositiveCount, Range, Share, build
from diffusevae.core.tensor_file import freeze, load_config, of_one_model, save_tensors
from diffusevae.data.dataset import in_batches, to_unit
from diffusevae.models.layers import check_halving
from diffusevae.models.normalisation import group_norm


@dataclass(frozen=True)
class ClassifierConfig:
    """Widths of the three convolution levels are 1, 2 and 4 times base_channels."""

    base_channels: Annotated[int, Range(1, 512)]
    num_features: Annotated[int, Range(2, 4096)]
    dropout: Share
    epochs: PositiveCount


class Classifier(nn.Module):
    """A small convolutional network; `features` (B x num_features) feed the last linear layer."""

    def __init__(
        self, config: ClassifierConfig, image_shape: Sequence[int], num_classes: int
    ) -> None:
        super().__init__()
        check_halving(image_shape, range(4))
        self.config = config
        self.image_shape, self.num_classes = tuple(image_shape), num_classes
        channels, layers = image_shape[0], []
        for width in (config.base_channels, 2 * config.base_channels, 4 * config.base_channels):
            layers += [
                nn.Conv2d(channels, width, 3, padding=1),
                group_norm(width),
                nn.SiLU(),
                nn.MaxPool2d(2),
            ]
            channels = width
        size = channels * (image_shape[1] // 8) * (image_shape[2] // 8)
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(size, config.num_features), nn.SiLU()
        )
        self.head = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(config.num_features, num_classes)
        )

    def features(self, x: Tensor) -> Tensor:
        """Return B x num_features for x in [0,1], B x C x H x W."""
        return self.body(2 * x - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, B x num_classes, for x in [0,1]."""
        return self.head(self.features(x))


@torch.inference_mode()
def classify(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of uint8 images, N x num_classes."""
    return torch.cat([model(to_unit(part)) for part in in_batches(images)])


def save_classifier(path: Path, model: Classifier) -> None:
    """Write the weights with their configuration."""
    config = {
        "image_shape": model.image_shape,
        "num_classes": model.num_classes,
        "classifier": dataclasses.asdict(model.config),
    }
    save_tensors(path, model.state_dict(), config)


@of_one_model
def load_classifier(path: Path, device: torch.device | str = "cpu") -> Classifier:
    """Return the classifier of a checkpoint in eval mode. Raises InputError."""
    config = load_config(path)
    model = Classifier(
        build(ClassifierConfig, config["classifier"], str(path)),
        tuple(config["image_shape"]),
        config["num_classes"],
    )
    return freeze(model, path, device)
