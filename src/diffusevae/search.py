"""Hyper-parameter search with Optuna (SPEC section 5): TPE, median pruning, resumable, shared.

A study of n trials has n slots. Each slot's trial waits in the storage until a worker takes it, so
any number of workers end with exactly n.
"""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import optuna
import pandas as pd
import torch
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from ruamel.yaml import YAML

from diffusevae import study_storage
from diffusevae.errors import Diverged, InputError
from diffusevae.params import Count, PositiveCount, Range
from diffusevae.randomness import seed_of
from diffusevae.search_space import Values, base_values, check_space, suggest_values

SLOT = "slot"  # 0 .. n_trials - 1: each is run to its end exactly once, by whichever worker
POLL_SECONDS = 2
optuna.logging.set_verbosity(optuna.logging.ERROR)


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
    config: SearchConfig, name: str, seed: int, base: Mapping[str, object], objective: Objective,
    say: Callable[[str], None] = lambda text: None,
) -> Result:  # fmt: skip
    """Run the trials that the study `name` still lacks and return its result.

    The first trial has the values of `base`, the sections of params.yaml that the space is about.
    `objective(values, slot, report)` trains and calls report(epoch, losses) after each epoch,
    which ends the trial where the median of the others is better; what is minimised is the least
    loss of its epochs. A trial that runs out of GPU memory or diverges counts as pruned.

    Where the storage is shared, every process that calls this with the same name takes part until
    all trials are done, and all return the same result; `say` hears what this one waits for. Raises
    InputError for a space that cannot be sampled, EnvironmentFailure where the storage stays away.
    """
    check_space(config.space)
    if config.n_trials == 0:
        return Result({}, pd.DataFrame(columns=["number", "state", "value"]), _no_importances())
    study = _open_study(name, config, seed)
    first = base_values(config.space, base)

    def run_trial(trial: Trial) -> float:
        if SLOT not in trial.user_attrs:
            raise _NoSlot
        least: Losses = {}

        def report(epoch: int, losses: Losses) -> None:
            for name, loss in losses.items():
                least[name] = min(loss, least.get(name, loss))
                trial.set_user_attr(name, least[name])
            trial.report(losses[config.objective], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned(f"epoch {epoch}")

        try:
            objective(suggest_values(trial, config.space), trial.user_attrs[SLOT], report)
        except torch.OutOfMemoryError as error:
            raise optuna.TrialPruned("out of GPU memory") from error
        except Diverged as error:
            raise optuna.TrialPruned(str(error)) from error
        return least[config.objective]

    while len(_finished(study, config)) < config.n_trials:
        if _offer_trials(study, config, first):
            study.optimize(run_trial, n_trials=1, catch=_NoSlot)
        else:
            say("waiting for the last trials of other workers")
            time.sleep(POLL_SECONDS)
    return _result(study, config, seed)


def save_result(result: Result, folder: Path) -> None:
    """Write best.yaml, trials.csv and importances.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "best.yaml", "w") as file:
        YAML().dump(result.best, file)
    result.trials.to_csv(folder / "trials.csv", index=False)
    result.importances.to_csv(folder / "importances.csv", index=False)


class _NoSlot(Exception):
    """Another worker was faster: this trial is one too many, and not run."""


class _SlotSampler(BaseSampler):
    """TPE seeded anew for each trial by its slot: a resumed study draws as an unbroken one."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._tpe = TPESampler()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        slot = trial.user_attrs.get(SLOT, -1)
        self._tpe = TPESampler(seed=seed_of(self._seed, "trial", slot) % 2**32)

    def infer_relative_search_space(self, study, trial):
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study, trial, state, values) -> None:
        self._tpe.after_trial(study, trial, state, values)


def _open_study(name: str, config: SearchConfig, seed: int) -> Study:
    """Return the study to go on with; in a file of our own, one that had all its trials is new."""
    storage = study_storage.connect()
    pruner = MedianPruner(config.startup_trials, config.warmup_epochs)

    def open_it() -> Study:
        return optuna.create_study(study_name=name, storage=storage, pruner=pruner,
                                   sampler=_SlotSampler(seed), load_if_exists=True)  # fmt: skip

    with study_storage.alone():
        study = open_it()
        if study_storage.is_shared():
            return study
        if len(_finished(study, config)) == config.n_trials:
            optuna.delete_study(study_name=name, storage=storage)
            return open_it()
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)  # cut off when its process ended
    return study


def _offer_trials(study: Study, config: SearchConfig, first: Mapping[str, object]) -> int:
    """Return how many trials wait for a worker, after every slot without a trial got one.

    What one worker began and did not finish is offered again with the values it had.
    """
    if waiting := len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,))):
        return waiting
    with study_storage.alone(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
        values = {0: first}
        taken = set()
        for trial in study.get_trials(deepcopy=False):
            slot = trial.user_attrs.get(SLOT)
            if trial.state == TrialState.FAIL:
                values[slot] = trial.params or values.get(slot, {})
            else:
                taken.add(slot)
        missing = [slot for slot in range(config.n_trials) if slot not in taken]
        for slot in missing:
            study.enqueue_trial(dict(values.get(slot, {})), user_attrs={SLOT: slot})
    return len(missing)


def _finished(study: Study, config: SearchConfig) -> list[FrozenTrial]:
    """Return the finished trials of the study's slots, in the slots' order."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    ours = [trial for trial in trials if trial.user_attrs[SLOT] < config.n_trials]
    return sorted(ours, key=lambda trial: trial.user_attrs[SLOT])


def _result(study: Study, config: SearchConfig, seed: int) -> Result:
    finished = _finished(study, config)
    completed = [t for t in finished if t.state == TrialState.COMPLETE]
    if not completed:
        raise InputError(f"study {study.study_name}: every trial was pruned; widen the space or "
                         "raise startup_trials")
    best: Values = {section: {} for section in config.space}
    for name, value in min(completed, key=lambda t: t.value).params.items():
        section, key = name.split(".")
        best[section][key] = value
    rows = [{"number": t.user_attrs[SLOT], "state": t.state.name.lower(),
             "value": t.value if t.value is not None else t.intermediate_values.get(t.last_step),
             "epochs": len(t.intermediate_values),
             **{k: v for k, v in t.user_attrs.items() if k != SLOT}, **t.params}
            for t in finished]  # fmt: skip
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
