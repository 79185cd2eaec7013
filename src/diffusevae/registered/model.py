"""The registered model: a VAE, the density over its codes and the DiffuseVAE trained on it, as one.

What it cannot do it says as MLflow's server passes on: status 400 and one line, without a trace.
"""

import math
from pathlib import Path

import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel
from torch import Tensor

from diffusevae.core.device import choose_device
from diffusevae.core.errors import InputError
from diffusevae.core.readback import read_as
from diffusevae.sampling.generation import generate, load_pair, refine
from diffusevae.sampling.sampler_config import SamplerConfig, check_guidance

MOST_NUMBERS = 2**21  # in the images of one call, e.g. 2,048 of 1 x 32 x 32; as JSON 45 MB
MOST_SEED = 2**63 - 2  # one more is drawn with, too


class DiffuseVAE(PythonModel):
    """Refines images, or generates new ones."""

    def load_context(self, context) -> None:
        """Load the weights.

        Raises InputError where DiffuseVAE was trained on another VAE, or knows no guidance.
        """
        paths = {name: Path(path) for name, path in context.artifacts.items()}
        self.pair = load_pair(paths["vae"], paths["prior"], paths["diffusevae"], choose_device())
        self.sampler = read_as(SamplerConfig, paths["sampler"], "register the model again")
        check_guidance(self.sampler, self.pair.diffusevae.p_uncond)

    def predict(self, context, model_input: np.ndarray, params: dict | None = None) -> np.ndarray:
        """Return images, float32 in [0,1], B x C x H x W.

        num_images 0: the reconstructions of `model_input` (B x C x H x W in [0,1]), refined.
        num_images n: n new images; `model_input` is not looked at. labels: a new image of each of
        these classes, of a model that knows classes. The same seed gives the same images. Raises
        MlflowException for images, numbers or classes out of range.
        """
        params = {"num_images": 0, "seed": 0, "labels": []} | (params or {})
        labels = self._check_labels(params["labels"])
        num_images = _check_number("num_images", params["num_images"], self._most_images())
        if labels is not None and num_images not in (0, len(labels)):
            raise MlflowException.invalid_parameter_value(
                f"num_images {num_images}: there are {len(labels)} labels; leave it out"
            )
        seed = _check_number("seed", params["seed"], MOST_SEED)
        if num_images or labels is not None:
            count = num_images if labels is None else len(labels)
            _, images = generate(self.pair, self.sampler, "gmm", count, seed, labels=labels)
        else:
            _, images = refine(self.pair, self.sampler, self._check(model_input), seed)
        return images.contiguous().numpy()

    def _check_labels(self, given: object) -> Tensor | None:
        labels = np.atleast_1d(np.asarray([] if given is None else given))
        if labels.size == 0:
            return None
        if labels.ndim != 1 or len(labels) > self._most_images() or labels.dtype.kind not in "iu":
            raise MlflowException.invalid_parameter_value(
                f"labels: expected 1 to {self._most_images()} whole numbers in one row"
            )
        chosen = torch.from_numpy(labels.astype(np.int64))
        try:
            self.pair.mixture.require_classes(chosen)
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return chosen

    def _check(self, images: np.ndarray) -> Tensor:
        images = np.asarray(images, dtype=np.float32)
        shape, most = self.pair.vae.image_shape, self._most_images()
        if images.ndim != 4 or not 0 < len(images) <= most or images.shape[1:] != shape:
            raise MlflowException.invalid_parameter_value(
                f"images of shape {images.shape}: expected B x {' x '.join(map(str, shape))} "
                f"with B from 1 to {most}"
            )
        if not (images.min() >= 0 and images.max() <= 1):
            raise MlflowException.invalid_parameter_value("images must hold numbers in [0, 1]")
        return torch.from_numpy(images)

    def _most_images(self) -> int:
        return max(1, MOST_NUMBERS // math.prod(self.pair.vae.image_shape))


def _check_number(name: str, value: int | None, most: int) -> int:
    if value is None or not 0 <= value <= most:
        raise MlflowException.invalid_parameter_value(f"{name} {value}: allowed 0 to {most}")
    return int(value)
