"""The space that a search draws from, and its best values put in place of the base configuration's.

Section of params.yaml -> key -> {choices: [...]} or {low, high, log, step} (SPEC section 5).
`only_if: {other key: value}` leaves a key out where it has no effect.
"""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from diffusevae.errors import InputError
from diffusevae.params import override, read_yaml

Space = Mapping[str, Mapping[str, Mapping[str, object]]]
Values = dict[str, dict[str, object]]  # section -> key -> value


def suggest_values(trial, space: Space) -> Values:
    """Draw one value for every key whose `only_if` holds, from an Optuna trial."""
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


def base_values(space: Space, base: Mapping[str, object]) -> dict[str, object]:
    """Return the base configuration's values by "section.key", those that the space allows."""
    values = {}
    for section, keys in space.items():
        for key, options in keys.items():
            value = getattr(base[section], key)
            if (value in options["choices"] if "choices" in options
                    else options["low"] <= value <= options["high"]):  # fmt: skip
                values[f"{section}.{key}"] = value
    return values


def apply_best(params: SimpleNamespace, path: Path) -> SimpleNamespace:
    """Return params with the values of a best.yaml in place of the base configuration's."""
    merged = dict(vars(params))
    for section, values in read_yaml(path).items():
        merged[section] = override(merged[section], values, f"{path} {section}")
    return SimpleNamespace(**merged)
