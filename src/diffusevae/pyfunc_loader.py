"""What MLflow runs to load a registered model ("models from code"), so nothing is ever unpickled.

Its configuration names the class. Before anything of the package is imported it is made sure that
it is the model's own.
"""

import pkgutil
import runpy
from pathlib import Path

from mlflow.models import ModelConfig, set_model
from mlflow.pyfunc import PythonModel


def load() -> PythonModel:
    """Return the model. Raises ImportError where this process runs other code than the model's."""
    folder = Path(__file__).parent
    check = folder / "code/diffusevae/own_code.py"
    if check.is_file():  # there is none where MLflow runs this file to store the model
        runpy.run_path(str(check))["require_own_code"](folder)
    return pkgutil.resolve_name(ModelConfig().get("model"))()


set_model(load())
