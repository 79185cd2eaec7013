"""Typed sections of params.yaml, checked before any work starts.

A section is described by a frozen dataclass whose annotations are the schema: plain types,
`Literal`, `tuple[int, ...]`, `X | None`, nested dataclasses, and `Annotated[float, Range(0, 1)]`.
params.yaml states every value, but for options that are off: a field with a default may be left
out, as it is in whatever was written before there was such an option.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol, TypeVar

from diffusevae.core.errors import InputError
from diffusevae.core.wording import MAX_SHOWN, describe_value, join_faults, shorten_value, suggest
from diffusevae.core.yaml_file import read_yaml

Built = TypeVar("Built")
Schema = object  # a type, or what stands for several: Annotated, Literal, X | None


@dataclass(frozen=True)
class Range:
    """Closed interval a number must lie in."""

    low: float
    high: float


class DataclassInstance(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Section = TypeVar("Section", bound=DataclassInstance)

Share = typing.Annotated[float, Range(0, 1)]
Count = typing.Annotated[int, Range(0, 10_000_000)]
PositiveCount = typing.Annotated[int, Range(1, 10_000_000)]


@typing.overload
def build(schema: type[Built], value: object, place: str) -> Built: ...


@typing.overload
def build(schema: Schema, value: object, place: str) -> Any: ...


def build(schema: Schema, value: object, place: str) -> Any:
    """Return `value` as `schema` (a type or dataclass). Raises InputError that lists every fault.

    `place` is where the value stands, e.g. "experiments.smoke.vae".
    """
    faults: list[str] = []
    result = _convert(schema, value, place, faults)
    if faults:
        raise InputError(join_faults(faults))
    return result


def load_entry(path: Path, root: str, key: str, content: Mapping | None = None) -> dict:
    """Return the mapping `root.key` of params.yaml. Raises InputError where there is none."""
    content = read_yaml(path) if content is None else content
    entries = content.get(root)
    if not isinstance(entries, dict):
        raise InputError(f"{path} {root}: expected a mapping, found {describe_value(entries)}")
    if key not in entries:
        raise InputError(f"{path} {root}: there is no {key!r}; {suggest(key, map(str, entries))}")
    if not isinstance(entries[key], dict):
        raise InputError(
            f"{path} {root}.{key}: expected a mapping, found {describe_value(entries[key])}"
        )
    return entries[key]


def load_sections(
    path: Path, root: str, key: str, sections: Mapping[str, Schema]
) -> SimpleNamespace:
    """Return the named sections of `root.key` as attributes, each built by its schema."""
    entry = load_entry(path, root, key)
    faults: list[str] = []
    values = {}
    for name, schema in sections.items():
        place = f"{path} {root}.{key}.{name}"
        if name not in entry:
            faults.append(f"{place}: missing; add it")
        else:
            values[name] = _convert(schema, entry[name], place, faults)
    if faults:
        raise InputError(join_faults(faults))
    return SimpleNamespace(**values)


def override(config: Section, values: Mapping[str, object], place: str) -> Section:
    """Return the dataclass `config` with some fields replaced, checked as `build` checks them."""
    merged = dataclasses.asdict(config) | dict(values)
    return build(type(config), merged, place)


def leave_out_defaults(config: DataclassInstance) -> dict[str, Any]:
    """Return a dataclass as a mapping from which `build` makes it again, less what is at default.

    So what is written of a config does not change when an option is added that is off.
    """
    values = dataclasses.asdict(config)
    return {
        field.name: values[field.name]
        for field in dataclasses.fields(config)
        if not _has_default(field) or getattr(config, field.name) != _default_of(field)
    }


def _has_default(field: dataclasses.Field) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _default_of(field: dataclasses.Field) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _convert(schema, value, place: str, faults: list[str]):
    origin = typing.get_origin(schema)
    arguments = typing.get_args(schema)
    if origin is typing.Annotated:
        return _check_range(
            _convert(arguments[0], value, place, faults), arguments[1], place, faults
        )
    if origin is typing.Literal:
        if value not in arguments or isinstance(value, bool):
            faults.append(
                f"{place}: {shorten_value(value)} is none of {', '.join(map(str, arguments))}"
            )
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        others = [each for each in arguments if each is not type(None)]
        as_mapping = isinstance(value, Mapping)
        fitting = (each for each in others if dataclasses.is_dataclass(each) == as_mapping)
        return _convert(next(fitting, others[0]), value, place, faults)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            faults.append(f"{place}: expected a list, found {describe_value(value)}")
            return ()
        return tuple(
            _convert(arguments[0], item, f"{place}[{i}]", faults) for i, item in enumerate(value)
        )
    if dataclasses.is_dataclass(schema):
        return _convert_dataclass(schema, value, place, faults)
    return _convert_scalar(schema, value, place, faults)


def _convert_dataclass(schema, value, place: str, faults: list[str]):
    if not isinstance(value, Mapping):
        faults.append(f"{place}: expected a mapping, found {describe_value(value)}")
        return None
    hints = typing.get_type_hints(schema, include_extras=True)
    before = len(faults)
    for name in value:
        if name not in hints:
            faults.append(f"{place}.{str(name)[:MAX_SHOWN]}: unknown key; {suggest(name, hints)}")
    for field in dataclasses.fields(schema):
        if field.name not in value and not _has_default(field):
            faults.append(f"{place}.{field.name}: missing; add it")
    fields = {
        name: _convert(hint, value[name], f"{place}.{name}", faults)
        for name, hint in hints.items()
        if name in value
    }
    if len(faults) > before:
        return None
    try:
        return schema(**fields)
    except ValueError as error:  # fields that do not fit together: the dataclass says which
        faults.append(f"{place}: {error}")
        return None


def _convert_scalar(schema, value, place: str, faults: list[str]):
    if schema is float and type(value) in (int, float):
        try:
            value = float(value)
        except OverflowError:  # a whole number of more than 308 digits
            value = math.inf
        if math.isfinite(value):
            return value
        faults.append(f"{place}: {value} is not a finite number")
    elif schema is dict and isinstance(value, Mapping):
        return dict(value)
    elif type(value) is schema:
        return value
    else:
        names = {
            int: "a whole number",
            float: "a number",
            bool: "true or false",
            str: "text",
            dict: "a mapping",
        }
        faults.append(f"{place}: expected {names[schema]}, found {describe_value(value)}")
    return None


def _check_range(value, bounds: Range, place: str, faults: list[str]):
    if value is not None and not bounds.low <= value <= bounds.high:
        faults.append(f"{place}: {value} is out of range; allowed {bounds.low} to {bounds.high}")
    return value
