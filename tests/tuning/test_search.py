"""The Optuna studies: best found, resumed without a difference, pruned, refused."""

import gc
import weakref
from types import SimpleNamespace

import optuna
import pytest
import torch

from diffusevae.core.errors import Diverged, InputError
from diffusevae.tuning.search import memory_failures_alike, save_result, search
from diffusevae.tuning.search_space import (
    apply_best,
    check_space,
    list_combinations,
    suggest_values,
)
from tests.support.toy_search import BASE, SPACE, make_config, objective
from tests.support.toy_trainings import make_optimiser


@pytest.fixture(autouse=True)
def own_storage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_best_values_are_those_of_the_lowest_loss():
    result = search(make_config(12), "study", 0, BASE, objective)
    assert len(result.trials) == 12
    completed = result.trials[result.trials.state == "complete"]
    lowest = completed.loc[completed.value.idxmin()]
    assert result.best["model"]["kind"] == lowest["model.kind"] == "good"
    assert result.best["optimiser"]["learning_rate"] == lowest["optimiser.learning_rate"]


def test_the_objective_is_chosen_and_the_other_one_and_the_floor_are_kept():
    def two_epochs(values, number, report):
        report(1, {"study": 3.0, "fair": 5.0 - number, "floor": 0.1})
        report(2, {"study": 2.0 + number, "fair": 7.0, "floor": 0.1})

    for chosen, best in (("study", 0), ("fair", 2)):
        trials = search(
            make_config(3, objective=chosen, startup_trials=9), chosen, 0, BASE, two_epochs
        ).trials
        assert trials.value.idxmin() == best
        assert trials.study.tolist() == [2, 3, 3]  # the least of the epochs
        assert trials.fair.tolist() == [5, 4, 3]
        assert trials.floor.tolist() == [0.1] * 3
        assert trials.value.tolist() == trials[chosen].tolist()


def test_the_first_trial_is_the_base_configuration_where_the_space_allows_it():
    trials = search(make_config(2), "base", 0, BASE, objective).trials
    assert trials.loc[0, ["model.kind", "model.depth", "optimiser.learning_rate"]].tolist() == [
        "good",
        3,
        0.02,
    ]
    assert trials.loc[1, "optimiser.learning_rate"] != 0.02
    beyond = BASE | {"optimiser": SimpleNamespace(learning_rate=1.0)}
    trials = search(make_config(1), "beyond", 0, beyond, objective).trials
    assert trials.loc[0, "model.depth"] == 3
    assert 1e-4 <= trials.loc[0, "optimiser.learning_rate"] <= 1e-1


def test_no_trials_pass_the_base_configuration_through():
    result = search(make_config(0), "study", 0, BASE, objective)
    assert result.best == {} and len(result.trials) == 0


@pytest.mark.fault("O12")
def test_an_interrupted_study_ends_as_an_unbroken_one():
    def interrupted(values, number, report):
        if number == 11 and next(attempts):
            raise KeyboardInterrupt
        objective(values, number, report)

    attempts = iter([True, False])  # the 12th: TPE looks at what came before from the 11th on
    with pytest.raises(KeyboardInterrupt):
        search(make_config(14), "cut", 0, BASE, interrupted)
    resumed = search(make_config(14), "cut", 0, BASE, interrupted)
    unbroken = search(make_config(14), "whole", 0, BASE, objective)
    assert resumed.trials.to_csv() == unbroken.trials.to_csv()
    assert resumed.best == unbroken.best


def test_a_finished_study_is_run_anew_and_gives_the_same():
    calls = []

    def counting(values, number, report):
        calls.append(number)
        objective(values, number, report)

    first, second = (search(make_config(4), "again", 0, BASE, counting) for _ in range(2))
    assert calls == [0, 1, 2, 3] * 2
    assert first.trials.to_csv() == second.trials.to_csv()


@pytest.fixture
def no_chance_collection():
    gc.disable()
    yield
    gc.enable()


class Held:
    """What a trial made, in a circle as networks and optimisers are."""

    def __init__(self) -> None:
        self.tensor, self.itself = torch.zeros(1_000_000), self


@pytest.mark.parametrize(
    "end",
    [torch.OutOfMemoryError("CUDA out of memory.\nTried a lot"), Diverged("loss is nan")],
    ids=["memory", "divergence"],
)
@pytest.mark.fault("T10", "O2")
def test_a_trial_given_up_leaves_its_memory_to_the_next(no_chance_collection, end):
    held, alive, said = [], [], []

    def greedy(values, number, report):
        alive.append([tensor for tensor in held if tensor() is not None])
        if number in (1, 2):
            made = Held()
            held.append(weakref.ref(made.tensor))
            raise type(end)(str(end))
        objective(values, number, report)

    states = search(make_config(4), f"oom {end}", 0, BASE, greedy, said.append).trials.state
    assert list(states) == ["complete", "pruned", "pruned", "complete"]
    assert len(held) == 2 and alive == [[]] * 4
    why = " ".join(str(end).split())
    assert said == [f"trial {number} is given up: {why}" for number in (1, 2)]


@pytest.mark.fault("T10")
def test_memory_running_out_on_a_cpu_is_the_same_failure():
    with pytest.raises(torch.OutOfMemoryError, match="can't allocate"), memory_failures_alike():
        torch.empty(10**14)
    with pytest.raises(RuntimeError, match="size mismatch"), memory_failures_alike():
        torch.ones(2, 3) @ torch.ones(2)


def test_a_trial_worse_than_the_median_is_pruned():
    space = {"model": {"kind": {"choices": ["a"]}}}

    def worsening(values, number, report):
        report(1, {"study": float(number)})

    states = search(make_config(5, space), "median", 0, BASE, worsening).trials.state
    assert list(states) == ["complete", "complete", "pruned", "pruned", "pruned"]


@pytest.mark.parametrize("warmup_epochs", [0, 1, 2])
def test_the_warm_up_is_as_many_epochs_as_it_says(warmup_epochs):
    def worsening(values, number, report):
        for epoch in (1, 2, 3):
            report(epoch, {"study": float(number)})

    space = {"model": {"kind": {"choices": ["good"]}}}
    config = make_config(4, space, startup_trials=1, warmup_epochs=warmup_epochs)
    trials = search(config, f"warm-up {warmup_epochs}", 0, BASE, worsening).trials
    assert list(trials.state) == ["complete", *["pruned"] * 3]
    assert list(trials.epochs) == [3, *[warmup_epochs + 1] * 3]  # pruned by the first one after


def test_only_if_leaves_a_key_out_where_it_has_no_effect():
    fixed = optuna.trial.FixedTrial({"model.kind": "bad", "optimiser.learning_rate": 0.01})
    assert suggest_values(fixed, SPACE, BASE)["model"] == {"kind": "bad"}
    fixed = optuna.trial.FixedTrial(
        {"model.kind": "good", "model.depth": 2, "optimiser.learning_rate": 0.01}
    )
    assert suggest_values(fixed, SPACE, BASE)["model"] == {"kind": "good", "depth": 2}


NO_SPACES = [
    ({"low": 1}, "is no range"),
    ({"low": 1, "high": 2, "step_size": 1}, "is no range"),
    (5, "is no range"),
    (None, "is no range"),
    ({"choices": [1], "log": True}, "is no range"),
    ({"choices": []}, "at least one entry"),
    ({"choices": "ab"}, "must be a list"),
    ({"choices": [1, 2, 1.0]}, "has 1.0 twice"),
    ({"choices": [[1], [1]]}, "twice"),
    ({"low": 2, "high": 1}, "low 2 is above high 1"),
    ({"low": float("nan"), "high": 1}, "low: nan is no finite number"),
    ({"low": 0, "high": float("inf")}, "high: inf is no finite number"),
    ({"low": "1", "high": 2}, "low: '1' is no finite number"),
    ({"low": False, "high": 2}, "low: False is no finite number"),
    ({"low": 1, "high": 2, "log": "no"}, "log: 'no' is neither true nor false"),
    ({"low": 0, "high": 2, "log": True}, "low 0 has no logarithm"),
    ({"low": 1, "high": 3, "log": True, "step": 1}, "log and step do not go together"),
    ({"low": 1, "high": 3, "step": 0}, "step 0 leads nowhere"),
    ({"low": 1, "high": 3, "step": -1}, "step -1 leads nowhere"),
    ({"low": 1, "high": 3, "step": "abc"}, "step: 'abc' is no finite number"),
    ({"low": 1, "high": 10, "step": 2}, "do not meet high 10; use high 9"),
    ({"low": 1, "high": 2, "only_if": "kind"}, "only_if: expected"),
    ({"low": 1, "high": 2, "only_if": {"kindd": "a"}}, "'kindd' .* did you mean 'kind'"),
    ({"low": 1, "high": 2, "only_if": {"kind": "c"}}, "kind is never drawn as 'c'"),
    ({"low": 1, "high": 2, "only_if": {"below": 1}}, "'below' is no key of this section above it"),
    ({"low": 1, "high": 2, "only_if": {"depth": 1}}, "'depth' is no key of this section above it"),
]


@pytest.mark.parametrize(("options", "said"), NO_SPACES)
def test_a_space_that_cannot_be_sampled_is_refused_by_name(options, said):
    keys = {"kind": {"choices": ["a", "b"]}, "depth": options, "below": {"low": 0, "high": 1}}
    with pytest.raises(InputError, match=rf"space\.model\.depth: .*{said}"):
        check_space({"model": keys})


def draw(options, base, num=40) -> list:
    space = {"model": {"size": options}}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    model = {"model": SimpleNamespace(size=base)}
    return [suggest_values(study.ask(), space, model)["model"]["size"] for _ in range(num)]


def test_a_range_is_of_whole_numbers_where_the_key_is_one():
    shares = draw({"low": 0, "high": 1}, base=0.5)
    assert all(type(share) is float for share in shares) and len(set(shares)) == 40
    assert set(draw({"low": 0, "high": 1}, base=1)) == {0, 1}
    assert set(draw({"low": 0, "high": 1, "step": 0.5}, base=0.1)) == {0.0, 0.5, 1.0}
    widths = draw({"low": 1, "high": 10_000, "log": True}, base=8)
    assert all(type(width) is int for width in widths)
    assert 0.3 < sum(width < 100 for width in widths) / 40 < 0.7


def test_every_combination_is_listed_to_be_tried_out():
    keys = {
        "kind": {"choices": ["a", "b"]},
        "depth": {"low": 1, "high": 3, "only_if": {"kind": "a"}},
        "rate": {"low": 0.1, "high": 0.3, "log": True},
    }
    listed = list(list_combinations(keys, SimpleNamespace(kind="a", depth=1, rate=0.2)))
    assert {row.get("depth") for row in listed if row["kind"] == "a"} == {1, 2, 3}
    assert all("depth" not in row for row in listed if row["kind"] == "b")
    assert {row["rate"] for row in listed} == {0.1, 0.3}
    many = {name: {"low": 1, "high": 10**6} for name in "abcdef"}
    assert len(list(list_combinations(many, SimpleNamespace(**dict.fromkeys(many, 1))))) < 2000


def test_lists_can_be_chosen_among():
    def shallow(values, number, report):
        report(1, {"study": float(len(values["model"]["depth"]))})

    space = {"model": {"depth": {"choices": [[1, 2], [1, 2, 4]]}}}
    base = {"model": SimpleNamespace(depth=(1, 2, 4))}
    result = search(make_config(8, space, startup_trials=9), "lists", 0, base, shallow)
    assert result.best == {"model": {"depth": [1, 2]}}
    assert result.trials["model.depth"][0] == [1, 2, 4]


def test_best_values_replace_the_base_configurations(tmp_path):
    result = search(make_config(3), "study", 0, BASE, objective)
    result.best.pop("model")
    save_result(result, tmp_path)
    params = SimpleNamespace(optimiser=make_optimiser(learning_rate=9.0), seed=3)
    merged = apply_best(SimpleNamespace(**vars(params)), tmp_path / "best.yaml")
    assert merged.optimiser.learning_rate == result.best["optimiser"]["learning_rate"]
    assert merged.optimiser.batch_size == params.optimiser.batch_size
    assert merged.seed == 3
