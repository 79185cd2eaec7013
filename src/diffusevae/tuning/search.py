"""Hyper-parameter search with Optuna: TPE, median pruning, resumable, shared."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal

import optuna
import pandas as pd
import torch
from optuna.pruners import MedianPruner
from optuna.trial import FrozenTrial, Trial, TrialState
from ruamel.yaml import YAML

from diffusevae.core.errors import Diverged, InputError
from diffusevae.core.params import Count, PositiveCount, Range
from diffusevae.training.resume_key import make_resume_key
from diffusevae.tuning.search_space import Values, base_values, check_space, suggest_values
from diffusevae.tuning.slots import SLOT, open_study, run_slots

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class SearchConfig:
    """Size of the study, and what it minimises.

    objective "study" is the reference study's: the validation loss with kl_weight in it, the error
    of eps; "fair" is one that compares trials of any settings (`objectives`). num_images is how
    many training images a trial uses in each epoch. None is pruned while fewer than startup_trials
    are complete, nor in its first warmup_epochs.
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


TrialLosses = dict[str, float]  # both objectives by name, and "floor": the least "study" can be
PRUNED = (optuna.TrialPruned, torch.OutOfMemoryError, Diverged)  # ends of a trial, not of a search
NO_MEMORY = "can't allocate memory"  # says a RuntimeError of torch's on a CPU
Objective = Callable[[Values, int, Callable[[int, TrialLosses], None]], None]


def search(
    config: SearchConfig,
    name: str,
    seed: int,
    base: Mapping[str, object],
    objective: Objective,
    say: Callable[[str], None] = lambda text: None,
) -> Result:
    """Run the trials that the study `name` still lacks and return its result.

    The first trial has the values of `base`, the sections of params.yaml that the space is about.
    `objective(values, slot, report)` trains and calls report(epoch, losses) after each epoch,
    which ends the trial where the median of the others is better; what is minimised is the least
    loss of its epochs. A trial that runs out of memory or diverges counts as pruned, and what a
    pruned trial held is free before the next one starts.

    Where the storage is shared, every process that calls this with the same name takes part until
    all trials are done, and all return the same result; `say` hears what this one waits for, and
    which trials it gives up. Raises InputError for a space that cannot be sampled,
    EnvironmentFailure where the storage stays away.
    """
    check_space(config.space)
    if config.n_trials == 0:
        return Result({}, pd.DataFrame(columns=["number", "state", "value"]), _no_importances())
    pruner = MedianPruner(config.startup_trials, config.warmup_epochs + 1)  # epochs count from 1
    study = open_study(name, config.n_trials, seed, pruner)

    def run_trial(trial: Trial, slot: int) -> float:
        values = suggest_values(trial, config.space, base)
        return _run_trial(trial, config.objective, partial(objective, values, slot), slot, say)

    finished = run_slots(study, config.n_trials, base_values(config.space, base), run_trial, say)
    return _result(finished, config, name, seed)


def _run_trial(
    trial: Trial,
    minimised: str,
    train: Callable[[Callable[[int, TrialLosses], None]], None],
    slot: int,
    say: Callable[[str], None],
) -> float:
    """Return the least loss of a trial; raise TrialPruned, with its memory free, where it ends."""
    least: TrialLosses = {}

    def report(epoch: int, losses: TrialLosses) -> None:
        for name, loss in losses.items():
            least[name] = min(loss, least.get(name, loss))
            trial.set_user_attr(name, least[name])
        trial.report(losses[minimised], epoch)
        if trial.should_prune():
            raise optuna.TrialPruned(f"epoch {epoch}")

    try:
        train(report)
        return least[minimised]
    except PRUNED as error:
        why = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, optuna.TrialPruned):
            say(f"trial {slot} is given up: {why}")
    # Only here: the error is gone, whose traceback has every tensor of the trial.
    gc.collect()
    torch.cuda.empty_cache()
    raise optuna.TrialPruned(why)


@contextmanager
def memory_failures_alike() -> Iterator[None]:
    """Raise torch.OutOfMemoryError for want of memory on a CPU too, where torch has another."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or NO_MEMORY in str(error):
            raise torch.OutOfMemoryError(f"out of memory: {error}") from None
        raise


def name_study(stage: str, params: SimpleNamespace, data: Sequence[Path]) -> str:
    """Return the name of a stage's study: the same for any number of trials and on any device."""
    key = make_resume_key(stage, params, data, device=None, without={stage: ["n_trials"]})
    return f"{stage}-{key}"


def save_result(result: Result, folder: Path) -> None:
    """Write best.yaml, trials.csv and importances.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "best.yaml", "w") as file:
        YAML().dump(result.best, file)
    result.trials.to_csv(folder / "trials.csv", index=False)
    result.importances.to_csv(folder / "importances.csv", index=False)


def _result(finished: list[FrozenTrial], config: SearchConfig, name: str, seed: int) -> Result:
    completed = [t for t in finished if t.state == TrialState.COMPLETE]
    if not completed:
        raise InputError(
            f"study {name}: every trial was pruned; widen the space or raise startup_trials"
        )
    best: Values = {section: {} for section in config.space}
    for name, value in sorted(min(completed, key=_value_of).params.items()):
        section, key = name.split(".")
        best[section][key] = value
    rows = [
        {
            "number": t.user_attrs[SLOT],
            "state": t.state.name.lower(),
            "value": _last_value(t),
            "epochs": len(t.intermediate_values),
            **{k: v for k, v in sorted(t.user_attrs.items()) if k != SLOT},
            **dict(sorted(t.params.items())),
        }  # a database gives them in any order
        for t in finished
    ]
    return Result(best, pd.DataFrame(rows), _importances(completed, seed))


def _importances(completed: list[FrozenTrial], seed: int) -> pd.DataFrame:
    """Return the share of the objective's variance each key explains (fANOVA), largest first."""
    values = {t.value for t in completed}
    if len(completed) < 4 or len(values) < 2:  # too few to explain anything
        return _no_importances()
    study = optuna.create_study()  # in memory: these trials, and no other of the storage's
    study.add_trials(completed)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return pd.DataFrame(list(found.items()), columns=["name", "importance"])


def _no_importances() -> pd.DataFrame:
    return pd.DataFrame(columns=["name", "importance"])


def _value_of(trial: FrozenTrial) -> float:
    assert trial.value is not None  # of a completed one
    return trial.value


def _last_value(trial: FrozenTrial) -> float | None:
    """Return a trial's value, or that of its last epoch where it was pruned."""
    if trial.value is None and trial.last_step is not None:
        return trial.intermediate_values[trial.last_step]
    return trial.value
