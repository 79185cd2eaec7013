"""Hyper-parameter search with Optuna (SPEC section 5): TPE, median pruning, resumable.

The sampler of a trial is seeded by the number of trials finished before it, so an interrupted
study goes on exactly as it would have without the interruption.
"""

import os
import reprlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal

import optuna
import pandas as pd
import torch
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from ruamel.yaml import YAML

from diffusevae.errors import InputError
from diffusevae.params import Count, PositiveCount, Range, override, read_yaml
from diffusevae.randomness import seed_of

STORAGE_VARIABLE = "DIFFUSEVAE_OPTUNA_STORAGE"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
optuna.logging.set_verbosity(optuna.logging.WARNING)

# What is tried: section of params.yaml -> key -> {choices: [...]} or {low, high, log, step}.
# `only_if: {other key: value}` leaves a key out where it has no effect.
Space = Mapping[str, Mapping[str, Mapping[str, object]]]
Values = dict[str, dict[str, object]]  # section -> key -> value


@dataclass(frozen=True)
class SearchConfig:
    """Size of the study, and what it minimises.

    objective "study" is the reference study's: the validation loss with kl_weight in it, the error
    of eps; "fair" is one that compares trials of any settings (`objectives`). num_images is how
    many training images a trial uses in each epoch.
    """

    objective: Literal["study", "fair"]
    n_trials: Annotated[int, Range(0, 100_000)]
    epochs: PositiveCount
    num_images: PositiveCount
    startup_trials: Count
    warmup_epochs: Count
    space: dict


@dataclass(frozen=True, eq=False)
class Result:
    """best values by section ({} where there were no trials), all trials, and importances."""

    best: Values
    trials: pd.DataFrame
    importances: pd.DataFrame


Losses = dict[str, float]  # both objectives by name, and "floor": the least "study" can be
Objective = Callable[[Values, int, Callable[[int, Losses], None]], None]


def search(
    config: SearchConfig, name: str, seed: int, base: Mapping[str, object], objective: Objective
) -> Result:
    """Run the trials that the study `name` still lacks and return its result.

    The first trial has the values of `base`, the sections of params.yaml that the space is about.
    `objective(values, number, report)` trains and calls report(epoch, losses) after each epoch,
    which ends the trial where the median of the others is better; what is minimised is the least
    loss of its epochs. A trial that runs out of GPU memory counts as pruned. Raises InputError for
    a space that cannot be sampled.
    """
    check_space(config.space)
    if config.n_trials == 0:
        return Result({}, pd.DataFrame(columns=["number", "state", "value"]), _no_importances())
    study = _open_study(name, config)

    def run_trial(trial: Trial) -> float:
        least: Losses = {}

        def report(epoch: int, losses: Losses) -> None:
            for name, loss in losses.items():
                least[name] = min(loss, least.get(name, loss))
                trial.set_user_attr(name, least[name])
            trial.report(losses[config.objective], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned(f"epoch {epoch}")

        try:
            objective(suggest_values(trial, config.space), len(_finished(study)), report)
        except torch.OutOfMemoryError as error:
            raise optuna.TrialPruned("out of GPU memory") from error
        return least[config.objective]

    while (done := len(_finished(study))) < config.n_trials:
        study.sampler = optuna.samplers.TPESampler(seed=seed_of(seed, "trial", done) % 2**32)
        if done == 0:
            study.sampler = _fix(_base_values(config.space, base), study.sampler)
        study.optimize(run_trial, n_trials=1)
    return _result(study, config.space, seed)


def suggest_values(trial: Trial, space: Space) -> Values:
    """Draw one value for every key of the space whose `only_if` holds."""
    values: Values = {}
    for section, keys in space.items():
        values[section] = {}
        for key, options in keys.items():
            if any(values[section].get(k) != v for k, v in options.get("only_if", {}).items()):
                continue
            name = f"{section}.{key}"
            if "choices" in options:
                value = trial.suggest_categorical(name, options["choices"])
            elif all(isinstance(options[bound], int) for bound in ("low", "high")):
                value = trial.suggest_int(name, options["low"], options["high"],
                                          step=options.get("step", 1))
            else:
                value = trial.suggest_float(name, options["low"], options["high"],
                                            log=options.get("log", False),
                                            step=options.get("step"))
            values[section][key] = value
    return values


def check_space(space: Space) -> None:
    """Raise InputError naming the first entry of the space that cannot be sampled."""
    for section, keys in space.items():
        if not isinstance(keys, Mapping):
            raise InputError(f"space.{section}: expected keys with choices, or low and high")
        for key, options in keys.items():
            if not isinstance(options, Mapping) or not (
                {"choices"} <= set(options) <= {"choices", "only_if"}
                or {"low", "high"} <= set(options) <= {"low", "high", "log", "step", "only_if"}
            ):
                raise InputError(f"space.{section}.{key}: {reprlib.repr(options)} is no range; "
                                 "write {choices: [...]} or "
                                 "{low: .., high: .., log: true, step: ..}")


def save_result(result: Result, folder: Path) -> None:
    """Write best.yaml, trials.csv and importances.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "best.yaml", "w") as file:
        YAML().dump(result.best, file)
    result.trials.to_csv(folder / "trials.csv", index=False)
    result.importances.to_csv(folder / "importances.csv", index=False)


def apply_best(params: SimpleNamespace, path: Path) -> SimpleNamespace:
    """Return params with the values of a best.yaml in place of the base configuration's."""
    merged = dict(vars(params))
    for section, values in read_yaml(path).items():
        merged[section] = override(merged[section], values, f"{path} {section}")
    return SimpleNamespace(**merged)


def _fix(values: dict[str, object], sampler: BaseSampler) -> BaseSampler:
    """Return a sampler that gives these values and leaves the others to `sampler`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.PartialFixedSampler(values, sampler)


def _base_values(space: Space, base: Mapping[str, object]) -> dict[str, object]:
    """Return the base configuration's values by "section.key", those that the space allows."""
    values = {}
    for section, keys in space.items():
        for key, options in keys.items():
            value = getattr(base[section], key)
            if (value in options["choices"] if "choices" in options
                    else options["low"] <= value <= options["high"]):  # fmt: skip
                values[f"{section}.{key}"] = value
    return values


def _open_study(name: str, config: SearchConfig) -> Study:
    """Return the study to go on with; one that had all its trials is begun anew."""
    storage = os.environ.get(STORAGE_VARIABLE)
    if not storage:
        folder = Path("scratch/studies").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{folder / 'optuna.db'}"
    pruner = optuna.pruners.MedianPruner(n_startup_trials=config.startup_trials,
                                         n_warmup_steps=config.warmup_epochs)
    study = optuna.create_study(study_name=name, storage=storage, pruner=pruner,
                                direction="minimize", load_if_exists=True)
    if len(_finished(study)) >= config.n_trials:
        optuna.delete_study(study_name=name, storage=storage)
        return optuna.create_study(study_name=name, storage=storage, pruner=pruner,
                                   direction="minimize")
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # cut off when its process ended
    return study


def _finished(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=FINISHED)


def _result(study: Study, space: Space, seed: int) -> Result:
    finished = _finished(study)
    completed = [t for t in finished if t.state == TrialState.COMPLETE]
    if not completed:
        raise InputError(f"study {study.study_name}: every trial was pruned; widen the space or "
                         "raise startup_trials")
    best: Values = {section: {} for section in space}
    for name, value in min(completed, key=lambda t: t.value).params.items():
        section, key = name.split(".")
        best[section][key] = value
    rows = [{"number": i, "state": t.state.name.lower(),
             "value": t.value if t.value is not None else t.intermediate_values.get(t.last_step),
             "epochs": len(t.intermediate_values), **t.user_attrs, **t.params}
            for i, t in enumerate(finished)]  # fmt: skip
    return Result(best, pd.DataFrame(rows), _importances(study, completed, seed))


def _importances(study: Study, completed: list[FrozenTrial], seed: int) -> pd.DataFrame:
    """Return the share of the objective's variance each key explains (fANOVA), largest first."""
    values = {t.value for t in completed}
    if len(completed) < 4 or len(values) < 2:  # too few to explain anything
        return _no_importances()
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return pd.DataFrame(list(found.items()), columns=["name", "importance"])


def _no_importances() -> pd.DataFrame:
    return pd.DataFrame(columns=["name", "importance"])
