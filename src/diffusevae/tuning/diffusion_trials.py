"""The trials of the search for a diffusion model: each trains a DDPM and says what it reached."""

from types import SimpleNamespace
from typing import Any

from torch import Tensor

from diffusevae.core.params import override
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import to_unit
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Callbacks
from diffusevae.training.objectives import (
    NUM_IMAGES,
    floor_of_eps,
    measure_x_0_error,
    principal_variances,
    shared_levels,
)
from diffusevae.tuning.search import PRUNED, Objective, memory_failures_alike
from diffusevae.tuning.search_space import list_combinations

SECTIONS = ("diffusion", "unet", "diffusion_optimiser")  # that a trial draws from


def make_diffusion_objective(
    params: SimpleNamespace, images: Tensor, train: Images, validation: Images, log: StageLog
) -> Objective:
    """Return what `search` minimises; `images` (uint8) are all that there are to train with.

    Raises InputError where the schedules of the space have no noise level in common.
    """
    config = params.tune_ddpm
    shown = to_unit(validation.x[:NUM_IMAGES])
    variances_in = {"unit": principal_variances(images)}
    variances_in["centred"] = 4 * variances_in["unit"]  # 2 x - 1
    drawn = list_combinations(config.space.get("diffusion", {}), params.diffusion)
    levels = shared_levels(
        override(params.diffusion, values, "tune_ddpm.space.diffusion").schedule for values in drawn
    )

    def objective(values: dict, slot: int, report: Any) -> None:
        diffusion, unet, optimiser = (
            override(getattr(params, name), values.get(name, {}), f"tune_ddpm.space.{name}")
            for name in SECTIONS
        )
        variances = variances_in[diffusion.image_range]
        floor = floor_of_eps(diffusion.schedule, variances)
        with log.trial(slot, values, PRUNED, config.n_trials) as trial, memory_failures_alike():

            def on_epoch(epoch: int, row: dict, model: DiffusionModel) -> None:
                fair = measure_x_0_error(model, shown, variances, params.seed, levels)
                row = row | {"validation_x_0_error": fair}
                trial.epoch(row)
                report(epoch, {"study": row["validation_noise_mse"], "fair": fair, "floor": floor})

            told = Callbacks(on_epoch, trial.batch)
            both, epochs, seed = (train, validation), config.epochs, params.seed
            fit_diffusion(diffusion, unet, optimiser, *both, epochs, 0.0, seed, told)

    return objective
