"""The registered model of a latent study: codes in, images out.

MLflow runs this file when it loads the model ("models from code"), so nothing is ever unpickled.
"""

from pathlib import Path

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from diffusevae.latents.exploring import load_explorer

MOST_CODES = 1000


class Latents(PythonModel):
    """Decodes codes, and refines what comes of them."""

    def load_context(self, context) -> None:
        """Load the weights. Raises InputError where the files do not belong together."""
        self.explorer = load_explorer(Path(context.artifacts["latents"]).parent, {})

    def predict(self, context, model_input: np.ndarray, params: dict | None = None) -> np.ndarray:
        """Return images, float32 in [0, 1], B x C x H x W, of codes B x latents.

        refine true: refined by DiffuseVAE. Raises ValueError for codes of another shape.
        """
        codes, latents = np.asarray(model_input, dtype=np.float32), self.explorer.latents
        if codes.ndim != 2 or codes.shape[1] != latents or not 0 < len(codes) <= MOST_CODES:
            raise ValueError(f"codes of shape {codes.shape}: expected B x {latents} with B from 1 "
                             f"to {MOST_CODES}")
        images = self.explorer.decode(codes.tolist())
        if (params or {}).get("refine"):
            images = self.explorer.refine(images)
        return images.contiguous().numpy()


set_model(Latents())
