"""The space that a search draws from, and its best values put in place of the base configuration's.

Section of params.yaml -> key -> {choices: [...]} or {low, high, log, step} (docs/study.md, 5). Of a
key that is a whole number in params.yaml, whole numbers are drawn. `only_if: {other key: value}`
leaves a key out where it has no effect; the other key stands above it.
"""

import dataclasses
import itertools
import math
import random
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from diffusevae.core.errors import InputError
from diffusevae.core.params import override
from diffusevae.core.wording import suggest
from diffusevae.core.yaml_file import read_yaml

Options = Mapping[str, Any]  # of one key
Space = Mapping[str, Mapping[str, Options]]
Values = dict[str, dict[str, object]]  # section -> key -> value
MOST_VALUES = 500  # of a key that are tried out
MOST_COMBINATIONS = 1_000  # of a section's keys


def suggest_values(trial, space: Space, base: Mapping[str, object]) -> Values:
    """Draw one value for every key whose `only_if` holds, from an Optuna trial.

    `base` has the sections of params.yaml, whose values tell whole numbers from others.
    """
    values: Values = {}
    for section, keys in space.items():
        drawn = values[section] = {}
        for key, options in keys.items():
            if not _is_drawn(options, drawn):
                continue
            name = f"{section}.{key}"
            if "choices" in options:
                drawn[key] = trial.suggest_categorical(name, options["choices"])
                continue
            low, high, log = options["low"], options["high"], options.get("log", False)
            if isinstance(getattr(base[section], key), int):
                drawn[key] = trial.suggest_int(
                    name, low, high, log=log, step=options.get("step", 1)
                )
            else:
                drawn[key] = trial.suggest_float(name, low, high, log=log, step=options.get("step"))
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
                raise InputError(
                    f"space.{section}.{key}: {reprlib.repr(options)} is no range; "
                    "write {choices: [...]} or "
                    "{low: .., high: .., log: true, step: ..}"
                )
            fault = _find_fault(options) or _find_fault_of_condition(key, keys)
            if fault:
                raise InputError(f"space.{section}.{key}: {fault}")


def list_combinations(keys: Mapping[str, Options], base: object) -> Iterator[dict[str, object]]:
    """Yield what can be drawn for a section's keys, to see whether it fits.

    That is every combination of choices, whole numbers, steps and ends of other ranges; of very
    many combinations, or values, some. `base` is the section in params.yaml.
    """
    values = {
        key: _list_values(options, isinstance(getattr(base, key), int))
        for key, options in keys.items()
    }
    rows: Iterable[Sequence] = itertools.product(*values.values())
    if math.prod(map(len, values.values())) > MOST_COMBINATIONS:
        rng = random.Random(0)
        rows = ([rng.choice(some) for some in values.values()] for _ in range(MOST_COMBINATIONS))
    for row in rows:
        drawn: dict[str, object] = {}
        for key, value in zip(keys, row, strict=True):
            if _is_drawn(keys[key], drawn):
                drawn[key] = value
        yield drawn


def base_values(space: Space, base: Mapping[str, object]) -> dict[str, object]:
    """Return the base configuration's values by "section.key", those that the space allows."""
    values = {}
    for section, keys in space.items():
        for key, options in keys.items():
            value = getattr(base[section], key)
            value = list(value) if isinstance(value, tuple) else value
            if _allows(options, value):
                values[f"{section}.{key}"] = value
    return values


def apply_best(params: SimpleNamespace, path: Path) -> SimpleNamespace:
    """Return params with the values of a best.yaml in place of the base configuration's."""
    merged = dict(vars(params))
    for section, values in read_yaml(path).items():
        if not isinstance(values, Mapping) or not dataclasses.is_dataclass(merged.get(section)):
            raise InputError(f"{path} {section}: is no section with values; run its stage again")
        merged[section] = override(merged[section], values, f"{path} {section}")
    return SimpleNamespace(**merged)


def _is_drawn(options: Options, drawn: Mapping[str, object]) -> bool:
    """Return whether the `only_if` of a key holds for what was drawn so far."""
    return all(
        key in drawn and drawn[key] == value for key, value in options.get("only_if", {}).items()
    )


def _allows(options: Options, value: object) -> bool:
    if "choices" in options:
        return value in options["choices"]
    return (
        _is_number(value)
        and options["low"] <= value <= options["high"]
        and ("step" not in options or _is_whole((value - options["low"]) / options["step"]))
    )


def _list_values(options: Options, whole: bool) -> list:
    if "choices" in options:
        return options["choices"]
    low, high = options["low"], options["high"]
    step = options.get("step", 1 if whole else high - low)
    count = round((high - low) / step) if step else 0
    return [*(low + i * step for i in range(min(count, MOST_VALUES))), high]


def _find_fault(options: Options) -> str | None:
    """Return what keeps one key's choices, or its range, from being drawn."""
    if "choices" in options:
        choices = options["choices"]
        if not isinstance(choices, list) or not choices:
            return "choices must be a list with at least one entry"
        twice = [value for i, value in enumerate(choices) if value in choices[:i]]
        return f"choices has {reprlib.repr(twice[0])} twice; leave one out" if twice else None
    low, high, log = options["low"], options["high"], options.get("log", False)
    for name in ("low", "high", "step"):
        value = options.get(name, 1)
        if not _is_number(value):
            return f"{name}: {reprlib.repr(value)} is no finite number"
    if low > high:
        return f"low {low} is above high {high}; swap them"
    if not isinstance(log, bool):
        return f"log: {reprlib.repr(log)} is neither true nor false"
    if log and low <= 0:
        return f"log: low {low} has no logarithm; use a low above 0"
    return _find_fault_of_step(low, high, options["step"], log) if "step" in options else None


def _find_fault_of_step(low: float, high: float, step: float, log: bool) -> str | None:
    if log:
        return "log and step do not go together; leave one of them out"
    if step <= 0:
        return f"step {step} leads nowhere; use one above 0"
    if not _is_whole((high - low) / step):
        reached = low + math.floor((high - low) / step) * step
        return f"steps of {step} from {low} do not meet high {high}; use high {reached:.10g}"
    return None


def _find_fault_of_condition(key: str, keys: Mapping[str, Options]) -> str | None:
    """Return what keeps a key's `only_if` from ever holding."""
    condition = keys[key].get("only_if", {})
    if not isinstance(condition, Mapping):
        return "only_if: expected {other key: value}"
    above = list(itertools.takewhile(lambda other: other != key, keys))
    for other, value in condition.items():
        if other not in above:
            known = suggest(other, map(str, above)) if above else "there is none"
            return f"only_if: {str(other)[:80]!r} is no key of this section above it; {known}"
        if not _allows(keys[other], value):
            return f"only_if: {other} is never drawn as {reprlib.repr(value)}"
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _is_whole(ratio: float) -> bool:
    return abs(ratio - round(ratio)) < 1e-6
