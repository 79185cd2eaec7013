"""The registered model of a latent study: codes in, images out.

What it cannot do it says as MLflow's server passes on: status 400 and one line, without a trace.
"""

from pathlib import Path

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel

from diffusevae.latents.page.exploring import load_explorer

MOST_CODES = 500  # in one call; images of 64 x 64 are then 45 MB of JSON
LARGEST = 100.0  # number in a code; most are within -3 to 3


class Latents(PythonModel):
    """Decodes codes, and refines what comes of them."""

    def load_context(self, context) -> None:
        """Load the weights. Raises InputError where the files do not belong together."""
        self.explorer = load_explorer(Path(context.artifacts["latents"]).parent, {})

    def predict(self, context, model_input: np.ndarray, params: dict | None = None) -> np.ndarray:
        """Return images, float32 in [0, 1], B x C x H x W, of codes B x latents.

        refine true: refined by DiffuseVAE. Raises MlflowException for codes of another shape, or
        with numbers that no code has.
        """
        codes, latents = np.asarray(model_input, dtype=np.float32), self.explorer.latents
        if codes.ndim != 2 or codes.shape[1] != latents or not 0 < len(codes) <= MOST_CODES:
            raise MlflowException.invalid_parameter_value(
                f"codes of shape {codes.shape}: expected B x {latents} with B from 1 to "
                f"{MOST_CODES}"
            )
        if not (np.abs(codes) <= LARGEST).all():
            raise MlflowException.invalid_parameter_value(
                f"codes must hold numbers in [{-LARGEST:g}, {LARGEST:g}]"
            )
        images = self.explorer.decode(codes.tolist())
        if (params or {}).get("refine"):
            images = self.explorer.refine(images)
        return images.contiguous().numpy()
