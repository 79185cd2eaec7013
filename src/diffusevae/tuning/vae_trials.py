"""The trials of the search for a VAE: each trains one and says what it reached."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor

from diffusevae.core.params import override
from diffusevae.core.stage_log import StageLog
from diffusevae.models.vae import VAE
from diffusevae.training.loop import Callbacks
from diffusevae.training.objectives import bound_vae, floor_of_vae
from diffusevae.training.vae_training import fit_vae
from diffusevae.tuning.search import PRUNED, Objective, memory_failures_alike


def make_vae_objective(
    params: SimpleNamespace,
    train: Tensor,
    validation: Tensor,
    variances: np.ndarray,
    log: StageLog,
    flips: bool = False,
) -> Objective:
    """Return what `search` minimises, for uint8 images N x C x H x W on the device to use.

    `variances` are those of `principal_variances`; with flips images are mirrored at random.
    """
    total = params.tune_vae.n_trials

    def objective(values: dict, slot: int, report: Any) -> None:
        vae = override(params.vae, values.get("vae", {}), "tune_vae.space.vae")
        optimiser = override(
            params.vae_optimiser, values.get("vae_optimiser", {}), "tune_vae.space.vae_optimiser"
        )
        with log.trial(slot, values, PRUNED, total) as trial, memory_failures_alike():

            def on_epoch(epoch: int, row: dict, model: VAE) -> None:
                losses = {"study": row["validation_loss"]}
                if "validation_kl" in row:
                    error = row.get("validation_mse", row["validation_reconstruction"])
                    losses["fair"] = bound_vae(error, row["validation_kl"], len(variances))
                    row = row | {"validation_bits_per_dim": losses["fair"]}
                trial.epoch(row)
                if vae.kind == "gaussian" and vae.reconstruction == "mse":
                    numbers = math.prod(model.latent_shape)
                    losses["floor"] = floor_of_vae(variances, vae.kl_weight, numbers)
                report(epoch, losses)

            rest = params.tune_vae.epochs, params.seed, Callbacks(on_epoch, trial.batch)
            fit_vae(vae, optimiser, train, validation, *rest, flips=flips)

    return objective
