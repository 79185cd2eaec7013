"""Importing this trains a number for one epoch: what does a training import?"""

from diffusevae.training.loop import Callbacks, Fit, fit
from tests.support.toy_trainings import Scalar, make_optimiser

TASK = Fit(
    lambda indices, *_: (indices,),
    lambda model, _: {"loss": model.value.sum()},
    lambda model: {"loss": 1.0},
    4,
)
fit(Scalar(), make_optimiser(), 1, 0, TASK, Callbacks())
