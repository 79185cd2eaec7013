"""How the sections of an experiment or a data set must fit the trainings that they describe."""

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace

from diffusevae.core.errors import InputError
from diffusevae.models.unet import check_tokens
from diffusevae.training.loop import OptimiserConfig
from diffusevae.training.vae_training import check_parts

# Of an experiment: the optimiser of each stage's trainings.
OPTIMISED = {
    "tune_vae": "vae_optimiser",
    "train_vae": "vae_optimiser",
    "tune_ddpm": "diffusion_optimiser",
    "train_ddpm": "diffusion_optimiser",
    "train_diffusevae": "diffusion_optimiser",
}
TRIALS = ("tune_vae", "tune_ddpm")


def find_misfits_of_trainings(params: SimpleNamespace) -> Iterator[str]:
    """Yield what of an experiment's sections its trainings cannot do, beginning with a section."""
    kind, objective = params.vae.kind, params.tune_vae.objective
    judged = {"gaussian": ("fair", "floor", "study"), "vq": ("fair", "study"), "rae": ("study",)}
    if params.tune_vae.n_trials and objective not in judged[kind]:
        yield (
            f"tune_vae.objective: {objective} is no judge of a code of vae.kind {kind}; use "
            f"{' or '.join(judged[kind])}, or n_trials 0"
        )
    try:
        check_parts(params.vae_optimiser, kind)
    except InputError as error:
        yield str(error)
    try:
        check_tokens(params.unet.fuse, image=True, code=False, labels=params.unet.labels)
    except InputError as error:
        yield f"unet.{error}"
    for stage, section in OPTIMISED.items():
        length = getattr(params, stage)
        if stage not in TRIALS or length.n_trials:
            yield from _misfits_of_warmup(getattr(params, section), length.epochs, section, stage)


def find_misfits_of_classifier(dataset: SimpleNamespace) -> Iterator[str]:
    """Yield what of a data set's sections the training of its classifier cannot do."""
    optimiser, epochs = dataset.classifier_optimiser, dataset.classifier.epochs
    yield from _misfits_of_warmup(optimiser, epochs, "classifier_optimiser", "classifier")


def _misfits_of_warmup(
    optimiser: OptimiserConfig, epochs: int, section: str, stage: str
) -> Iterator[str]:
    try:
        optimiser.check_epochs(epochs)
    except InputError as error:
        yield f"{section}.{error} ({stage}.epochs)"


def find_misfits_of_parts(study: SimpleNamespace) -> Iterator[str]:
    """Yield the optimisers of a latent study that take batches in parts: its losses are of wholes.

    Most are sums over a batch, or compare its images.
    """
    for place, optimiser in _find_optimisers(study, ""):
        if optimiser.accumulate > 1:
            yield (
                f"{place}.accumulate: {optimiser.accumulate}, but the losses of latent studies are "
                "of whole batches; set it to 1, or leave it out"
            )


def _find_optimisers(value: object, place: str) -> Iterator[tuple[str, OptimiserConfig]]:
    if isinstance(value, OptimiserConfig):
        yield place, value
    elif dataclasses.is_dataclass(value) or isinstance(value, SimpleNamespace):
        for name, part in vars(value).items():
            yield from _find_optimisers(part, f"{place}.{name}".lstrip("."))
