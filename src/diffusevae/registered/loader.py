"""What MLflow runs to load a registered model ("models from code"), so nothing is ever unpickled.

It lies in the model's folder under one of the names MODELS, which says what the model is. Before
anything of the package is imported it is made sure that it is the model's own, and that no file of
the model is another than was registered.
"""

import pkgutil
import runpy
from pathlib import Path

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

MODELS = {
    "pyfunc_model": "diffusevae.registered.model:DiffuseVAE",
    "pyfunc_latents": "diffusevae.registered.latents_model:Latents",
}


def load(here: Path) -> PythonModel:
    """Return the model.

    Raises ImportError where this process runs other code than the model's, or one of its files is
    missing or changed.
    """
    code = here.parent / "code/diffusevae"
    if code.is_dir():  # there is none where MLflow runs this file to store the model
        runpy.run_path(str(code / "registered/model_files.py"))["require_unchanged"](here.parent)
        runpy.run_path(str(code / "registered/own_code.py"))["require_own_code"](here.parent)
    return pkgutil.resolve_name(MODELS[here.stem])()


set_model(load(Path(__file__)))
