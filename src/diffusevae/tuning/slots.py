"""The slots of a study: each of its n trials is run to its end once, by whichever worker takes it.

A worker puts a trial for the next free slot into the storage, from where one worker takes it, so
any number of them end with exactly n. A slot is free again when its trial failed: its worker died
or was interrupted.
"""

import time
import warnings
from collections.abc import Callable, Mapping

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from diffusevae.core.randomness import seed_of
from diffusevae.tuning import study_storage

SLOT = "slot"  # of a trial: 0 .. n_trials - 1
POLL_SECONDS = 2


def open_study(name: str, n_trials: int, seed: int, pruner: BasePruner) -> Study:
    """Return the study to go on with; in a file of our own, one that had all its trials is new."""
    storage = study_storage.connect()

    def open_it() -> Study:
        return optuna.create_study(
            study_name=name,
            storage=storage,
            pruner=pruner,
            sampler=_SlotSampler(seed),
            load_if_exists=True,
        )

    with study_storage.alone(), study_storage.damage_named():
        study = open_it()
        if study_storage.is_shared():
            return study
        if len(_finished_slots(study, n_trials)) == n_trials:
            optuna.delete_study(study_name=name, storage=storage)
            return open_it()
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)  # cut off when its process ended
    return study


def run_slots(
    study: Study,
    n_trials: int,
    first: Mapping[str, object],
    run_trial: Callable[[Trial, int], float],
    say: Callable[[str], None],
) -> list[FrozenTrial]:
    """Take waiting trials, one after the other, until every slot is finished; return those trials.

    `first` has the values of slot 0. `run_trial(trial, slot)` returns the trial's value or raises
    TrialPruned; what else it raises ends this worker, and the slot waits for another one. `say`
    hears what this worker waits for. Raises EnvironmentFailure where the storage stays away.
    """
    attempt = _Attempt(run_trial)
    while True:
        try:
            if len(finished := _finished_slots(study, n_trials)) == n_trials:
                return finished
            if _offer_slot(study, n_trials, first):
                study.optimize(attempt, n_trials=1, catch=_NoSlot)
            else:
                say("waiting for the last trials of other workers")
                time.sleep(POLL_SECONDS)
        except Exception as error:  # Optuna hides its own behind several others
            if error is attempt.failure:
                raise
            if _was_caused_by(error, study_storage.AWAY):
                say("Optuna's storage went away; what was being tried is tried again")
                study_storage.wait_for_it(error)
            elif attempt.was_taken_over(study):
                say("this process was held up, so its trial was given to another")
            else:
                raise


class _NoSlot(Exception):
    """Another worker was faster: this trial is one too many, and not run."""


class _Attempt:
    """What Optuna runs; remembers the last trial, and its failure where it had one."""

    def __init__(self, run_trial: Callable[[Trial, int], float]) -> None:
        self._run_trial = run_trial
        self._number: int | None = None
        self.failure: Exception | None = None

    def __call__(self, trial: Trial) -> float:
        self._number = trial.number
        if SLOT not in trial.user_attrs:
            raise _NoSlot
        try:
            return self._run_trial(trial, trial.user_attrs[SLOT])
        except (OptunaError, SQLAlchemyError):  # pruned; or of the storage, see run_slots
            raise
        except Exception as error:
            self.failure = error
            raise

    def was_taken_over(self, study: Study) -> bool:
        """Return whether other workers have given the last trial up."""
        trials = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return self._number in [trial.number for trial in trials]


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


def _offer_slot(study: Study, n_trials: int, first: Mapping[str, object]) -> bool:
    """Return whether a trial waits for a worker, after the first slot without a trial got one.

    What one worker began and did not finish is offered again with the values it had. Slots are
    offered one at a time, so that one of them comes before all later ones here too.
    """
    if study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        return True
    with study_storage.alone(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
        values = {0: dict(first)}
        taken = set()
        for trial in study.get_trials(deepcopy=False):
            slot = trial.user_attrs.get(SLOT)
            if trial.state != TrialState.FAIL:
                taken.add(slot)
            elif trial.params and slot is not None:
                values[slot] = trial.params
        free = next((slot for slot in range(n_trials) if slot not in taken), None)
        if free is not None:
            study.enqueue_trial(values.get(free, {}), user_attrs={SLOT: free})
    return free is not None


def _finished_slots(study: Study, n_trials: int) -> list[FrozenTrial]:
    """Return the finished trials of the first n_trials slots, in the slots' order."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    ours = [trial for trial in trials if trial.user_attrs[SLOT] < n_trials]
    return sorted(ours, key=lambda trial: trial.user_attrs[SLOT])


def _was_caused_by(error: BaseException | None, kinds: tuple[type[Exception], ...]) -> bool:
    while error is not None and not isinstance(error, kinds):
        error = error.__cause__ or error.__context__
    return error is not None
